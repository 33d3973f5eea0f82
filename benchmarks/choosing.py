"""What `tlkit.rank` says of three modules, and what it costs; what `tlkit.transfer_check` says of one, as JSON.

    python benchmarks/choosing.py --out benchmarks/results/choosing.json
    python benchmarks/choosing.py --only check300 check3000

The bundled emoji (emoji10, font noto). Ranked are the two zoo modules and, as a control that knows nothing, a
MobileNetV2 with the weights it starts from; without and with the conversion to TFLite, each in a fresh process with no
features kept.

Checked is zoo:glove-50d-30k on movie reviews, positive or negative, as if 300 or 3,000 labels were known, over five
seeds: from scratch, frozen and fine-tuned, with the head and the plan of the recipe distillation's student. With
`--only` the file keeps what else it holds.
"""

import argparse
import functools
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
    pictures = tlkit.datasets.samples.emoji10("noto")
    started = time.perf_counter()
    ranking = tlkit.rank([*MODULES, untrained], pictures, convert=convert)
    seconds = time.perf_counter() - started
    print(ranking)
    rows = [asdict(row) for row in ranking.rows]
    return {"rows": rows, "examples": len(pictures.train), "seconds": seconds, "pareto": ranking.pareto}


def checked(count: int) -> dict:
    """Accuracies by way of training, the differences, and the verdict."""
    import tlkit

    def data(seed: int) -> tlkit.Splits:
        return tlkit.data.collection.few_labels(
            tlkit.datasets.reviews.sentences("movies", seed=seed), count, seed=seed
        )[0]

    task = tlkit.tasks.classify(data(0).labels, hidden=(64,))
    phases = tlkit.plans.two_phase(epochs=(3, 10), lr=(3e-3, 3e-3), unfrozen=1.0)
    started = time.perf_counter()
    check = tlkit.transfer_check("zoo:glove-50d-30k", task, data, phases=phases, seeds=range(5))
    seconds = time.perf_counter() - started
    print(check)
    return {**asdict(check), "verdict": check.verdict, "helped": check.helped, "seconds": seconds}


WAYS = {
    "rank": functools.partial(ranked, False),
    "convert": functools.partial(ranked, True),
    "check300": functools.partial(checked, 300),
    "check3000": functools.partial(checked, 3000),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE / "results" / "choosing.json")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(WAYS[args.worker]()))
        return
    result = json.loads(args.out.read_text()) if args.out.exists() else {"machine": MACHINE}
    for name in args.only:
        result |= {name: fresh(__file__, "--worker", name)}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
