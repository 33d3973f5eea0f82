"""JavaScript by which the try-it page reads a user's file, one module a modality."""

from __future__ import annotations

from pathlib import Path


def beside(name: str) -> str:
    """The JavaScript module of that name in this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
