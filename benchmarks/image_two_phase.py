"""tlkit against tf_keras + hub.KerasLayer: same module, same decoded images, same splits, same epochs, side by side.

    python benchmarks/image_two_phase.py --seeds 12 --out benchmarks/results/image_two_phase.json
    python benchmarks/image_two_phase.py --seeds 12 --alone --split .7 .15 .15 \\
        --out benchmarks/results/image_two_phase_alone.json

Each seed runs both, one after the other, each in a fresh process, on emoji10 (noto) with zoo:efficientnet-lite0. The
seed divides the images too: by default 227 to train and 76 to test, as the alternative was measured before, with no
validation part, so neither side chooses anything by what it is judged on; --split .7 .15 .15 is tlkit's own default.
The alternative gets an environment of its own in the cache folder. What is compared is the time from decoded images
to an evaluated model; imports are on a line of their own, and neither exports. --alone leaves the alternative out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkit import zoo
from tlkit.core.files import cache_dir, write_atomic
from tlkit.data import image
from tlkit.datasets import samples

HERE = Path(__file__).parent
ALTERNATIVE = ("tensorflow", "tf_keras", "tensorflow-hub", "setuptools<81")
T_95 = {12: 2.201, 5: 2.776, 3: 4.303, 2: 12.706}  # two-sided 95 % of Student's t, by number of pairs


def alternative_python() -> str:
    """Python of the alternative's environment, made once."""
    folder = cache_dir() / "environments" / "keras_layer"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *ALTERNATIVE], check=True)
        (folder / "ready").touch()
    return str(python)


def arrays_of(seed: int, shares: Sequence[float], target: Path) -> None:
    """Decoded 224 px images of one split, as one .npz; a part that is empty is left out."""
    splits = image.resized(samples.emoji10(style="noto", seed=seed, split=shares), (224, 224))
    arrays = {"labels": np.asarray(splits.labels)}
    for name in ("train", "val", "test"):
        examples = getattr(splits, name)
        if not len(examples):
            continue
        arrays[f"{name}_x"] = np.stack([examples.inputs[i] for i in range(len(examples))])
        arrays[f"{name}_y"] = examples.target_array
    np.savez(target, **arrays)


def measured(python: str, worker: str, arrays: Path, module: Path, seed: int, epochs: list[int]) -> dict:
    """Result of one worker in a fresh process, with an empty feature cache."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        words = [
            str(HERE / worker),
            str(arrays),
            str(module),
            str(result),
            "--seed",
            str(seed),
            "--epochs",
            *map(str, epochs),
        ]
        subprocess.run([python, *words], check=True, env={**os.environ, "TLKIT_CACHE": scratch})
        figures = json.loads(result.read_text())
    figures["total_seconds"] = sum(v for k, v in figures["seconds"].items() if k != "import")
    return figures


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean of paired differences and its 95 % interval (Student)."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return mean, mean, mean
    half = T_95.get(len(differences), 2.0) * statistics.stdev(differences) / len(differences) ** 0.5
    return mean, mean - half, mean + half


def summary(pairs: list[dict]) -> dict:
    """Means, the paired difference, and the bars."""
    if "keras_layer" not in pairs[0]:
        accuracy = statistics.fmean(p["tlkit"]["accuracy"] for p in pairs)
        return {"seeds": len(pairs), "accuracy": {"tlkit": accuracy}, "bars": {"accuracy >= .73": accuracy >= 0.73}}
    ours, theirs = ([p[name] for p in pairs] for name in ("tlkit", "keras_layer"))
    gain, low, high = interval([a["accuracy"] - b["accuracy"] for a, b in zip(ours, theirs, strict=True)])
    ratio = statistics.median(a["total_seconds"] / b["total_seconds"] for a, b in zip(ours, theirs, strict=True))
    accuracy = statistics.fmean(a["accuracy"] for a in ours)
    return {
        "seeds": len(pairs),
        "accuracy": {"tlkit": accuracy, "keras_layer": statistics.fmean(b["accuracy"] for b in theirs)},
        "gain": {"mean": gain, "low": low, "high": high},
        "seconds": {n: statistics.fmean(p[n]["total_seconds"] for p in pairs) for n in ("tlkit", "keras_layer")},
        "time_ratio_median": ratio,
        "bars": {"accuracy >= .73": accuracy >= 0.73, "gain's interval above 0": low > 0, "time <= 1/4": ratio <= 0.25},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--epochs", type=int, nargs=2, default=[10, 5])
    parser.add_argument("--split", type=float, nargs=3, default=[0.75, 0.0, 0.25], help="train, validation, test")
    parser.add_argument(
        "--alone", action="store_true", help="tlkit without the alternative, which takes minutes a seed"
    )
    parser.add_argument("--resume", action="store_true", help="go on behind the seeds that --out holds")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "image_two_phase.json")
    args = parser.parse_args()
    module = zoo.folder("efficientnet-lite0")
    pairs: list[dict] = json.loads(args.out.read_text())["pairs"] if args.resume else []
    with tempfile.TemporaryDirectory() as scratch:
        arrays = Path(scratch) / "arrays.npz"
        for seed in range(len(pairs), args.seeds):
            arrays_of(seed, args.split, arrays)
            sides = [("tlkit", sys.executable, "tlkit_worker.py")]
            if not args.alone:
                sides.append(("keras_layer", alternative_python(), "keras_layer_worker.py"))
            pair = {}
            for name, python, worker in sides if seed % 2 == 0 else reversed(sides):  # neither is always first
                pair[name] = measured(python, worker, arrays, module, seed, args.epochs)
            pairs.append({"seed": seed, **pair})
            shown = {n: (round(side["accuracy"], 3), round(side["total_seconds"], 1)) for n, side in pair.items()}
            print(seed, shown, flush=True)
            record = {
                "summary": summary(pairs),
                "split": args.split,
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                "pairs": pairs,
            }
            write_atomic(args.out, json.dumps(record, indent=1))
    print(json.dumps(summary(pairs), indent=1))


if __name__ == "__main__":
    main()
