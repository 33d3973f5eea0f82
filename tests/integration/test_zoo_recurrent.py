"""g2p-en and textgenrnn: their written-out recurrences against Keras' own layers, what they say, and their cuts."""

import json

import keras
import numpy as np
import pytest
import zoo_checks

from tlkit import HubLayer, graph
from tlkit.hub.scanning import scan
from tlkit.zoo import g2p_en as g2p
from tlkit.zoo import textgenrnn

tf = pytest.importorskip("tensorflow")

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(0, shape[-1] ** -0.5 if len(shape) > 1 else 0.2, shape).astype("f4")


# -- g2p-en


@pytest.fixture(scope="module")
def letters():
    arrays = {"fc_w": normal(len(g2p.PHONEMES), g2p.WIDTH), "fc_b": normal(len(g2p.PHONEMES))}
    for side, count in (("enc", len(g2p.LETTERS)), ("dec", len(g2p.PHONEMES))):
        arrays |= {f"{side}_emb": normal(count, g2p.WIDTH)}
        arrays |= {f"{side}_w_{way}": normal(3 * g2p.WIDTH, g2p.WIDTH) for way in ("ih", "hh")}
        arrays |= {f"{side}_b_{way}": normal(3 * g2p.WIDTH) for way in ("ih", "hh")}
    return arrays, g2p.variables(arrays)


def keras_gru(arrays, side):
    """Keras' GRU with the file's weights: its gates are update, reset and new."""

    def turned(array):
        reset, update, new = np.split(array, 3, axis=0)
        return np.concatenate([update, reset, new], axis=0)

    layer = keras.layers.GRU(g2p.WIDTH, return_sequences=True, reset_after=True)
    layer.build((None, None, g2p.WIDTH))
    kernels = [turned(arrays[f"{side}_w_{way}"]).T for way in ("ih", "hh")]
    layer.set_weights([*kernels, np.stack([turned(arrays[f"{side}_b_{way}"]) for way in ("ih", "hh")])])
    return layer


def test_letters_are_read_as_keras_reads_them_and_padding_changes_nothing(letters):
    arrays, weights = letters
    ids = np.zeros((2, g2p.MOST_LETTERS), "i4")
    ids[0, :5], ids[1, :9] = rng.integers(3, 29, 5), rng.integers(3, 29, 9)
    states = g2p.encode(weights, tf.constant(ids))
    for row, count, state in zip(ids, (5, 9), states, strict=True):
        expected = keras_gru(arrays, "enc")(arrays["enc_emb"][row[None, :count]])[0, -1]
        np.testing.assert_allclose(state, expected, atol=1e-4)


def test_phonemes_are_written_as_keras_writes_them(letters):
    arrays, weights = letters
    encoded = normal(2, g2p.WIDTH)
    ids = rng.integers(1, len(g2p.PHONEMES), (2, g2p.MOST_PHONEMES)).astype("i4")
    states = g2p.decode(weights, tf.constant(encoded), tf.constant(ids))
    expected = keras_gru(arrays, "dec")(arrays["dec_emb"][ids], initial_state=tf.constant(encoded))
    np.testing.assert_allclose(states, expected, atol=1e-4)
    np.testing.assert_allclose(
        g2p.scores(weights, states), np.asarray(expected) @ arrays["fc_w"].T + arrays["fc_b"], atol=1e-4
    )


@pytest.fixture(scope="module")
def speller():
    folder = str(zoo_checks.folder("g2p-en"))
    return tuple(HubLayer(folder, signature=name) for name in ("encode", "decode", "score"))


def pronounced(speller, word):
    encode, decode, score = speller
    letters, written = np.zeros((1, g2p.MOST_LETTERS), "i4"), np.zeros((1, g2p.MOST_PHONEMES), "i4")
    numbers = [g2p.LETTERS.index(letter) for letter in word] + [g2p.LETTERS.index("</s>")]
    letters[0, : len(numbers)], written[0, 0] = numbers, g2p.PHONEMES.index("<s>")
    encoded, phonemes = encode(letters), []
    for place in range(g2p.MOST_PHONEMES - 1):
        best = int(np.argmax(score(decode({"encoded": encoded, "ids": written}))[0, place]))
        if g2p.PHONEMES[best] == "</s>":
            break
        phonemes.append(g2p.PHONEMES[best])
        written[0, place + 1] = best
    return " ".join(phonemes)


def test_words_are_pronounced_as_by_the_package(speller):
    assert pronounced(speller, "activationist") == "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"
    assert pronounced(speller, "tensorflow") == "T EH1 N S ER0 L OW0 F"


def test_letters_and_phonemes_come_with_the_module(speller):
    encode, decode, _ = speller
    with open(decode.asset("phonemes_file"), encoding="utf-8") as file:
        assert tuple(file.read().split()) == g2p.PHONEMES
    with open(encode.asset("letters_file"), encoding="utf-8") as file:
        assert tuple(file.read().split()) == g2p.LETTERS
    assert decode.tokenizer.encode("HH AY1") == [g2p.PHONEMES.index(phoneme) for phoneme in ("HH", "AY1")]
    assert decode.asset("nosuch_file") is None
    assert scan(zoo_checks.folder("g2p-en")).findings == ()
    assert sum(int(np.prod(v.shape)) for v in decode.variables) == g2p.CARD.parameters


