"""TensorFlow's start-up lines are kept from the terminal; all else that is written to stderr passes.

They come from C++, partly before any setting is read, so that a small process of its own reads what is written to file
descriptor 2. It lives longer than tlkit does: a crash's last words pass as well. This file is its program too.
"""

from __future__ import annotations

import logging
import os
import re
import select
import subprocess
import sys

NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IW]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ [\w./-]+:\d+\] "  # absl: I0000 00:00:1795891624.124286   15626 port.cc:153]
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] [\w./-]+:\d+\] "  # the same of older TensorFlow
    rb"|(E\d{4} \d\d:|\d{4}-\d\d-\d\d \d\d:).*(Unable to register cu|computation_placer|cuda_driver|cuda_platform)"
    rb"|To enable the following instructions: .* rebuild TensorFlow"
    rb"|(INFO|WARNING): .*(TensorFlow Lite|TfLite|XNNPACK|delegate)"
)
START = re.compile(rb"[IWE]|\d{1,4}$|\d{4}-|To")  # of a line that may become noise
PATIENCE_S = 0.5  # a line that has no end yet waits so long for it
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}

_filters: list[subprocess.Popen[bytes]] = []


def hush() -> None:
    """Keep TensorFlow's lines from stderr for the rest of this process and of those that it starts.

    Python's own `sys.stderr` goes where it went; only what is written past it passes the filter. What TensorFlow's
    Python logs is left out below errors.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if os.name != "posix" or _filters:
        return
    try:
        terminal = os.dup(2)
        command = [sys.executable, "-I", "-S", __file__]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=terminal, start_new_session=True)  # no Ctrl-C
    except OSError:  # no stderr, or no process to be had: the lines are shown
        return
    assert process.stdin is not None
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    os.dup2(process.stdin.fileno(), 2)
    process.stdin.close()
    _filters.append(process)


def without_noise(text: bytes) -> bytes:
    """The lines but for TensorFlow's.

    Example:
        >>> without_noise(b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\nmine\\n")
        b'mine\\n'
    """
    return b"".join(line for line in text.splitlines(keepends=True) if not NOISE.match(line))


def _pass_on() -> None:
    """Read lines from descriptor 0 and write those that are not noise to descriptor 1."""
    begun = b""
    while True:
        if begun and not select.select([0], [], [], PATIENCE_S)[0]:
            os.write(1, begun)
            begun = b""
        chunk = os.read(0, 65536)
        if not chunk:
            break
        lines, end, begun = (begun + chunk).rpartition(b"\n")
        _write(without_noise(lines + end))
        if begun and not START.match(begun):
            _write(begun)
            begun = b""
    _write(without_noise(begun))


def _write(text: bytes) -> None:
    while text:
        text = text[os.write(1, text) :]


if __name__ == "__main__":
    _pass_on()
