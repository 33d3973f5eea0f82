"""What benchmarks share: fresh processes, peak memory, intervals."""

import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MACHINE = f"{platform.machine()}, {os.cpu_count()} cores"


def fresh(script: str, *words: str) -> dict:
    """What a script writes to its --out, run in a fresh process that finds what is downloaded or built, no features."""
    from tlkit.core.files import cache_dir

    with tempfile.TemporaryDirectory() as scratch:
        for name in ("samples", "zoo", "environments"):
            (cache_dir() / name).mkdir(parents=True, exist_ok=True)
            (Path(scratch) / name).symlink_to(cache_dir() / name)
        result = Path(scratch) / "result.json"
        command = [sys.executable, script, *words, "--out", str(result)]
        subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "TLKIT_CACHE": scratch})
        return json.loads(result.read_text())


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def recipe(name: str):
    """A recipe's module."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interval(values: list[float]) -> list[float] | None:
    """95 % interval of the mean over seeds, by Student's t; None of a single one."""
    from tlkit.tasks.metrics import mean_interval

    return list(mean_interval(values)) if len(values) > 1 else None
