"""How fast an hour of sound becomes features, as JSON.

    python benchmarks/extraction.py --minutes 60 --out benchmarks/results/extraction.json

speech-embedding over a corpus of spoken digits, repeated with noise, in files of 10 s and windows of 1 s, in a fresh
process without cached features.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from measuring import HERE, MACHINE, fresh, peak_mb

RATE, FILE_S, WINDOW_S = 16_000, 10, 1.0


def corpus(folder: Path, minutes: float) -> None:
    """Files of 10 s: spoken digits one after the other, each file with noise of its own."""
    import numpy as np
    import soundfile

    from tlkit.datasets import spoken

    digits = spoken.digits()
    clips = [digits.train.inputs[i] for i in range(len(digits.train))]
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
        shape = [len(data.train), *features.take([0])[0].shape[1:]]
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0, help="of the corpus that is extracted")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "extraction.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        args.out.write_text(json.dumps(extract(args.minutes)))
        return
    figures = fresh(__file__, "--worker", "--minutes", str(args.minutes))
    record = {"machine": MACHINE, **figures, "bars": {"20 times real time": figures["times_real_time"] >= 20}}
    args.out.write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
