"""TensorFlow's lines stay off the terminal, all else reaches it: also what is written while a process dies."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tlkit.cli import commands
from tlkit.core import terminal

NOISE = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795891624.124286   15626 cudart_stub.cc:31] Could not find cuda drivers on your machine
W0000 00:00:1795891624.124286   15626 tf_tfl_flatbuffer_helpers.cc:365] Ignored output_format.
I1128 18:44:22.123456  15626 port.cc:153] oneDNN custom operations are on.
2026-11-28 18:44:22.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is optimized
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the right flags.
E0000 00:00:1795891624.1   15626 cuda_dnn.cc:8310] Unable to register cuDNN factory: Attempting to register factory
E0000 00:00:1795891624.1   15626 computation_placer.cc:177] computation placer already registered.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
"""
WORDS = """\
tlkit: data/cat: there is no such folder.
INFO: my own script says hello
WARNING: my disk is full
Fatal Python error: Segmentation fault
F0000 00:00:1795891624.124286   15626 tensor.cc:31] Check failed: 1 == 2
E0000 00:00:1795891624.124286   15626 bfc_allocator.cc:31] Out of memory
2026-11-28 18:44:22.123456: my log line
terminate called after throwing an instance of 'std::bad_alloc'
"""
DYING = """
import ctypes, faulthandler, os, subprocess, sys
from tlkit.core import terminal
faulthandler.enable()
terminal.hush()
print("tlkit's own", file=sys.stderr)
os.write(2, {noise!r}.encode() + b"from C")
os.write(2, b" in two parts\\n")
subprocess.run([sys.executable, "-c", "import sys; print('of a child', file=sys.stderr)"], check=True)
os.write(2, b"last words")
os.kill(os.getpid(), {signal})
"""


@pytest.mark.parametrize("line", NOISE.splitlines(keepends=True))
def test_a_line_of_tensorflow_is_noise(line):
    assert terminal.without_noise(line.encode()) == b""


@pytest.mark.parametrize("line", WORDS.splitlines(keepends=True))
def test_other_lines_pass(line):
    assert terminal.without_noise(line.encode()) == line.encode()


@pytest.mark.parametrize("signal", [9, 11])
def test_all_else_passes_even_as_the_process_dies(signal):
    done = dying(signal, stderr=subprocess.PIPE)
    assert done.returncode == -signal
    text = done.stderr.decode()
    for words in ("tlkit's own\n", "from C in two parts\n", "of a child\n", "last words"):
        assert words in text
    assert "cudart" not in text and "XNNPACK" not in text
    assert ("Segmentation fault" in text) == (signal == 11)


def test_a_closed_stderr_ends_nothing():
    code = "from tlkit.core import terminal; terminal.hush(); print('done')"
    command = f'exec {sys.executable} -c "{code}" 2>&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize(("words", "hushed"), [(["recipes"], 1), (["recipes", "--debug"], 0)])
def test_debug_shows_all(words, hushed, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(terminal, "hush", lambda: calls.append(1))
    monkeypatch.setattr(sys, "argv", ["tlkit", *words])
    assert commands.main() == 0 and len(calls) == hushed
    assert commands.main(words) == 0 and len(calls) == hushed  # called from Python, stderr is left alone
    capsys.readouterr()


def dying(signal: int, **options) -> subprocess.CompletedProcess[bytes]:
    code = DYING.format(noise=NOISE, signal=signal)
    return subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False, **options)
