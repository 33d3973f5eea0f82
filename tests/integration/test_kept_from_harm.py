"""What is the user's stays: files of others in a run's folder, results of before, and a fit of other settings."""

from __future__ import annotations

import json

import fitting
import numpy as np
import pytest

import tlkit
from tlkit.core.errors import InputError
from tlkit.runs import folder as run_folder

FRONT = "---\nlicense: mit\nlibrary_name: tlkit\n---\n"


@pytest.mark.parametrize("name", ["model.keras", "task.json", "examples.npz", "report.html", "README.md"])
def test_a_run_is_not_written_over_files_of_others(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is there already, and no run of tlkit wrote it"):
        run_folder.check_folder(tmp_path)
    (tmp_path / "checkpoints").mkdir()  # of a run that was killed
    run_folder.check_folder(tmp_path)
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "run.json").write_text("{}")
    run_folder.check_folder(tmp_path)


def test_an_export_is_not_written_over_files_of_others(tmp_path):
    run_folder.check_target(tmp_path, ["model.tflite"])
    for name in ("README.md", "model.tflite"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=f"{name} is there already"):
            run_folder.check_target(tmp_path, ["model.tflite"])
        (tmp_path / name).unlink()
    (tmp_path / "README.md").write_text(FRONT)
    (tmp_path / "model.tflite").write_text("of an earlier export")
    run_folder.check_target(tmp_path, ["model.tflite"])


def test_a_run_that_starts_over_is_unfinished_until_it_is_done(tmp_path):
    record = {"schema": 1, "arguments": ["run", "x"], "exports": [{"format": "float32", "passed": True}]}
    run_folder.mark_unfinished(tmp_path)  # where there is none
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run_folder.finished(tmp_path, ["run", "x"]) is not None
    run_folder.mark_unfinished(tmp_path)
    assert run_folder.finished(tmp_path, ["run", "x"]) is None


def test_a_fit_is_not_gone_on_with_in_another_range_of_pixels(module_folder, module_cache, tmp_path):
    task = tlkit.tasks.classify(fitting.LABELS, dropout=0.0)

    def fit(input_range):
        layer = tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=input_range)
        model = tlkit.build(layer, task, image_size=(fitting.SIZE, fitting.SIZE))
        for variable in model.trainable_variables:
            variable.assign(np.full(variable.shape, 0.01, np.float32))
        return tlkit.fit(model, task, fitting.data(), (tlkit.Phase(2, 1e-2),), batch_size=8, checkpoints=tmp_path)

    fit((0.0, 1.0))
    with pytest.raises(InputError, match="holds a run with other settings, data or another module"):
        fit((0.0, 255.0))


def test_what_is_published_says_the_range_that_it_was_trained_with(module_folder, module_cache, tmp_path):
    first = tlkit.publish(tlkit.HubLayer(module_folder("keras3_hub"), input_range=(0.0, 1.0)), tmp_path / "first")
    second = tlkit.publish(tlkit.HubLayer(first, input_range=(-1.0, 1.0)), tmp_path / "second")
    card = json.loads((second / "assets.extra" / "tlkit.json").read_text())
    assert card["input_range"] == [-1.0, 1.0]
