"""speech_embedding rebuilt from TFLite: it equals the files that it was read from, and trains."""

import numpy as np
import pytest
import zoo_checks

from tlkit import HubLayer, graph, zoo
from tlkit.zoo import speech_embedding as speech
from tlkit.zoo.store import MANIFEST

tf = pytest.importorskip("tensorflow")

NAME = "speech-embedding"
MEL = "pyopen_wakeword/models/melspectrogram.tflite"  # the package's own front end, rebuilt here by formula
MEL_SHA256 = "96fa0adccb6e8cf95cb14465409a1a2898ee4a96a85bb9ed3c7eb0e68bf163e8"


@pytest.fixture(scope="module")
def loaded():
    return tf.saved_model.load(str(zoo_checks.folder(NAME)))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    import dataclasses

    package = dataclasses.replace(speech.PACKAGE, files={**speech.PACKAGE.files, MEL: MEL_SHA256})
    return zoo_checks.files(package, tmp_path_factory.mktemp("originals"))


def sound(seconds, seed=0):
    """Voiced-like: a gliding tone with harmonics that swells, over faint noise; float32 (1, samples)."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    pitch = 2 * np.pi * np.cumsum(120 + 60 * np.sin(2 * np.pi * 1.3 * t)) / 16_000
    voice = sum(np.sin(k * pitch) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return (0.1 * voice + 1e-3 * rng.normal(size=t.size)).astype(np.float32)[None]


def run(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    (taken,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(answer["index"])


def test_it_equals_the_original_files(loaded, originals):
    wave = sound(2.5)
    spectra = run(originals[MEL], wave * 32768)[0, 0] / 10 + 2
    starts = range(0, len(spectra) - 75, 8)
    windows = np.stack([spectra[i : i + 76] for i in starts])[..., None]
    expected = run(originals[speech.WEIGHTS], windows.astype(np.float32))[:, 0, 0]
    embeddings = loaded(tf.constant(wave)).numpy()[0]
    assert embeddings.shape == expected.shape == (22, 96)
    np.testing.assert_allclose(embeddings, expected, atol=2e-3 * np.abs(expected).max())
    assert np.corrcoef(embeddings.ravel(), expected.ravel())[0, 1] > 0.99999


def test_a_sound_gives_the_same_alone_and_in_a_batch(loaded):
    waves = np.concatenate([sound(1.5, 0), 0.1 * sound(1.5, 1)])
    together = loaded(tf.constant(waves)).numpy()
    for wave, embedding in zip(waves, together, strict=True):
        np.testing.assert_allclose(loaded(tf.constant(wave[None]))[0], embedding, atol=1e-3)


@pytest.mark.parametrize("samples", [0, 100, speech.SHORTEST])
def test_the_shortest_sounds_give_one_frame(loaded, samples):
    assert loaded(tf.zeros((2, samples))).shape == (2, 1, 96)


def test_the_hub_interface(loaded):
    assert len(loaded.trainable_variables) == len(loaded.variables) == 40
    assert loaded.signatures["serving_default"](inputs=tf.zeros((1, 16_000)))["default"].shape == (1, 3, 96)
    assert zoo.cards()[NAME].to_json()["sample_rate"] == 16_000
    zoo_checks.check_interface(NAME, loaded, tf.constant(sound(1.0)))


def test_silence_has_finite_gradients(loaded):
    wave = tf.zeros((1, 16_000))
    with tf.GradientTape() as tape:
        tape.watch(wave)
        loss = tf.reduce_sum(loaded(wave))
    assert np.isfinite(tape.gradient(loss, wave)).all()


def test_it_can_be_cut_behind_every_block():
    layer = HubLayer(str(zoo_checks.folder(NAME)))
    assert [b.name for b in graph.blocks(layer.graph)] == [*(f"block_{i}" for i in range(5)), "head"]


def test_it_converts_with_builtins(loaded):
    wave = sound(1.0)
    embeddings = zoo_checks.litert(loaded, inputs=wave.shape)(inputs=wave)["default"]
    expected = loaded(tf.constant(wave)).numpy()
    np.testing.assert_allclose(embeddings, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(tmp_path):
    again = zoo.build(NAME, tmp_path)
    assert (again / MANIFEST).read_bytes() == (zoo_checks.folder(NAME) / MANIFEST).read_bytes()
