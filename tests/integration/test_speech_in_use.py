"""Speech from data to file: units of a closed vocabulary on the frames of a tiny module."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from modules import write_frames
from test_data_speech import RATE, WORDS, said

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.data import speech
from tlkit.exporting import predict

pytestmark = pytest.mark.usefixtures("module_cache")
COUNT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of one to four tones, and a table of them."""
    root, rng, lines = tmp_path_factory.mktemp("clips"), np.random.default_rng(0), ["path,text"]
    for i in range(COUNT):
        text = " ".join(rng.choice(WORDS, rng.integers(1, 5)))
        soundfile.write(root / f"{i:02}.wav", said(text, seed=i), RATE)
        lines.append(f"{i:02}.wav,{text}")
    (root / "clips.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("modules") / "frames")


@pytest.fixture(scope="module")
def data(folder):
    return speech.from_csv(folder / "clips.csv", window_s=1.2, vocabulary="words", progress=False)


@pytest.fixture(scope="module")
def run(frames, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    phases = (tlkit.Phase(epochs=15, lr=1e-2), tlkit.Phase(epochs=20, lr=1e-2, unfrozen=1.0))
    task = tlkit.tasks.ctc(data.labels, hidden=(16,), dropout=0)
    done = tlkit.finetune(frames, task, data, phases, out=out, batch_size=8, progress=quiet)
    return tlkit.export(done, formats=("saved_model", "float32", "float16", "dynamic"), progress=quiet)


def test_it_learns_what_is_said_without_knowing_where(run):
    assert run.scores["wer"] < 0.1 and run.scores["wer_low"] <= run.scores["wer"] <= run.scores["wer_high"]
    assert run.scores["cer"] <= run.scores["wer"] + 0.05
    assert [file.passed for file in run.exports] == [True] * 4


def test_a_run_opens_again_and_says_the_same(run):
    again = tlkit.load(run.folder)
    assert again.task.made_by == run.task.made_by
    evaluation = tlkit.evaluate(again.model, again.task, again.data.test)
    assert evaluation.scores == pytest.approx(dict(tlkit.evaluate(run.model, run.task, run.data.test).scores))


def test_files_are_transcribed_without_tensorflow(run, folder, tmp_path):
    soundfile.write(tmp_path / "new.wav", said("high low low mid", seed=99), RATE)
    code = (
        "import sys\nfrom tlkit.exporting import predict\n"
        f"said = predict({str(run.folder)!r}, [{str(tmp_path / 'new.wav')!r}])[0].scores\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'\nprint(said[0][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "high low low mid", done.stderr


def test_a_long_recording_is_read_in_windows(run, tmp_path):
    words = ["low", "high", "mid", "mid", "low", "high", "high", "mid", "low", "low", "mid", "high"]
    soundfile.write(tmp_path / "long.wav", said(" ".join(words), seed=5), RATE)
    prediction = predict(run, [tmp_path / "long.wav"])[0]
    assert "windows of 1.2 s" in prediction.note
    assert tlkit.core.edits.distance(words, prediction.scores[0][0].split()) <= 1, prediction.scores


def test_what_cannot_be_transcribed_is_said(run, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE, "f4"), RATE)
    (tmp_path / "text.wav").write_text("no sound")
    for name, sentence in (("silent", "cannot be transcribed: silent"), ("text", "cannot be transcribed: ")):
        with pytest.raises(InputError, match=sentence):
            predict(run, [tmp_path / f"{name}.wav"])
    soundfile.write(tmp_path / "loud.wav", np.clip(9 * said("low"), -1, 1), RATE)
    assert "clipped: " in predict(run, [tmp_path / "loud.wav"])[0].note


def test_the_report_plays_what_was_misheard(run):
    page = (run.folder / "report.html").read_text()
    record = json.loads((run.folder / "run.json").read_text())
    assert 'id="transcripts"' in page and "Word error rate" in page
    worst = record["details"]["transcripts"]["worst"]
    assert page.count("<audio") >= len(worst)


def test_more_units_than_frames_are_refused_before_training(frames, folder, tmp_path):
    letters = speech.from_csv(folder / "clips.csv", window_s=1.2, vocabulary="characters", progress=False)
    short = tlkit.tasks.ctc(letters.labels)
    assert short.labels == tuple("dghilmow ") or set(short.labels) == set("dghilmow ")
    with pytest.raises(InputError, match="takes sounds of 16000 Hz, and these were read at 8000 Hz"):
        low = speech.from_csv(folder / "clips.csv", window_s=1.2, vocabulary="words", sample_rate=8000, progress=False)
        tlkit.finetune(frames, tlkit.tasks.ctc(low.labels), low, out=tmp_path, progress=quiet)
