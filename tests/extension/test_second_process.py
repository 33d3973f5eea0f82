"""A plug-in's run in a process that knows nothing of it: the file in the working folder, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import worlds

import tlkit
from tlkit.core.progress import quiet
from tlkit.formats import hub_module

pytestmark = pytest.mark.long
HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("tlkit")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with the plug-in, a series and the run that another process made of them."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(HERE / "plugin_alarm.py", folder)
    worlds.wave(folder / "wave.txt")
    hub_module.write_keras_model(worlds.series(), folder / "module", card={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(folder / "cache"))
        import plugin_alarm as plug

        data, phases = plug.from_file(folder / "wave.txt", worlds.CONTEXT), (tlkit.Phase(epochs=8, lr=1e-2),)
        run = tlkit.finetune(folder / "module", plug.alarm(), data, phases, out=folder / "run", progress=quiet)
    return folder, run


def command(folder, *words):
    """`tlkit ...` as a user types it in that folder, where nothing but the working folder holds the plug-in."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TLKIT_TRUST")}
    environment["TLKIT_CACHE"] = str(folder / "cache")
    done = subprocess.run(
        [COMMAND, *words, "--json"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_run_is_exported_and_asked_by_the_command_line(place):
    folder, run = place
    code, said, _ = command(folder, "export", "run", "--formats", "float32", "saved_model")
    assert code == 2 and "`plugin_alarm.alarm`, which is not part of tlkit" in said["error"]
    code, said, errors = command(folder, "export", "run", "--formats", "float32", "saved_model", "--trust")
    assert code == 0, errors
    assert [row["passed"] for row in said["exports"]] == [True, True]
    assert said["scores"] == run.scores
    page = (folder / "run" / "report.html").read_text()
    assert "Alarms</h2>" in page and "failed" not in page

    code, said, _ = command(folder, "predict", "run", "wave.txt")
    assert code == 2 and "is not part of tlkit" in said["error"]
    code, said, errors = command(folder, "predict", "run", "wave.txt", "--trust")
    assert code == 0, errors
    (prediction,) = tlkit.predict(folder / "run", [folder / "wave.txt"], task=run.task)
    assert said[0]["scores"] == [[text, pytest.approx(chance, abs=1e-6)] for text, chance in prediction.scores]


LOADED = """
import sys, tlkit
run = tlkit.load("run", trust=True)
again = tlkit.evaluate(run.model, run.task, run.data.test)
assert abs(again.scores["accuracy"] - run.scores["accuracy"]) < 1e-6, (again.scores, run.scores)
assert again.scores["recall"] == run.scores["recall"] and run.task.made_by[1]["threshold"] is not None
exported = tlkit.export(run, "elsewhere", formats=["float32"])
assert exported.exports[0].passed
"""


def test_a_run_is_opened_by_another_process_with_trust(place):
    folder, _ = place
    environment = {**os.environ, "TLKIT_CACHE": str(folder / "cache"), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
