"""Bytes of an image file -> RGB pixels, the same way in training, evaluation and prediction.

Decoders used by others drop alpha instead of compositing it, ignore the camera's rotation, refuse WebP and TIFF, or
turn a 420 kB file into a gigabyte. Here every picture is upright, composited and bounded. Colour profiles are ignored,
as TensorFlow's decoders ignore them.
"""

from __future__ import annotations

import functools
import io
import re
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from tlkit.errors import InputError

MAX_PIXELS = 64_000_000  # 192 MB of RGB: more than a 48-megapixel phone, less than what a thread can afford

Colour = tuple[int, int, int]

# No format that runs code or calls other programs (EPS does), whatever Pillow can open.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_UPRIGHT = {  # EXIF orientation -> what undoes it (Exif 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in entropy-coded data: FF 00 is a stuffed byte, D0-D7 restarts
_AFTER_SCAN = frozenset((0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_SOS, _EOI = 0xDA, 0xD9


def decode(data: bytes, background: Colour) -> Image.Image:
    """Decode one image file's bytes to an upright RGB picture; of an animation, the first frame.

    Args:
        data: Content of the file; its name does not matter.
        background: Colour, 0 to 255 each, behind transparent pixels.

    Raises:
        Exception: Whatever Pillow raises for broken data; `explain` puts it into words.
    """
    image = open_header(io.BytesIO(data))
    image.load()
    return to_rgb(_upright(image), background)


def verify(data: bytes, background: Colour, max_pixels: int = MAX_PIXELS) -> None:
    """Decode once, with every check there is for data that decoders let through.

    Raises:
        Exception: As `decode`; InputError for a reason of our own.
    """
    image = open_header(io.BytesIO(data))
    check_size(image, max_pixels)
    if image.format == "PNG":
        image.verify()  # the checksums, which decoding skips
    if data.startswith(b"\xff\xd8") and has_stray_markers(data):
        raise InputError("damaged: its compressed data hold markers that no encoder writes")
    decode(data, background)


def open_header(file: BinaryIO) -> Image.Image:
    """Read format and size, without decoding."""
    return Image.open(file, formats=_formats())


def check_size(image: Image.Image, max_pixels: int) -> None:
    """Refuse a picture too large to be decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(f"oversized: {width} x {height} pixels, and max_pixels is {max_pixels:,}")


def has_stray_markers(data: bytes) -> bool:
    """Whether a JPEG's entropy-coded data hold a marker that cannot stand there.

    libjpeg decodes such data to grey or garbage and only counts a warning, which Pillow and TensorFlow drop. In
    damaged data each byte FF is followed by a forbidden one in 9 of 10 cases; flipped bits without FF stay unseen.

    Source: ITU-T T.81, B.1.1.2 and B.1.1.5 (markers; byte stuffing).
    """
    position = 2
    while 0 <= (position := data.find(b"\xff", position)) <= len(data) - 4:
        code = data[position + 1]
        if code == _EOI:
            return False
        if code in (0x00, 0x01, 0xFF) or 0xD0 <= code <= 0xD7:  # these have no length
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if code == _SOS:
            marker = _MARKER.search(data, position)
            if marker is None:
                return False  # cut off: the decoder says so itself
            if data[marker.start() + 1] not in _AFTER_SCAN:
                return True
            position = marker.start()
    return False


def to_rgb(image: Image.Image, background: Colour) -> Image.Image:
    """Any mode to RGB: alpha is composited, 16 bits keep their high byte (so do Pillow for colour, and TensorFlow).

    Raises:
        InputError: For 32-bit pixels, whose range nobody knows.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise InputError("its pixels have 32 bits, whose range is unknown: convert it to 8 or 16 bits")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def from_array(array: np.ndarray, background: Colour) -> Image.Image:
    """A picture from uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
    flat = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    return to_rgb(Image.fromarray(np.ascontiguousarray(flat)), background)


def as_uint8(array: Any) -> np.ndarray:
    """Check one image array and give its uint8 form; floats must lie in 0 to 255 and are rounded.

    Raises:
        InputError: For another shape, other numbers, or values outside 0 to 255.
    """
    x = np.asarray(array)
    if x.ndim not in (2, 3) or 0 in x.shape or (x.ndim == 3 and x.shape[-1] not in (1, 3, 4)):
        raise InputError(f"an image must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {x.shape}")
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind not in "uif":
        raise InputError(f"an image must hold numbers, not {x.dtype}")
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 255):
        raise InputError(f"its values must lie in 0 to 255, not in {x.min()} to {x.max()}")
    rounded: np.ndarray = np.rint(x).astype(np.uint8)
    return rounded


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Stretch to (height, width): bilinear, antialiased where it shrinks, half-pixel centres."""
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR)


def explain(error: Exception, head: bytes) -> str:
    """Why a file cannot be read, in words, from what was raised and the file's first bytes."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "oversized: so many pixels that Pillow refuses it"
    if isinstance(error, UnidentifiedImageError):
        return _what_it_is(head)
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return f"truncated: {error}"
    return f"damaged: {error or type(error).__name__}"


def _what_it_is(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it holds HTML, not an image: probably the page of a failed download"
    if b"<svg" in start:
        return "it holds SVG, which is drawn, not decoded: convert it to PNG"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"hevc"):
        return "it holds HEIC, which cannot be read here: convert it to JPEG"
    if head.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")):
        return "damaged: it begins like an image, and its header cannot be read"
    return "its content is no image that can be read (JPEG, PNG, GIF, BMP, WebP, TIFF)"


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken metadata raise anything, and the picture is sound all the same
        return image
    turn = _UPRIGHT.get(orientation)
    if turn is None:
        return image
    format_ = image.format
    turned = image.transpose(turn)
    turned.format = format_  # to_rgb asks for it
    return turned


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
