"""The command line on several workers: those that TF_CONFIG names, one of them killed, and trials on Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import fitting
import numpy as np
import pytest
import shared_fits
from PIL import Image

import tlkit

pytestmark = pytest.mark.slow
LIMIT_S = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory, module_folder):
    """A folder with dark and light images in `data`, and a module to train on them."""
    place = tmp_path_factory.mktemp("hosts")
    for label in range(2):
        for number in range(24):
            file = place / "data" / fitting.LABELS[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(fitting.image(label, np.random.default_rng([label, number]))).save(file)
    return place, str(module_folder("keras3_hub"))


def words_of(module, out, epochs):
    return [
        *(sys.executable, "-m", "tlkit.cli", "run", "image_classification", "--data", "data", "--module", module),
        *("--input-range", "0", "1", "--image-size", "32", "32", "--epochs", *map(str, epochs)),
        *("--formats", "float32", "--batch-size", "8", "--out", out),
    ]  # fmt: skip


def started(folder, out, epochs=(2, 40)):
    """Both workers' processes, by the same command."""
    place, module = folder
    env = os.environ | {"TLKIT_CACHE": str(place / f"cache-{out}"), "PYTHONUNBUFFERED": "1"}
    return [
        subprocess.Popen(
            words_of(module, out, epochs), cwd=place, env=env | config, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for config in shared_fits.cluster(2)
    ]  # fmt: skip


def both_ended(processes):
    printed = [process.communicate(timeout=LIMIT_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], [err[-2000:] for _, err in printed]
    return printed


def weights_of(folder, out):
    return [np.array(weight) for weight in tlkit.load(folder[0] / out).model.weights]


@pytest.mark.timeout(1500)
def test_one_command_on_each_worker_and_a_kill_is_one_sentence_after_which_it_goes_on(folder):
    (chief, _), (beside, _) = both_ended(started(folder, "whole"))
    assert "phase 2" in chief and "passed" in chief and beside == ""
    record = tlkit.load(folder[0] / "whole").record
    assert {phase["proof"]["workers"] for phase in record["phases"]} == {2}

    chief, other = started(folder, "killed")
    for line in chief.stdout:
        if line.startswith("phase 2") and "epoch 3/40" in line:
            break
    other.send_signal(signal.SIGKILL)
    ended = time.monotonic()
    _, said = chief.communicate(timeout=120)
    other.communicate(timeout=60)
    assert time.monotonic() - ended < 30
    lines = said.splitlines()
    assert chief.returncode == 1 and lines[-1].startswith("tlkit: Worker 1 has ended or cannot be reached"), said
    assert all(line.startswith("tlkit: ") for line in lines), said

    printed = both_ended(started(folder, "killed"))
    assert "epoch 3/40" not in printed[0][0], "the second call goes on behind the last whole epoch"
    unbroken, resumed = weights_of(folder, "whole"), weights_of(folder, "killed")
    assert all(np.array_equal(a, b) for a, b in zip(unbroken, resumed, strict=True))


@pytest.mark.timeout(900)
def test_trials_of_a_command_run_on_a_ray_of_its_own(folder):
    pytest.importorskip("ray")
    place, module = folder
    words = words_of(module, "tuned", (2, 0))
    words[words.index("run")] = "tune"
    words += ["--space", "batch_size=4,8", "--trials", "3", "--ray", "local", "--workers", "2"]
    env = os.environ | {"TLKIT_CACHE": str(place / "cache-tuned")}
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = tlkit.load(place / "tuned").record
    search = record["search"]
    assert (
        record["arguments"][0] == "tune"
        and record["batch_size"] == search["trials"][search["best"]]["values"]["batch_size"]
    )
    assert [trial["state"] for trial in search["trials"]] == ["complete"] * 3
    assert record["scores"]["accuracy"] > 0.5
