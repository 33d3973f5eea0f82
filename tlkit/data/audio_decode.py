"""One sound: its rate and length, what is wrong with it, and any stretch of it as mono float32.

soundfile (libsndfile) reads WAV, FLAC, OGG, MP3 and more, by content; soxr resamples. Both come with `tlkit[audio]`.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.numeric import is_number
from tlkit.data import mpeg

RATES = (8_000, 768_000)  # Hz that a sound may have: below, speech loses its consonants; above, the header is broken
FULL_SCALE = 0.9999  # 16-bit sounds reach 32767 / 32768
_LARGEST = 4.0  # decoders overshoot 1 by a little; whole numbers that somebody stored as floats by a lot
_BLOCK_S = 30  # seconds that are decoded at once, so that a sound of hours needs no gigabytes
_MARGIN_S = 0.05  # seconds on both sides of a stretch that reach into it through the resampler's filter
_MP3_LEAD = 16_384  # samples that an MP3 decoder needs before a place until its bit reservoir is filled
_MP3_CHUNK = 2**21  # samples, 8 MiB
_UNKNOWN_SIZE = 0x7FFF0000  # programs that write to a pipe put such sizes into the header


@dataclass(frozen=True)
class Limits:
    """What a sound may be, and still be used.

    Attributes:
        silence_dbfs: A peak below this is silence, in dB of full scale, < 0; `-math.inf` lets silence pass.
        max_clipped: Largest share of samples at full scale, in [0, 1]; hard drum samples have 0.02.
    """

    silence_dbfs: float = -60.0
    max_clipped: float = 0.05

    def __post_init__(self) -> None:
        if not (is_number(self.silence_dbfs) and self.silence_dbfs < 0):
            raise InputError(f"`silence_dbfs` must be negative. Received: silence_dbfs={self.silence_dbfs!r}.")
        if not (is_number(self.max_clipped) and 0 <= self.max_clipped <= 1):
            raise InputError(f"`max_clipped` must lie in [0, 1]. Received: max_clipped={self.max_clipped!r}.")


LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Scan:
    """What listening to a whole sound gave.

    Attributes:
        rate: Samples per second.
        frames: Length in samples of its own rate.
        step: Frames that each entry of `loud` stands for, about 10 ms.
        loud: bool (ceil(frames / step),), whether the mono mix rises above silence there.
        peaks: float32 of the same shape, its largest absolute value there.
    """

    rate: int
    frames: int
    step: int
    loud: np.ndarray
    peaks: np.ndarray


def library(name: str) -> Any:
    """`soundfile` or `soxr`.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing
        raise InputError(f"Sounds need the package {name!r}, which is missing: `pip install tlkit[audio]`.") from error


def mono(x: np.ndarray) -> np.ndarray:
    """float32 (n,), the mean over channels of whole or floating numbers (n,) or (n, channels).

    Whole numbers are scaled by what their type can hold; int64, as TensorFlow Datasets gives, by 16 bits.

    Example:
        >>> mono(np.array([[-32768, 0], [16384, 16384]], np.int16)).tolist()
        [-0.5, 0.5]
    """
    flat = x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
    mixed = flat.astype(np.float32) if flat.ndim == 1 else flat.mean(axis=1, dtype=np.float32)
    if x.dtype.kind == "f":
        return mixed
    bits = 16 if x.dtype.itemsize == 8 else 8 * x.dtype.itemsize
    middle = 2.0 ** (bits - 1) if x.dtype.kind == "u" else 0.0
    scaled: np.ndarray = (mixed - np.float32(middle)) / np.float32(2.0 ** (bits - 1))
    return scaled


