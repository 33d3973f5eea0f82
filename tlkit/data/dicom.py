"""DICOM files (extra `medical`) -> 8 bits: through the window that the file says, as a viewer shows them.

Of several windows the first is taken; without one, the whole range of the bits that the file says it stores. Frames and
patients are files' and users' matters: a file of several frames is refused, and `groups=` keeps patients together.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from tlkit.core.errors import InputError

_PREFIX = 132  # bytes: a preamble of 128, and "DICM"


def is_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes say that it is one."""
    return head[128:_PREFIX] == b"DICM"


def begins(file: BinaryIO) -> bool:
    """The same of an open file, which is then at its start again."""
    head = file.read(_PREFIX)
    file.seek(0)
    return is_dicom(head)


def size(file: BinaryIO) -> tuple[int, int]:
    """(width, height), without reading the pixels.

    Raises:
        InputError: If it has none, or several frames.
    """
    data = _pydicom().dcmread(file, stop_before_pixels=True)
    frames = int(getattr(data, "NumberOfFrames", None) or 1)
    if "Rows" not in data or "Columns" not in data:
        raise InputError("it is a DICOM file without pixels, such as a DICOMDIR or a report")
    if frames > 1:
        raise InputError(f"it holds {frames} frames: write each as a file of its own")
    return int(data.Columns), int(data.Rows)


def picture(content: bytes, white: float | None = None) -> Image.Image:
    """The image as a viewer shows it, in grey or RGB of 8 bits.

    Args:
        content: Of the file.
        white: Show 0 to this value instead of the file's window.

    Raises:
        InputError: As `size`; for pixels that cannot be unpacked here.
    """
    data, stored = _read(content)
    if _is_coloured(data, stored):
        return Image.fromarray(_colours(data, stored))
    from pydicom.pixels import apply_modality_lut

    shares = _shown(np.asarray(apply_modality_lut(stored, data), np.float64), data, white)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":  # the least value is white
        shares = 1 - shares
    return Image.fromarray(_eight(shares))


def numbers(content: bytes, coloured: bool) -> np.ndarray:
    """The numbers (H, W) of a mask as its file stores them, or uint8 colours (H, W, 3).

    Args:
        content: Of the file.
        coloured: Whether colours are asked for; where there are none, and no table of colours, numbers are given.

    Raises:
        InputError: As `picture`.
    """
    data, stored = _read(content)
    return _colours(data, stored) if stored.ndim == 3 or (coloured and _is_coloured(data, stored)) else stored


def _read(content: bytes) -> tuple[Any, np.ndarray]:
    """What a file says, and its pixels as they are stored."""
    size(io.BytesIO(content))
    data = _pydicom().dcmread(io.BytesIO(content))
    try:
        return data, data.pixel_array
    except Exception as error:  # pydicom names the plug-in that it would need, in many kinds
        raise InputError(f"its pixels cannot be unpacked: {str(error).splitlines()[0][:200]}") from error


def _is_coloured(data: Any, stored: np.ndarray) -> bool:
    return stored.ndim == 3 or data.get("PhotometricInterpretation") == "PALETTE COLOR"


def _colours(data: Any, stored: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3)."""
    from pydicom.pixels import convert_color_space

    model = str(data.PhotometricInterpretation)
    if model == "PALETTE COLOR":
        return _of_table(data, stored)
    coloured = stored if model == "RGB" else convert_color_space(stored, model, "RGB")
    return _eight(np.asarray(coloured) / (2.0 ** int(data.BitsStored) - 1))


def _of_table(data: Any, indices: np.ndarray) -> np.ndarray:
    """The colours of a table's entries; what lies before or beyond it has those of its first or last one.

    Source: DICOM PS3.3, C.7.6.3.1.5.
    """
    from pydicom.pixels import apply_color_lut

    try:
        count, first, bits = map(int, data.RedPaletteColorLookupTableDescriptor)
        count = count or 1 << 16
        if count > 1 << bits:  # pydicom counts entries with as many bits as these have
            raise InputError(f"{count:,} entries of {bits} bits")
        inside = np.clip(indices.astype(np.int64), first, first + count - 1)
        return _eight(apply_color_lut(inside, data)[..., :3] / (2.0**bits - 1))
    except Exception as error:  # of pydicom, in many kinds
        raise InputError(f"its table of colours cannot be read: {str(error).splitlines()[0][:200]}") from error


def _shown(values: np.ndarray, data: Any, white: float | None) -> np.ndarray:
    """Values as shares of the range from black to white.

    Source: DICOM PS3.3, C.11.2.1.2 (linear) and C.11.2.1.3 (exact, sigmoid).
    """
    if white is not None:
        return values / white
    if "WindowCenter" in data and "WindowWidth" in data:
        centre, width = (_first(data[key].value) for key in ("WindowCenter", "WindowWidth"))
        kind = str(data.get("VOILUTFunction") or "LINEAR")
        if kind == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
        return (values - centre) / width + 0.5 if kind == "LINEAR_EXACT" else _linear(values, centre, width)
    if "VOILUTSequence" in data:
        from pydicom.pixels import apply_voi

        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        return np.asarray(apply_voi(values.astype(np.int64), data), np.float64) / (2.0**bits - 1)
    low, high = _range(data)
    return (values - low) / (high - low)


def _linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _range(data: Any) -> tuple[float, float]:
    """Least and largest value that the bits can hold, in the file's unit."""
    bits, signed = int(data.BitsStored), int(data.get("PixelRepresentation") or 0)
    ends = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    slope, offset = float(data.get("RescaleSlope") or 1), float(data.get("RescaleIntercept") or 0)
    low, high = sorted(end * slope + offset for end in ends)
    return low, high


def _first(value: Any) -> float:
    """Of several windows the first."""
    return float(value if not hasattr(value, "__len__") or isinstance(value, str) else value[0])


def _eight(shares: np.ndarray) -> np.ndarray:
    eight: np.ndarray = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return eight


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise InputError("it is a DICOM file, which needs pydicom: pip install 'tlkit[medical]'") from error
    return pydicom
