"""Whisper: made-up weights against NumPy, and the module of the package: its two endpoints, cuts and tokens."""

import math
import wave

import numpy as np
import pytest
import zoo_checks

from tlkit import HubLayer, graph
from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.hub.scanning import scan
from tlkit.zoo import whisper_tiny_en as whisper

tf = pytest.importorskip("tensorflow")

NAME = "whisper-tiny-en"
WORDS, FRAMES, WIDTH = 40, 20, whisper.WIDTH


def made_up():
    """Tensors as the file has them, with few words and places."""
    rng = np.random.default_rng(0)
    shapes = {whisper.TABLE: (WORDS, WIDTH), f"encoder/{whisper.PLACES}": (FRAMES, WIDTH)}
    shapes |= {f"decoder/{whisper.PLACES}": (16, WIDTH), "encoder/conv1/weight": (WIDTH, 80, 3)}
    shapes |= {
        "encoder/conv2/weight": (WIDTH, WIDTH, 3),
        "encoder/conv1/bias": (WIDTH,),
        "encoder/conv2/bias": (WIDTH,),
    }
    linear = {"self_attention": (3, 1), "attention": (1, 2, 1)}
    for side, parts in (("encoder", ("self_attention",)), ("decoder", ("self_attention", "attention"))):
        names = [f"{side}/layer_norm"]
        for block in (f"{side}/layer_{n}" for n in range(whisper.BLOCKS)):
            names += [f"{block}/{part}/layer_norm" for part in (*parts, "ffn")]
            for part in parts:
                for i, times in enumerate(linear[part]):
                    shapes[f"{block}/{part}/linear_{i}/weight"] = (times * WIDTH, WIDTH)
                    shapes[f"{block}/{part}/linear_{i}/bias"] = (times * WIDTH,)
            for i, (a, b) in enumerate(((4, 1), (1, 4))):
                shapes[f"{block}/ffn/linear_{i}/weight"], shapes[f"{block}/ffn/linear_{i}/bias"] = (
                    (a * WIDTH, b * WIDTH),
                    (a * WIDTH,),
                )
        shapes |= {f"{name}/{word}": (WIDTH,) for name in names for word in ("gamma", "beta")}
    sizes = {name: math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.2 for name, shape in shapes.items()}
    return {name: rng.normal(0, sizes[name], shape).astype("f2") for name, shape in shapes.items()}


