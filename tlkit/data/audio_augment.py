"""Changed copies of sounds as a pure function of sound and seed, so that caching, resume and replay stay exact.

All of it works on waveforms. SpecAugment's two masks are here as a silenced stretch and a band stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import LeavesTargets
from tlkit.core.files import sha256_bytes
from tlkit.core.numeric import is_number
from tlkit.data.augment import draws


@dataclass(frozen=True)
class Augmentation(LeavesTargets):
    """Shift, gain, band stop, silenced stretch and noise, in this order: a tlkit.Augment, which leaves targets alone.

    `augment(x, seed)` is one copy. Each step alone: `shift()`, `gain()`, `band_stop()`, `time_mask()`, `noise()`.

    Attributes:
        shift: Largest move in time, as a share of the window, in [0, 0.9]; zeros fill the gap.
        gain_db: Largest change of loudness in dB, in [0, 40].
        band_stop: Largest band that is taken out, as a share of the spectrum, in [0, 0.9].
        time_mask: Largest stretch that is silenced, as a share of the window, in [0, 0.9].
        snr_db: (lowest, highest) signal-to-noise ratio in dB, of noise whose colour lies between white and brown.
    """

    shift: float = 0.0
    gain_db: float = 0.0
    band_stop: float = 0.0
    time_mask: float = 0.0
    snr_db: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, limit in (("shift", 0.9), ("gain_db", 40), ("band_stop", 0.9), ("time_mask", 0.9)):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value <= limit):
                raise InputError(f"`{name}` must lie in [0, {limit}]. Received: {name}={value!r}.")
        if self.snr_db is not None and not (len(self.snr_db) == 2 and -40 <= self.snr_db[0] <= self.snr_db[1] <= 100):
            raise InputError(f"`snr_db` must be (lowest, highest) in [-40, 100]. Received: snr_db={self.snr_db!r}.")

    def __call__(self, x: np.ndarray, seed: int) -> np.ndarray:
        """A changed copy of float32 (samples,), of the same length, in [-1, 1]."""
        return self.inputs(x, self.draw(seed))

    def draw(self, seed: int) -> dict[str, float]:
        """Shares of the window ("shift", "masked") and of the spectrum ("low", "high"), dB, and the noise's own.

        "start" of the silenced stretch counts in shares of what is not silenced.
        """
        move, louder, width, place, length, start, ratio, colour = draws(seed)
        low, (lowest, highest) = place * (1 - self.band_stop * width), self.snr_db or (0.0, 0.0)
        return {
            "shift": self.shift * (2 * move - 1),
            "gain_db": self.gain_db * (2 * louder - 1),
            "low": low,
            "high": low + self.band_stop * width,
            "masked": self.time_mask * length,
            "start": start,
            "snr_db": lowest + (highest - lowest) * ratio,
            "slope": 2 * colour,
            "seed": seed,
        }

    def inputs(self, value: np.ndarray, drawn: Mapping[str, float]) -> np.ndarray:
        """A changed copy of float32 (samples,), of the same length, in [-1, 1]."""
        x = value
        if x.dtype != np.float32 or x.ndim != 1:
            raise InputError(f"Augmentation takes float32 (samples,). Received: {x.dtype} {x.shape}.")
        if self.shift:
            x = shifted(x, round(drawn["shift"] * len(x)))
        if self.gain_db:
            x = x * np.float32(10 ** (drawn["gain_db"] / 20))
        if self.band_stop:
            x = band_stopped(x, drawn["low"], drawn["high"])
        if self.time_mask:
            masked = round(drawn["masked"] * len(x))
            x = silenced(x, round(drawn["start"] * (len(x) - masked)), masked)
        if self.snr_db is not None:
            x = with_noise(x, drawn["snr_db"], drawn["slope"], int(drawn["seed"]))
        return np.array(np.clip(x, -1, 1))


def shifted(x: np.ndarray, samples: int) -> np.ndarray:
    """Move later (or earlier, where negative), with zeros in the gap.

    Example:
        >>> shifted(np.array([1.0, 2.0, 3.0]), 1).tolist(), shifted(np.array([1.0, 2.0, 3.0]), -2).tolist()
        ([0.0, 1.0, 2.0], [3.0, 0.0, 0.0])
    """
    moved = np.zeros_like(x)
    if samples >= 0:
        moved[samples:] = x[: len(x) - samples]
    else:
        moved[:samples] = x[-samples:]
    return moved


def silenced(x: np.ndarray, start: int, samples: int) -> np.ndarray:
    """A copy with zeros from `start` on."""
    masked = x.copy()
    masked[start : start + samples] = 0
    return masked


def band_stopped(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Take the frequencies from `low` to `high` out, in [0, 1] of half the sample rate."""
    spectrum = np.fft.rfft(x)
    spectrum[round(low * len(spectrum)) : round(high * len(spectrum))] = 0
    return np.fft.irfft(spectrum, len(x)).astype(np.float32)


def with_noise(x: np.ndarray, snr_db: float, slope: float, seed: int) -> np.ndarray:
    """Add noise whose power is `snr_db` below that of the whole window; a window of zeros stays as it is.

    Args:
        x: float32 (samples,).
        snr_db: Ratio of the powers, in dB.
        slope: The noise's power falls with frequency as 1 / f**slope: 0 is white, 1 pink, 2 brown.
        seed: Of the noise.
    """
    power = float(np.mean(np.square(x, dtype=np.float64)))
    if power == 0 or len(x) < 2:
        return x
    spectrum = np.fft.rfft(_white(len(x), seed))
    spectrum[0] = 0
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-slope / 2)
    raw = np.fft.irfft(spectrum, len(x))
    scale = np.sqrt(power / 10 ** (snr_db / 10) / np.mean(raw**2))
    noisy: np.ndarray = (x + scale * raw).astype(np.float32)
    return noisy


def _white(samples: int, seed: int) -> np.ndarray:
    """Uniform in [-1, 1): NumPy promises the raw stream of PCG64 for good, and of no distribution."""
    words = np.random.PCG64(int(sha256_bytes("noise", str(int(seed)))[:32], 16)).random_raw(samples)
    white: np.ndarray = words / 2.0**63 - 1
    return white
