"""Memory and time of training the top third of a text module, in parts and in whole batches, as JSON.

    python benchmarks/memory.py --rounds 3 --out benchmarks/results/memory.json

zoo:minilm-l6-v2 on passages of the Brown corpus, batches of 32 texts of up to 512 and up to 128 word pieces, in fresh
processes by turns: as `fit` divides the steps by itself, and with `micro_batch=32`, which does not. A frozen one comes
first. Peaks are of the whole process: `peak_memory_mb` is VmHWM, with the files that it maps, and
`anonymous_mb` the largest RssAnon that was seen. The bar of time is of the process' CPU seconds, which other
work on the machine moves less than those of the clock. Figures of images, `--module zoo:efficientnet-lite0 --out
benchmarks/results/memory_images.json`, train all of it.
"""

import argparse
import json
import os
import statistics
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import HERE, MACHINE, fresh, peak_mb

WAYS = {"parts": None, "whole": 32}
MINILM = "zoo:minilm-l6-v2"
BARS = {512: 3000.0, 128: 2000.0}  # MB


class Watched:
    """The largest RssAnon since it began, looked at a hundred times a second."""

    def __init__(self):
        self.peak, self.ended = 0.0, False
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while not self.ended:
            lines = Path("/proc/self/status").read_text().splitlines()
            self.peak = max(self.peak, *(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")))
            time.sleep(0.01)


def texts(pieces: int, count: int):
    """Passages of many lengths, the longest as long as the module takes here."""
    import numpy as np

    import tlkit
    from tlkit.datasets import brown

    rng = np.random.default_rng(0)
    files = sorted(path for path in brown.folder().iterdir() if len(path.name) == 4 and path.name.startswith("c"))
    documents, labels = [], []
    for i in range(count):
        words = [word for _, pairs in brown.tagged(files[i * len(files) // count]) for word, _ in pairs]
        documents.append(" ".join(words[: int(rng.integers(pieces // 4, pieces + 1))]))
        labels.append(i % 2)
    return tlkit.data.text.from_arrays(documents, labels, split=(0.8, 0.1, 0.1))


def images(count: int):
    """Generated pictures."""
    import numpy as np

    import tlkit

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 224, 224, 3), np.uint8)
    return tlkit.data.image.from_arrays(pixels, np.arange(count) % 2, split=(0.8, 0.1, 0.1))


def work(module: str, pieces: int, count: int, micro_batch: int | None) -> dict:
    """Figures of one process."""
    import keras

    import tlkit
    from tlkit.modalities.prepare import prepare

    watched = Watched()
    text = module == MINILM
    data = texts(pieces, count) if text else images(count)
    layer = tlkit.HubLayer(module, name="backbone", **({} if text else {"input_range": (0, 1)}))
    task = tlkit.tasks.classify(data.labels, dropout=0.0)
    keras.utils.set_random_seed(0)  # of the head's weights, so that losses can be compared
    model = tlkit.build(layer, task)
    data = prepare(data, layer, length=pieces) if text else prepare(data, layer, image_size=(224, 224))
    phases = (tlkit.Phase(1, 3e-3), tlkit.Phase(2, 1e-4, unfrozen=1 / 3 if text else 1.0))
    ends: list[float] = []  # CPU seconds of the process at the end of each epoch
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.process_time()))
    run = tlkit.fit(model, task, data, phases, micro_batch=micro_batch, callbacks=[clock])
    tlkit.evaluate(model, task, data.test)
    watched.ended = True
    tuned = run.phases[1].had
    return {
        "epoch_seconds": tuned["epoch_seconds"][-1],  # the first one traces
        "epoch_cpu_seconds": ends[-1] - ends[-2],
        "steps": tuned["steps"],
        "loss": run.phases[1].history["loss"][-1],
        "peak_memory_mb": peak_mb(),
        "anonymous_mb": watched.peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--module", default=MINILM)
    parser.add_argument("--pieces", type=int, nargs="+", default=[512, 128])
    parser.add_argument("--count", type=int, default=320, help="texts, or pictures")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory.json")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        args.out.write_text(json.dumps(work(args.module, args.pieces[0], args.count, WAYS[args.worker])))
        return
    record: dict = {"machine": MACHINE, "module": args.module, "count": args.count}
    for pieces in args.pieces if args.module == MINILM else [0]:
        words = ["--module", args.module, "--pieces", str(pieces), "--count", str(args.count)]
        rounds = [{way: fresh(__file__, *words, "--worker", way) for way in WAYS} for _ in range(args.rounds)]
        peaks = {way: max(row[way]["peak_memory_mb"] for row in rounds) for way in WAYS}
        ratios = {
            clock: statistics.median(row["parts"][clock] / row["whole"][clock] for row in rounds)
            for clock in ("epoch_seconds", "epoch_cpu_seconds")
        }
        bars = {"at most 1.1 times as long": ratios["epoch_cpu_seconds"] <= 1.1}
        if pieces in BARS:
            bars[f"at most {BARS[pieces] / 1000:g} GB"] = peaks["parts"] <= BARS[pieces]
        record[f"{pieces} pieces" if pieces else "images"] = {
            "peak_memory_mb": peaks, "time of parts": ratios, "bars": bars, "rounds": rounds,
        }  # fmt: skip
        args.out.write_text(json.dumps(record, indent=1))
        print(pieces, peaks, ratios, bars, flush=True)


if __name__ == "__main__":
    main()
