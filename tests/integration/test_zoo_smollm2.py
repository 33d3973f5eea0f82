"""SmolLM2: a small one of made-up weights against NumPy, and the one of the package, its cuts and its tokenizer."""

import numpy as np
import pytest
import zoo_checks

import tlkit
from tlkit import HubLayer, graph
from tlkit.formats import hub_module
from tlkit.hub.scanning import scan
from tlkit.zoo import smollm2_135m as smollm
from tlkit.zoo.gguffile import read_gguf

tf = pytest.importorskip("tensorflow")

NAME = "smollm2-135m"
TINY = smollm.Sizes(blocks=3, heads=4, key_heads=2, depth=8)
WIDTH, WIDE, WORDS = 32, 48, 50
SENTENCE = "The cat sat on the mat and looked out of the window at the birds in the garden."


def made_up(seed=0):
    """Tensors as a GGUF file has them, matrices (out, in)."""
    rng = np.random.default_rng(seed)
    shapes = {"token_embd.weight": (WORDS, WIDTH), "output_norm.weight": (WIDTH,)}
    for n in range(TINY.blocks):
        keys = TINY.key_heads * TINY.depth
        shapes |= {f"blk.{n}.attn_q.weight": (WIDTH, WIDTH), f"blk.{n}.attn_k.weight": (keys, WIDTH)}
        shapes |= {f"blk.{n}.attn_v.weight": (keys, WIDTH), f"blk.{n}.attn_output.weight": (WIDTH, WIDTH)}
        shapes |= {f"blk.{n}.ffn_{word}.weight": (WIDE, WIDTH) for word in ("gate", "up")}
        shapes |= {f"blk.{n}.ffn_down.weight": (WIDTH, WIDE)}
        shapes |= {f"blk.{n}.{word}_norm.weight": (WIDTH,) for word in ("attn", "ffn")}
    return {name: rng.normal(0.3 if len(s) == 1 else 0, s[-1] ** -0.5, s).astype("f4") for name, s in shapes.items()}


