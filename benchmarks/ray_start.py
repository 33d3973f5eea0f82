"""What Ray costs before it computes anything, and what two of its processes gain on this machine, as JSON.

    python benchmarks/ray_start.py --out benchmarks/results/ray.json

Measured, each once, in seconds: starting Ray; the first features of its processes, in which each of them starts, opens
TensorFlow and the module; features of as many other images, when they are warm; the same by one warm process; the first
exchange of two placed workers, from the call on; ending Ray. Images are generated while they are read: there is no
decoding. The bytes of both sets of features are compared.
"""

import argparse
import contextvars
import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import HERE, MACHINE

SIDE, WORKERS = 224, 2


@dataclass(frozen=True)
class Generated:
    """Images by index."""

    seed: int

    def __call__(self, index: int):
        import numpy as np

        return np.random.default_rng([self.seed, index]).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def examples(seed: int, count: int):
    import numpy as np

    from tlkit import ArraySpec, Examples
    from tlkit.core.columns import ArrayColumn, ReadColumn

    ids = tuple(f"{seed}-{index}" for index in range(count))
    inputs = ReadColumn(Generated(seed), ArraySpec((SIDE, SIDE, 3), "uint8"), ids)
    return Examples(ids, inputs, ArrayColumn(np.zeros(count, np.int32)), "image")


def exchanged() -> dict:
    """What each placed worker does: join the others, and add one number up."""
    import numpy as np

    from tlkit.cluster.joining import joined
    from tlkit.training.replicas import workers_of

    with joined():
        return {"sum": float(workers_of(None).add([np.ones(1, np.float32)])[0][0])}


def timed(function, *arguments) -> tuple[float, object]:
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def digest(features) -> str:
    return hashlib.sha256(b"".join(shard.tobytes() for tensors in features.shards for shard in tensors)).hexdigest()


def measured(folder: Path, count: int) -> dict:
    import tlkit

    layer = tlkit.HubLayer("zoo:efficientnet-lite0")
    os.environ["TLKIT_CACHE"] = str(folder / "alone")
    contextvars.Context().run(tlkit.extract, layer, examples(0, 64))  # a warm process, which has converted the front
    alone, expected = timed(tlkit.extract, layer, examples(2, count))
    os.environ["TLKIT_CACHE"] = str(folder / "pool")
    tlkit.extract(layer, examples(0, 64))
    block = tlkit.cluster.ray(workers=WORKERS)
    start, cluster = timed(block.__enter__)
    first, _ = timed(tlkit.extract, layer, examples(1, count))
    warm, features = timed(tlkit.extract, layer, examples(2, count))
    placed, answer = timed(cluster.call, exchanged)
    end, _ = timed(block.__exit__, None, None, None)
    assert answer == {"sum": WORKERS}
    seconds = {"start": start, "features_first": first, "features_warm": warm, "features_one_process": alone}
    return {
        "images": count,
        "shards": len(features.shards),
        "seconds": seconds | {"first_exchange": placed, "end": end},
        "same_bytes": digest(features) == digest(expected),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ray.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measured(Path(scratch), options.images)
    result = {"machine": MACHINE, "load": os.getloadavg()[1], **figures}
    options.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
