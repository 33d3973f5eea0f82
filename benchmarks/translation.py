"""Does what a small Transformer learned of verses help it to translate descriptions of software, en -> es?

    python benchmarks/translation_data.py FOLDER
    OMP_NUM_THREADS=1 python benchmarks/translation.py FOLDER --seeds 0 1 2 --steps 1000 --before 2000

One Transformer is trained on verses once, published, and adapted to the small corpus ("adapted"); another of the same
sizes and the same byte pairs, made of the training texts of both corpora, learns the small corpus alone ("alone"), both
for equally many steps, batches and rates. A seed is another division of the small corpus by source packages, another
start and another order. `difference` is chrF adapted less alone on the same texts: its interval is of drawing the texts
of all seeds' tests anew, 1,000 times. Beside them stands the English source as it is. Writes
benchmarks/results/translation.json after each arm, and goes on where it was ended.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE

import tlkit
from tlkit.core.progress import quiet

RESULTS = Path(__file__).parent / "results" / "translation.json"
BATCH, LR, LENGTH, LONGEST, WIDTH, BLOCKS, VOCABULARY = 32, 1e-3, 32, 32, 128, 2, 4000
SCORES = ("chrf", "bleu")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000, help="of each arm, on the small corpus")
    parser.add_argument("--before", type=int, default=2000, help="of the training on verses")
    parser.add_argument("--export", action="store_true", help="export the last seed's adapted run")
    given = parser.parse_args()
    settings = {
        "steps": given.steps, "steps_before": given.before, "batch": BATCH, "lr": LR, "length": LENGTH, "width": WIDTH,
        "blocks": BLOCKS, "vocabulary": VOCABULARY,
    }  # fmt: skip
    record = {"machine": MACHINE, "settings": settings, "rows": []}
    if RESULTS.is_file() and (kept := json.loads(RESULTS.read_text()))["settings"] == settings:
        record = kept
    work = given.folder / "work"
    module = trained_before(given, work, record)
    for seed in given.seeds:
        data = software(given.folder, seed)
        for arm, handle in (("alone", untrained(data, given.folder, work, seed)), ("adapted", module)):
            if not any((row["seed"], row["arm"]) == (seed, arm) for row in record["rows"]):
                record["rows"].append(one(seed, arm, handle, data, given.steps, work))
                kept_so_far(record, work)
    if given.export:
        record["files"] = exported(work / f"adapted_{given.seeds[-1]}")
        kept_so_far(record, work)


def software(folder, seed):
    return tlkit.data.text.from_translations(
        folder / "software.csv", groups="group", split=(0.75, 0.05, 0.2), seed=seed, progress=False
    )


def verses(folder):
    return tlkit.data.text.from_translations(
        folder / "verses.csv", groups="group", split=(0.96, 0.02, 0.02), seed=0, progress=False
    )


def texts_of(data):
    return [text for side in ("asked", "text") for text in data.train.columns[side].texts]


def untrained(data, folder, work, seed):
    """The Transformer before any training; its byte pairs are of the training texts of verses and of seed 0."""
    texts = [*texts_of(verses(folder)), *texts_of(software(folder, 0))]
    sizes = tlkit.zoo.Sizes(VOCABULARY, WIDTH, BLOCKS)
    return tlkit.zoo.write_transformer(work / f"untrained_{seed}", texts, sizes, seed=seed)


def fitted(handle, data, steps, out, seed, scored):
    """A run of about so many steps, and CPU seconds."""
    started = time.process_time()
    epochs = max(1, round(steps / -(-len(data.train) // BATCH)))
    phase = tlkit.Phase(epochs, LR, unfrozen=1.0, warmup=0.1, cosine=True)
    task = tlkit.tasks.translate(SCORES, LONGEST, scored=scored)
    run = tlkit.finetune(
        str(handle), task, data, (phase,), out=out, batch_size=BATCH, seed=seed, length=LENGTH - 1, progress=quiet
    )
    return run, epochs * -(-len(data.train) // BATCH), time.process_time() - started


def trained_before(given, work, record):
    """The Transformer that learned verses, published."""
    target = work / "of_verses"
    if not target.exists():
        data = verses(given.folder)
        handle = untrained(data, given.folder, work, 0)
        run, steps, seconds = fitted(handle, data, given.before, work / "verses", 0, 200)
        record["before"] = {
            "train": len(data.train), "steps": steps, "cpu_s": round(seconds, 1), "scores": rounded(run.scores),
        }  # fmt: skip
        kept_so_far(record, work)
        tlkit.publish(run, target)
    return target


def one(seed, arm, handle, data, steps, work):
    run, taken, seconds = fitted(handle, data, steps, work / f"{arm}_{seed}", seed, None)
    row = {
        "seed": seed, "arm": arm, "train": len(data.train), "test": len(run.data.test), "steps": taken,
        "cpu_s": round(seconds, 1), "scores": rounded(run.scores),
    }  # fmt: skip
    (work / f"{arm}_{seed}.json").write_text(json.dumps(written(run)))
    print(json.dumps(row), flush=True)
    return row


def rounded(scores):
    wanted = [name for name in scores if name.startswith(("chrf", "bleu", "token_accuracy"))]
    return {name: round(scores[name], 3) for name in wanted}


def written(run):
    """What was written for each text of the test, and what is right."""
    from tlkit.answers.tokens import text_of
    from tlkit.model.deployed import used

    examples = run.task.deployment.examples(run.data.test)
    ids = [decoded["ids"][0] for decoded in used(run.task, run.model, examples)]
    file = examples.columns["tokenizer"][0]
    right = [examples.columns["text"][i] for i in range(len(examples))]
    return {"written": [text_of(file, row) for row in ids], "right": right}


def kept_so_far(record, work):
    """Write what there is, with the difference of the seeds that have both arms."""
    arms = {(row["seed"], row["arm"]) for row in record["rows"]}
    seeds = sorted(seed for seed, arm in arms if arm == "adapted" and (seed, "alone") in arms)
    if seeds:
        record["difference"] = difference(work, seeds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def difference(work, seeds):
    """chrF adapted less alone: of each seed, their mean, and its interval over texts."""
    from sacrebleu.metrics import CHRF

    measure, statistics = CHRF(), []
    for seed in seeds:
        arms = [json.loads((work / f"{arm}_{seed}.json").read_text()) for arm in ("adapted", "alone")]
        statistics.append([np.array(measure._extract_corpus_statistics(o["written"], [o["right"]])) for o in arms])

    def apart(rows):
        scores = [
            [measure._compute_score_from_stats(arm[drawn].sum(axis=0).tolist()).score for arm in arms]
            for arms, drawn in zip(statistics, rows, strict=True)
        ]
        return [adapted - alone for adapted, alone in scores]

    rng = np.random.default_rng(0)
    every = apart([np.arange(len(arms[0])) for arms in statistics])
    counts = [len(arms[0]) for arms in statistics]
    drawn = [np.mean(apart([rng.integers(n, size=n) for n in counts])) for _ in range(1000)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "seeds": seeds, "chrf": round(float(np.mean(every)), 2), "low": round(float(low), 2),
        "high": round(float(high), 2), "of_each_seed": [round(float(gain), 2) for gain in every],
    }  # fmt: skip


def exported(folder):
    formats = ("saved_model", "float32", "float16", "dynamic")
    try:
        exports = tlkit.export(tlkit.load(folder), formats=formats, progress=quiet).exports
    except tlkit.GateError as error:
        exports = error.exports
    return [
        {"format": f.format, "passed": f.passed, "mb": round(f.bytes / 1e6, 2), "equal": f.agreement,
         "failure": f.failure, "latency_ms": round(f.latency_ms, 1)} for f in exports
    ]  # fmt: skip


if __name__ == "__main__":
    main()
