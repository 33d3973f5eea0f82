"""log-spectrum: how loud each band of frequencies is every 40 milliseconds; nothing in it was trained.

For faults that can be heard and that a module of speech does not hear: noise, hum, clipping, another machine. Give its
steps to `tasks.sequence_anomalies`, or to any head.

Windows and bands are numbers of half precision, so that float16 files hold them exactly.

Source: mel bands on Slaney's scale (`tlkit.zoo.mel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.zoo.card import Card
from tlkit.zoo.mel import Mel, at_least, filters, window

SAMPLE_RATE = 16_000  # Hz
MEL = Mel(sample_rate=SAMPLE_RATE, window=1024, transform=1024, step=640, bands=32, low=40.0, high=8000.0)
GAIN = 2.0**21  # of the power, in the bands' weights, which end at 30,000 and so below what half precision holds
CARD = Card(
    name="log-spectrum",
    summary="log-spectrum, loudness of 32 bands of a sound each 40 ms",
    modality="audio",
    licence="Apache-2.0",
    credits="Made by tlkit; it has no trained weights.",
    package=None,
    inputs="float32 (batch, samples) at 16 kHz, any number of samples, in [-1, 1]",
    outputs="float32 (batch, frames, 32): natural logarithms of 1 + 2^21 times the power, silence is 0",
    input_range=None,
    parameters=(MEL.transform // 2 + 1) * MEL.bands,
    sample_rate=SAMPLE_RATE,
)


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write the spectrum as a hub-format SavedModel, its bands in a variable."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    bands = tf.Variable(_half(filters(MEL) * GAIN), trainable=False, name="bands")
    hub_module.write_module(
        lambda wave, training: loudness(wave, bands),
        [bands],
        [],
        tf.TensorSpec((None, None), tf.float32, name="waveform"),
        folder,
        card=CARD.to_json(),
    )


def loudness(wave: Any, bands: Any) -> Any:
    """Loudness by band: float32 (batch, samples) -> (batch, frames, 32)."""
    import tensorflow as tf

    frames = tf.signal.frame(at_least(wave, MEL.transform), MEL.transform, MEL.step)
    spectra = tf.signal.rfft(frames * _half(window(MEL.window, MEL.transform)))
    power = tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))
    return tf.math.log(power @ bands + 1.0)


def _half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)
