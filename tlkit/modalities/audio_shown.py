"""How a recording looks and sounds in the report: a player, and a plot of how its frequencies go through time."""

from __future__ import annotations

import base64
import html
import io
import math
from dataclasses import dataclass

import numpy as np

from tlkit.core.examples import Examples
from tlkit.data import audio_decode
from tlkit.data.audio_source import AUDIO

BYTES = 24_000  # of a sound; its mistakes, 24 at most, then add at most a megabyte to the page
WIDTH, ROWS = 160, 72  # pixels of a spectrogram
DECIBELS = 60  # that its colours span, down from the loudest
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_COLOURS = ((10, 14, 40), (64, 32, 118), (178, 54, 106), (246, 138, 74), (252, 244, 190))  # soft to loud


@dataclass(frozen=True)
class Played:
    """A sound on a page: `url` plays it, `picture` shows it, both data: URLs; `cut` where only its beginning fits."""

    url: str
    picture: str
    seconds: float
    cut: bool


def show(examples: Examples, index: int) -> str:
    """A recording as HTML: its spectrogram, and what plays it; "" where nothing says its sample rate."""
    settings, name = examples.pipeline.get(AUDIO), html.escape(examples.ids[index])
    if settings is None:
        return ""
    sound = played(examples.inputs[index], settings["sample_rate"])
    title = f' title="its first {sound.seconds:.1f} s"' if sound.cut else ""
    return (
        f'<img src="{sound.picture}" alt="Spectrogram of {name}" loading="lazy">\n'
        f'<audio controls preload="metadata" src="{sound.url}"{title}></audio>'
    )


def played(wave: np.ndarray, rate: int) -> Played:
    """A sound as a page plays and shows it.

    Args:
        wave: float32 (samples,) in [-1, 1].
        rate: Samples a second.

    Raises:
        InputError: If soundfile is not installed.
    """
    count, content, kind = len(wave), b"", ""
    while not content or len(content) > BYTES:
        count = count if not content else count * BYTES // len(content) * 19 // 20
        content, kind = _encoded(wave[:count], rate)
    shown = wave[:count]
    return Played(_url(kind, content), _url("image/png", _png(spectrogram(shown))), count / rate, count < len(wave))


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """Loudness by time and frequency, the highest in the first row: uint8 (ROWS, at most WIDTH), 255 the loudest.

    Frames of a power of two, about 1/40 of the sound and 256 to 1,024 samples, under a Hann window; rows are mean
    powers of bands of equal width, from 0 to half the sample rate.
    """
    size = 2 ** min(10, max(8, round(math.log2(max(1, len(wave) / 40)))))
    padded = np.pad(wave.astype(np.float64), (0, max(0, size - len(wave))))
    starts = np.linspace(0, len(padded) - size, min(WIDTH, 1 + (len(padded) - size) // 16)).astype(np.int64)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames))[:, : size // 2] ** 2
    edges = np.linspace(0, size // 2, ROWS + 1).astype(np.int64)[:-1]
    bands = np.add.reduceat(power, edges, axis=1) / np.diff(np.append(edges, size // 2))
    level = 10 * np.log10(np.maximum(bands, 1e-12))
    shade = 255 * (1 + (level - level.max()) / DECIBELS)
    return np.flipud(np.clip(shade, 0, 255).astype(np.uint8).T)


def _encoded(wave: np.ndarray, rate: int) -> tuple[bytes, str]:
    """MP3, which is a tenth as large, or WAV where MP3 knows no such rate."""
    soundfile = audio_decode.library("soundfile")
    buffer = io.BytesIO()
    if rate in _MP3_RATES and "MP3" in soundfile.available_formats():
        soundfile.write(buffer, wave, rate, format="MP3", compression_level=0.7)
        return buffer.getvalue(), "audio/mpeg"
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue(), "audio/wav"


def _png(shades: np.ndarray) -> bytes:
    from PIL import Image

    at = np.linspace(0, 255, len(_COLOURS))
    palette = np.stack([np.interp(np.arange(256), at, channel) for channel in np.transpose(_COLOURS)], axis=1)
    picture = Image.fromarray(shades // 4 * 4)  # 64 shades make a smaller file
    picture.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode()
