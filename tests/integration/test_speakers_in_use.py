"""Speakers from data to file: an open set, embeddings that tell voices apart, a threshold that travels with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

import tlkit
from tlkit import tasks
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import audio, speakers
from tlkit.datasets import spoken
from tlkit.datasets.music import tags
from tlkit.datasets.speakers import voices
from tlkit.exporting import predict
from tlkit.formats import tflite, tflite_metadata
from tlkit.tasks.verification import enrol, score

pytestmark = pytest.mark.usefixtures("module_cache")
RATE, SECONDS, EACH = 16_000, 0.25, 6
NAMES = tuple(f"voice-{i:02}" for i in range(18))


def voice(speaker: int, take: int) -> np.ndarray:
    """float32 (samples,): three tones that are the speaker's own, about so high and loud, with noise."""
    of_speaker, rng = np.random.default_rng(speaker), np.random.default_rng(100 * speaker + take)
    time, hertz = np.arange(round(SECONDS * RATE)) / RATE, of_speaker.uniform(200, 7_000, 3) * rng.uniform(0.99, 1.01)
    wave = sum(rng.uniform(0.8, 1) * np.sin(2 * np.pi * h * time + rng.uniform(0, 6)) for h in hertz)
    return (0.2 * wave + rng.normal(0, 0.005, len(time))).astype(np.float32)


def recordings(**options) -> Splits:
    """All recordings as training examples, as a source gives them."""
    sounds = [voice(s, take) for s in range(len(NAMES)) for take in range(EACH)]
    targets = np.repeat(np.arange(len(NAMES)), EACH)
    return audio.from_arrays(
        sounds, targets, sample_rate=RATE, seconds=SECONDS, labels=NAMES, split=(1.0, 0.0, 0.0), **options
    )


@pytest.fixture(scope="module")
def data() -> Splits:
    return speakers.open_set(recordings(), (0.5, 0.25, 0.25))


@pytest.fixture(scope="module")
def run(module_folder, data, tmp_path_factory):
    task = tasks.verify(9, 12, normalize=True)
    phases = (Phase(epochs=8, lr=1e-2), Phase(epochs=3, lr=1e-3, unfrozen=0.5))
    out = tmp_path_factory.mktemp("run")
    done = tlkit.finetune(module_folder("waveform"), task, data, phases, out=out, batch_size=16, progress=quiet)
    return tlkit.export(done, formats=("saved_model", "float32"), progress=quiet)


# -- data


def test_an_open_set_shares_no_speaker_and_numbers_those_of_training_first(data):
    whole = recordings()
    parts = (data.train, data.val, data.test)
    people = [set(part.target_array.tolist()) for part in parts]
    assert people[0] == set(range(9)) and [len(group) for group in people] == [9, 5, 4]
    assert set.union(*people) == set(range(18)) and sorted(data.labels) == sorted(NAMES)
    for part in parts:
        for i, name in enumerate(part.ids):
            assert data.labels[part.target_array[i]] == NAMES[int(name) // EACH]
            np.testing.assert_array_equal(part.inputs[i], whole.train.inputs[whole.train.ids.index(name)])
    assert speakers.open_set(whole, (0.5, 0.25, 0.25)).fingerprint == data.fingerprint
    assert speakers.open_set(whole, (0.5, 0.25, 0.25), seed=1).labels != data.labels


def test_named_speakers_go_into_the_test_and_only_training_is_augmented():
    def change(x, seed):
        return x

    splits = speakers.open_set(recordings(augment=change), test=NAMES[:3])
    assert set(NAMES[:3]) <= {splits.labels[i] for i in splits.test.target_array}
    assert [part.augment is change for part in (splits.train, splits.val, splits.test)] == [True, False, False]


def test_what_cannot_be_divided_by_speaker_is_refused(data):
    with pytest.raises(InputError, match=r"load all recordings as training, `split=\(1, 0, 0\)`"):
        speakers.open_set(data)
    with pytest.raises(InputError, match="18 speakers are too few for an open set"):
        speakers.open_set(recordings(), (0.94, 0.03, 0.03))
    with pytest.raises(InputError, match="'nobody'"):
        speakers.open_set(recordings(), test=("nobody",))


def test_a_folder_of_speakers(tmp_path):
    for number, name in enumerate(NAMES[:7]):
        (tmp_path / name).mkdir()
        for take in range(2):
            soundfile.write(tmp_path / name / f"{take}.wav", voice(number, take), RATE)
    splits = speakers.from_folder(tmp_path, seconds=SECONDS, split=(0.4, 0.3, 0.3), progress=False)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [6, 4, 4]
    assert all(
        splits.labels[t] == name.split("/")[0] for t, name in zip(splits.val.target_array, splits.val.ids, strict=True)
    )


def test_synthetic_voices_and_a_real_one_that_is_heard_in_the_test_alone():
    try:
        splits = voices(speakers=spoken.SPEAKERS, split=(0.6, 0.2, 0.2))
    except InputError as error:
        pytest.skip(str(error))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [36, 12, 12 + len(spoken.PROMPTS)]
    assert "allison" in {splits.labels[t] for t in splits.test.target_array}
    assert "allison" not in {splits.labels[t] for t in (*splits.train.target_array, *splits.val.target_array)}
    assert (splits.quarantine, splits.duplicates) == ((), ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("loop_tabla", ("loop", "percussion", "tabla")), ("sn_dub", ("drum", "snare")), ("glitch_perc3",
     ("electronic", "glitch", "percussion")), ("misc_crow", ()), ("elec_soft_kick", ("electronic", "kick"))],
)  # fmt: skip
def test_names_of_samples_say_their_tags(name, expected):
    assert tags(name) == expected


