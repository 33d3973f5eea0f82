"""What a report shows of examples: small images as data: URLs, texts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.core.examples import Examples

SIDE = 160  # pixels: sharp at 112 CSS pixels on most phones, and a few kilobytes each


def of_example(examples: Examples | None, found: Mapping[str, Any]) -> str | None:
    """The image of the example that `found` names by `index` and `id`; None where there is none.

    A run that was opened again holds a part of its test examples only, so the id decides.
    """
    if examples is None:
        return None
    index = place(examples, found)
    if index is None:
        return None
    try:
        return data_url(examples.inputs[index])
    except (OSError, ValueError):  # the file is gone by now; the report can do without it
        return None


def text_of(examples: Examples | None, found: Mapping[str, Any]) -> str | None:
    """The text of the example that `found` names; None where there is none, or it is no text."""
    index = None if examples is None or "text" not in examples.columns else place(examples, found)
    return None if index is None or examples is None else str(examples.columns["text"][index])


def data_url(image: Any) -> str | None:
    """A uint8 image (height, width, 3 or 1) as a small JPEG in a data: URL; None for anything else."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        return None
    from PIL import Image

    picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0]).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def place(examples: Examples, found: Mapping[str, Any]) -> int | None:
    """Where the example that `found` names is among these; None where it is not."""
    index, name = int(found["index"]), found["id"]
    if index < len(examples) and examples.ids[index] == name:
        return index
    return examples.ids.index(name) if name in examples.ids else None
