"""What `tlkit.rank` says of three modules, and what it costs without and with the conversion to TFLite, as JSON.

    python benchmarks/choosing.py --out benchmarks/results/choosing.json

The bundled emoji (emoji10, font noto). Ranked are the two zoo modules and, as a control that knows nothing, a
MobileNetV2 with the weights it starts from; without and with the conversion, each in a fresh process with no features
kept.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from measuring import HERE, MACHINE, fresh

MODULES = ("zoo:efficientnet-lite0", "zoo:efficientnet-lite0-imagenet")


def ranked(convert: bool) -> dict:
    """The rows of the ranking, and the seconds of the whole call."""
    import keras

    import tlkit

    keras.utils.set_random_seed(0)
    untrained = keras.applications.MobileNetV2(
        (224, 224, 3), weights=None, include_top=False, pooling="avg", name="untrained"
    )
    pictures = tlkit.data.samples.emoji10("noto")
    started = time.perf_counter()
    found = tlkit.rank([*MODULES, untrained], pictures, convert=convert)
    seconds = time.perf_counter() - started
    print(found)
    rows = [asdict(row) for row in found.rows]
    return {"rows": rows, "examples": len(pictures.train), "seconds": seconds, "pareto": found.pareto}


WAYS = {"rank": False, "convert": True}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE / "results" / "choosing.json")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(ranked(WAYS[args.worker])))
        return
    result = {"machine": MACHINE, **{name: fresh(__file__, "--worker", name) for name in WAYS}}
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
