"""Is this environment sound: one line a finding, each with its fix. Runs where TensorFlow is missing or broken."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tlkit.core.files import cache_dir

OK, NOTE, WARN, FAIL = "ok", "note", "warn", "fail"
PYTHON = (3, 11)
NEEDED = {  # lowest version, and the first that is too new
    "tensorflow": ("2.19", None),
    "keras": ("3.14", "4"),
    "numpy": ("1.26.4", None),
    "ai-edge-litert": ("1.3.0", None),
}
SETUPTOOLS_WITHOUT_PKG_RESOURCES = "82"
ROOM_GB, LEAST_ROOM_GB = 2.0, 0.2
RUN_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is about.
        status: "ok", "note" (worth knowing), "warn" (something will not work) or "fail" (tlkit will not work).
        detail: What was found.
        fix: What to do about it, or "".
    """

    name: str
    status: str
    detail: str
    fix: str = ""


def doctor() -> list[Finding]:
    """Look at Python, packages, settings, cache and LiteRT; imports neither TensorFlow nor Keras here."""
    environment = os.environ
    return [
        _python(sys.version_info[:3]),
        *(_package(name, *bounds, installed(name)) for name, bounds in NEEDED.items()),
        _tensorflow_hub(installed("tensorflow-hub"), installed("setuptools"), installed("tf_keras")),
        _backend(environment),
        _legacy_keras(environment, installed("tf_keras")),
        _cache(cache_dir()),
        _downloads(environment, importlib.util.find_spec("pip") is not None, shutil.which("uv")),
        *([_imports()] if installed("tensorflow") and installed("keras") else []),
        _litert(),
    ]


def lines(findings: list[Finding]) -> list[str]:
    """One line a finding, for a terminal.

    Example:
        >>> lines([Finding("python", "ok", "3.11.2")])
        ['ok    python: 3.11.2']
    """
    return [f"{f.status:<5} {f.name}: {f.detail}{f'; {f.fix}' if f.fix else ''}" for f in findings]