def scan(blocks: Iterable[np.ndarray], rate: int, claimed: int, limits: Limits) -> Scan:
    """Listen to a whole sound, block by block.

    Args:
        blocks: (n, channels) or (n,), each but the last a multiple of `rate // 100` long.
        rate: Samples per second.
        claimed: Frames that the header promises.
        limits: What may be used.

    Raises:
        InputError: Whose message is the reason to leave the sound out.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(f"its sample rate is {rate} Hz, and must lie in {RATES[0]} to {RATES[1]} Hz")
    step, frames, peaks, full, samples = rate // 100, 0, [], 0, 0
    for block in _decoded(blocks, rate, claimed):
        level = np.abs(block if block.dtype.kind == "f" else mono(block))
        _check_numbers(level, frames, rate)
        full += int(np.count_nonzero(level >= FULL_SCALE))
        samples += level.size
        frames += len(block)
        peaks.append(np.maximum.reduceat(np.abs(mono(block)), np.arange(0, len(block), step)))
    if frames == 0:
        raise InputError("empty: it has no samples")
    if frames < claimed:
        raise InputError(f"truncated: it holds {frames / rate:.2f} of {claimed / rate:.2f} s")
    all_peaks = np.concatenate(peaks)
    return Scan(rate, frames, step, _loud(all_peaks, full / samples, limits), all_peaks)


def trimmed(scanned: Scan, trim_db: float | None) -> tuple[int, int]:
    """(first frame, frames) of what is left of a sound when its ends, quieter than its peak by `trim_db`, are cut."""
    if trim_db is None:
        return 0, scanned.frames
    loud = np.flatnonzero(scanned.peaks >= scanned.peaks.max() * 10 ** (-trim_db / 20))
    first, last = int(loud[0]) * scanned.step, min(scanned.frames, (int(loud[-1]) + 1) * scanned.step)
    return first, last - first


def scan_file(path: Path, limits: Limits) -> Scan:
    """Listen to a whole file.

    Raises:
        InputError: Whose message is the reason to leave the file out.
        Exception: What soundfile raises on a file that is no sound.
    """
    with library("soundfile").SoundFile(str(path)) as file:
        if file.format == "RAW":  # libsndfile takes any bytes for a sound where the file's name ends in .gsm or .au
            raise TypeError("no header")
        _check_whole(path)
        if file.format == "MP3":
            _check_claim(path, file.frames, file.samplerate)
        size = max(file.samplerate // 100, 1) * 100 * _BLOCK_S
        return scan(_blocks(file, size), file.samplerate, file.frames, limits)


def read_file(path: Path, start: int, stop: int) -> np.ndarray:
    """float32 (stop - start,): the mono mix of a stretch of a file, and no more of it decoded than need be.

    Raises:
        InputError: If the file can no longer be read.
    """
    try:
        with library("soundfile").SoundFile(str(path)) as file:
            x = _mp3(path, start, stop) if file.format == "MP3" else _read(file, start, stop)
        if len(x) < stop - start:
            raise EOFError("it is shorter than it was")
    except (RuntimeError, OSError, EOFError) as error:  # soundfile raises the first
        raise InputError(f"{str(path)!r} was sound at the start and cannot be read now: {error}") from error
    return x


def stretch(
    read: Callable[[int, int], np.ndarray], own_rate: int, frames: int, *, rate: int, start: int, samples: int
) -> np.ndarray:
    """float32 (samples,): a stretch of a sound at another rate, as if the whole sound had been resampled.

    Args:
        read: `read(start, stop)` gives mono float32 at the sound's own rate.
        own_rate: The sound's own rate.
        frames: Its length, at its own rate.
        rate: Samples per second that are wanted.
        start: First sample, counted at `rate`.
        samples: How many; zeros fill up what lies behind the end of the sound.
    """
    if own_rate == rate:
        x = read(start, min(frames, start + samples))
    else:
        up, down = rate // math.gcd(own_rate, rate), own_rate // math.gcd(own_rate, rate)
        margin = math.ceil(_MARGIN_S * own_rate / down)  # in steps of `down` samples, which are `up` samples at `rate`
        first = max(0, start // up - margin)
        stop = min(frames, math.ceil((start + samples) * own_rate / rate) + margin * down)
        resampled = library("soxr").resample(read(first * down, stop), own_rate, rate, "HQ")
        x = resampled[start - first * up :][:samples]
    return np.pad(np.clip(x, -1, 1), (0, samples - len(x)))


def resampled_length(frames: int, own_rate: int, rate: int) -> int:
    """Samples that a sound has at another rate."""
    return frames * rate // own_rate


def explain(head: bytes) -> str:
    """Why a file is no sound, in words, from its first bytes."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it holds HTML, not sound: probably the page of a failed download"
    if head[4:8] == b"ftyp" or head.startswith((b"\x1aE\xdf\xa3", b"0&\xb2u")):
        return "it holds AAC, video or WMA, which cannot be read here: convert it to WAV or FLAC"
    if head.startswith((b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb")):
        return "damaged: it begins like a sound, and its header cannot be read"
    if not set(head) & {*range(9), *range(14, 32), 127}:
        return "it holds text, not sound"
    return "its content is no sound that can be read (WAV, FLAC, OGG, MP3, AIFF)"


def _read(file: Any, start: int, stop: int) -> np.ndarray:
    file.seek(start)
    return mono(file.read(stop - start, dtype="float32", always_2d=True))


def _mp3(path: Path, start: int, stop: int) -> np.ndarray:
    """In chunks that are kept for the next window: the first seek in an MP3 scans all of the file before it."""
    status = path.stat()
    chunks = range(start // _MP3_CHUNK, (stop - 1) // _MP3_CHUNK + 1)
    x = np.concatenate([_mp3_chunk(path, status.st_mtime_ns, status.st_size, number) for number in chunks])
    return x[start - chunks[0] * _MP3_CHUNK :][: stop - start]


@functools.lru_cache(maxsize=4)
def _mp3_chunk(path: Path, mtime_ns: int, size: int, number: int) -> np.ndarray:
    """Always from a fresh decoder, whose rounding depends on what it decoded before; `mtime_ns` and `size` are keys."""
    start = number * _MP3_CHUNK
    lead = min(start, _MP3_LEAD)
    with library("soundfile").SoundFile(str(path)) as file:
        return _read(file, start - lead, start + _MP3_CHUNK)[lead:]


def _blocks(file: Any, size: int) -> Iterator[np.ndarray]:
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield block


def _decoded(blocks: Iterable[np.ndarray], rate: int, claimed: int) -> Iterator[np.ndarray]:
    """The blocks, with the place named where a decoder fails."""
    frames = 0
    try:
        for block in blocks:
            yield block
            frames += len(block)
    except RuntimeError as error:  # soundfile's own kinds
        raise InputError(
            f"damaged or truncated after {frames / rate:.2f} of {claimed / rate:.2f} s: {str(error).strip(' .')}"
        ) from error


def _check_numbers(level: np.ndarray, before: int, rate: int) -> None:
    peak = float(level.max(initial=0.0))
    if not math.isfinite(peak):
        row = int(np.argmin(np.isfinite(level.reshape(len(level), -1)).all(axis=1)))
        raise InputError(f"NaN or infinite samples, the first at {(before + row) / rate:.2f} s")
    if peak > _LARGEST:
        raise InputError(f"its samples reach {peak:.6g}: scale floats to -1 to 1")


def _loud(peaks: np.ndarray, clipped: float, limits: Limits) -> np.ndarray:
    peak = float(peaks.max())
    loud: np.ndarray = peaks >= 10 ** (limits.silence_dbfs / 20)
    if not loud.any():
        level = f"{20 * math.log10(peak):.0f} dBFS" if peak > 0 else "0"
        raise InputError(f"silent: its peak is {level}, below {limits.silence_dbfs:g} dBFS")
    if clipped > limits.max_clipped:
        raise InputError(f"clipped: {clipped:.1%} of its samples are at full scale, above {limits.max_clipped:.1%}")
    return loud


def _check_whole(path: Path) -> None:
    """Refuse a file that ends early where libsndfile reads on in silence: WAV, AIFF and OGG."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"FORM"):
            missing = _missing_of_chunk(file, size, "little" if head[:4] == b"RIFF" else "big")
        elif head[:4] == b"OggS":
            file.seek(max(0, size - 2 * 65_307))  # no page is longer
            missing = _missing_of_page(file.read())
        else:
            missing = 0
    if missing > 0:
        raise InputError(f"truncated: {missing} bytes are missing at its end")


def _check_claim(path: Path, claimed: int, rate: int) -> None:
    """Refuse an MP3 of variable bitrate without a length in its header: libsndfile would pass over its end."""
    sample_count = mpeg.samples(path.read_bytes())
    if sample_count > 1.02 * claimed + rate / 5:  # a header's length leaves out what the encoder padded
        raise InputError(
            f"its header lacks its length, so that {claimed / rate:.2f} of {sample_count / rate:.2f} s would be read: "
            "convert it to FLAC"
        )


def _missing_of_chunk(file: Any, size: int, order: Any) -> int:
    """Bytes that the chunk of samples promises beyond the end of a RIFF or AIFF file."""
    while len(header := file.read(8)) == 8:
        length = int.from_bytes(header[4:], order)
        if header[:4] in (b"data", b"SSND"):
            return 0 if length >= _UNKNOWN_SIZE else file.tell() + length - size
        file.seek(length + length % 2, 1)
    return 0


def _missing_of_page(tail: bytes) -> int:
    """Bytes that the last Ogg page promises beyond the end of the file (RFC 3533, section 6)."""
    page = tail[tail.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 27 else b""
    if len(page) < 27 or len(segments) < page[26]:
        return 1
    return 27 + len(segments) + sum(segments) - len(page)
