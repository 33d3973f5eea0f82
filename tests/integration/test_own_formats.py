"""Formats of one's own: what is refused before anything is written, and what is a finding about the file."""

from __future__ import annotations

import dataclasses
import sys

import exporting_runs
import numpy as np
import pytest

from tlkit import tasks
from tlkit.core.errors import GateError, InputError
from tlkit.core.task import Deployment, Inference
from tlkit.exporting import checked_formats, export, formats, predict, readme

CODE = """
import json, os
from pathlib import Path
import numpy as np
import tlkit

def write(source, file):
    import sys
    if sys.modules.get("keras") is not None:
        raise tlkit.InputError("there is Keras in the worker")
    arrays = {path.stem: np.load(path) for path in source.inputs.glob("*.npy")}
    assert all(array.dtype == np.uint8 and len(array) >= 32 for array in arrays.values())
    assert (source.saved_model / "saved_model.pb").is_file() and source.metadata.card["labels"]
    file.write_text(str(os.getpid()))

def refuses(source, file):
    raise tlkit.InputError("it holds too many pictures")

def nothing(source, file):
    pass

def constant(file, threads):
    assert int(file.read_text()) != os.getpid(), "it is run by the process that wrote it"
    return tlkit.Opened(lambda inputs: {"probabilities": np.full((1, 4), 0.25, np.float32)})

def misnamed(file, threads):
    return tlkit.Opened(lambda inputs: {"scores": np.zeros((1, 4), np.float32)})

def breaks(file, threads):
    raise ZeroDivisionError("no luck")

def lenient(comparison, gates):
    return None if comparison.agreement < 1 and gates.max_drop == 0.01 else "it should not agree"

CONSTANT = tlkit.Format("own_kinds.CONSTANT", "constant.txt", write, constant)
LENIENT = tlkit.Format("own_kinds.LENIENT", "lenient.txt", write, constant, gate=lenient)
REFUSES = tlkit.Format("own_kinds.REFUSES", "refuses.txt", refuses, constant)
NOTHING = tlkit.Format("own_kinds.NOTHING", "nothing.txt", nothing, constant)
MISNAMED = tlkit.Format("own_kinds.MISNAMED", "misnamed.txt", write, misnamed)
BREAKS = tlkit.Format("own_kinds.BREAKS", "breaks.txt", write, breaks)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_kinds.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    import own_kinds

    yield own_kinds
    sys.modules.pop("own_kinds", None)


def test_what_another_process_cannot_do_is_refused_at_once():
    for changed in ({"write": lambda source, file: None}, {"open": lambda file, threads: None}):
        with pytest.raises(InputError, match="cannot be called in another process"):
            checked_formats([dataclasses.replace(formats.float32, **changed)])
    for name in ("", "..", "a/b"):
        with pytest.raises(InputError, match="must be a name"):
            checked_formats([dataclasses.replace(formats.float32, file=name)])
    with pytest.raises(InputError, match=r"Two formats would write 'model\.tflite'"):
        checked_formats(["float32", dataclasses.replace(formats.float32, name="a.B")])


@pytest.mark.parametrize(
    "file",
    [
        "run.json", "Model.keras", "task.json", "examples.npz", "report.html", "checkpoints", "README.md", "labels.txt",
        "labels_style.txt", "model_int8.tflite", "saved_model", "web", "model.keras.failed", ".tlkit-lock",
    ],
)  # fmt: skip
def test_a_file_that_a_run_keeps_is_no_formats(file):
    with pytest.raises(InputError, match="which a run's folder has for something else"):
        checked_formats([dataclasses.replace(formats.float32, name="a.B", file=file)])


def test_the_folder_of_a_head_is_no_formats(own):
    style = tasks.classify(["flat", "round"])
    remains = Inference(style, lambda raw: raw, lambda splits: splits, name="style")
    task = dataclasses.replace(style, inference=(remains,))
    own.STYLE = dataclasses.replace(formats.float32, name="own_kinds.STYLE", file="style")
    assert checked_formats([own.STYLE], style)
    with pytest.raises(InputError, match="which a run's folder has for something else"):
        checked_formats([own.STYLE], task)


def test_a_format_that_could_not_be_found_again_is_refused_at_once(own):
    for name in ("mine", "__main__.MINE", "own_kinds.LENIENT"):
        with pytest.raises(InputError, match=f"The format '{name}' cannot be found again"):
            checked_formats([dataclasses.replace(own.CONSTANT, name=name)])


def test_formats_are_named_in_any_way_and_taken_once(own):
    named = checked_formats(["float32", "own_kinds.CONSTANT", own.CONSTANT, formats.float32])
    assert named == (formats.float32, own.CONSTANT)
    assert checked_formats(own.CONSTANT) == checked_formats("own_kinds.CONSTANT") == (own.CONSTANT,)


def test_formats_that_measure_ranges_are_not_for_an_answer_by_a_loop(own):
    """The record says so, whatever the format's name or file."""
    own.NARROW = dataclasses.replace(formats.float32, name="own_kinds.NARROW", file="narrow.bin", measures=True)
    classify = tasks.classify(["flat", "round"])
    looping = dataclasses.replace(classify, deployment=Deployment(list, dict, dict, classify.answers[0]))
    assert own.NARROW in checked_formats(["float32", own.NARROW], classify)
    with pytest.raises(InputError, match=r"^own_kinds\.NARROW measures the ranges of activations by calling one"):
        checked_formats(["float32", own.NARROW], looping)
    assert not any(format.measures for format in checked_formats(None, looping))
    usual, left = ({format.name for format in checked_formats(None, task)} for task in (None, looping))
    assert usual - left == {"int8"}


