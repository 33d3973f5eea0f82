"""Several workers: what is measured on two processes of this machine, and what follows for larger counts, as JSON.

    python benchmarks/scale.py --out benchmarks/results/scale.json

Measured: the largest difference of weights between one process and two that share batches, after 20 steps; a second
run of the two; the time of one exchange by its bytes, on loopback; the difference between two workers that nobody
disturbs, and two of which one was killed behind an epoch and that were started again. Calculated, by `cost`: seconds of
the preflight, of the features and of the exchanges of an epoch, and gigabytes, for more images and workers. Seconds an
image are those of the largest count in phases.json (zoo:efficientnet-lite0 on the two cores), bytes an example those of
scale_images.json. --calculate calculates anew from what --out has measured; --killed measures the killed worker anew.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import HERE, MACHINE

BYTES = (4, 51_240, 4_000_000, 13_600_000)  # one number; a head of 1,280 x 10; two sizes of modules
FEATURE_BYTES, BATCH = 1280 * 4, 32
HEAD, WHOLE = BYTES[1], BYTES[3]
CASES = tuple((images, workers) for images in (20_000, 1_000_000, 100_000_000) for workers in (1, 2, 64))
BAR = 1e-5


def fitted(module: Path, strategy, checkpoints: Path | None = None):
    """20 steps: 10 of the head, 10 of half of the module, on generated images with weights."""
    import dataclasses

    import keras
    import numpy as np

    import tlkit
    from tlkit.modalities.prepare import prepare

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 32, 32, 3), np.uint8)
    data = tlkit.data.image.from_arrays(pixels, np.arange(100) % 3, split=(0.8, 0.1, 0.1))
    weights = np.linspace(0.5, 2.0, len(data.train)).astype(np.float32)
    data = dataclasses.replace(data, train=dataclasses.replace(data.train, weights=weights))
    keras.utils.set_random_seed(0)
    task = tlkit.tasks.classify(data.labels, dropout=0.0)
    layer = tlkit.HubLayer(str(module), name="backbone", input_range=(0.0, 1.0))
    model, data = tlkit.build(layer, task), prepare(data, layer, image_size=(32, 32))
    phases = (tlkit.Phase(1, 1e-2), tlkit.Phase(1, 3e-3, unfrozen=0.5))
    run = tlkit.fit(model, task, data, phases, batch_size=8, strategy=strategy, checkpoints=checkpoints)
    return [np.array(variable).tolist() for variable in run.model.weights]


def exchanges(strategy) -> dict[int, float]:
    """Milliseconds of one exchange, by its bytes."""
    import numpy as np

    from tlkit.training.replicas import workers_of

    workers, times = workers_of(strategy), {}
    for size in BYTES:
        vector = np.ones(max(1, size // 4), np.float32)
        workers.add([vector])
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            workers.add([vector])
            seconds.append(time.perf_counter() - started)
        times[size] = 1e3 * statistics.median(seconds)
    return times


def dies_behind_an_epoch() -> None:
    """Let this process end by SIGKILL when its second epoch begins."""
    from tlkit.training import fit

    run_epoch, done = fit._run_epoch, []

    def ending(*arguments):
        if done:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(1)
        return run_epoch(*arguments)

    fit._run_epoch = ending


def child(module: Path, out: Path, checkpoints: Path | None, dies: bool) -> None:
    """One process: alone, or a worker where TF_CONFIG says so; with checkpoints it fits once, and nothing else."""
    started = time.perf_counter()
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else None
    if dies:
        dies_behind_an_epoch()
    figures = {"start_seconds": time.perf_counter() - started, "weights": [fitted(module, strategy, checkpoints)]}
    if strategy is not None and checkpoints is None:
        figures["weights"].append(fitted(module, strategy))
        figures["exchange_ms"] = exchanges(strategy)
    out.write_text(json.dumps(figures))


def written(folder: Path) -> Path:
    """A small untrained module, which all processes open."""
    import keras

    import tlkit

    keras.utils.set_random_seed(0)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.Conv2D(8, 3)]
    return tlkit.zoo.write_keras_model(keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D()]), folder)


def started(module: Path, out: Path, cache: Path, config: dict | None = None, *options: str) -> subprocess.Popen:
    env = os.environ | {"TLKIT_CACHE": str(cache)} | ({} if config is None else {"TF_CONFIG": json.dumps(config)})
    command = [sys.executable, __file__, "--child", "--module", str(module), "--out", str(out), *options]
    return subprocess.Popen(command, env=env, stdout=sys.stderr)


def configs() -> list[dict]:
    """TF_CONFIG of two workers on loopback."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    return [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]


