"""Anomalies in series and recordings: good ones alone are learned from, and files score by themselves."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import zoo_checks

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.packages import Package
from tlkit.core.progress import quiet

NAME = "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_{}.csv"
BLEEDING = Package(
    name="aeon",
    version="1.6.0",
    sha256="d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
    files={NAME.format("TEST"): "fe26577b94896943e8205d04d56bf2511fe05c008df535a1ec3826adff3597e2"},
    download_mb=6.4,
)
GOOD, PERIOD, REACH = 1200, 183, 100  # steps: of the training part, of a period, and how near the archive calls a hit
FILES = ("saved_model", "float32", "float16")


@pytest.fixture(scope="module")
def bleeding(tmp_path_factory):
    """(values, whether each is faulty) of series 135 of the KDD Cup 2021, whose first 1,200 steps are good."""
    (path,) = zoo_checks.files(BLEEDING, tmp_path_factory.mktemp("aeon")).values()
    rows = list(csv.DictReader(path.open()))
    return np.array([float(row["value"]) for row in rows]), np.array([int(row["is_anomaly"]) for row in rows])


def scored(run):
    """The step of the whole series that the model calls the most anomalous."""
    test = run.data.test
    maps = np.asarray(
        run.task.decode(run.model.predict(test.inputs.take(np.arange(len(test))), verbose=0))["anomaly_map"]
    )
    starts = [int(name.partition("-")[0]) for name in test.ids]
    place, step = np.unravel_index(maps[:, 0].argmax(), maps[:, 0].shape)
    return starts[place] + int(step)


@pytest.mark.parametrize(("method", "window"), [("nearest", 91), ("reconstruction", 183)])
def test_the_fault_of_a_real_series_is_hit(bleeding, module_cache, tmp_path, method, window):
    values, faulty = bleeding
    data = tlkit.data.sequence_anomalies.from_series(values, faulty, steps=2 * PERIOD, good_until=GOOD, val_share=0.35)
    task = tlkit.tasks.sequence_anomalies(method, window)
    run = tlkit.finetune("zoo:series-values", task, data, out=tmp_path / "run", progress=quiet)
    at = int(faulty.argmax())
    assert at - REACH <= scored(run) <= at + faulty.sum() + REACH
    assert run.scores["pixel_auroc"] > 0.99 and run.scores["image_auroc"] == 1
    run = tlkit.export(run, formats=FILES, progress=quiet)
    assert all(row.passed for row in run.exports)
    again = tlkit.load(run.folder)
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores == pytest.approx(run.scores, abs=1e-5)


def voices(folder, count, spoil, first):
    """Hums of some tones a second, each another, as WAV files; `spoil` changes the waveform."""
    soundfile = pytest.importorskip("soundfile")
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        time = np.arange(16_000) / 16_000
        wave = sum(
            rng.uniform(0.05, 0.1) * np.sin(2 * np.pi * 120 * k * time * rng.uniform(0.95, 1.05)) for k in range(1, 9)
        )
        wave = wave * np.sin(np.pi * time) + rng.normal(0, 1e-3, len(time))
        soundfile.write(folder / f"{number}.wav", spoil(wave, rng).astype(np.float32), 16_000)
    return folder


def test_noise_and_clipping_are_heard_by_a_log_spectrum(module_cache, tmp_path):
    pytest.importorskip("soxr")
    voices(tmp_path / "good", 60, lambda wave, rng: wave, 0)
    voices(tmp_path / "bad" / "clipped", 12, lambda wave, rng: np.clip(wave, -0.1, 0.1), 100)
    voices(tmp_path / "bad" / "noisy", 12, lambda wave, rng: wave + rng.normal(0, 0.03, len(wave)), 200)
    data = tlkit.data.sequence_anomalies.from_recordings(
        tmp_path / "good", tmp_path / "bad", split=(0.5, 0.25, 0.25), progress=False
    )
    assert (len(data.train), len(data.val), len(data.test)) == (30, 15, 39)
    run = tlkit.finetune(
        "zoo:log-spectrum", tlkit.tasks.sequence_anomalies(false_alarm_rate=0.2), data, out=tmp_path / "run",
        progress=quiet,
    )  # fmt: skip
    assert run.scores["image_auroc"] == 1 and run.scores["recall"] == 1
    kinds = {row["kind"]: row["found"] for row in run.evaluation.details["faults"]["rows"]}
    assert kinds == {"clipped": 1.0, "noisy": 1.0}
    run = tlkit.export(run, formats=FILES, progress=quiet)
    assert all(row.passed for row in run.exports)
    (answer,) = tlkit.predict(run, [tmp_path / "bad" / "noisy" / "200.wav"])
    assert answer.scores[0][0].startswith("anomalous") and answer.scores[0][1] > 1


def test_what_cannot_be_learned_from_is_said(tmp_path):
    values, marks = np.sin(np.arange(300.0)), np.zeros(300)
    marks[50] = 1
    read = tlkit.data.sequence_anomalies.from_series
    with pytest.raises(InputError, match="Step 50 is marked as faulty and lies among the first 200"):
        read(values, marks, steps=20, good_until=200)
    with pytest.raises(InputError, match="The validation part of the series has 20 steps, and a piece 40"):
        read(values, steps=40, good_until=100)
    with pytest.raises(InputError, match=r"`faulty` must have a value a step\. Received: 10 for 300 steps"):
        read(values, np.zeros(10), steps=20, good_until=200)
    with pytest.raises(InputError, match="window"):
        tlkit.tasks.sequence_anomalies("moments", window=3)
    data = read(values, steps=20, good_until=200)
    with pytest.raises(InputError, match="A window of 30 steps is longer than the sequences, which have 20"):
        tlkit.finetune("zoo:series-values", tlkit.tasks.sequence_anomalies("nearest", 30), data, out=tmp_path / "run")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no recordings"):
        tlkit.data.sequence_anomalies.from_recordings(tmp_path / "none")


def test_good_and_bad_recordings_lie_apart(tmp_path):
    pytest.importorskip("soxr")
    voices(tmp_path / "good", 6, lambda wave, rng: wave, 0)
    voices(tmp_path / "good" / "bad", 2, lambda wave, rng: wave, 100)
    read = tlkit.data.sequence_anomalies.from_recordings
    with pytest.raises(
        InputError, match=r"`abnormal_dir` \('.*good/bad'\) lies inside `normal_dir` \('.*good'\), whose"
    ):
        read(tmp_path / "good", tmp_path / "good" / "bad", progress=False)
    (tmp_path / "good" / "bad").rename(tmp_path / "hiss")
    data = read(tmp_path / "good", tmp_path, split=(0.5, 0.5, 0), progress=False)
    assert [data.test.columns["kind"][i] for i in range(len(data.test))] == ["hiss", "hiss"]


def test_windows_of_a_bad_recording_count_one_by_one_or_its_first_alone(tmp_path):
    pytest.importorskip("soxr")
    soundfile = pytest.importorskip("soundfile")
    for kind, count in (("good", 8), ("bad", 2)):
        (tmp_path / kind).mkdir()
        for number in range(count):
            noise = np.random.default_rng([number, count]).normal(0, 0.1, 3 * 16_000)
            soundfile.write(tmp_path / kind / f"{number}.wav", noise.astype(np.float32), 16_000)
    read = tlkit.data.sequence_anomalies.from_recordings
    where = {"normal_dir": tmp_path / "good", "abnormal_dir": tmp_path / "bad"}
    options = {"split": (0.5, 0.5, 0), "progress": False}
    every = read(**where, **options)
    assert (len(every.train), len(every.test)) == (4 * 3, 2 * 3)
    assert (
        "2 bad recordings are read as 6 windows of 1 s, each of which counts as bad: where a fault is shorter than its "
        "recording, choose `seconds` as long as the recording, or cut the file to the fault."
    ) in every.notes
    for narrowed in ({"windows": "first"}, {"seconds": 3.0}):
        fewer = read(**where, **options, **narrowed)
        assert (len(fewer.train), len(fewer.test)) == (4, 2) and not any(
            "counts as bad" in note for note in fewer.notes
        )
    with pytest.raises(InputError, match='`windows` must be "all" or "first"'):
        read(**where, **options, windows="some")