def installed(package: str) -> str | None:
    """Version of an installed package, from its metadata alone."""
    names = (package, f"{package}-cpu", f"{package}-intel", f"tf-nightly{package.removeprefix('tensorflow')}")
    for name in names if package == "tensorflow" else (package,):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def number(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with.

    Example:
        >>> number("2.19.0rc1") < number("2.21")
        True
    """
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _python(version: tuple[int, ...]) -> Finding:
    text = f"{'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if version < PYTHON:
        return Finding("python", FAIL, text, f"use Python {'.'.join(map(str, PYTHON))} or newer")
    return Finding("python", OK, text)


def _package(name: str, least: str, below: str | None, version: str | None) -> Finding:
    requirement = f"{name}>={least}" + (f",<{below}" if below else "")
    if version is None:
        return Finding(name, FAIL, "not installed", f"pip install '{requirement}'")
    fits = number(least) <= number(version) and (below is None or number(version) < number(below))
    if not fits:
        return Finding(name, FAIL, f"{version}, but tlkit needs {requirement}", f"pip install '{requirement}'")
    return Finding(name, OK, version)


def _tensorflow_hub(version: str | None, setuptools: str | None, tf_keras: str | None) -> Finding:
    """Only gs:// and TF1 modules need it; it imports tf_keras, and pkg_resources, which newer setuptools lack."""
    if version is None or tf_keras is None:
        missing = " and ".join(n for n, v in (("tensorflow-hub", version), ("tf_keras", tf_keras)) if v is None)
        fix = f"pip install {missing.replace(' and ', ' ')} if you use gs:// or TF1-format modules"
        return Finding("tensorflow-hub", WARN, f"{missing} not installed", fix)
    if setuptools is None or number(setuptools) >= number(SETUPTOOLS_WITHOUT_PKG_RESOURCES):
        detail = f"{version}; setuptools {setuptools or 'is missing, so'} has no pkg_resources, which it imports"
        return Finding("tensorflow-hub", NOTE, detail, "nothing to do: tlkit stands in for it")
    return Finding("tensorflow-hub", OK, f"{version}, tf_keras {tf_keras}")


def _backend(environment: Mapping[str, str]) -> Finding:
    chosen = environment.get("KERAS_BACKEND") or _configured_backend(environment)
    if chosen in (None, "tensorflow"):
        return Finding("Keras backend", OK, "tensorflow")
    return Finding("Keras backend", FAIL, f"{chosen}, but modules are TensorFlow", "set KERAS_BACKEND=tensorflow")


def _configured_backend(environment: Mapping[str, str]) -> str | None:
    home = Path(environment.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        match = re.search(r'"backend"\s*:\s*"(\w+)"', (home / "keras.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    return match.group(1) if match else None


def _legacy_keras(environment: Mapping[str, str], tf_keras: str | None) -> Finding:
    if environment.get("TF_USE_LEGACY_KERAS", "").lower() not in ("1", "true"):
        return Finding("TF_USE_LEGACY_KERAS", OK, "not set, so tf.keras is Keras 3")
    missing = "" if tf_keras else ", which is not installed"
    detail = f"set: tf.keras is tf_keras (Keras 2){missing}, and its models do not mix with tlkit's"
    return Finding("TF_USE_LEGACY_KERAS", WARN, detail, "unset it, or import keras instead of tf.keras")


def _cache(folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding("cache", FAIL, f"{folder} cannot be written ({error})", "set TLKIT_CACHE to a folder that can")
    detail = f"{folder}, {free_gb:.1f} GB free"
    if free_gb < ROOM_GB:
        status = FAIL if free_gb < LEAST_ROOM_GB else WARN
        return Finding("cache", status, detail, "make room: `tlkit cache clear`, or set TLKIT_CACHE to a larger disk")
    return Finding("cache", OK, detail)


def _downloads(environment: Mapping[str, str], has_pip: bool, uv: str | None) -> Finding:
    if environment.get("TLKIT_OFFLINE", "").lower() not in ("", "0", "false", "no"):
        return Finding("downloads", NOTE, "switched off by TLKIT_OFFLINE", "unset it to fetch modules")
    if not has_pip and uv is None:
        fix = "run `python -m ensurepip`, or install uv"
        return Finding("downloads", WARN, "neither pip nor uv is there, so zoo: modules cannot be fetched", fix)
    return Finding("downloads", OK, f"zoo: modules come through {'pip' if has_pip else 'uv'}")


def _imports() -> Finding:
    """In a process of its own: a broken build may end the process, and the import takes seconds."""
    reason = _failure("import keras, tensorflow")
    if reason:
        fix = "pip install --force-reinstall tensorflow keras"
        return Finding("import", FAIL, f"TensorFlow and Keras cannot be imported ({reason})", fix)
    return Finding("import", OK, "TensorFlow and Keras")


def _litert() -> Finding:
    if installed("ai-edge-litert") is None:
        return Finding("LiteRT", FAIL, "ai-edge-litert is not installed", "pip install ai-edge-litert")
    reason = _failure(_RUN_TFLITE)
    if reason:
        fix = "pip install --force-reinstall ai-edge-litert"
        return Finding("LiteRT", FAIL, f"does not run a model ({reason})", fix)
    return Finding("LiteRT", OK, "runs a model")


def _failure(code: str) -> str | None:
    """The last line of what a piece of Python says before it fails, or None where it succeeds."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", code]
    try:
        process = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {RUN_TIMEOUT_S:.0f} s"
    if process.returncode == 0:
        return None
    message = process.stderr.strip().splitlines()
    return message[-1] if message else f"the process ended with {process.returncode}"


# A TFLite file of one operation, y = x + x, so that LiteRT is tried without TensorFlow.
_MODEL = (
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAA0AAAAFAAAAAMAAAABAAAABAAAAHz///8BAAAAEAAAAAAACgAIAAAAAAAEAAoA"
    "AAABAAAAAQAAABAAAAAMABQAEAAMAAgABAAMAAAAIAAAAAwAAAAQAAAAXAAAAAEAAAABAAAAAQAAAAAAAAABAAAAFAAAAAAADgAUAAAA"
    "EAAMAAsABAAOAAAAFAAAAAAAAAsQAAAAFAAAAAQABAAEAAAAAQAAAAEAAAACAAAAAAAAAAAAAAACAAAAMAAAAAQAAADk////CAAAAAwA"
    "AAABAAAAeQAAAAEAAAABAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAABAAAAAQAAAAEAAAB4AAAAAQAAAAEAAAA="
)
_RUN_TFLITE = f"""
import base64, numpy
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(model_content=base64.b64decode({_MODEL!r}))
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], numpy.array([2.0], numpy.float32))
model.invoke()
assert model.get_tensor(model.get_output_details()[0]["index"])[0] == 4.0, "LiteRT computes wrongly"
"""
