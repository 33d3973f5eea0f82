"""Trouble of every kind becomes one sentence with the path and the fix; folders are held while they are written to."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from tlkit.cli import commands
from tlkit.core import files
from tlkit.core.errors import GateError, InputError
from tlkit.core.trouble import explained, printable

SYSTEM = {
    errno.EACCES: "permissions",
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "read-only",
    errno.ENAMETOOLONG: "too long",
    errno.ENOTDIR: "is a file, not a folder",
    errno.EISDIR: "is a folder where a file is needed",
    errno.ELOOP: "symbolic links",
    errno.EXDEV: "cross-device",  # one that has no words of its own
}


@pytest.mark.parametrize("number", SYSTEM)
def test_errors_of_the_system_name_path_and_fix(number):
    sentence = explained(OSError(number, os.strerror(number), "/some/where"))
    assert sentence.startswith("/some/where: ") and SYSTEM[number] in sentence and "Errno" not in sentence
    assert SYSTEM[number] in explained(OSError(number, os.strerror(number))).lower()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "Memory ran out (Unable to allocate 9 GiB)"),
        (RecursionError(), "nested too deeply"),
        (ValueError("embedded null byte"), "NUL"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), r"'a\udcff' holds characters"),
        (ModuleNotFoundError("No module named 'torch'", name="torch.nn"), "pip install torch"),
        (OSError("2000 requested and 1024 written"), "disk is full"),
        (RuntimeError("write failed: No space left on device"), "disk is full"),
        (InputError("a \x1b[31mname"), r"a \x1b[31mname"),
        (GateError("a table\nof two lines"), "a table\nof two lines"),
        (KeyError("surprise"), "KeyError: 'surprise'"),
        (ZeroDivisionError(), "--debug"),
    ],
)
def test_other_errors(error, words):
    assert words in explained(error)


def test_the_cause_speaks_where_a_package_hides_it():
    error = ValueError("pages of a package")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/full")
    assert explained(error).startswith("/full: the disk is full")


def test_a_file_of_the_cache_has_its_own_fix(tmp_path):
    error = IsADirectoryError(errno.EISDIR, "Is a directory", str(tmp_path / "features" / "x"))
    assert "`tlkit cache clear` empties it" in explained(error, tmp_path)
    assert "tlkit cache clear" not in explained(error, tmp_path / "elsewhere")


def test_printable_leaves_letters_of_all_scripts():
    assert printable("fällend ✓ 字\n\x00\u202e") == "fällend ✓ 字\n\\x00\\u202e"


# -- the command line


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number), "/some/where") for number in SYSTEM),
        MemoryError(),
        RecursionError(),
        ValueError("embedded null byte"),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
        AssertionError("a bug"),
    ],
    ids=repr,
)
def test_no_command_ends_in_a_traceback(monkeypatch, capsys, error):
    def fail(_args, _flags):
        raise error

    monkeypatch.setattr(commands, "_doctor", fail)
    assert commands.main(["doctor", "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("tlkit: ") and shown.err.count("\n") == 1 and "Traceback" not in shown.err
    assert json.loads(shown.out) == {"error": shown.err.removeprefix("tlkit: ").strip(), "exit_code": 2}
    assert commands.main(["doctor", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


SLEEPS = """
import sys, tempfile, time
from tlkit.cli import commands
from tlkit.core import files
def sleeps(args, flags):
    with files.atomic_folder(sys.argv[1] + "/made") as partial:
        print("ready", flush=True)
        try:
            time.sleep(60)
        except Exception:
            pass
commands._doctor = sleeps
sys.exit(commands.main(["doctor"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_a_command_tidily(tmp_path, number):
    before = signal.signal(number, signal.SIG_DFL)  # shells in the background and nohup have some ignored, also here
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", SLEEPS, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(number, before)
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert told.count("\n") == 1 and "what was finished is kept" in told
    assert list(tmp_path.iterdir()) == []


def test_what_an_interrupt_left_half_made_goes_in_silence(monkeypatch, capsys):
    class HalfMade:
        def __init__(self):
            try:
                {}["none"]
            except KeyError:
                raise KeyboardInterrupt  # noqa: B904

        def __del__(self):
            gone.append(self.options)

    gone, told = [], []
    monkeypatch.setattr(commands, "_doctor", lambda *_: HalfMade())
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    assert commands.main(["doctor"]) == 130 and told == []
    assert commands.main(["doctor", "--debug"]) == 130 and len(told) == 1
    assert "HalfMade" in capsys.readouterr().err and gone == []


def test_nohup_stays_in_force(tmp_path):
    words = f"trap '' HUP; exec {sys.executable} -c '{SLEEPS.replace('sleep(60)', 'sleep(0.5)')}' {tmp_path}"
    with subprocess.Popen(["sh", "-c", words], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=20) == 0


def test_a_cache_that_is_a_file_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file"))
    assert commands.main(["cache", "clear"]) == 2
    assert "is a file: let TLKIT_CACHE name a folder" in capsys.readouterr().err


# -- folders in use

HOLDS = """
import sys, time
from tlkit.core import files
with files.held(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    out = tmp_path / "a" / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(out)], stdout=subprocess.PIPE, text=True) as process:
        try:
            process.stdout.readline()
            with pytest.raises(InputError, match=f"in use: process {process.pid} is writing to it"), files.held(out):
                pass
            files.drop_lock(out)
            assert (out / files.LOCK).exists(), "it is held"
        finally:
            process.kill()
    files.drop_lock(out)
    assert list(out.iterdir()) == []
    with files.held(out):  # a kill leaves nothing in the way
        assert (out / files.LOCK).read_text().strip() == str(os.getpid())
    assert list(out.iterdir()) == []


def test_one_process_may_hold_a_folder_twice(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with files.held(tmp_path / "run"):
        with files.held(link):
            pass
        assert (tmp_path / "run" / files.LOCK).exists()
    assert not (tmp_path / "run" / files.LOCK).exists()


def test_a_folder_made_for_nothing_goes_again(tmp_path):
    with files.held(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with files.held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert (tmp_path / "a" / "b" / "file").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file", "something else lies there already"),
        ("file/below", "is a file, not a folder"),
        ("x" * 300, "the name is too long"),
        ("nul\0", "choose another name"),
        ("loop", "something else lies there|symbolic links"),
        ("/proc/nothing", "no such file|permissions"),
        ("busy", "is a folder where a file is needed|symbolic links"),
    ],
)
def test_a_folder_that_cannot_be_written_to(tmp_path, name, words):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "busy" / files.LOCK).mkdir(parents=True)
    with pytest.raises(InputError, match=words), files.held(tmp_path / name):
        pass


def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path):
    files.write_atomic(tmp_path / "x", "old")
    with pytest.raises(OSError) as caught, files.atomic_file(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"
