"""Resemblyzer's encoder without torch: it equals a float64 rewriting of the package, and tells voices apart."""

import io
import shutil
import subprocess
import wave as wavefile

import numpy as np
import pytest
import zoo_checks

from tlkit import zoo
from tlkit.zoo import speaker_encoder as speaker
from tlkit.zoo.store import MANIFEST
from tlkit.zoo.torchfile import read_tensors

tf = pytest.importorskip("tensorflow")

NAME = "speaker-encoder"
SENTENCES = (
    "The birch canoe slid on the smooth planks, and the sheet was glued to the dark blue background.",
    "It is easy to tell the depth of a well, but these days a chicken leg is a rare dish.",
)


@pytest.fixture(scope="module")
def loaded():
    return tf.saved_model.load(str(zoo_checks.folder(NAME)))


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    path = zoo_checks.files(speaker.PACKAGE, tmp_path_factory.mktemp("weights"))[speaker.WEIGHTS]
    return {k: v.astype(np.float64) for k, v in read_tensors(path).items() if k.startswith("model_state.")}


def noise(seconds, loudness=0.05):
    rng = np.random.default_rng(0)
    shaped = np.convolve(rng.normal(size=int(16_000 * seconds)), np.hanning(9), "same")
    return (loudness * shaped / shaped.std()).astype(np.float32)


def reference(wave, tensors):
    """`embed_utterance` of the package, line for line, in float64; the volume as in its `preprocess_wav`."""
    wave = wave.astype(np.float64)
    change = -30 - 20 * np.log10(np.sqrt(np.mean(wave**2)))
    wave = wave * 10 ** (max(change, 0) / 20)
    frames, step = int(np.ceil((len(wave) + 1) / 160)), 77
    starts = list(range(0, max(1, frames - 160 + step + 1), step))
    if len(starts) > 1 and (len(wave) - starts[-1] * 160) / 25_600 < 0.75:
        starts.pop()
    wave = np.pad(wave, (0, max(0, (starts[-1] + 160) * 160 - len(wave))))
    mel = reference_mel(wave)
    partials = np.stack([reference_lstm(mel[s : s + 160], tensors) for s in starts])
    mean = partials.mean(axis=0)
    return mean / np.linalg.norm(mean)


def reference_mel(wave):
    """librosa.feature.melspectrogram(sr=16000, n_fft=400, hop_length=160, n_mels=40), transposed."""
    padded = np.pad(wave, 200)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    starts = range(0, len(padded) - 399, 160)
    power = np.stack([np.abs(np.fft.rfft(padded[s : s + 400] * hann)) ** 2 for s in starts])
    top = 15 + np.log(8.0) / (np.log(6.4) / 27)
    mels = np.linspace(0, top, 42)
    edges = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in mels]
    frequencies = np.arange(201) * 40.0
    bands = [
        np.interp(frequencies, edges[i : i + 3], [0, 2 / (edges[i + 2] - edges[i]), 0], left=0, right=0)
        for i in range(40)
    ]
    return power @ np.array(bands).T


def reference_lstm(x, tensors):
    """Three layers as torch defines them, then linear, ReLU, unit length."""

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    for layer in range(3):
        w, u, b, c = (
            tensors[f"model_state.lstm.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        output, cell, outputs = np.zeros(256), np.zeros(256), []
        for row in x:
            enter, keep, new, show = np.split(w @ row + b + u @ output + c, 4)
            cell = sigmoid(keep) * cell + sigmoid(enter) * np.tanh(new)
            output = sigmoid(show) * np.tanh(cell)
            outputs.append(output)
        x = np.stack(outputs)
    raw = np.maximum(0, tensors["model_state.linear.weight"] @ x[-1] + tensors["model_state.linear.bias"])
    return raw / np.linalg.norm(raw)


@pytest.mark.parametrize("seconds", [0.5, 1.6, 2.8, 3.0, 4.1])
def test_it_equals_the_package_rewritten_in_float64(loaded, tensors, seconds):
    sound = noise(seconds, loudness=0.003 if seconds == 2.8 else 0.05)
    embedding = loaded(tf.constant(sound[None])).numpy()[0]
    np.testing.assert_allclose(embedding, reference(sound, tensors), atol=2e-5)


def spoken(voice, text):
    """float32 (1, samples) at 16 kHz, by espeak-ng."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng (apt-get install espeak-ng)")
    signal = pytest.importorskip("scipy.signal")
    sound = subprocess.run(["espeak-ng", "-v", voice, "--stdout", text], check=True, capture_output=True).stdout
    with wavefile.open(io.BytesIO(sound)) as file:
        samples, rate = np.frombuffer(file.readframes(10**9), "<i2") / 32_768, file.getframerate()
    return signal.resample_poly(samples, 16_000, rate).astype(np.float32)[None]


def test_every_sentence_is_nearest_to_the_other_one_in_its_voice(loaded):
    """Two sentences in each of six voices."""
    voices = [f"en-us+{variant}" for variant in ("m1", "m3", "m7", "f2", "f5", "whisper")]
    vectors = np.stack([[loaded(tf.constant(spoken(v, s))).numpy()[0] for s in SENTENCES] for v in voices])
    similarity = vectors[:, 0] @ vectors[:, 1].T
    assert np.argmax(similarity, axis=0).tolist() == np.argmax(similarity, axis=1).tolist() == list(range(6))
    assert np.diag(similarity).mean() - similarity[~np.eye(6, dtype=bool)].mean() > 0.1


def test_quiet_sounds_are_raised(loaded):
    sound = noise(2.0, loudness=0.02)[None]
    loud, quiet = loaded(tf.constant(sound)), loaded(tf.constant(sound / 10))
    np.testing.assert_allclose(loud, quiet, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 25_600])
def test_silence_is_finite(loaded, samples):
    embeddings = loaded(tf.zeros((2, samples))).numpy()
    assert embeddings.shape == (2, 256) and np.isfinite(embeddings).all()


def test_the_hub_interface(loaded):
    sounds = tf.constant(np.stack([noise(2.5), noise(2.5, 0.01)]))
    assert loaded.signatures["serving_default"](inputs=sounds)["default"].shape == (2, 256)
    assert len(loaded.trainable_variables) == len(loaded.variables) == 11
    zoo_checks.check_interface(NAME, loaded, sounds)


def test_it_converts_with_builtins(loaded):
    sound = noise(3.0)[None]
    embedding = zoo_checks.litert(loaded, inputs=sound.shape)(inputs=sound)["default"]
    np.testing.assert_allclose(embedding, loaded(tf.constant(sound)), atol=1e-4)


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(tmp_path):
    again = zoo.build(NAME, tmp_path)
    assert (again / MANIFEST).read_bytes() == (zoo_checks.folder(NAME) / MANIFEST).read_bytes()
