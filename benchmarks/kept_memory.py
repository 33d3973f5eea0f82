"""A frozen front in TensorFlow with the memory kept between operations, and given back, as JSON.

    python benchmarks/kept_memory.py --rounds 3 --out benchmarks/results/kept_memory.json

zoo:efficientnet-lite0 over generated images, 32 at a time, in fresh processes by turns; one of each two has glibc's
variable GLIBC_TUNABLES set to nothing, upon which tlkit leaves the allocator alone.
"""

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path

from measuring import HERE, MACHINE, fresh, peak_mb

WAYS = {"kept": None, "given back": ""}
BATCH, BATCHES = 32, 6


def work() -> dict:
    """Figures of one process, the first batch aside."""
    import numpy as np

    from tlkit import HubLayer
    from tlkit.core import memory
    from tlkit.core.examples import ArraySpec
    from tlkit.features import engines
    from tlkit.model.partition import front_of

    images = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    layer = HubLayer("zoo:efficientnet-lite0", input_range=(0, 1))
    opener = engines.opener(front_of(layer, None, ArraySpec(images.shape[1:], "uint8")), BATCH * BATCHES)
    with memory.kept():
        run = opener(engines.TENSORFLOW).run
        np.asarray(run(images)[0])
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(BATCHES):
            np.asarray(run(images)[0])
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images_per_s": BATCH * BATCHES / seconds,
        "page_faults_an_image": (after.ru_minflt - before.ru_minflt) / (BATCH * BATCHES),
        "kernel_s_an_image": (after.ru_stime - before.ru_stime) / (BATCH * BATCHES),
        "peak_memory_mb": peak_mb(),
    }


def measured(value: str | None) -> dict:
    """One process, with GLIBC_TUNABLES as given."""
    os.environ.pop("GLIBC_TUNABLES", None)
    if value is not None:
        os.environ["GLIBC_TUNABLES"] = value
    return fresh(__file__, "--worker")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kept_memory.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        args.out.write_text(json.dumps(work()))
        return
    rounds = [{name: measured(value) for name, value in WAYS.items()} for _ in range(args.rounds)]
    means = {
        name: {key: statistics.fmean(row[name][key] for row in rounds) for key in rounds[0][name]} for name in WAYS
    }
    ratio = statistics.median(row["kept"]["images_per_s"] / row["given back"]["images_per_s"] for row in rounds)
    record = {"machine": MACHINE, "ratio of images a second": ratio, "means": means, "rounds": rounds}
    args.out.write_text(json.dumps(record, indent=1))
    print(json.dumps({key: record[key] for key in ("ratio of images a second", "means")}, indent=1))


if __name__ == "__main__":
    main()
