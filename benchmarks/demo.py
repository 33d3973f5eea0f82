"""`tlkit demo` and the ranking of three modules, with an empty cache and with a full one: seconds of each, as JSON.

    python benchmarks/demo.py --rounds 2 --rank --beside /tmp/before/.venv/bin --out benchmarks/results/demo.json

Each command is a process of its own. The second one with the same cache finds what is downloaded, built, converted and
computed. `--beside` has the commands of another checkout, as of the commit before a change: both take turns, so that
their ratio means something on a machine that is slower, or has other work. Seconds are of the whole process, CPU
seconds with those of the processes that it started. `--rank` ranks three modules on the bundled pictures besides: both
EfficientNets of the zoo, and a MobileNetV2 of random weights, as what is measured are seconds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measuring import HERE, MACHINE

from tlkit.datasets import samples

STATES = ("empty", "full")
THIRD = """
import sys
import keras
keras.utils.set_random_seed(0)
pixels = keras.Input((224, 224, 3))
net = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=None)
keras.Model(pixels, net(keras.layers.Rescaling(1 / 127.5, -1)(pixels))).export(sys.argv[1], verbose=False)
"""
RANK = """
import sys
import tlkit
data = tlkit.data.image.from_folder(sys.argv[1])
tlkit.rank(["zoo:efficientnet-lite0", "zoo:efficientnet-lite0-imagenet", sys.argv[2]], data)
"""


def seconds(command: list[str], cache: Path) -> dict[str, float]:
    """Seconds of a command, and of CPU, in an empty folder."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TLKIT_CACHE": str(cache)}
        subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": wall, "cpu_seconds": cpu}


def twice(command: list[str]) -> dict[str, dict[str, float]]:
    """Of the first call, with an empty cache, and of the second."""
    with tempfile.TemporaryDirectory() as cache:
        return {state: seconds(command, Path(cache)) for state in STATES}


def summary(rounds: list[dict]) -> dict:
    """Medians over the rounds, and of the ratios to the other checkout within a round."""
    result: dict = {}
    for name in rounds[0]:
        result[name] = {s: statistics.median(r[name][s]["seconds"] for r in rounds) for s in STATES}
        if (beside := f"{name} beside") in rounds[0]:
            ratios = {s: [r[name][s]["seconds"] / r[beside][s]["seconds"] for r in rounds] for s in STATES}
            result[f"{name}, ratio"] = {state: statistics.median(values) for state, values in ratios.items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", type=Path, help="folder of the commands of another checkout's environment")
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "demo.json")
    args = parser.parse_args()
    places = {"": Path(sys.executable).parent} | ({" beside": args.beside.absolute()} if args.beside else {})
    commands = {f"demo{name}": [str(place / "tlkit"), "demo"] for name, place in places.items()}
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        if args.rank:
            subprocess.run([sys.executable, "-c", THIRD, folder], check=True, stdout=subprocess.DEVNULL)
            words = ["-c", RANK, str(samples.folder("emoji10", "noto")), folder]
            commands |= {f"rank{name}": [str(place / "python"), *words] for name, place in places.items()}
        for _ in range(args.rounds):
            rounds.append({name: twice(command) for name, command in commands.items()})
            report = {"summary": summary(rounds), "machine": MACHINE, "rounds": rounds}
            args.out.write_text(json.dumps(report, indent=1) + "\n")
            print(json.dumps(report["summary"]), flush=True)


if __name__ == "__main__":
    main()