def reference(tensors, ids, sizes):
    """Llama in NumPy and float64, as llama.cpp computes it: rotations of neighbours, keys repeated."""
    w = {name.removesuffix(".weight"): value.astype("f8") for name, value in tensors.items()}
    tokens = len(ids)
    angles = np.arange(tokens)[:, None] * sizes.base ** (-np.arange(0, sizes.depth, 2) / sizes.depth)
    turn = np.exp(1j * angles)[:, None]

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + sizes.epsilon) * scale

    def heads(x, count, *, turned):
        x = x.reshape(tokens, count, sizes.depth)
        if turned:
            pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
            x = np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)
        return np.repeat(x, sizes.heads // count, axis=1).transpose(1, 0, 2)

    x = w["token_embd"][ids]
    for n in range(sizes.blocks):
        h = norm(x, w[f"blk.{n}.attn_norm"])
        q = heads(h @ w[f"blk.{n}.attn_q"].T, sizes.heads, turned=True)
        k = heads(h @ w[f"blk.{n}.attn_k"].T, sizes.key_heads, turned=True)
        v = heads(h @ w[f"blk.{n}.attn_v"].T, sizes.key_heads, turned=False)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(sizes.depth) + np.triu(np.full((tokens, tokens), -1e30), 1)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = shares / shares.sum(-1, keepdims=True) @ v
        x = x + mixed.transpose(1, 0, 2).reshape(tokens, -1) @ w[f"blk.{n}.attn_output"].T
        h = norm(x, w[f"blk.{n}.ffn_norm"])
        gate = h @ w[f"blk.{n}.ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w[f"blk.{n}.ffn_up"].T)) @ w[f"blk.{n}.ffn_down"].T
    return norm(x, w["output_norm"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(tensors, weights, folder) of a module of made-up weights."""
    tensors = made_up()
    weights = smollm.variables(tensors, TINY)
    folder = tmp_path_factory.mktemp("tiny") / "module"
    every = list(weights.values())
    spec = tf.TensorSpec((None, None), tf.int32, name="ids")
    hub_module.write_module(
        lambda ids, training: {"default": smollm.states(weights, ids, TINY)}, every, every, spec, folder
    )
    return tensors, weights, folder


def test_states_are_those_of_llama_in_numpy(tiny):
    tensors, weights, _ = tiny
    ids = np.random.default_rng(1).integers(0, WORDS, (2, 9))
    all_states = smollm.states(weights, tf.constant(ids, tf.int32), TINY)
    for row, states in zip(ids, all_states, strict=True):
        np.testing.assert_allclose(states, reference(tensors, row, TINY), atol=1e-4)


def test_what_lies_ahead_changes_nothing(tiny):
    weights = tiny[1]
    long = tf.constant([[3, 1, 4, 1, 5, 9, 2, 6]])
    np.testing.assert_allclose(
        smollm.states(weights, long, TINY)[:, :5], smollm.states(weights, long[:, :5], TINY), atol=1e-5
    )


def test_it_is_cut_behind_every_block_and_trains_in_part(tiny):
    layer = HubLayer(str(tiny[2]), trainable=True, unfrozen=0.4)
    ids = tf.constant([[3, 1, 4, 1, 5], [2, 7, 1, 8, 2]])
    whole = layer(ids)["default"]
    for cut in graph.cuts(layer.graph):
        front, back = graph.split(layer.graph, cut)
        np.testing.assert_allclose(back(front(ids), *[ids] * len(cut.inputs))["default"], whole, atol=1e-6)
    depths = [0.0, *sorted({cut.depth for cut in graph.cuts(layer.graph)}), 1.0]
    assert max(np.diff(depths)) <= 4.1 / (1 + 7 * TINY.blocks)  # a block's attention is the widest
    trained = [v.path for v in layer.trainable_variables]
    assert any("layer_2" in path for path in trained)
    assert not any("layer_0" in path or "token_embd" in path for path in trained)
    assert [b.name for b in layer.blocks][1:4] == ["layer_0", "layer_1", "layer_2"]


def test_it_classifies_texts_as_any_module_of_ids_does(tiny):
    layer = HubLayer(str(tiny[2]), name="backbone")
    model = tlkit.build(layer, tlkit.tasks.classify(["a", "b"]))
    assert model(np.array([[3, 1, 4]])).shape == (1, 2)


def test_it_converts_with_builtins(tiny):
    loaded = tf.saved_model.load(str(tiny[2]))
    ids = np.array([[3, 1, 4, 1, 5, 9]], "i4")
    np.testing.assert_allclose(
        zoo_checks.litert(loaded, inputs=ids.shape)(inputs=ids)["default"], loaded(ids)["default"], atol=1e-4
    )


# -- the module of the package


@pytest.fixture(scope="module")
def layer():
    return HubLayer(str(zoo_checks.folder(NAME)))


def logits_of(layer, text):
    """(ids, states, logits) of a text, by the module's own table."""
    ids = layer.tokenizer.encode(text)
    states = layer(tf.constant([ids]))["default"][0].numpy()
    table = next(v for v in layer.variables if v.path.endswith("token_embd")).numpy()
    return np.array(ids), states, states @ table.T


@pytest.mark.slow
def test_an_everyday_sentence_is_likely_and_equals_numpy(layer, tmp_path):
    ids, states, logits = logits_of(layer, SENTENCE)
    likely = tf.nn.log_softmax(logits).numpy()[np.arange(len(ids) - 1), ids[1:]]
    assert np.exp(-likely.mean()) == pytest.approx(25.27, abs=0.05)
    _, tensors = read_gguf(zoo_checks.files(smollm.PACKAGE, tmp_path)[smollm.WEIGHTS])
    expected = reference(tensors, ids, smollm.SIZES)
    np.testing.assert_allclose(states, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(logits, expected @ tensors["token_embd.weight"].T.astype("f8"), rtol=1e-5, atol=2e-4)


@pytest.mark.slow
def test_the_module_has_its_cuts_its_chat_and_nothing_that_is_unsafe(layer):
    depths = [0.0, *sorted({cut.depth for cut in graph.cuts(layer.graph)}), 1.0]
    assert len(depths) > 60 and max(np.diff(depths)) < 0.03
    assert sum(int(np.prod(v.shape)) for v in layer.variables) == smollm.CARD.parameters
    tokens = layer.tokenizer
    assert "<|im_start|>" in tokens.chat_template and tokens.end == tokens.pad == 2 and tokens.begin is None
    text = "The year 2018's café 😀"
    assert tokens.decode(tokens.encode(text)) == text
    assert len(tokens.encode("2018")) == 4  # digits stand alone
    assert tokens.encode("<|im_end|>", special=True) == [2] and 2 not in tokens.encode("<|im_end|>")
    assert scan(zoo_checks.folder(NAME)).findings == ()
