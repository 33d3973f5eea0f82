"""The preflight: parallel, ordered, and readable on a terminal and in a log file."""

from __future__ import annotations

import io
import threading

import pytest

from tlkit.core.errors import InputError
from tlkit.core.examples import Quarantined
from tlkit.data import preflight as module
from tlkit.data.preflight import Checked, cpus, preflight


def check(i: int) -> Checked:
    if i % 5 == 4:
        return Checked(reason="broken")
    return Checked(ignored=True) if i == 0 else Checked(digest=f"d{i}")


def names(count: int) -> list[str]:
    return [f"file {i}" for i in range(count)]


def test_findings_keep_the_order_of_the_names():
    checks = preflight(names(1300), check, noun="files", progress=False)
    assert checks.sound == tuple(i for i in range(1, 1300) if i % 5 != 4)
    assert checks.digests == tuple(f"d{i}" for i in checks.sound)
    assert checks.quarantine == tuple(Quarantined(f"file {i}", "broken") for i in range(4, 1300, 5))


def test_checks_run_in_parallel():
    barrier = threading.Barrier(cpus(), timeout=20)

    def meet(i: int) -> Checked:
        if i < cpus():
            barrier.wait()  # passes only when all threads are in a check at once
        return Checked(digest="x")

    preflight(names(10), meet, noun="files", progress=False)


def test_strict_names_the_first_few():
    with pytest.raises(InputError, match=r"^4 of 20 files cannot be used: 'file 4' \(broken\), .* and 1 more\. Repair"):
        preflight(names(20), check, noun="files", strict=True, progress=False)


def test_nothing_is_said_without_progress(capsys):
    preflight(names(20), check, noun="files", progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_log_file_gets_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(module, "_EVERY_S", -1.0)
    preflight(names(3), check, noun="files")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [f"tlkit: checking files: {i} of 3" for i in (1, 2, 3)]
    assert lines[3].endswith("s: 2 sound")


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    preflight(names(20), check, noun="files")
    assert "checking files" in screen.getvalue()
    assert screen.getvalue().endswith(
        "15 sound; left out 4: 'file 4' (broken), 'file 9' (broken), 'file 14' (broken) and 1 more\n"
    )