def test_the_readme_shows_the_loop_of_formats_that_say_that_they_are_looped(own):
    def calls(examples, signatures, files):
        return "the loop", {}

    run = exporting_runs.classifier()
    deployment = Deployment(list, dict, dict, run.task.answers[0], calls=calls)
    run = dataclasses.replace(run, task=dataclasses.replace(run.task, deployment=deployment))
    row = {"file": "narrow.bin", "signatures": {}}
    narrow = dataclasses.replace(formats.float32, file="narrow.bin")
    assert readme._looped(run, narrow, row) == ("the loop", {})
    assert readme._looped(run, own.CONSTANT, {**row, "file": "constant.tflite"}) is None


def test_each_failure_is_told_and_the_others_are_written(own, tmp_path):
    kinds = (own.CONSTANT, own.LENIENT, own.REFUSES, own.NOTHING, own.MISNAMED, own.BREAKS)
    with pytest.raises(GateError) as raised:
        export(exporting_runs.classifier(), tmp_path / "run", kinds)
    rows = {row.file: row for row in raised.value.exports}
    assert "exceeds 0.0001" in rows["constant.txt.failed"].failure  # no gate of its own: float32's
    assert rows["lenient.txt"].passed and rows["lenient.txt"].agreement < 1
    assert rows["refuses.txt"].failure == "it holds too many pictures"
    assert rows["nothing.txt"].failure == "`write` of its format made no nothing.txt"
    assert rows["misnamed.txt.failed"].failure == "it gives no output probabilities, only scores"
    assert rows["breaks.txt.failed"].failure == "it cannot be run: ZeroDivisionError: no luck"
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"constant.txt.failed", "lenient.txt", "misnamed.txt.failed", "breaks.txt.failed", "labels.txt"}


def test_a_file_that_says_nothing_of_itself_is_asked_with_its_run(own, tmp_path):
    from PIL import Image

    run = exporting_runs.classifier()
    export(run, tmp_path / "run", (own.LENIENT,))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"does not say how its inputs are made: give `predict` the run"):
        predict(tmp_path / "run" / "lenient.txt", [tmp_path / "x.png"], format=own.LENIENT)
    (prediction,) = predict(dataclasses.replace(run, folder=tmp_path / "run"), [tmp_path / "x.png"], format=own.LENIENT)
    assert dict(prediction.scores) == dict.fromkeys(exporting_runs.LABELS, 0.25)
    with pytest.raises(InputError, match=r"holds no model\.tflite; make it"):
        predict(tmp_path / "run", [], format="float32")
    with pytest.raises(InputError, match="takes what clients of a server send"):
        predict(tmp_path / "run", [], format="saved_model")