def killed(folder: Path) -> dict:
    """Two workers of which one is killed behind an epoch, and both started again, against two that nobody disturbs."""
    module, outs = written(folder / "module"), [folder / "0.json", folder / "1.json"]

    def both(name: str, dies: bool = False) -> list[subprocess.Popen]:
        options = [["--checkpoints", str(folder / name)], ["--checkpoints", str(folder / name)]]
        options[1] += ["--dies"] if dies else []
        parts = zip(outs, configs(), options, strict=True)
        return [started(module, out, folder / f"cache-{name}", config, *words) for out, config, words in parts]

    def weights(name: str) -> list:
        assert [process.wait() for process in both(name)] == [0, 0]
        return json.loads(outs[0].read_text())["weights"][0]

    undisturbed = weights("whole")
    chief, other = both("killed", dies=True)
    ended = other.wait()
    since = time.perf_counter()
    return {
        "killed_worker_ended_by_signal": -ended,
        "other_ended_with": chief.wait(),
        "other_ended_seconds": time.perf_counter() - since,
        "checkpoints": len(list((folder / "killed").glob("*.ckpt"))),
        "gap_to_undisturbed": gap(undisturbed, weights("killed")),
    }


def measured(folder: Path) -> dict:
    """Figures of one process, and of two that share batches."""
    outs = [folder / name for name in ("alone.json", "0.json", "1.json")]
    module = written(folder / "module")
    alone = started(module, outs[0], folder / "alone")
    assert alone.wait() == 0
    both = [started(module, out, folder / "both", config) for out, config in zip(outs[1:], configs(), strict=True)]
    assert [process.wait() for process in both] == [0, 0]
    single, chief, other = (json.loads(out.read_text()) for out in outs)
    return {
        "steps": 20,
        "gap_to_one_process": gap(single["weights"][0], chief["weights"][0]),
        "gap_between_workers": gap(chief["weights"][0], other["weights"][0]),
        "gap_to_a_second_run": gap(chief["weights"][0], chief["weights"][1]),
        "start_seconds": [chief["start_seconds"], other["start_seconds"]],
        "exchange_ms": chief["exchange_ms"],
    }


def gap(weights, others) -> float:
    import numpy as np

    return max(float(np.max(np.abs(np.subtract(a, b)))) for a, b in zip(weights, others, strict=True))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cost(figures: dict, each: dict, images: int, workers: int) -> dict:
    """What an epoch costs by calculation.

    A ring of w workers passes 2 (w - 1) messages of 1/w of the vector each: as many as w - 1 exchanges of two workers,
    of a vector 2/w as long. What these take lies on lines between the sizes that were measured. Features lie on one
    shared folder. Every worker looks at all files, and keeps a record of each.
    """
    import numpy as np

    times = sorted((int(size), ms / 1e3) for size, ms in figures["exchange_ms"].items())
    steps = images / (BATCH * workers)

    def exchanged(size: int) -> float:
        return steps * (workers - 1) * float(np.interp(2 * size / workers, *zip(*times, strict=True)))

    return {
        "images": images,
        "workers": workers,
        "preflight_seconds": images * each["preflight_seconds"],
        "features_seconds": images * each["features_seconds"] / workers,
        "exchange_seconds_head": exchanged(HEAD),
        "exchange_seconds_whole": exchanged(WHOLE),
        "features_gb": images * FEATURE_BYTES / 1e9,
        "records_gb_per_worker": images * each["example_bytes"] / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--module", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scale.json")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--dies", action="store_true")
    parser.add_argument("--calculate", action="store_true")
    parser.add_argument("--killed", action="store_true")
    options = parser.parse_args()
    if options.child:
        child(options.module, options.out, options.checkpoints, options.dies)
        return
    record = json.loads(options.out.read_text()) if options.calculate or options.killed else {}
    with tempfile.TemporaryDirectory() as scratch:
        if not record:
            record = {"machine": MACHINE, "load": os.getloadavg()[1], "measured": measured(Path(scratch) / "measured")}
        if not options.calculate:
            record["killed"] = {"load": os.getloadavg()[1], **killed(Path(scratch) / "killed")}
    figures, each = record["measured"], each_image()
    result = {name: record[name] for name in ("machine", "load", "measured", "killed")} | {
        "each_image": each,
        "calculated": [cost(figures, each, *case) for case in CASES],
        "bars": {
            "weights of two workers to 1e-5 after 20 steps": figures["gap_to_one_process"] <= BAR,
            "a killed worker's run ends with the same bits": record["killed"]["gap_to_undisturbed"] == 0.0,
        },
    }
    options.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def each_image() -> dict[str, float]:
    """Seconds and bytes of an image, as other benchmarks measured them."""
    rows = json.loads((HERE / "results" / "phases.json").read_text())["scale"]
    largest = max(rows, key=lambda row: row["images"])
    seconds = {f"{stage}_seconds": largest["seconds"][stage] / largest["images"] for stage in ("preflight", "features")}
    return seconds | {
        "example_bytes": json.loads((HERE / "results" / "scale_images.json").read_text())["example_bytes"]
    }


if __name__ == "__main__":
    main()