# -- a run


def test_voices_that_were_never_trained_are_told_apart(run):
    assert run.scores["eer"] < 0.2
    assert run.scores["eer_low"] <= run.scores["eer"] <= run.scores["eer_high"]
    assert run.scores["trials"] == 24 * 23 / 2
    assert run.phases[0].history["val_separation"][-1] > 0.1


def test_the_threshold_of_validation_is_kept_with_the_run_and_its_files(run):
    threshold = run.scores["threshold"]
    assert -1 < threshold < 1
    assert json.loads((run.folder / "task.json").read_text())["arguments"]["threshold"] == threshold
    card = tflite_metadata.read_card((run.folder / "model.tflite").read_bytes())
    assert card["made_by"][1]["threshold"] == threshold
    assert tlkit.load(run.folder).task.made_by[1]["threshold"] == threshold


def test_files_give_the_embedding(run, tmp_path):
    assert [row.passed for row in run.exports] == [True] * 2
    opened = tflite.open_tflite(run.folder / "model.tflite", threads=1)
    (name,) = opened.card["shapes"]

    def embed(sounds):
        return np.concatenate([opened.call({name: x[None]})["embedding"] for x in sounds])

    test = run.data.test
    np.testing.assert_allclose(embed([test.inputs[3]]), run.evaluation.outputs[3:4], atol=1e-4)
    of_speaker = np.flatnonzero(test.target_array == test.target_array[0])
    other = np.flatnonzero(test.target_array != test.target_array[0])
    enrolled = enrol(embed([test.inputs[i] for i in of_speaker[:3]]))
    same = score(enrolled, embed([test.inputs[i] for i in of_speaker[3:]]))
    assert same.mean() > score(enrolled, embed([test.inputs[i] for i in other])).mean() + 0.1
    soundfile.write(tmp_path / "one.wav", test.inputs[3], RATE, subtype="FLOAT")
    (prediction,) = predict(run.folder, [tmp_path / "one.wav"])
    np.testing.assert_allclose([value for _, value in prediction.scores], run.evaluation.outputs[3], atol=1e-4)


def test_trained_directions_are_of_unit_length(run):
    (kernel,) = run.model.get_layer("head_speakers").get_weights()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, atol=1e-5)


def test_a_closed_set_is_refused_before_training(module_folder, tmp_path):
    closed = audio.from_arrays(
        [voice(s, take) for s in range(3) for take in range(6)],
        np.repeat(np.arange(3), 6),
        sample_rate=RATE,
        seconds=SECONDS,
    )
    with pytest.raises(InputError, match="in the test and the training split"):
        tlkit.finetune(
            module_folder("waveform"), tasks.verify(3), closed, (Phase(1, 1e-3),), out=tmp_path, progress=quiet
        )