def test_both_halves_of_the_speller_can_be_cut_in_front_of_their_recurrence(speller):
    encode, decode, _ = speller
    ids = rng.integers(1, 29, (2, g2p.MOST_LETTERS)).astype("i4")
    written = ids[:, : g2p.MOST_PHONEMES]
    for layer, values in ((encode, [ids]), (decode, [normal(2, g2p.WIDTH), written])):
        values = [tf.constant(value) for value in values]
        whole = tf.nest.flatten(layer.graph.whole(*values))[0]
        cut = layer.cut_for(0.5)
        assert 0 < cut.depth < 0.1 and cut.parameters_behind >= 3 * g2p.WIDTH * (g2p.WIDTH + 1)
        front, back = graph.split(layer.graph, cut)
        output = tf.nest.flatten(back(front(*values), *(values[i] for i in cut.inputs)))[0]
        np.testing.assert_allclose(output, whole, atol=1e-6)


# -- textgenrnn


@pytest.fixture(scope="module")
def writer():
    folder = str(zoo_checks.folder("textgenrnn"))
    return HubLayer(folder), HubLayer(folder, signature="score")


def windows(numbers, text):
    """A row for each character of a text: what stands before it."""
    ids = [numbers[textgenrnn.ENDS], *(numbers.get(character, 0) for character in text)]
    rows = [ids[max(0, i - textgenrnn.WINDOW) : i] for i in range(1, len(ids))]
    return np.array([[0] * (textgenrnn.WINDOW - len(row)) + row for row in rows], "i4"), np.array(ids[1:])


def surprise(writer, text):
    """Mean negative logarithm of a character's likelihood."""
    state, score = writer
    with open(state.asset("characters_file"), encoding="utf-8") as file:
        rows, following = windows(json.load(file), text)
    likely = tf.nn.log_softmax(score(state(rows)["default"])).numpy()
    return -likely[np.arange(len(rows)), following].mean()


def test_english_is_likelier_than_its_letters_backwards(writer):
    text = "What is the best way to learn how to play the piano?"
    assert surprise(writer, text) == pytest.approx(0.88, abs=0.01)
    assert surprise(writer, text[::-1]) > 4


def lstm(x, kernel, recurrent, bias):
    """In NumPy and float64; the gates are input, forget, new and output."""
    carried, hidden, outputs = 0.0, np.zeros((len(x), textgenrnn.UNITS)), []
    for step in x.transpose(1, 0, 2):
        enter, keep, new, leave = np.split(step @ kernel + hidden @ recurrent + bias, 4, axis=-1)
        carried = carried / (1 + np.exp(-keep)) + np.tanh(new) / (1 + np.exp(-enter))
        hidden = np.tanh(carried) / (1 + np.exp(-leave))
        outputs.append(hidden)
    return np.stack(outputs, axis=1)


def test_the_state_is_that_of_lstms_in_numpy():
    units, table = textgenrnn.UNITS, (textgenrnn.SYMBOLS, 100)
    shapes = {"embedding/embeddings": table, "attention/attention_W": (textgenrnn.WIDTH, 1)}
    for name, entering in (("rnn_1", table[1]), ("rnn_2", units)):
        shapes |= {f"{name}/kernel": (entering, 4 * units), f"{name}/recurrent_kernel": (units, 4 * units)}
        shapes |= {f"{name}/bias": (4 * units,)}
    weights = {name: normal(*shape) for name, shape in shapes.items()}
    ids = rng.integers(0, 400, (2, textgenrnn.WINDOW)).astype("i4")
    w = {name: value.astype("f8") for name, value in weights.items()}
    parts = [w["embedding/embeddings"][ids]]
    for name in ("rnn_1", "rnn_2"):
        parts.append(lstm(parts[-1], *(w[f"{name}/{word}"] for word in ("kernel", "recurrent_kernel", "bias"))))
    every = np.concatenate(parts, -1)
    looks = np.exp(every @ w["attention/attention_W"])
    state = textgenrnn.state({name: tf.constant(value) for name, value in weights.items()}, tf.constant(ids))
    np.testing.assert_allclose(state, (every * looks / looks.sum(1, keepdims=True)).sum(1), atol=1e-4)


def test_it_is_cut_behind_its_embedding_and_either_lstm(writer):
    layer = writer[0]
    assert scan(zoo_checks.folder("textgenrnn")).findings == ()
    depths = sorted({round(cut.depth, 2) for cut in graph.cuts(layer.graph)})
    assert depths == [0.01, 0.5, 0.99, 1.0]
    assert sum(int(np.prod(v.shape)) for v in layer.variables) == textgenrnn.CARD.parameters
    ids = tf.constant(rng.integers(0, 400, (2, textgenrnn.WINDOW)), tf.int32)
    whole = layer(ids)["default"]
    for cut in graph.cuts(layer.graph):
        front, back = graph.split(layer.graph, cut)
        np.testing.assert_allclose(back(front(ids), *[ids] * len(cut.inputs))["default"], whole, atol=1e-6)


@pytest.mark.parametrize("name", ["g2p-en", "textgenrnn"])
def test_they_convert_with_builtins(name):
    loaded = tf.saved_model.load(str(zoo_checks.folder(name)))
    if name == "textgenrnn":
        with open(loaded.characters_file.asset_path.numpy(), encoding="utf-8") as file:
            values = {"inputs": windows(json.load(file), "What is the best way to learn")[0][-1:]}
    else:
        ids = rng.integers(1, 29, (1, g2p.MOST_LETTERS)).astype("i4")
        values = {"source": ids, "ids": ids[:, : g2p.MOST_PHONEMES]}
    outputs = zoo_checks.litert(loaded, **{key: value.shape for key, value in values.items()})(**values)
    expected = loaded.signatures["serving_default"](**{key: tf.constant(value) for key, value in values.items()})
    np.testing.assert_allclose(outputs["default"], expected["default"], atol=1e-3)
