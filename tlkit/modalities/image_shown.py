"""How an image looks in the report: a small JPEG in the page."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import numpy as np

from tlkit.core.examples import Examples

SIDE = 160  # pixels: sharp at 112 CSS pixels on most phones, and a few kilobytes each


def show(examples: Examples, index: int) -> str:
    """An image as HTML; "" where the input is none."""
    url = data_url(examples.inputs[index])
    return "" if url is None else f'<img src="{url}" alt="{html.escape(examples.ids[index])}" loading="lazy">'


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
