"""Several workers: what is measured on two processes of this machine, and what follows for larger counts, as JSON.

    python benchmarks/scale.py --out benchmarks/results/scale.json

Measured: the largest difference of weights between one process and two that share batches, after 20 steps; a second
run of the two; the time of one exchange by its bytes, on loopback. Calculated, by `cost`: seconds of the preflight, of
the features and of the exchanges of an epoch, and gigabytes, for more images and workers. Seconds an image are those of
the largest count in phases.json (zoo:efficientnet-lite0 on the two cores), bytes an example those of scale_images.json.
--calculate calculates anew from what --out has measured.
"""

import argparse
import json
import os
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


def fitted(module: Path, strategy):
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
    run = tlkit.fit(model, task, data, phases, batch_size=8, strategy=strategy)
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


def child(module: Path, out: Path) -> None:
    """One process: alone, or a worker where TF_CONFIG says so."""
    started = time.perf_counter()
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else None
    figures = {"start_seconds": time.perf_counter() - started, "weights": [fitted(module, strategy)]}
    if strategy is not None:
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


def started(module: Path, out: Path, cache: Path, config: dict | None = None) -> subprocess.Popen:
    env = os.environ | {"TLKIT_CACHE": str(cache)} | ({} if config is None else {"TF_CONFIG": json.dumps(config)})
    command = [sys.executable, __file__, "--child", "--module", str(module), "--out", str(out)]
    return subprocess.Popen(command, env=env, stdout=sys.stderr)


def measured(folder: Path) -> dict:
    """Figures of one process, and of two that share batches."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    outs = [folder / name for name in ("alone.json", "0.json", "1.json")]
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]
    module = written(folder / "module")
    alone = started(module, outs[0], folder / "alone")
    assert alone.wait() == 0
    both = [started(module, out, folder / "both", config) for out, config in zip(outs[1:], configs, strict=True)]
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

    A ring of w workers passes 2 (w - 1) messages of 1/w of the vector each: two workers show a message's latency and
    the bytes a second. Features lie on one shared folder. Every worker looks at all files, and keeps a record of each.
    """
    times = {int(size): ms / 1e3 for size, ms in figures["exchange_ms"].items()}
    hop = times[BYTES[0]] / 2
    bytes_per_s = WHOLE / max(times[WHOLE] - times[BYTES[0]], 1e-9)
    steps = images / (BATCH * workers)

    def exchanged(size: int) -> float:
        return steps * (workers - 1) * (2 * hop + 2 * size / workers / bytes_per_s) if workers > 1 else 0.0

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
    parser.add_argument("--calculate", action="store_true")
    options = parser.parse_args()
    if options.child:
        child(options.module, options.out)
        return
    if options.calculate:
        record = json.loads(options.out.read_text())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            record = {"machine": MACHINE, "load": os.getloadavg()[1], "measured": measured(Path(scratch))}
    figures, each = record["measured"], each_image()
    result = {name: record[name] for name in ("machine", "load", "measured")} | {
        "each_image": each,
        "calculated": [cost(figures, each, *case) for case in CASES],
        "bars": {"weights of two workers to 1e-5 after 20 steps": figures["gap_to_one_process"] <= BAR},
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
