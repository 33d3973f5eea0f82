"""Mel spectra inside a module's graph, as the program computed them that its network was trained with.

Source: librosa's melspectrogram: a periodic Hann window centred in the transform, power, triangles on Slaney's scale
of equal area (Slaney 1998, Auditory Toolbox).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mel:
    """Settings of a mel spectrum.

    Attributes:
        sample_rate: Samples a second.
        window: Samples under the Hann window.
        transform: Samples of the Fourier transform, at least `window`.
        step: Samples from one frame to the next.
        bands: Count of triangles.
        low: Hertz where the first of them begins.
        high: Hertz where the last of them ends.
        centred: Whether half a transform of zeros goes before and behind the sound, as librosa does by default.
    """

    sample_rate: int
    window: int
    transform: int
    step: int
    bands: int
    low: float
    high: float
    centred: bool = False

    def __call__(self, wave: Any) -> Any:
        """Power by band: float32 (batch, samples) -> (batch, frames, bands)."""
        import tensorflow as tf

        padding = self.transform // 2 if self.centred else 0
        frames = tf.signal.frame(tf.pad(wave, ((0, 0), (padding, padding))), self.transform, self.step)
        return _power(frames * window(self.window, self.transform), self.transform) @ filters(self)


def at_least(wave: Any, samples: int) -> Any:
    """Sounds (batch, any) followed by silence up to `samples`, where they are shorter."""
    import tensorflow as tf

    return tf.pad(wave, ((0, 0), (0, tf.maximum(0, samples - tf.shape(wave)[1]))))


def window(length: int, transform: int) -> np.ndarray:
    """Periodic Hann window amid zeros: float32 (transform,)."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    whole, before = np.zeros(transform, np.float32), (transform - length) // 2
    whole[before : before + length] = hann
    return whole


def filters(mel: Mel) -> np.ndarray:
    """Weight of each frequency in each band: float32 (transform // 2 + 1, bands)."""
    edges = _hertz(np.linspace(_slaney(mel.low), _slaney(mel.high), mel.bands + 2))
    frequencies = np.arange(mel.transform // 2 + 1) * (mel.sample_rate / mel.transform)
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * 2 / (edges[2:] - edges[:-2]), np.float32)


# Slaney's scale: 3 mel in 200 Hz up to 1000 Hz, then 27 mel for each factor of 6.4
BEND_HZ, BEND_MEL, LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27


def _slaney(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < BEND_HZ else BEND_MEL + float(np.log(hertz / BEND_HZ)) / LOG_STEP


def _hertz(mel: np.ndarray) -> np.ndarray:
    straight, bent = mel * 200 / 3, BEND_HZ * np.exp((mel - BEND_MEL) * LOG_STEP)
    return np.asarray(np.where(mel < BEND_MEL, straight, bent))


def _power(frames: Any, transform: int) -> Any:
    """Squared size of the Fourier transform; TFLite knows only those of a power of two, others are a product here."""
    import tensorflow as tf

    if transform & (transform - 1) == 0:
        spectra = tf.signal.rfft(frames)
        return tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))
    angles = 2 * np.pi * (np.arange(transform)[:, None] * np.arange(transform // 2 + 1) % transform) / transform
    return tf.square(frames @ np.cos(angles).astype(np.float32)) + tf.square(frames @ np.sin(angles).astype(np.float32))
