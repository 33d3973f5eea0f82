"""Texts longer than a module takes: in windows against cut, as JSON.

    python benchmarks/long_texts.py --seeds 5 --out benchmarks/results/long_texts.json

Documents of the Brown corpus, 2,300 words each, by genre (15), with zoo:minilm-l6-v2 frozen: 512 pieces hold the first
fifth of a document, and windows show it all. The vector of each window is computed once; what trains is a head on
them, for each seed on another division. Accuracy is of documents, and each difference is of the same test documents.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

from measuring import HERE, MACHINE, interval

WAYS = ("cut", "windows")


def documents(count: int) -> tuple[list[str], list[str]]:
    """Texts and genres, spread evenly over the corpus."""
    from tlkit.data import brown

    files = sorted(path for path in brown.folder().iterdir() if len(path.name) == 4 and path.name.startswith("c"))
    chosen = [files[i * len(files) // count] for i in range(count)]
    texts = [" ".join(word for _, pairs in brown.tagged(path) for word, _ in pairs) for path in chosen]
    return texts, [path.name[1] for path in chosen]


def divided(texts: list[str], genres: list[str], layer, way: str, seed: int):
    """Splits of pieces, cut or in windows."""
    from tlkit.data import text
    from tlkit.feeding import fed

    data = text.from_arrays(texts, genres, split=(0.6, 0.15, 0.25), seed=seed, max_characters=10**6)
    return fed(data, layer, length=512, long=way)


def embedded(texts: list[str], genres: list[str], layer) -> dict:
    """By way: the vector of each example by its id, which no division changes."""
    from tlkit import vectors

    found: dict = {}
    for way in WAYS:
        data = divided(texts, genres, layer, way, 0)
        parts = (data.train, data.val, data.test)
        found[way] = {n: row for p in parts for n, row in zip(p.ids, vectors.vectors(layer, p), strict=True)}
        print(way, len(found[way]), flush=True)
    return found


def accuracy(data, vectors: dict, seed: int) -> float:
    """Of a head on the vectors."""
    import keras
    import numpy as np

    import tlkit
    from tlkit.types import ArraySpec

    def changed(part):
        rows = np.stack([vectors[name] for name in part.ids])
        return dataclasses.replace(part, read=rows.__getitem__, spec=ArraySpec(rows.shape[1:], "float32"), lengths=None)

    data = dataclasses.replace(data, train=changed(data.train), val=changed(data.val), test=changed(data.test))
    task = tlkit.tasks.classify(data.labels)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(data.train.spec.shape)
    model = keras.Model(inputs, task.head(inputs))
    tlkit.fit(model, task, data, (tlkit.Phase(60, 1e-2, unfrozen=1.0),), seed=seed)
    return tlkit.evaluate(model, task, data.test).scores["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--module", default="zoo:minilm-l6-v2")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "long_texts.json")
    args = parser.parse_args()
    from tlkit import vectors

    started = time.perf_counter()
    texts, genres = documents(args.documents)
    layer = vectors.opened(args.module)
    known, runs = embedded(texts, genres, layer), []
    for seed in range(args.seeds):
        runs.append({way: accuracy(divided(texts, genres, layer, way, seed), known[way], seed) for way in WAYS})
        print(seed, runs[-1], flush=True)
    gains = [run["windows"] - run["cut"] for run in runs]
    low_high = interval(gains)
    found = {
        "machine": MACHINE, "module": args.module, "documents": len(texts), "seconds": time.perf_counter() - started,
        "accuracy": {way: statistics.fmean(run[way] for run in runs) for way in WAYS},
        "gain": statistics.fmean(gains), "gain_interval": low_high,
        "bars": {"windows beat cutting": low_high is not None and low_high[0] > 0}, "runs": runs,
    }  # fmt: skip
    args.out.write_text(json.dumps(found, indent=1))
    print(json.dumps({key: found[key] for key in ("accuracy", "gain", "gain_interval", "bars")}, indent=1))


if __name__ == "__main__":
    main()
