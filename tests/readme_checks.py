"""README.md of an export: its metadata are read, and its Python lines are run where its files are."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image


def metadata(folder: Path) -> dict[str, Any]:
    """What the hub reads at the top of README.md."""
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return dict(yaml.safe_load(front))


def blocks(folder: Path, language: str, title: str = "") -> list[str]:
    """The code of one language, in all of README.md or below the headings that hold a title."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    parts = [part for part in re.split(r"^#{2,3} ", text, flags=re.M) if title in part.splitlines()[0]]
    return re.findall(rf"^```{language}\n(.*?)^```", "\n".join(parts), flags=re.M | re.S)


def turned_and_transparent(file: Path) -> None:
    """Write a PNG that a camera held sideways would have made, with clear pixels."""
    pixels, exif = np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8), Image.Exif()
    exif[0x0112] = 6  # orientation
    Image.fromarray(pixels).save(file, exif=exif)


def said(folder: Path, code: str) -> tuple[str, dict[str, Any]]:
    """What lines print, and the names that they leave, run in the folder beside an image `example.png`."""
    here, printed, names = Path.cwd(), io.StringIO(), dict[str, Any]()
    turned_and_transparent(folder / "example.png")
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
    finally:
        os.chdir(here)
        (folder / "example.png").unlink()
    return printed.getvalue(), names


def check(folder: Path, run: Any) -> dict[str, Any]:
    """Run the lines for LiteRT; their inputs and outputs are those that run.json says. Returns the metadata."""
    row = next(row for row in run.exports if row.file.endswith(".tflite"))
    signature = next(iter(row.signatures.values()))
    (code,) = blocks(folder, "python", "Python")[:1]
    printed, names = said(folder, code)
    for name, spec in signature["inputs"].items():
        assert names["inputs"][name].shape == tuple(spec["shape"]) and names["inputs"][name].dtype == spec["dtype"]
    for name, spec in signature["outputs"].items():
        assert names["outputs"][name].dtype == spec["dtype"] and f"{name} (" in printed
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert run.record["data"]["fingerprint"] in text if "data" in run.record else True
    return metadata(folder)
