"""SmolLM2 learns to say in one line what a Debian package is, beside the first words of its description.

    python benchmarks/translation_data.py FOLDER
    OMP_NUM_THREADS=1 python benchmarks/summarization.py FOLDER

The text is the first paragraph of a package's description and the summary its synopsis (Debian's lists, which
translation_data.py fetches; their licence is not stated, so they are read here and not kept), of one package a source.
As the recipe `summarization` has it: two epochs of the module's top fifth on cached states. ROUGE-L of what is written
for `--test` texts, before and after, and of the first eight words of each text ("lead"); `gain` is after less lead on
the same texts, with the bootstrap interval of its mean. Writes benchmarks/results/summarization.json.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE
from translation_data import described, entries, synopsis_first

import tlkit
from tlkit.core.progress import quiet
from tlkit.tasks.metrics import bootstrap

RESULTS = Path(__file__).parent / "results" / "summarization.json"
LEAD = 8  # words


def descriptions(lists: Path) -> list[tuple[str, str, str]]:
    """(first paragraph, synopsis, source package) of packages; one of each source, and no text twice."""
    sources = {
        entry["Package"]: entry.get("Source", entry["Package"]).split()[0] for entry in entries(lists, "_Packages")
    }
    rows = {}
    for (package, _), text in sorted(described(lists, "en").items()):
        paragraphs = [paragraph for part in text.split("\n .\n") for paragraph in synopsis_first(part)]
        if len(paragraphs) > 1 and 20 <= len(paragraphs[1].split()) <= 60 and len(paragraphs[0].split()) >= 4:
            rows.setdefault(sources.get(package, package), (paragraphs[1], paragraphs[0]))
    return [(*row, source) for source, row in rows.items()]


def adapted(folder: Path, options: argparse.Namespace) -> tuple[tlkit.Run, float]:
    """The run of the recipe on so many descriptions, and its CPU seconds."""
    rows = descriptions(options.folder / "lists")
    drawn = np.random.default_rng(options.seed).permutation(len(rows))[: round(options.train / 0.8)]
    table = folder / "descriptions.csv"
    with table.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([("text", "summary", "source"), *(rows[i] for i in drawn)])
    system = "Summarize the text in one line."
    splits = tlkit.data.text.from_pairs(
        table,
        prompt="text",
        answer="summary",
        system=system,
        split=(0.8, 0.05, 0.15),
        seed=options.seed,
    )
    task = tlkit.tasks.generate(most=24, samples=options.test, texts=("rouge_l",))
    started = time.process_time()
    run = tlkit.finetune(
        "zoo:smollm2-135m", task, splits, (tlkit.Phase(options.epochs, 1e-4, unfrozen=0.2),), out=folder / "run",
        seed=options.seed, batch_size=16, progress=quiet,
    )  # fmt: skip
    return run, time.process_time() - started


def lead(run: tlkit.Run, count: int) -> np.ndarray:
    """ROUGE-L of the first words of each text of the test."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer, columns = RougeScorer(["rougeL"], use_stemmer=True), run.data.test.columns
    pairs = [(columns["text"][i], " ".join(columns["asked"][i].split()[:LEAD])) for i in range(count)]
    return np.array([scorer.score(summary, words)["rougeL"].fmeasure for summary, words in pairs])


def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, seconds = adapted(Path(folder), options)
    after = np.array(run.evaluation.details["scores_of_samples"]["rouge_l"])
    first_words = lead(run, len(after))
    gain = after - first_words
    record = {
        "machine": MACHINE, "train": len(run.data.train), "test": len(after), "cpu_s": round(seconds, 1),
        "seed": options.seed, "epochs": options.epochs, "scores": dict(run.scores), "lead": float(first_words.mean()),
        "gain": float(gain.mean()), "gain_interval": bootstrap(lambda drawn: float(gain[drawn].mean()), len(gain)),
        "samples": run.evaluation.details["samples"],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({name: value for name, value in record.items() if name != "samples"}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--test", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
