"""Exact resume under SIGKILL: one command, killed at 20 random moments and started again, against one never killed.

    python benchmarks/kills.py --out benchmarks/results/kills.json

The command is `tlkit run benchmarks/kill_recipe.py` on generated pictures and a small generated module. Kills fall into
start-up, feature extraction, epochs, checkpoint writing, saving and export; delays within each come from --seed. Runs
are forked from a server that has imported TensorFlow, so that no time goes into imports. The JSON says what was the
same at the end, bit for bit, and what a checkpoint costs an epoch of a head on 1,280 features.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tlkit.core.files import PARTIAL, sha256_bytes, write_atomic

HERE = Path(__file__).parent
LABELS = {"dark": (60, 60, 60), "light": (180, 180, 180), "red": (190, 70, 60)}
SIZE, EACH = 32, 60
DEADLINE_S = 300
CHECKPOINT_BAR_MS = 20.0


# What is killed


def write_images(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, colour in LABELS.items():
        (folder / name).mkdir(parents=True)
        for i in range(EACH):
            odd = i % 10 == 0  # shows what belongs to another class, so that fitting goes too far and patience ends it
            pixels = np.clip(
                np.asarray((180, 180, 180) if odd else colour) + rng.normal(0, 60, (SIZE, SIZE, 3)), 0, 255
            )
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:03d}.png")
    return folder


def write_module(folder: Path) -> Path:
    import keras

    from tlkit.formats import hub_module

    keras.utils.set_random_seed(0)
    x = image = keras.Input((SIZE, SIZE, 3))
    for filters in (8, 12, 16, 24):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.Dropout(0.2)(x)
    hub_module.write_keras_model(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)), folder)
    return folder


def command(words: list[str], cache: str, log: str) -> None:
    """The command, in a process of its own."""
    os.environ["TLKIT_CACHE"] = cache
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from tlkit.cli import commands

    sys.exit(commands.main(words))


@dataclass(frozen=True)
class Place:
    """A run's folder, its cache and its log."""

    out: Path
    cache: Path
    log: Path
    words: tuple[str, ...]

    def start(self) -> multiprocessing.Process:
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=command, args=(list(self.words), str(self.cache), str(self.log)))
        process.start()
        return process

    def said(self, text: str) -> int:
        return self.log.read_text(errors="replace").count(text) if self.log.exists() else 0


def place(root: Path, name: str, data: Path, module: Path) -> Place:
    # both runs are given the same words, so each gets a folder of its own to stand in
    (root / name).mkdir()
    out = root / name / "run"
    words = ("run", str(HERE / "kill_recipe.py"), "--data", str(data), "--module", str(module), "--out", str(out))
    return Place(out, root / name / "cache", root / name / "log.txt", words)


# When it is killed


def half_written(place: Place) -> set[Path]:
    """Unfinished work in the run's folder and in its cache."""
    return {path for folder in (place.out, place.cache) if folder.exists() for path in folder.rglob(f"{PARTIAL}*")}


@dataclass(frozen=True)
class Now:
    """What a run does at the moment.

    Attributes:
        work: Names of what it has begun to write, with their folders.
        ahead: Whether it is as many epochs on as it was given.
    """

    work: str
    ahead: bool


Ready = Callable[[Now], bool]
STAGES: dict[str, tuple[Ready, float]] = {  # whether its moment has come, and the longest delay then, in seconds
    "start-up": (lambda now: True, 2.0),
    "features": (lambda now: "features" in now.work, 0.01),
    "an epoch": (lambda now: now.ahead, 0.1),
    "a checkpoint": (lambda now: now.ahead and "checkpoints" in now.work, 0.001),
    "saving": (lambda now: ".keras" in now.work, 0.01),
    "export": (lambda now: f"{PARTIAL}export-" in now.work, 1.5),
}
MOST_EPOCHS = 4  # that a run gets ahead before it is killed
SCHEDULE = (
    ["start-up", "features", "features", "features"] + ["an epoch", "a checkpoint"] * 5
    + ["an epoch"] * 2 + ["saving"] + ["export"] * 3
)  # fmt: skip


def kill(place: Place, stage: str, rng: random.Random) -> dict:
    """Start the command and kill it at a moment of a stage, with what earlier kills left lying there."""
    ready, longest = STAGES[stage]
    old, epochs = half_written(place), place.said(" epoch ") + rng.randint(1, MOST_EPOCHS)
    started, process = time.monotonic(), place.start()
    while process.is_alive() and time.monotonic() - started < DEADLINE_S:
        if ready(Now(" ".join(map(str, half_written(place) - old)), place.said(" epoch ") >= epochs)):
            break
        time.sleep(0.0005)
    delay = rng.random() * longest
    time.sleep(delay)
    process.kill()
    process.join()
    return {
        "stage": stage, "delay_s": round(delay, 4), "after_s": round(time.monotonic() - started, 2),
        "killed": process.exitcode == -signal.SIGKILL, "epochs_so_far": place.said(" epoch "),
        "left_half_written": sorted({str(p.parent.relative_to(place.out.parent)) for p in half_written(place) - old}),
    }  # fmt: skip


# What must be the same


