"""What answers draw on an image: boxes, a mask, points. Pillow alone."""

from __future__ import annotations

import base64
import colorsys
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples
from tlkit.core.modality import ORIGINAL
from tlkit.core.section import Facts

if TYPE_CHECKING:
    from PIL import ImageDraw

SHOWN, SIDE = 12, 160  # training images in the report, and the longest side of each mask there in pixels
COVER = 0.5  # share of a mask's colour in the pixels that it covers
Colour = tuple[int, int, int]


def palette(count: int) -> list[Colour]:
    """Colours of labels, far apart from each other; the first is a dark grey, as it often is the background."""
    return [(48, 48, 54), *colours(count - 1)]


def colours(count: int) -> list[Colour]:
    """Bright colours that are far apart from each other."""
    hues = [(0.08 + 0.618034 * i) % 1.0 for i in range(count)]
    bright = [colorsys.hsv_to_rgb(hue, 0.75, 0.95 - 0.25 * (i % 2)) for i, hue in enumerate(hues)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in bright]


def hexadecimal(colour: Colour) -> str:
    """A colour as CSS has it.

    Example:
        >>> hexadecimal((48, 48, 54))
        '#303036'
    """
    return "#" + "".join(f"{channel:02x}" for channel in colour)


def with_example(facts: Facts, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the report's details with its example as HTML, and why the model says so where that is known."""
    return {**row, "picture": facts.show(row["id"]), "why": facts.why(row["id"])}


def canvas(example: Mapping[str, Any]) -> np.ndarray:
    """The image of an example, uint8 (height, width, 3), at the size that its file had.

    Raises:
        InputError: If its input is no image.
    """
    image = np.asarray(example.get(ORIGINAL, example["input"]))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise InputError(
            "Only images can be drawn on, uint8 (height, width, 3). "
            f"Received: {image.dtype} of the shape {image.shape}."
        )
    return image


def heat(values: np.ndarray, reach: float) -> np.ndarray:
    """A map in colours from black over red, at half of `reach`, to yellow: uint8 (height, width, 3).

    Args:
        values: float (height, width), >= 0.
        reach: The value from which on all is yellow, > 0.

    Example:
        >>> heat(np.array([[0.0, 1.0, 2.0]]), 2.0).tolist()
        [[[8, 8, 16], [200, 40, 40], [255, 240, 130]]]
    """
    share = np.clip(values / reach, 0, 1)
    ramp = np.array([(8, 8, 16), (60, 20, 80), (200, 40, 40), (250, 140, 20), (255, 240, 130)], np.float64)
    steps = np.linspace(0, 1, len(ramp))
    channels = [np.interp(share, steps, ramp[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def with_heat(image: np.ndarray, values: np.ndarray, reach: float) -> np.ndarray:
    """The image under a map, which covers it the more the higher it is.

    Args:
        image: uint8 (height, width, 3).
        values: float, of another size perhaps.
        reach: As `heat` has it.
    """
    from PIL import Image

    size = (image.shape[1], image.shape[0])
    full = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    share = 0.75 * np.clip(full / reach, 0, 1)[..., None]
    return (image * (1 - share) + heat(full, reach) * share).round().astype(np.uint8)


def with_boxes(image: np.ndarray, sides: np.ndarray, texts: Sequence[str], chosen: Sequence[Colour]) -> np.ndarray:
    """The image with a frame and a text for each box.

    Args:
        image: uint8 (height, width, 3).
        sides: (n, 4) left, top, right, bottom in shares of the sides.
        texts: One a box.
        chosen: Colour of each.
    """
    height, width = image.shape[:2]
    pixels = np.asarray(sides, np.float64).reshape(-1, 4) * [width, height, width, height]
    line = max(2, round(min(height, width) / 200))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for (left, top, right, bottom), colour in zip(pixels, chosen, strict=True):
            pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        for (left, top, _, _), text, colour in zip(pixels, texts, chosen, strict=True):
            _write(pen, (left, top), text, colour, image.shape)

    return _drawn(image, draw)


def with_mask(image: np.ndarray, mask: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The image under the colours of a mask's labels, and the names of those that occur.

    Args:
        image: uint8 (height, width, 3).
        mask: Numbers of labels, of any size.
        labels: Their names.
    """
    from PIL import Image

    table = np.asarray(palette(len(labels)), np.float32)
    resized = Image.fromarray(mask.astype(np.uint8)).resize(image.shape[1::-1], Image.Resampling.NEAREST)
    covered = (1 - COVER) * image + COVER * table[np.asarray(resized)]

    def draw(pen: ImageDraw.ImageDraw) -> None:
        top = 0.0
        for number in np.unique(mask).tolist():
            colour = palette(len(labels))[number]
            top = _write(pen, (0.0, top), labels[number], colour, image.shape, below=True)

    return _drawn(covered.round().astype(np.uint8), draw)


def with_points(image: np.ndarray, places: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The image with a dot and a text for each point.

    Args:
        image: uint8 (height, width, 3).
        places: (n, 2) x and y in shares of the sides.
        texts: One a point.
    """
    height, width = image.shape[:2]
    pixels = np.asarray(places, np.float64).reshape(-1, 2) * [width, height]
    radius = max(2, round(min(height, width) / 80))

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for (x, y), text, colour in zip(pixels, texts, colours(len(texts)), strict=True):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=(255, 255, 255))
            _write(pen, (x + radius, y), text, colour, image.shape)

    return _drawn(image, draw)


def _drawn(image: np.ndarray, draw: Callable[[ImageDraw.ImageDraw], None]) -> np.ndarray:
    from PIL import Image, ImageDraw

    changed = Image.fromarray(image)
    draw(ImageDraw.Draw(changed))
    return np.asarray(changed)


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: Colour,
    shape: tuple[int, ...],
    *,
    below: bool = False,
) -> float:
    """Write on a ground of this colour, above `place` where there is room, inside the image; returns where it ends."""
    font = _font(max(10, round(min(shape[:2]) / 30)))
    *_, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right + 4, bottom + 4
    x = max(0.0, min(place[0], shape[1] - wide))
    y = place[1] if below else max(0.0, min(place[1] - high, shape[0] - high))
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    dark = np.dot(colour, (0.299, 0.587, 0.114)) < 140
    pen.text((x + 2, y + 2), text, font=font, fill=(255, 255, 255) if dark else (0, 0, 0))
    return y + high


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


# -- in the report


def mask_url(mask: np.ndarray, count: int) -> str:
    """A mask of `count` labels as a small PNG in a data: URL; numbers beyond them are white."""
    from PIL import Image

    small = Image.fromarray(mask.astype(np.uint8)).convert("L")
    small.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
    flat = [channel for colour in palette(count) for channel in colour]
    small.putpalette(flat + [255, 255, 255] * (256 - count))
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def legend(labels: Sequence[str], chosen: Sequence[Colour]) -> list[tuple[str, str]]:
    """Each label with its colour, for a page."""
    return [(label, hexadecimal(colour)) for label, colour in zip(labels, chosen, strict=True)]


def contact_sheet(
    facts: Facts, fits: Callable[[ArraySpec], bool], entry: Callable[[np.ndarray], dict[str, Any]]
) -> list[dict[str, Any]] | None:
    """Some training images, evenly spread, with what is drawn of the target of each.

    Args:
        facts: Of the run.
        fits: Whether targets of this spec are the answer's; others, as those of several heads, are not drawn.
        entry: Target of an example -> what the template draws of it.

    Returns:
        What `entry` gives, with the "id" of the image and the HTML that shows it; None where there is nothing to show.
    """
    train = facts.train
    if train is None or not len(train) or not isinstance(train.targets.spec, ArraySpec) or not fits(train.targets.spec):
        return None
    rows = [
        {"id": train.ids[i], "picture": facts.show_train(train.ids[i]), **entry(np.asarray(train.targets[i]))}
        for i in _spread(train)
    ]
    return [row for row in rows if row["picture"]] or None


def _spread(examples: Examples) -> list[int]:
    count = len(examples)
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(count, SHOWN)).astype(np.int64))]
