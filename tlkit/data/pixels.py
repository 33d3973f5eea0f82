"""Bytes of an image file -> RGB pixels, the same way in training, evaluation and prediction.

Decoders used by others drop alpha instead of compositing it, ignore the camera's rotation, refuse WebP and TIFF, or
turn a 420 kB file into a gigabyte. Here every image is upright, composited and bounded. Colour profiles are ignored,
as TensorFlow's decoders ignore them.
"""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from tlkit.core.errors import InputError
from tlkit.core.numeric import is_number
from tlkit.data import dicom
from tlkit.data.damage import has_stray_markers, lacks_rows

MAX_PIXELS = 64_000_000  # 192 MB of RGB: more than a 48-megapixel phone, less than what a thread can afford

VERSION = 2  # of what bytes become here: a change makes cached features and fingerprints new
PIXEL_MAX = 255.0  # white, of 8 bits

Colour = tuple[int, int, int]

# No format that runs code or calls other programs (EPS does), whatever Pillow can open.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_PPM_HEADER = re.compile(rb"P[56](?:(?:\s|#[^\n]*\n)+\d+){2}(?:\s|#[^\n]*\n)+(?P<white>\d+)\s")
_UPRIGHT = {  # EXIF orientation -> what undoes it (Exif 2.32, tag 0x0112)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0112, 258, 262  # tags


def decode(data: bytes, background: Colour, white: float | None = None, windows: bool = False) -> Image.Image:
    """Decode one image file's bytes to an upright RGB image; of an animation, the first frame.

    Args:
        data: Content of the file; its name does not matter.
        background: Colour, 0 to 255 each, behind transparent pixels.
        white: The value that is white where pixels have more than 8 bits; below 255, of images of 8 bits too. None
            is the largest that 8 and 16 bits hold.
        windows: Whether DICOM files keep the window that they say, as `white` was measured in others.

    Raises:
        Exception: Whatever Pillow raises for broken data; `explain` puts it into words.
    """
    if dicom.is_dicom(data[:132]):
        return dicom.picture(data, None if windows else white).convert("RGB")
    image = open_header(io.BytesIO(data))
    image.load()
    return to_rgb(_upright(_in_bytes(image, data, white)), background)


def verify(data: bytes, background: Colour, max_pixels: int = MAX_PIXELS, white: float | None = None) -> Depth:
    """Decode once, with every check there is for data that decoders let through.

    Returns:
        How many bits its pixels have, and how many they use.

    Raises:
        Exception: As `decode`; InputError for a reason of our own.
    """
    if dicom.is_dicom(data[:132]):
        check_header(io.BytesIO(data), max_pixels)
        dicom.picture(data, white)
        return Depth(8, PIXEL_MAX, PIXEL_MAX)
    image = open_header(io.BytesIO(data))
    check_size(image, max_pixels)
    if image.format == "PNG":
        image.verify()  # the checksums, which decoding skips
        if lacks_rows(data):
            raise InputError("damaged: its compressed data end before its last row")
    if data.startswith(b"\xff\xd8") and has_stray_markers(data):
        raise InputError("damaged: its compressed data hold markers that no encoder writes")
    image = open_header(io.BytesIO(data))
    image.load()
    depth = depth_of(image, data)
    to_rgb(_upright(_in_bytes(image, data, white)), background)
    return depth


def open_header(file: BinaryIO) -> Image.Image:
    """Read format and size, without decoding."""
    return Image.open(file, formats=_formats())


def sides(path: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(width, height) of an image file as it is stored, and as it is shown upright; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            if dicom.begins(file):
                return (dicom.size(file),) * 2
            image = open_header(file)
            width, height = image.size
            turned = _orientation(image) in (5, 6, 7, 8)
    except Exception:  # as in `verify`, which says what is wrong
        return None
    return (width, height), (height, width) if turned else (width, height)


def check_header(file: BinaryIO, max_pixels: int) -> None:
    """Refuse what is no image, or too large to be decoded, by its first bytes."""
    if dicom.begins(file):
        _check_sides(*dicom.size(file), max_pixels)
    else:
        check_size(open_header(file), max_pixels)


def check_size(image: Image.Image, max_pixels: int) -> None:
    """Refuse an image too large to be decoded."""
    _check_sides(*image.size, max_pixels)


def _check_sides(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InputError(f"oversized: {width} x {height} pixels, and max_pixels is {max_pixels:,}")


@dataclass(frozen=True)
class Depth:
    """Bits of an image's pixels.

    Attributes:
        bits: 8, 16 or 32, as its file holds them.
        peak: The largest value in it.
        bulk: The value that 99.9 % of its pixels do not exceed.
    """

    bits: int
    peak: float
    bulk: float


def depth_of(image: Image.Image, data: bytes) -> Depth:
    """How many bits a decoded image's pixels have, and how many they use.

    Args:
        image: The image, loaded.
        data: The file's content.
    """
    bits = _bits(image, data)
    if image.mode in ("1", "P") or (bits == 8 and image.mode[:2] in ("I", "I;", "F")):  # these say what white is
        return Depth(8, PIXEL_MAX, PIXEL_MAX)
    values = _deep(image, data) if image.format == "PPM" and bits == 16 else np.asarray(image)
    colours = values[..., :-1] if image.getbands()[-1] == "A" else values
    if bits == 16 and values.dtype == np.uint8:  # Pillow keeps the high byte of colours: enough to count the bits
        colours = colours.astype(np.uint16) * 256 + 255
    return Depth(bits, float(colours.max()), float(np.quantile(colours, 0.999)) if bits > 8 else float(colours.max()))


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits of each value in the file: 8, 16 or 32.

    PPM and JPEG 2000 say themselves what is white, and count as 8, but for 65,535: that is written whatever is in them.
    """
    if image.format == "PNG":
        return 16 if data[24] == 16 else 8  # IHDR
    if image.format == "PPM":
        header = _PPM_HEADER.match(data)
        return 16 if header and int(header["white"]) == 65535 else 8
    if image.format == "JPEG2000":
        return 16 if data[data.index(b"\xff\x51") + 40] & 0x7F == 15 else 8  # Ssiz of SIZ: one less than the bits
    if image.format != "TIFF":
        return 8
    if image.mode in ("I", "F"):
        return 32
    if image.mode.startswith("I;16"):  # of 12 bits too, which Pillow does not spread over 16
        return 16
    return 16 if max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) == 16 else 8  # type: ignore[attr-defined]


def _deep(image: Image.Image, data: bytes) -> np.ndarray:
    """The numbers of an image of more than 8 bits."""
    values = np.asarray(image)
    if values.dtype != np.uint8:
        return values
    if image.format in ("TIFF", "JPEG2000"):  # of colours Pillow gives the high byte alone
        return values.astype(np.uint16) * 256 + 128
    if image.format == "PPM" and (header := _PPM_HEADER.match(data)):
        return np.frombuffer(data, ">u2", values.size, header.end()).reshape(values.shape).astype(np.uint16)
    import tensorflow as tf

    return np.asarray(tf.io.decode_png(data, dtype=tf.uint16).numpy(), np.uint16)


def _in_bytes(image: Image.Image, data: bytes, white: float | None) -> Image.Image:
    """The picture with 8 bits a channel; 16 keep their high byte where nothing is said (as TensorFlow does it)."""
    bits = _bits(image, data)
    if image.mode.startswith("I;16") or (image.mode == "I" and bits < 32):
        if white is None or bits == 8:
            return _like(image, (np.asarray(image) >> 8).astype(np.uint8))
    elif bits == 8:
        return image if white is None or white >= PIXEL_MAX or image.mode in ("1", "P") else _brightened(image, white)
    elif bits == 16 and white is None:
        return image
    if white is None:
        raise InputError(
            "its pixels have 32 bits, whose range is unknown: say which value is white (pixel_max=1.0, 4095, ...), or "
            "convert it to 8 bits"
        )
    deep = _deep(image, data)
    eight = in_bytes(deep, white)
    if deep.ndim == 3 and deep.shape[-1] in (2, 4):
        eight[..., -1] = deep[..., -1] >> 8  # opacity fills its 16 bits
    return _like(image, eight)


def _brightened(image: Image.Image, white: float) -> Image.Image:
    """A picture of 8 bits whose white is below 255; opacity stays."""
    plain = image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB")
    rising = [min(255, round(value * PIXEL_MAX / white)) for value in range(256)]
    brightened = plain.point([v for band in plain.getbands() for v in (range(256) if band == "A" else rising)])
    brightened.format = image.format
    return brightened


def in_bytes(values: np.ndarray, white: float) -> np.ndarray:
    """Values 0..white as uint8 0..255; what is above is white.

    Raises:
        InputError: If a value is negative or not finite.
    """
    if not (np.isfinite(values).all() and values.min() >= 0):
        raise InputError(f"its values must lie in 0 to {white:g}, not in {values.min():g} to {values.max():g}")
    if white == 65535:
        eight: np.ndarray = (np.minimum(values, 65535).astype(np.uint16) >> 8).astype(np.uint8)
    else:
        eight = np.rint(np.minimum(values.astype(np.float64) * (PIXEL_MAX / white), PIXEL_MAX)).astype(np.uint8)
    return eight


def _like(image: Image.Image, values: np.ndarray) -> Image.Image:
    """Values of 8 bits as a picture with the format and the metadata of another, which had more."""
    flat = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
        flat = 255 - flat  # WhiteIsZero, which Pillow turns round for 8 bits alone
    converted = Image.fromarray(np.ascontiguousarray(flat))
    converted.format, converted.info = image.format, dict(image.info)
    if (orientation := _orientation(image)) != 1:
        converted.getexif()[_ORIENTATION] = orientation
    converted.info.pop("transparency", None)  # it names a value of the bits that are gone
    return converted


def whitest(depths: Iterable[Depth]) -> tuple[float | None, str]:
    """Which value is white in images of 16 bits, from the largest in all of them, and a note that says so.

    Cameras, scanners and X-rays write 10, 12 or 14 bits into 16. None is what the files' own bits say.
    """
    depths = tuple(depths)
    deep = [depth for depth in depths if depth.bits == 16]
    peak = max((depth.peak for depth in deep), default=0.0)
    if not peak:
        return None, _dark_note(max((depth.peak for depth in depths), default=PIXEL_MAX), len(depths))
    bits = next(bits for bits in (8, 10, 12, 14, 16) if peak < 2**bits)
    if bits < 16:
        return 2.0**bits - 1, (
            f"No pixel of the {len(deep)} pictures of 16 bits is above {peak:,.0f}: they are read as {bits} bits, with "
            f"{2**bits - 1:,} as white. If white is another value, say it: pixel_max=65535."
        )
    bulk = max(depth.bulk for depth in deep)
    likely = next(bits for bits in (8, 10, 12, 14, 16) if bulk < 2**bits)
    if likely > 13:
        return None, ""
    return None, (
        f"The {len(deep)} pictures of 16 bits are nearly black: 99.9 % of the pixels of each are at most {bulk:,.0f}, "
        f"and 65,535 is taken as white. If white is less, say it: pixel_max={2**likely - 1}."
    )


def brightness_note(depth: Depth, white: float | None) -> str:
    """What is odd about the range of an image where white is what it was in training, or "".

    Args:
        depth: Of the image.
        white: The value that is white; None is the largest that its bits hold.
    """
    deep = depth.bits > 8
    top = white if white is not None and (deep or white < PIXEL_MAX) else 65535.0 if deep else PIXEL_MAX
    if deep and depth.bulk > top:
        return f"its pixels go up to {depth.peak:,.0f}, and from {top:,.0f} on all is white, as in training"
    if 0 < depth.peak < top / (4 if deep else 8):
        return f"nearly black: no pixel is above {depth.peak:,.0f}, and {top:,.0f} is white, as in training"
    return ""


def _dark_note(peak: float, count: int) -> str:
    if not 0 < peak < PIXEL_MAX / 8:
        return ""
    return (
        f"The {count} pictures are nearly black: no pixel is above {peak:.0f}, and 255 is taken as white. If white is "
        f"less, say it: pixel_max={peak:.0f}."
    )


def to_rgb(image: Image.Image, background: Colour) -> Image.Image:
    """Any mode of 8 bits to RGB; alpha is composited."""
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def from_array(array: np.ndarray, background: Colour) -> Image.Image:
    """An image from uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
    flat = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    return to_rgb(Image.fromarray(np.ascontiguousarray(flat)), background)


def as_uint8(array: Any, white: float | None = None) -> np.ndarray:
    """Check one image array and give its uint8 form; numbers must lie in 0 to 255 and are rounded.

    Args:
        array: The image; truth values are black and white.
        white: The value that is white instead of 255.

    Raises:
        InputError: For another shape, other numbers, or values outside 0 to 255.
    """
    x = np.asarray(array)
    if x.ndim not in (2, 3) or 0 in x.shape or (x.ndim == 3 and x.shape[-1] not in (1, 3, 4)):
        raise InputError(f"an image must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {x.shape}")
    if x.dtype == np.bool_:
        return np.where(x, 255, 0).astype(np.uint8)
    if x.dtype.kind not in "uif":
        raise InputError(f"an image must hold numbers, not {x.dtype}")
    if white is not None and (x.dtype != np.uint8 or white < PIXEL_MAX):
        return in_bytes(x, white)
    if x.dtype == np.uint8:
        return x
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 255):
        raise InputError(f"its values must lie in 0 to 255, not in {x.min()} to {x.max()}{_way_out(x)}")
    rounded: np.ndarray = np.rint(x).astype(np.uint8)
    return rounded


def _way_out(values: np.ndarray) -> str:
    """How to say which value is white, for numbers that are too large."""
    peak = float(values.max())
    bits = next((bits for bits in (10, 12, 14, 16) if peak < 2**bits), 0)
    if not bits or values.min() < 0:
        return ""
    return f"; say which is white: pixel_max={2**bits - 1}, if these are {bits} bits"


def white_of_files(white: float | None) -> float | None:
    """What files need to be read like arrays of this white: floats in 0 to 1 were files of 8 bits once."""
    return None if white is None or white <= PIXEL_MAX else white


def checked_white(value: Any) -> float | None:
    """`pixel_max` as a number above 0; None stays None.

    Raises:
        InputError: If it is no such number.
    """
    if value is None:
        return None
    if not (is_number(value) and 0 < value < math.inf):
        raise InputError(f"`pixel_max` must be the value that is white, above 0. Received: pixel_max={value!r}.")
    return float(value)


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


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata raise anything, and the picture is sound all the same
        return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
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
