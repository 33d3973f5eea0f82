"""Sounds through a module of waveforms: a fit, its files on users' recordings, clients, and what cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tlkit
from tlkit import tasks
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import audio
from tlkit.data.earlier import of_line
from tlkit.exporting import predict
from tlkit.formats import tflite
from tlkit.formats.hub_module import CARD_FILE
from tlkit.modalities.prepare import prepare

pytestmark = pytest.mark.usefixtures("module_cache")
RATE, SECONDS = 16_000, 0.25
PITCHES = {"low": 300, "middle": 1_200, "high": 4_000}  # Hz
PHASES = (Phase(epochs=6, lr=3e-2), Phase(epochs=4, lr=3e-3, unfrozen=0.5))


def tone(label: str, seed: int, seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    """float32 (samples,): a noisy tone of about its label's pitch."""
    rng = np.random.default_rng(seed)
    hertz, time = PITCHES[label] * rng.uniform(0.85, 1.15), np.arange(round(seconds * rate)) / rate
    wave = rng.uniform(0.3, 0.8) * np.sin(2 * np.pi * hertz * time + rng.uniform(0, 6))
    return (wave + rng.normal(0, 0.02, len(time))).astype(np.float32)


def padded_word(label: str, seed: int) -> np.ndarray:
    """A tone between near-silences of unequal length."""
    rng = np.random.default_rng(seed)
    quiet_parts = [rng.normal(0, 1e-4, rng.integers(1_000, 9_000)) for _ in range(2)]
    return np.concatenate([quiet_parts[0], tone(label, seed, 0.2), quiet_parts[1]]).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> Splits:
    labels = [list(PITCHES)[i % 3] for i in range(90)]
    sounds = [tone(label, seed) for seed, label in enumerate(labels)]
    return audio.from_arrays(sounds, labels, sample_rate=RATE, seconds=SECONDS, labels=tuple(PITCHES))


@pytest.fixture(scope="module")
def run(module_folder, data, tmp_path_factory):
    task = tasks.classify(data.labels, normalize=True)
    out = tmp_path_factory.mktemp("run")
    done = tlkit.finetune(module_folder("waveform"), task, data, PHASES, out=out, batch_size=8, progress=quiet)
    return tlkit.export(done, formats=("saved_model", "float32", "float16"), progress=quiet)


def test_a_run_learns_what_its_sounds_are(run):
    assert run.scores["accuracy"] > 0.9
    head, tuned = (phase.had for phase in run.phases)
    assert head["unfrozen"] == 0 and 0.5 <= tuned["unfrozen"] < 1 and tuned["parameters"] > head["parameters"]
    assert [row.passed for row in run.exports] == [True] * 3
    again = tlkit.load(run.folder)
    assert again.data.test.pipeline == run.data.test.pipeline
    np.testing.assert_array_equal(again.data.test.inputs[0], run.data.test.inputs[0])


@pytest.mark.parametrize("label", PITCHES)
@pytest.mark.parametrize(
    ("seconds", "rate", "note"),
    [(0.25, 16_000, ""), (0.2, 16_000, "its 0.20 s padded to 0.25 s"), (2.0, 44_100, "its first 0.25 s of 2.00 s")],
)
def test_predict_hears_files_of_any_length_and_rate(run, tmp_path, label, seconds, rate, note):
    file = tmp_path / "sound.wav"
    soundfile.write(file, np.stack([tone(label, 900, seconds, rate)] * 2, axis=1), rate)
    (prediction,) = predict(run.folder, [file])
    assert prediction.scores[0][0] == label
    assert prediction.note == note


def test_the_saved_model_takes_waveforms_and_says_what_the_file_says(run, tmp_path):
    import tensorflow as tf

    served = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"]
    sounds = np.stack([run.data.test.inputs[i] for i in range(4)])
    probabilities = served(waveform=tf.constant(sounds))["probabilities"].numpy()
    opened = tflite.open_tflite(run.folder / "model.tflite", threads=1)
    (name,) = opened.card["shapes"]
    ours = np.concatenate([opened.call({name: sound[None]})["probabilities"] for sound in sounds])
    np.testing.assert_allclose(probabilities, ours, atol=1e-4)
    for i, row in enumerate(probabilities):
        soundfile.write(tmp_path / "one.wav", sounds[i], RATE, subtype="FLOAT")
        (prediction,) = predict(run.folder, [tmp_path / "one.wav"])
        assert dict(prediction.scores) == pytest.approx(
            dict(zip(run.task.labels, map(float, row), strict=True)), abs=1e-4
        )