def end_of(place: Place) -> dict[str, str]:
    """Hashes of all that a run leaves; seconds and the folder's name aside."""
    from tlkit.runs import folder as run_folder

    record = json.loads((place.out / "run.json").read_text())
    model = run_folder.load(place.out).model
    return {
        "weights": sha256_bytes(*(np.ascontiguousarray(v).tobytes() for v in model.weights)),
        "history": text_hash([(p["history"], p["best_epoch"], p["improved"]) for p in record["phases"]]),
        "freeze proof": text_hash([p["proof"] for p in record["phases"]]),
        "scores": text_hash(record["scores"]),
        "best checkpoint": best_hash(place.out / "checkpoints"),
        "model.tflite": hashlib.sha256((place.out / "model.tflite").read_bytes()).hexdigest(),
    }


def phases_of(place: Place) -> list[dict]:
    """Phases that early stopping ended."""
    phases = json.loads((place.out / "run.json").read_text())["phases"]
    return [p for p in phases if len(p["history"]["loss"]) < p["phase"]["epochs"]]


def text_hash(value: object) -> str:
    return sha256_bytes(json.dumps(value, sort_keys=True))


def best_hash(folder: Path) -> str:
    """Best weights and figures in the newest checkpoint."""
    from tlkit.training import checkpoint

    read = (checkpoint._read(path) for path in folder.glob("state-*.ckpt"))
    newest = max((c for c in read if c is not None), key=lambda c: c.number)
    best = {name: a for name, a in sorted(newest.arrays.items()) if name.startswith("best.")}
    figures = json.dumps([newest.number, newest.plain["best"], newest.plain["epoch"]])
    return sha256_bytes(figures, *best, *(a.tobytes() for a in best.values()))


# What it costs


def checkpoint_ms() -> dict:
    """Milliseconds that a checkpoint adds to an epoch of a head on 1,280 features with 10 classes."""
    import keras

    from tlkit import plans, tasks
    from tlkit.data import image
    from tlkit.formats import hub_module
    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.build import build
    from tlkit.training import checkpoint, fit, resume

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (64, 8, 8, 3)).astype(np.uint8), np.arange(64) % 10
    data = image.resized(image.from_arrays(x, y), (8, 8))
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        pixels = keras.Input((8, 8, 3))
        features = keras.layers.Dense(1280, "relu")(keras.layers.Flatten()(pixels))
        hub_module.write_keras_model(keras.Model(pixels, features), Path(scratch) / "module")
        task = tasks.classify(data.labels)
        model = build(HubLayer(Path(scratch) / "module", input_range=(0, 1)), task)
        written = checkpoint.write
        stored = resume._stored

        def timed(function):
            def call(*arguments):
                started = time.perf_counter()
                result = function(*arguments)
                taken.append(1000 * (time.perf_counter() - started))
                return result

            return call

        checkpoint.write, resume._stored = timed(written), timed(stored)
        try:
            phases = plans.feature_extraction(epochs=50)
            fit.fit(model, task, data, phases, cache="off", checkpoints=Path(scratch) / "checkpoints")
        finally:
            checkpoint.write, resume._stored = written, stored
        size = max(p.stat().st_size for p in (Path(scratch) / "checkpoints").iterdir())
    each = [a + b for a, b in zip(taken[::2], taken[1::2], strict=True)]
    median = statistics.median(each)
    return {
        "median_ms": round(median, 2), "largest_ms": round(max(each), 2), "bytes": size, "epochs": len(each),
        "bar_ms": CHECKPOINT_BAR_MS, "met": median < CHECKPOINT_BAR_MS,
    }  # fmt: skip


# All of it


def measured(seed: int, count: int, keep: Path | None) -> dict:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = keep or Path(scratch)
        data, module = write_images(root / "images"), write_module(root / "module")
        never, killed = (place(root, name, data, module) for name in ("never", "killed"))
        started = time.monotonic()
        finish(never)
        whole_s = time.monotonic() - started
        kills = []
        for stage in SCHEDULE[:count]:
            kills.append(kill(killed, stage, rng))
            print(json.dumps(kills[-1]), flush=True)
        finish(killed)
        ends = end_of(never), end_of(killed)
        return {
            "same": {name: ends[0][name] == ends[1][name] for name in ends[0]},
            "kills": kills,
            "struck": sum(k["killed"] for k in kills),
            "whole_s": round(whole_s, 1),
            "epochs": {"never killed": never.said(" epoch "), "killed, repeated ones too": killed.said(" epoch ")},
            "resumed": killed.said("resumed behind"),
            "left_over": sorted(str(p.relative_to(root)) for p in half_written(killed)),
            "stopped_early": len(phases_of(killed)),
        }


def finish(place: Place) -> None:
    process = place.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{' '.join(place.words)} ended with {process.exitcode}:\n{place.log.read_text()[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=len(SCHEDULE))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kills.json")
    parser.add_argument("--keep", type=Path, default=None, help="folder that keeps runs and logs")
    args = parser.parse_args()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tensorflow", "keras", "PIL.Image"])
    result = {
        "seed": args.seed,
        **measured(args.seed, args.kills, args.keep),
        "checkpoint": checkpoint_ms(),
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load": [round(x, 1) for x in os.getloadavg()],
        },
    }
    write_atomic(args.out, json.dumps(result, indent=1) + "\n")
    print(
        json.dumps(
            {k: result[k] for k in ("same", "struck", "whole_s", "epochs", "resumed", "stopped_early", "checkpoint")},
            indent=1,
        )
    )
    sys.exit(0 if all(result["same"].values()) and result["struck"] == len(result["kills"]) else 1)


if __name__ == "__main__":
    main()
