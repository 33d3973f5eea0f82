"""Bad inputs, hostile and malformed modules, kills, signals, disks, damaged caches and odd networks, counted.

    python benchmarks/robustness.py --out benchmarks/results/robustness.json
    python benchmarks/robustness.py --areas images flags --match "symlink"

Every case runs in a process of its own, forked from one that has imported TensorFlow, in an empty folder, with a limit
on time and memory. An answer is right where the thing is refused in one sentence (exit code 2), left out by name, or
used as what it is; a traceback, a hang, a process that eats the memory and a wrong result in silence are failures.
The cases are in benchmarks/attacks/, a file an area. Servers listen on 127.0.0.1 and end with their case.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

from attacks.cases import Case, Outcome, outcome_of

from tlkit.core.files import write_atomic

SHARED = ("__init__", "base", "cases", "library")
AREAS = tuple(sorted(p.stem for p in (Path(__file__).parent / "attacks").glob("*.py") if p.stem not in SHARED))


def main() -> int:
    """Run the cases and write the counts; returns 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", nargs="*", default=AREAS, choices=AREAS)
    parser.add_argument("--match", default="", help="only cases whose name holds this")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep what --out holds of other areas")
    args = parser.parse_args()
    started = time.perf_counter()
    _import_everything()
    results = [result for area in args.areas for result in _area(area, args.match)]
    before = json.loads(args.out.read_text()) if args.keep and args.out and args.out.exists() else {}
    failures = [r for r in results if r["wrong"]]
    counts = _counts(results)
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "seconds": round(before.get("seconds", 0.0) + time.perf_counter() - started, 1),
        "counts": dict(sorted({**before.get("counts", {}), **counts}.items())),
        "failures": [r for r in before.get("failures", []) if r["area"] not in counts] + failures,
    }
    if args.out:
        write_atomic(args.out, json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
    print(json.dumps(counts, indent=1))
    return 1 if failures else 0


def _import_everything() -> None:
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    import tlkit

    for name in ("finetune", "export", "inspect", "load", "index", "data", "tasks", "methods", "plans"):
        getattr(tlkit, name)


def _area(area: str, match: str) -> Iterator[dict]:
    cases = [case for case in importlib.import_module(f"attacks.{area}").cases() if match in case.name]
    for number, case in enumerate(cases, start=1):
        wrong, seconds = judged(case)
        print(f"{area} {number}/{len(cases)} {case.name}: {wrong or 'right'} ({seconds:.1f} s)", file=sys.stderr)
        yield {"area": case.area, "name": case.name, "wrong": wrong, "seconds": round(seconds, 1)}


def judged(case: Case) -> tuple[str, float]:
    """What is wrong with the outcome of a case, or "", and its seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_in_child, args=(case, Path(scratch), sender))
        process.start()
        sender.close()
        patience = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others may use the machine as well
        wrong = _received(receiver, process, case.timeout_s * patience)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)  # the case and the workers that it started
        process.join()
    return wrong, time.perf_counter() - started


def _received(receiver: Connection, process: multiprocessing.Process, timeout_s: float) -> str:
    try:
        if not receiver.poll(timeout_s):
            return f"hang: no answer in {timeout_s:.0f} s"
        wrong: str = receiver.recv()
    except EOFError:
        process.join()
        return f"killed: the process ended with {process.exitcode}"
    return wrong


def _in_child(case: Case, folder: Path, sender: Connection) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.environ["TLKIT_CACHE"] = str(folder / "cache")
    inputs = folder / "case"
    inputs.mkdir()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    limit = _resident_mb() + 8 * case.growth_mb
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**20), -1))
    before = _resident_mb()
    outcome: Outcome = outcome_of(case, inputs)
    wrong = case.wrong(outcome)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if not wrong and growth > case.growth_mb:
        wrong = f"memory: grew by {growth:.0f} MB"
    sender.send(wrong)
    sender.close()
    os._exit(0)


def _resident_mb() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def _counts(results: list[dict]) -> dict[str, dict]:
    counts: dict[str, dict] = {}
    for area in sorted({result["area"] for result in results}):
        mine = [result for result in results if result["area"] == area]
        kinds = Counter(result["wrong"].split(":")[0] for result in mine if result["wrong"])
        counts[area] = {"tried": len(mine), "right": sum(not result["wrong"] for result in mine), **dict(kinds)}
    return counts


if __name__ == "__main__":
    sys.exit(main())
