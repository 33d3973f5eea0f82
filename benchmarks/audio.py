"""What the audio recipes score, over several seeds, with intervals, seconds and peak memory, as JSON; and how fast an
hour of sound becomes features.

    python benchmarks/audio.py --seeds 3 --out benchmarks/results/audio.json
    python benchmarks/audio.py --only extraction --minutes 6

audio_classification: spoken digits, synthetic voices to train on, ten recordings of a real one to test on; .933 is what
a linear classifier on the frozen embedding had (facts/modules_and_data.md). speaker_verification and music_tagging run
on their own samples. extraction: speech-embedding over a corpus of those digits, repeated with noise, in files of 10 s
and windows of 1 s. Each seed, and the extraction, run in a fresh process without cached features.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SCORES = {"audio_classification": "accuracy", "speaker_verification": "eer", "music_tagging": "mean_average_precision"}
EXTRACTION = "extraction"
RATE, FILE_S, WINDOW_S = 16_000, 10, 1.0
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % quantiles, by the count of seeds


def measured(what: str, seed: int, minutes: float) -> dict:
    """Result of one seed, or of the extraction, in a fresh process that finds samples and modules but no features."""
    from tlkit.files import cache_dir

    with tempfile.TemporaryDirectory() as scratch:
        for name in ("samples", "zoo"):
            (cache_dir() / name).mkdir(parents=True, exist_ok=True)
            (Path(scratch) / name).symlink_to(cache_dir() / name)
        result = Path(scratch) / "result.json"
        words = [sys.executable, __file__, "--worker", what, "--seed", str(seed), "--minutes", str(minutes)]
        environment = {**os.environ, "TLKIT_CACHE": scratch}
        subprocess.run([*words, "--out", str(result)], check=True, stdout=sys.stderr, env=environment)
        return json.loads(result.read_text())


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def adapt(recipe: str, seed: int) -> dict:
    """Run a recipe with its defaults."""
    spec = importlib.util.spec_from_file_location(recipe, HERE.parent / "recipes" / f"{recipe}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = module.main(out=Path(folder), seed=seed)
        whole = time.perf_counter() - started
    return {
        "scores": dict(run.scores),
        "seconds": {**run.seconds, "whole": whole},
        "peak_memory_mb": peak_mb(),
        "examples": {part: len(getattr(run.data, part)) for part in ("train", "val", "test")},
        "exports": {row.format: row.passed for row in run.exports},
    }


def corpus(folder: Path, minutes: float) -> None:
    """Files of 10 s: spoken digits one after the other, each file with noise of its own."""
    import numpy as np
    import soundfile

    from tlkit.data import spoken

    digits = spoken.digits()
    clips = [digits.train.read(i) for i in range(len(digits.train))]
    for number in range(round(60 * minutes / FILE_S)):
        rng = np.random.default_rng(number)
        sound = np.concatenate([clips[i] for i in rng.integers(len(clips), size=FILE_S)])[: FILE_S * RATE]
        noisy = np.clip(sound + rng.normal(0, 0.01, len(sound)), -1, 1)
        target = folder / f"half-{number % 2}" / f"{number:04}.wav"
        target.parent.mkdir(exist_ok=True)
        soundfile.write(target, noisy, RATE, subtype="PCM_16")


def extract(minutes: float) -> dict:
    """Preflight and extraction of a corpus of so many minutes."""
    import tlkit
    from tlkit.data import audio

    with tempfile.TemporaryDirectory() as folder:
        corpus(Path(folder), minutes)
        layer = tlkit.HubLayer("zoo:speech-embedding")
        started = time.perf_counter()
        data = audio.from_folder(folder, seconds=WINDOW_S, split=(1.0, 0.0, 0.0), progress=False)
        checked = time.perf_counter()
        features = tlkit.extract(layer, data.train)
        done = time.perf_counter()
        shape = [len(data.train), *features.take([0]).shape[1:]]
    seconds = len(data.train) * WINDOW_S
    return {
        "sound_seconds": seconds,
        "features": shape,
        "preflight_seconds": checked - started,
        "extraction_seconds": done - checked,
        "times_real_time": seconds / (done - checked),
        "times_real_time_with_preflight": seconds / (done - started),
        "peak_memory_mb": peak_mb(),
    }


def summary(recipe: str, found: list[dict]) -> dict:
    """Mean score with its interval over seeds, and that of each seed over its test examples."""
    name = SCORES[recipe]
    scores = [one["scores"][name] for one in found]
    mean, count = statistics.fmean(scores), len(scores)
    half = STUDENT_T.get(count, 2.0) * statistics.stdev(scores) / math.sqrt(count) if count > 1 else None
    bars = {"accuracy >= .933": mean >= 0.933} if recipe == "audio_classification" else {}
    return {
        "score": name,
        "mean": mean,
        "interval_over_seeds": None if half is None else [mean - half, mean + half],
        "intervals_of_seeds": [[one["scores"].get(f"{name}_low"), one["scores"].get(f"{name}_high")] for one in found],
        "seeds": count,
        "seconds": statistics.fmean(one["seconds"]["whole"] for one in found),
        "peak_memory_mb": max(one["peak_memory_mb"] for one in found),
        "bars": bars,
    }


def work(what: str, seed: int, minutes: float, out: Path) -> None:
    """What a fresh process does."""
    out.write_text(json.dumps(extract(minutes) if what == EXTRACTION else adapt(what, seed)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the corpus that is extracted")
    parser.add_argument("--only", choices=[*SCORES, EXTRACTION])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "audio.json")
    parser.add_argument("--worker", choices=[*SCORES, EXTRACTION], help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.seed, args.minutes, args.out)
        return
    record = json.loads(args.out.read_text()) if args.out.exists() else {}
    record["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    for what in [*SCORES, EXTRACTION] if args.only is None else [args.only]:
        if what == EXTRACTION:
            found = measured(what, 0, args.minutes)
            record[what] = {**found, "bars": {"20 times real time": found["times_real_time"] >= 20}}
        else:
            runs = [measured(what, seed, args.minutes) for seed in range(args.seeds)]
            record[what] = {"summary": summary(what, runs), "runs": runs}
        args.out.write_text(json.dumps(record, indent=1))
        print(json.dumps(record[what].get("summary", record[what]), indent=1), flush=True)


if __name__ == "__main__":
    main()