class Reference:
    """Whisper in NumPy and float64."""

    def __init__(self, tensors):
        self.w = {name: np.asarray(value, "f8") for name, value in tensors.items()}

    def dense(self, name, x):
        return x @ self.w[f"{name}/weight"].T + self.w[f"{name}/bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * self.w[f"{name}/gamma"] + self.w[f"{name}/beta"]

    @staticmethod
    def gelu(x):
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def conv(self, name, x, stride):
        x, kernel = np.pad(x, ((1, 1), (0, 0))), self.w[f"{name}/weight"]
        rows = [np.einsum("wi,oiw->o", x[i : i + 3], kernel) for i in range(0, len(x) - 2, stride)]
        return self.gelu(np.stack(rows) + self.w[f"{name}/bias"])

    @staticmethod
    def attend(q, k, v, *, causal=False):
        q, k, v = (x.reshape(len(x), 6, 64).transpose(1, 0, 2) for x in (q, k, v))
        scores = q @ k.transpose(0, 2, 1) / 8
        if causal:
            scores = scores + np.triu(np.full(scores.shape[1:], -1e30), 1)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        return (shares / shares.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)

    def block(self, name, x, encoded=None):
        part = f"{name}/self_attention"
        q, k, v = np.split(self.dense(f"{part}/linear_0", self.norm(f"{part}/layer_norm", x)), 3, -1)
        x = x + self.dense(f"{part}/linear_1", self.attend(q, k, v, causal=encoded is not None))
        if encoded is not None:
            q = self.dense(f"{name}/attention/linear_0", self.norm(f"{name}/attention/layer_norm", x))
            k, v = np.split(self.dense(f"{name}/attention/linear_1", encoded), 2, -1)
            x = x + self.dense(f"{name}/attention/linear_2", self.attend(q, k, v))
        wide = self.gelu(self.dense(f"{name}/ffn/linear_0", self.norm(f"{name}/ffn/layer_norm", x)))
        return x + self.dense(f"{name}/ffn/linear_1", wide)

    def encode(self, bands):
        x = self.conv("encoder/conv2", self.conv("encoder/conv1", bands, 1), 2)
        x = x + self.w[f"encoder/{whisper.PLACES}"][: len(x)]
        for n in range(4):
            x = self.block(f"encoder/layer_{n}", x)
        return self.norm("encoder/layer_norm", x)

    def decode(self, encoded, ids):
        x = self.w[whisper.TABLE][ids] + self.w[f"decoder/{whisper.PLACES}"][: len(ids)]
        for n in range(4):
            x = self.block(f"decoder/layer_{n}", x, encoded)
        return self.norm("decoder/layer_norm", x)


def spectrum(wave):
    """Log-mel bands of a waveform by NumPy's own Fourier transform."""
    padded = np.pad(wave.astype("f8"), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[i : i + 400] * window for i in range(0, len(wave), 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    from tlkit.zoo.mel import filters

    bels = np.log10(np.maximum(power @ filters(whisper.MEL), 1e-10))
    return (np.maximum(bels, bels.max() - 8) + 4) / 4


@pytest.fixture(scope="module")
def small():
    tensors = made_up()
    return whisper.variables(tensors), Reference(tensors)


def test_bands_are_those_of_a_fourier_transform():
    wave = np.random.default_rng(1).normal(0, 0.1, 8000).astype("f4")
    np.testing.assert_allclose(whisper.log_mel(wave[None])[0], spectrum(wave), atol=1e-4)
    assert whisper.log_mel(np.zeros((1, 100), "f4")).shape == (1, 6, 80)  # silence behind what is too short
    assert whisper.log_mel(np.zeros((1, 500_000), "f4")).shape == (1, 3000, 80)


def test_encoder_and_decoder_are_those_of_numpy(small):
    weights, reference = small
    bands = np.random.default_rng(2).normal(0, 0.5, (24, 80))
    encoded = whisper.encode(weights, tf.constant(bands[None], tf.float32))
    expected = reference.encode(bands)
    np.testing.assert_allclose(encoded[0], expected, atol=1e-4)
    ids = np.array([3, 1, 4, 1, 5, 9])
    states = whisper.decode(weights, encoded, tf.constant(ids[None], tf.int32))
    np.testing.assert_allclose(states[0], reference.decode(expected, ids), atol=1e-4)


def test_a_text_is_written_token_by_token(small):
    weights, _ = small
    encoded = tf.random.stateless_normal((2, 12, WIDTH), (1, 2))
    ids = tf.constant([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    whole = whisper.decode(weights, encoded, ids)
    np.testing.assert_allclose(whisper.decode(weights, encoded, ids[:, :3]), whole[:, :3], atol=1e-5)


def test_steps_with_a_cache_give_what_the_whole_text_gives(small):
    weights, _ = small
    encoded, ids = tf.random.stateless_normal((2, 12, WIDTH), (1, 2)), tf.constant([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    whole, capacity = whisper.decode(weights, encoded, ids), 8
    rubbish = tf.fill((2, capacity, WIDTH), 7.0)  # what lies behind a position is never read
    caches = {f"kv_cache_{side}_{n}": rubbish for side in "kv" for n in range(whisper.BLOCKS)}
    state, states = {**whisper.crossed(weights, encoded), **caches}, []
    for start, stop in ((0, 2), (2, 3), (3, 5)):
        outputs = whisper.step(weights, {**state, "ids": ids[:, start:stop], "position": tf.constant(start)})
        states.append(outputs.pop("default"))
        state |= outputs
    np.testing.assert_allclose(tf.concat(states, 1), whole, atol=1e-5)


@pytest.mark.parametrize("inputs", ["encoded", "bands"])
def test_the_decoder_is_cut_through_its_whole_depth_with_its_encoder_or_without(small, inputs):
    weights, _ = small
    specs = [tf.TensorSpec((None, None, WIDTH if inputs == "encoded" else 80)), tf.TensorSpec((None, None), tf.int32)]

    def call(first, ids):
        return whisper.decode(weights, first if inputs == "encoded" else whisper.encode(weights, first), ids)

    flat = graph.flatten(tf.function(call).get_concrete_function(*specs), list(weights.values()))
    depths = [0.0, *sorted({cut.depth for cut in graph.cuts(flat)}), 1.0]
    assert max(np.diff(depths)) < 0.11
    values = tf.random.stateless_normal((2, 16, specs[0].shape[-1]), (1, 2)), tf.constant([[3, 1, 4], [9, 2, 6]])
    whole = flat.whole(*values)
    for share in (0.1, 0.3, 0.6, 0.9):
        cut = graph.nearest_cut(flat, share)
        assert abs(1 - cut.depth - share) < 0.12
        front, back = graph.split(flat, cut)
        tensors = front(*values) if cut.besides else (front(*values),)
        np.testing.assert_allclose(back(*tensors, *(values[i] for i in cut.inputs)), whole, atol=2e-6)


# -- the module of the package


@pytest.mark.slow
def test_the_module_has_two_endpoints_with_cuts_and_tokens():
    folder = str(zoo_checks.folder(NAME))
    assert scan(folder).findings == ()
    ears, hand = HubLayer(folder, signature="encode"), HubLayer(folder, signature="decode")
    assert ears.tokenizer is None and hand.tokenizer.end == 50256
    assert hand.tokenizer.special["<|startoftranscript|>"] == 50257
    text = " It is 10 o'clock, said the café."
    assert hand.tokenizer.decode(hand.tokenizer.encode(text)) == text
    for layer, widest in ((ears, 0.12), (hand, 0.08)):
        depths = [0.0, *sorted({cut.depth for cut in graph.cuts(layer.graph)}), 1.0]
        assert max(np.diff(depths)) < widest
    encoded = ears(np.zeros((1, 32_000), "f4"))
    assert encoded.shape == (1, 100, WIDTH)
    states = hand({"encoded": encoded, "ids": np.array([[50257, 50362]])})
    assert states.shape == (1, 2, WIDTH)
    assert sum(int(np.prod(v.shape)) for v in hand.variables) == whisper.CARD.parameters


@pytest.mark.slow
def test_it_writes_what_is_said():
    from tlkit.datasets import debian

    try:
        sounds = debian.folder("asterisk-core-sounds-en-wav", "usr/share/asterisk/sounds/en_US_f_Allison", "The speech")
    except (InputError, DownloadError, OfflineError) as error:
        pytest.skip(f"needs the network once: {error}")
    with wave.open(str(sounds / "conf-onlyperson.wav")) as file:
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    folder = str(zoo_checks.folder(NAME))
    ears, hand = HubLayer(folder, signature="encode"), HubLayer(folder, signature="decode")
    sound = np.zeros((1, whisper.LONGEST), "f4")
    sound[0, : 2 * len(raw)] = np.interp(np.arange(2 * len(raw)) / 2, np.arange(len(raw)), raw)  # from 8 kHz
    encoded, ids = ears(sound), [50257, 50362]
    table = next(v for v in hand.variables if tuple(v.shape) == (51864, WIDTH)).numpy()
    while ids[-1] != hand.tokenizer.end and len(ids) < 20:
        logits = hand({"encoded": encoded, "ids": np.array([ids])}).numpy()[0, -1] @ table.T
        ids.append(int(np.argmax(logits[: hand.tokenizer.end + 1])))
    assert "only person in this conference" in hand.tokenizer.decode(ids)


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ["encode", "decode"])
def test_it_converts_with_builtins(endpoint):
    loaded = tf.saved_model.load(str(zoo_checks.folder(NAME)))
    values = {"inputs": np.random.default_rng(0).normal(0, 0.1, (1, 32_000)).astype("f4")}
    if endpoint == "decode":
        values = {"encoded": np.random.default_rng(0).normal(0, 1, (1, 50, WIDTH)).astype("f4")}
        values["ids"] = np.array([[50257, 50362, 314, 716]], "i4")
    outputs = zoo_checks.litert(loaded, endpoint, **{key: value.shape for key, value in values.items()})(**values)
    expected = loaded.signatures[endpoint](**{key: tf.constant(value) for key, value in values.items()})
    np.testing.assert_allclose(outputs["default"], expected["default"], atol=1e-3)
