"""Sentiment across four domains: trained on one, judged on another, with and without adaptation, as JSON.

    python benchmarks/sentiment.py --seeds 3 --out benchmarks/results/sentiment.json

`--resume` measures what the file does not hold yet, by the name of the method.

Movie reviews, product reviews, newspaper editorials and tweets of vaderSentiment, positive or negative. The sentences
are the frozen vectors of a module, computed once; what trains is a head with a hidden layer, 8 epochs, for each of the
12 pairs of domains: on the source alone, and by each method with the target's unlabelled training sentences. The
diagonal is a head trained and judged in one domain. The best method is the one of the highest mean over the pairs; the
summary names every pair that it makes worse by more than a point. `aligned` moves the vectors in closed form, for a
linear head; it is compared with the same head on the source's vectors as they are.

    python benchmarks/sentiment.py --causal 600 --seeds 3 --out benchmarks/results/sentiment_causal.json

judges film reviews by a causal language model, the state of a text's last token, beside MiniLM: a head on either as it
is, and with the top fifth of either trained behind that, on as many reviews as `--causal` says. Seconds are of CPU.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

from measuring import HERE, MACHINE, interval, recipe

DOMAINS = ("tweets", "movies", "products", "news")
TRAINED = ("coral", "mmd", "dann", "cdan", "mcc", "coral+mcc")  # with the settings of recipes/domain_adaptation.py
CLOSED = {"aligned_coral": "coral", "aligned_subspace": "subspace"}
METHODS = (*TRAINED, *CLOSED)
SOURCE, LINEAR = "source_only", "linear_source_only"
POINT = 0.01
CAUSAL = ("zoo:minilm-l6-v2", "zoo:smollm2-135m")


def embedded(module: str) -> dict:
    """Vector of each sentence by domain and id."""
    import tlkit
    from tlkit.features import vectors

    layer = vectors.opened(module)
    by_domain = {}
    for domain in DOMAINS:
        data = vectors.as_taken(tlkit.datasets.reviews.sentences(domain), layer)
        parts = (data.train, data.val, data.test)
        by_domain[domain] = {
            name: row for part in parts for name, row in zip(part.ids, vectors.vectors(layer, part), strict=True)
        }
        print(domain, len(by_domain[domain]), flush=True)
    return by_domain


def as_vectors(domain: str, seed: int, known: dict):
    """The domain's splits, with vectors in place of sentences."""
    import numpy as np

    import tlkit
    from tlkit.core.examples import ArraySpec

    data = tlkit.datasets.reviews.sentences(domain, seed=seed)

    def changed(part):
        rows = np.stack([known[domain][name] for name in part.ids])
        spec = ArraySpec(rows.shape[1:], "float32")
        return dataclasses.replace(part, read=rows.__getitem__, spec=spec, texts=(), groups=())

    return dataclasses.replace(data, train=changed(data.train), val=changed(data.val), test=changed(data.test))


def accuracy(task, data, test, seed: int) -> float:
    """Of a head trained on data of vectors."""
    import keras

    import tlkit

    keras.utils.set_random_seed(seed)
    inputs = keras.Input(data.train.inputs.spec.shape)
    model = keras.Model(inputs, task.head(inputs))
    run = tlkit.fit(model, task, data, (tlkit.Phase(8, 1e-3, unfrozen=1.0),), seed=seed, batch_size=128)
    return tlkit.evaluate(run.model, run.task, test, batch_size=512).scores["accuracy"]


def given_vectors(shape: tuple):
    """A module that gives its inputs: features, which share a unit."""
    import keras

    import tlkit

    inputs = keras.Input(shape)
    return tlkit.HubLayer(keras.Model(inputs, keras.layers.Identity()(inputs)), name="backbone")


def measured(seed: int, known: dict, held: dict) -> dict:
    """Accuracy by training, "source > target"; what is held is not measured again."""
    import tlkit
    from tlkit import methods

    adapting = recipe("domain_adaptation").adapting
    data = {domain: as_vectors(domain, seed, known) for domain in DOMAINS}
    plain = tlkit.tasks.classify(data["tweets"].labels, hidden=(64,), dropout=0.2)
    linear = tlkit.tasks.classify(data["tweets"].labels, dropout=0.0)

    def one(name: str, source: str, target: str) -> float:
        of_source, other = data[source], data[target]
        if name in CLOSED or name == LINEAR:  # a domain is aligned with itself by leaving it as it is
            towards, by = of_source if name == LINEAR else other, CLOSED.get(name, "coral")
            run = methods.aligned(of_source, towards, linear, given_vectors(of_source.train.inputs.spec.shape), by=by)
            return tlkit.evaluate(run.model, run.task, other.test, batch_size=512).scores["accuracy"]
        if name == SOURCE:
            return accuracy(plain, of_source, other.test, seed)
        return accuracy(adapting(plain, name), methods.domain_mix(of_source, other), other.test, seed)

    accuracies: dict = {name: {} for name in (SOURCE, LINEAR, *METHODS)} | held
    wanted = [name for name in accuracies if name not in held]
    for source, target in itertools.product(DOMAINS, DOMAINS):
        pair = f"{source} > {target}"
        names = [name for name in wanted if source != target or name in (SOURCE, LINEAR)]
        accuracies = {**accuracies, **{name: {**accuracies[name], pair: one(name, source, target)} for name in names}}
        print(seed, pair, {name: round(accuracies[name][pair], 3) for name in names}, flush=True)
    return accuracies


