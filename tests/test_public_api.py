"""The public surface is a decision: these names, in any order of import, and none of them slows down the start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

import tlkit
from tlkit.core import errors

NAMES = {
    "Agreement",
    "Answer",
    "Deployment",
    "Signature",
    "Evaluation",
    "Facts",
    "FileInfo",
    "Gates",
    "InputInfo",
    "Serving",
    "Shaped",
    "metadata",
    "Inference",
    "Modality",
    "Scorer",
    "Section",
    "answers",
    "ArraySpec",
    "Augment",
    "Column",
    "Pipeline",
    "Objective",
    "__version__",
    "columns",
    "DownloadError",
    "Examples",
    "Format",
    "GateError",
    "HubLayer",
    "InputError",
    "OfflineError",
    "Opened",
    "Phase",
    "Range",
    "Reads",
    "Run",
    "Source",
    "Splits",
    "Task",
    "TlkitError",
    "TrainingError",
    "UnsafeModuleError",
    "build",
    "cluster",
    "data",
    "datasets",
    "evaluate",
    "explain",
    "explain_mistakes",
    "export",
    "extract",
    "finetune",
    "fit",
    "flags",
    "index",
    "inspect",
    "load",
    "made_by",
    "methods",
    "plans",
    "predict",
    "publish",
    "rank",
    "reads",
    "save",
    "tasks",
    "table_check",
    "transfer_check",
    "tune",
    "zoo",
}
SHELVES = {
    "answers",
    "cluster",
    "columns",
    "data",
    "datasets",
    "flags",
    "metadata",
    "methods",
    "plans",
    "reads",
    "tasks",
    "zoo",
}
HELP_SECONDS = 0.3

# Each order of import gets a process of its own, forked after TensorFlow, which takes far longer than all of tlkit.
EVERY_ORDER = """
import os, random, sys, types
import keras, tensorflow
names, shelves = sys.argv[1].split(), set(sys.argv[2].split())
for seed in range(8):
    order = sorted(names)
    random.Random(seed).shuffle(order)
    child = os.fork()
    if child == 0:
        import tlkit
        first = {name: getattr(tlkit, name) for name in order}
        wrong = [n for n in order if isinstance(first[n], types.ModuleType) != (n in shelves)]
        wrong += [n for n in order if getattr(tlkit, n) is not first[n]]
        if wrong:
            print(f"{wrong} after {order}", file=sys.stderr)
        os._exit(len(wrong) > 0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


LIGHT = """
import sys
import tlkit, tlkit.cli.commands, tlkit.data.image, tlkit.layer.reads
import tlkit.methods, tlkit.plans, tlkit.tasks, tlkit.zoo
tlkit.cli.main(["--help"])
heavy = {"tensorflow", "keras", "tensorflow_hub", "ai_edge_litert"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


def test_the_names_are_pinned():
    assert set(tlkit.__all__) == {*tlkit._FROM, "__version__"} == NAMES
    assert NAMES.issubset(dir(tlkit))


def test_every_error_is_in_the_namespace_without_tensorflow():
    family = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.TlkitError)]
    assert len(family) >= 7
    assert all(getattr(tlkit, c.__name__) is c for c in family)
    done = run("-c", "import sys, tlkit; tlkit.GateError, tlkit.InputError; sys.exit('tensorflow' in sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_each_name_is_reachable_in_every_order_of_import():
    done = run("-c", EVERY_ORDER, " ".join(NAMES), " ".join(SHELVES))
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_unknown_name_is_said():
    done = run("-c", "import tlkit; tlkit.nosuch")
    assert "module 'tlkit' has no attribute 'nosuch'" in done.stderr


def test_import_and_help_need_no_tensorflow():
    done = run("-c", LIGHT)
    assert done.returncode == 0, done.stderr
    assert "usage: tlkit" in done.stdout


def test_help_answers_at_once():
    bare, helped = zip(*((seconds("-c", "pass"), seconds("-m", "tlkit.cli", "--help")) for _ in range(5)), strict=True)
    usual = statistics.median(bare)
    # python -c pass takes about 0.02 s on a machine that is free; on a busy one everything takes longer
    assert statistics.median(helped) - usual < max(HELP_SECONDS, 10 * usual)


def seconds(*words: str) -> float:
    started = time.perf_counter()
    assert run(*words).returncode == 0
    return time.perf_counter() - started


def test_corpora_are_still_found_where_they_were():
    from tlkit.datasets import samples

    with pytest.warns(DeprecationWarning, match=r"tlkit\.data\.samples is now tlkit\.datasets\.samples"):
        assert tlkit.data.samples.folder is samples.folder
    with pytest.warns(DeprecationWarning, match="tlkit.datasets.digits"):
        from tlkit.data.digits import mnist  # noqa: F401
