"""What was found of one example, and how it looks."""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import io
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE, SMALL = 480, 160  # pixels of an image, and of one in the report
WORD_WIDTH = 160  # pixels of a word beside its bar
WARM, COLD = (226, 60, 20), (40, 90, 220)


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """How much each place of an example counts for what the model says of it.

    Attributes:
        id: Of the example.
        label: Whose output is explained.
        output: That raw output.
        method: How it was found.
        heat: float32, (height, width) of an image or a spectrogram, (samples,) of a sound, (words,) of a text or a
            series; what speaks for the label is above 0. Grad-CAM has none below 0.
        words: Of a text one for each number of `heat`; of a series its stretches.
        shown: uint8 (height, width, 3) of what was looked at; None of a text.
        place: Tensor inside the module that was looked at; "" where it was the input.
        missing: Of integrated gradients, the share of the difference of outputs by which its sum is off; else None.
        box: left, top, right, bottom of the object, in shares of the sides, or None.
    """

    id: str
    label: str
    output: float
    method: str
    heat: np.ndarray
    words: tuple[str, ...] = ()
    shown: np.ndarray | None = None
    place: str = ""
    missing: float | None = None
    box: tuple[float, float, float, float] | None = None

    def __repr__(self) -> str:
        return f"Explanation({self.id!r}, {self.label!r} {self.output:.4g}, {self.method}, heat {self.heat.shape})"

    def _repr_html_(self) -> str:
        return self.html()

    @property
    def peak(self) -> tuple[float, ...]:
        """Where the heat is highest, in shares of its sides: (x, y) of an image, (x,) of what has one axis.

        () where nothing speaks for the label: no heat lies above 0, as Grad-CAM has it of a label that all features
        speak against. Of several places side by side that are equally high, as the outermost ones of an enlarged map
        are, it is the middle.
        """
        if not np.any(self.heat > 0):
            return ()
        first = [int(p) for p in np.unravel_index(int(self.heat.argmax()), self.heat.shape)]
        middles = (
            (_middle(np.moveaxis(self.heat, axis, -1)[(*first[:axis], *first[axis + 1 :])], first[axis]) + 0.5) / size
            for axis, size in enumerate(self.heat.shape)
        )
        return tuple(middles)[::-1]

    def png(self) -> bytes:
        """The heat over the image or spectrogram; of a text, its words as bars of the same colours."""
        from PIL import Image

        drawn = self._drawn() if self.shown is not None else _of_words(self.words, self.shares())
        buffer = io.BytesIO()
        Image.fromarray(drawn).save(buffer, "PNG")
        return buffer.getvalue()

    def _url(self, side: int) -> str:
        """A small JPEG as a data: URL."""
        from PIL import Image

        image, buffer = Image.fromarray(self._drawn()), io.BytesIO()
        image.thumbnail((side, side))
        image.save(buffer, "JPEG", quality=82)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

    def html(self) -> str:
        """What a page or a notebook shows; all that comes from data is escaped."""
        nothing = "" if self.peak else ": nothing speaks for it"
        name = html.escape(f"{self.label} {self.output:.3g}, {self.method}{nothing}")
        if self.shown is None:
            marks = (
                f'<mark style="background:{_css(share)}">{html.escape(word)}</mark>'
                for word, share in zip(self.words, self.shares(), strict=True)
            )
            return f'<blockquote title="{name}">{" ".join(marks)}</blockquote>'
        return f'<img src="{self._url(SIDE)}" alt="{name}" title="{name}" loading="lazy">'

    def plain(self) -> dict[str, Any]:
        """What run.json holds of it."""
        kind = {"label": self.label, "method": self.method}
        if self.shown is None:
            return {**kind, "words": list(self.words), "shares": [round(float(share), 3) for share in self.shares()]}
        return {**kind, "url": self._url(SMALL)}

    def shares(self) -> np.ndarray:
        """The heat in [-1, 1]: divided by its largest size."""
        most = float(np.abs(self.heat).max(initial=0))
        return self.heat / most if most > 0 else self.heat

    def _drawn(self) -> np.ndarray:
        from PIL import Image, ImageDraw

        assert self.shown is not None
        height, width = self.shown.shape[:2]
        scale = SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        grey = Image.fromarray(self.shown).convert("L").convert("RGB").resize(size)
        heat = Image.fromarray(np.atleast_2d(self.heat).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        shares = _bright(np.asarray(heat))[..., None]
        colour = np.where(shares >= 0, WARM, COLD)
        strength = 0.75 * np.abs(shares) ** 0.7
        image = Image.fromarray((np.asarray(grey) * (1 - strength) + colour * strength).astype(np.uint8))
        if self.box is not None:
            sides = np.asarray(self.box) * (*size, *size)
            ImageDraw.Draw(image).rectangle(tuple(float(side) for side in sides), outline=(255, 255, 255), width=3)
        return np.asarray(image)


def _bright(heat: np.ndarray) -> np.ndarray:
    """The heat in [-1, 1]: a hundredth of its places has full colour, as one pixel of gradients would hide all others.

    Source: the outliers that Captum's `visualize_image_attr` leaves out, arXiv:2009.07896.
    """
    most = float(np.quantile(np.abs(heat), 0.99)) or float(np.abs(heat).max())
    return np.clip(heat / most, -1, 1) if most > 0 else heat


def _css(share: float) -> str:
    red, green, blue = WARM if share >= 0 else COLD
    return f"rgba({red},{green},{blue},{0.6 * abs(share):.2f})"


def _of_words(words: tuple[str, ...], shares: np.ndarray) -> np.ndarray:
    from PIL import Image, ImageDraw

    image, font = Image.new("RGB", (SIDE, 22 * max(1, len(words)) + 8), "white"), _font()
    draw: Any = ImageDraw.Draw(image)
    for row, (word, share) in enumerate(zip(words, shares, strict=True)):
        top, length = 4 + 22 * row, abs(float(share)) * (SIDE - 180)
        draw.rectangle((170, top + 3, 171 + length, top + 18), fill=WARM if share >= 0 else COLD)
        draw.text((4, top + 2), _fitting(word, font), fill="black", font=font)
    return np.asarray(image)


@functools.cache
def _font() -> Any:
    """A font with the letters of most scripts where the system has one; Pillow's own has those of English."""
    from PIL import ImageFont

    for name in ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf"):
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, 13)
    return ImageFont.load_default(13)


def _fitting(word: str, font: Any) -> str:
    """The word as far as there is room for it; accents go where the font is Pillow's own, which lacks them."""
    if not isinstance(font.path, str):
        plain = unicodedata.normalize("NFKD", word)
        word = "".join(letter for letter in plain if not unicodedata.combining(letter))
        word = word.encode("ascii", "replace").decode()
    while font.getlength(word) > WORD_WIDTH:
        word = f"{word.rstrip('.')[:-1]}..."
    return word


def _middle(line: np.ndarray, first: int) -> float:
    """The middle of the run of equal values that begins at a place."""
    others = np.flatnonzero(line[first:] != line[first])
    return float(first + (others[0] if len(others) else len(line) - first) / 2 - 0.5)