def summary(runs: list[dict]) -> dict:
    """Mean tables, the best method, and where it hurts."""
    tables = {
        name: {pair: statistics.fmean(run[name][pair] for run in runs) for pair in runs[0][name]} for name in runs[0]
    }
    across = list(tables["mmd"])

    def gained(name: str, pair: str) -> list[float]:
        before = LINEAR if name in CLOSED else SOURCE
        return [run[name][pair] - run[before][pair] for run in runs]

    gains = {name: {pair: gained(name, pair) for pair in across} for name in METHODS}
    worse = {
        name: {pair: statistics.fmean(v) for pair, v in table.items() if statistics.fmean(v) < -POINT}
        for name, table in gains.items()
    }
    of_seeds = {
        name: [statistics.fmean(each) for each in zip(*table.values(), strict=True)] for name, table in gains.items()
    }
    means = {name: statistics.fmean(table[pair] for pair in across) for name, table in tables.items()}
    best = max(METHODS, key=lambda name: means[name])
    return {
        "mean_over_pairs": means,
        "gains": {name: statistics.fmean(values) for name, values in of_seeds.items()},
        "gain_intervals": {name: interval(values) for name, values in of_seeds.items()},
        "best": best,
        "worse_by_more_than_a_point": worse[best],
        "worse_of_each": worse,
        "tables": tables,
    }


def beside(count: int, seed: int) -> list[dict]:
    """Accuracy on film reviews of a causal module and of MiniLM, of one division."""
    import tlkit

    data = tlkit.datasets.reviews.sentences("movies", seed=seed)
    sizes = {"train": count, "val": count // 3, "test": count + count // 3}
    parts = {name: getattr(data, name).subset(range(size)) for name, size in sizes.items()}
    data, head = dataclasses.replace(data, **parts), tlkit.Phase(8, 1e-3)
    ways = {"head": (head,), "top": (head, tlkit.Phase(3, 1e-4, unfrozen=0.2))}
    rows = []
    for module, (way, phases) in itertools.product(CAUSAL, ways.items()):
        started = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            run = tlkit.finetune(
                module, tlkit.tasks.classify(data.labels), data, phases, out=folder, seed=seed, batch_size=32,
                progress=tlkit.core.progress.quiet,
            )  # fmt: skip
        scores = {name: round(run.scores[name], 4) for name in ("accuracy", "accuracy_low", "accuracy_high")}
        row = {
            "module": module,
            "trains": way,
            "seed": seed,
            **scores,
            "cpu_s": round(time.process_time() - started, 1),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def beside_minilm(count: int, seeds: int, out: Path) -> None:
    """Rows of all divisions, and the mean gain of the causal module over MiniLM, with its interval."""
    rows: list[dict] = []
    for seed in range(seeds):
        rows += beside(count, seed)
        score = {(row["module"], row["trains"], row["seed"]): row["accuracy"] for row in rows}
        gains = {
            way: [score[CAUSAL[1], way, done] - score[CAUSAL[0], way, done] for done in range(seed + 1)]
            for way in ("head", "top")
        }
        gained = {
            way: {"mean": statistics.fmean(differences), "interval": interval(differences)}
            for way, differences in gains.items()
        }
        record = {"machine": MACHINE, "train": count, "causal_over_minilm": gained, "rows": rows}
        out.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--module", default="zoo:minilm-l6-v2")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sentiment.json")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--causal", type=int, help="film reviews by a causal module beside MiniLM, on so many")
    args = parser.parse_args()
    if args.causal:
        beside_minilm(args.causal, args.seeds, args.out)
        return
    started = time.perf_counter()
    held = json.loads(args.out.read_text()) if args.resume and args.out.exists() else {"runs": [], "seconds": 0.0}
    if held.get("module", args.module) != args.module:
        parser.error(f"{args.out} holds runs of {held['module']}: name another --out, or leave out --resume")
    known, runs = embedded(args.module), []
    for seed in range(args.seeds):
        runs.append(measured(seed, known, held["runs"][seed] if seed < len(held["runs"]) else {}))
        seconds = held["seconds"] + time.perf_counter() - started
        record = {"machine": MACHINE, "module": args.module, "seconds": seconds, **summary(runs), "runs": runs}
        args.out.write_text(json.dumps(record, indent=1))
    print(json.dumps(summary(runs), indent=1))


if __name__ == "__main__":
    main()