def test_predict_trims_as_the_training_sounds_were(tmp_path):
    from tlkit.core.modality import FileInfo
    from tlkit.modalities.audio import AUDIO

    for i, label in enumerate(PITCHES):
        for seed in range(3):
            (tmp_path / label).mkdir(exist_ok=True)
            soundfile.write(tmp_path / label / f"{seed}.wav", padded_word(label, 10 * i + seed), RATE)
    splits = audio.from_folder(tmp_path, seconds=SECONDS, trim_db=30.0, progress=False)
    inside = FileInfo(splits.train.pipeline, {"waveform": splits.train.inputs.spec.shape})
    for i, name in enumerate(splits.train.ids):
        (parsed,) = [AUDIO.parse(tmp_path / name, inside)]
        np.testing.assert_array_equal(parsed.inputs[0], splits.train.inputs[i])
        assert "padded to 0.25 s" in parsed.columns["note"][0]


def test_mediapipe_hears_the_same(run):
    audio_tasks = pytest.importorskip("mediapipe.tasks.python.audio", reason="MediaPipe is not installed")
    from mediapipe.tasks.python.components import containers

    file = run.folder / "model.tflite"
    opened = tflite.open_tflite(file, threads=1)
    (name,) = opened.card["shapes"]
    with audio_tasks.AudioClassifier.create_from_model_path(str(file)) as client:
        for i in range(6):
            sound = run.data.test.inputs[i]
            heard = client.classify(containers.AudioData.create_from_array(sound, RATE))
            heard_scores = {c.category_name: c.score for c in heard[0].classifications[0].categories}
            ours = opened.call({name: sound[None]})["probabilities"][0]
            assert heard_scores == pytest.approx(dict(zip(run.task.labels, map(float, ours), strict=True)), abs=1e-3)


def test_predict_names_a_file_that_is_no_sound(run, tmp_path):
    (tmp_path / "page.wav").write_text("<html>404</html>")
    (tmp_path / "empty.wav").write_bytes(b"")
    for name, reason in (("page.wav", "holds HTML"), ("empty.wav", "cannot be read"), ("none.wav", "cannot be read")):
        with pytest.raises(InputError, match=rf"{name}' cannot be read as a sound.*{reason}|{reason}"):
            predict(run.folder, [tmp_path / name])


def test_sounds_of_another_rate_are_refused(module_folder, data):
    layer = tlkit.HubLayer(module_folder("waveform"))
    assert prepare(data, layer) is data
    slow = audio.from_arrays(
        [tone("low", i) for i in range(9)], [i % 3 for i in range(9)], sample_rate=RATE, resampled_to=8000
    )
    with pytest.raises(InputError, match=r"takes sounds of 16000 Hz, and these were read at 8000 Hz: .*=16000"):
        prepare(slow, layer)


def test_a_module_that_says_no_rate_is_noted_once(module_folder, data, tmp_path):
    folder = tmp_path / "module"
    shutil.copytree(module_folder("waveform"), folder)
    (folder / CARD_FILE).unlink()
    layer = tlkit.HubLayer(folder)
    noted = prepare(prepare(data, layer), layer)
    (note,) = (note for note in noted.notes if note not in data.notes)
    assert "has no card that says at which rate it takes sounds: they are given to it at 16,000 Hz" in note
    (folder / CARD_FILE).write_text('{"sample_rate": null}')  # any will do
    assert prepare(data, tlkit.HubLayer(folder)) is data


def test_a_file_that_says_no_rate_is_of_no_sounds():
    assert of_line("image rate=16000")[1].get("audio") is None
    line = "audio v1 rate=8000 samples=10 mix=mean resample=soxr,HQ pad=end,0"
    assert of_line(line)[1].get("audio") == {"sample_rate": 8000, "samples": 10, "trim_db": None}


def test_finetune_refuses_before_it_trains(module_folder, tmp_path):
    sounds = [tone("low", i) for i in range(9)]
    slow = audio.from_arrays(sounds, [i % 3 for i in range(9)], sample_rate=RATE, resampled_to=8_000)
    handle, task = Path(module_folder("waveform")), tasks.classify(slow.labels)
    with pytest.raises(InputError, match="`sample_rate=16000`"):
        tlkit.finetune(handle, task, slow, PHASES, out=tmp_path, progress=quiet)
