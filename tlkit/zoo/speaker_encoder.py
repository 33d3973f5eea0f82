"""Resemblyzer's voice encoder: 256 numbers at unit length whose cosine tells whether two recordings share a voice.

The sound is made as loud as the network knows it, turned into mel power (no logarithm), cut into pieces of 1.6 s every
0.77 s; each piece goes through three LSTMs, and the mean over the pieces is the voice. Resemblyzer also cuts long
silences out beforehand, with a voice detector that no graph can hold: do so if your recordings have them.

Source: Wan, Wang, Papir and Lopez Moreno 2017, arXiv:1710.10467 (generalized end-to-end loss); resemblyzer 0.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.packages import Package
from tlkit.zoo.card import Card
from tlkit.zoo.mel import Mel, at_least
from tlkit.zoo.torchfile import read_tensors

WEIGHTS = "resemblyzer/pretrained.pt"
PACKAGE = Package(
    name="resemblyzer",
    version="0.1.4",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    files={WEIGHTS: "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
    download_mb=15.7,
)
MEL = Mel(sample_rate=16_000, window=400, transform=400, step=160, bands=40, low=0.0, high=8000.0, centred=True)
CARD = Card(
    name="speaker-encoder",
    summary="Resemblyzer's GE2E voice encoder, three LSTMs that tell voices apart",
    modality="audio",
    licence="Apache-2.0",
    credits="Weights by Resemble AI (Resemblyzer), trained by C. Jemine.",
    package=PACKAGE,
    inputs="float32 (batch, samples), waveform in [-1, 1] at 16 kHz, best without long silences; silence follows 1.6 s",
    outputs="float32 (batch, 256), none negative, at unit length",
    input_range=(-1.0, 1.0),
    parameters=1_420_544,
    sample_rate=MEL.sample_rate,
)

LAYERS, WIDTH = 3, 256
FRAMES, STEP = 160, 77  # of a piece, and from one to the next: 1.3 a second
COVERAGE = FRAMES * MEL.step * 3 // 4  # samples of sound that the last piece must hold at least
LOUDNESS = 10 ** (-30 / 20)  # root mean square up to which quiet sounds are raised: -30 dB of full scale


@dataclass(frozen=True, eq=False)
class Lstm:
    """Weights of one layer; gates lie in torch's order: input, forget, cell, output."""

    kernel: Any
    recurrent: Any
    bias: Any


@dataclass(frozen=True, eq=False)
class Voice:
    """All weights of the encoder."""

    layers: tuple[Lstm, ...]
    kernel: Any
    bias: Any

    @property
    def variables(self) -> list[Any]:
        """In the order of the computation."""
        return [v for lstm in self.layers for v in (lstm.kernel, lstm.recurrent, lstm.bias)] + [self.kernel, self.bias]


def build(files: Mapping[str, Path], folder: Path) -> None:
    """Write front end and encoder as one hub-format SavedModel."""
    import tensorflow as tf

    from tlkit.formats import hub_module

    voice = weights(read_tensors(files[WEIGHTS]))
    hub_module.write_module(
        lambda wave, _training: embed(voice, wave),
        *(voice.variables, voice.variables, tf.TensorSpec((None, None), tf.float32, name="waveform"), folder),
        card=CARD.to_json(),
    )


def weights(tensors: Mapping[str, np.ndarray]) -> Voice:
    """The tensors of the torch file as variables; torch's two biases of a layer are one here."""
    import tensorflow as tf

    def get(name: str) -> np.ndarray:
        return tensors[f"model_state.{name}"]

    layers = tuple(
        Lstm(
            tf.Variable(get(f"lstm.weight_ih_l{i}").T, name=f"lstm_{i}/kernel"),
            tf.Variable(get(f"lstm.weight_hh_l{i}").T, name=f"lstm_{i}/recurrent_kernel"),
            tf.Variable(get(f"lstm.bias_ih_l{i}") + get(f"lstm.bias_hh_l{i}"), name=f"lstm_{i}/bias"),
        )
        for i in range(LAYERS)
    )
    kernel = tf.Variable(get("linear.weight").T, name="linear/kernel")
    return Voice(layers, kernel, tf.Variable(get("linear.bias"), name="linear/bias"))


def embed(voice: Voice, wave: Any) -> Any:
    """float32 (batch, samples) -> float32 (batch, 256)."""
    import tensorflow as tf

    spectra = pieces(wave)
    count = tf.shape(spectra)[1]
    state = _through(voice.layers, tf.reshape(spectra, (-1, FRAMES, MEL.bands)))
    embeddings = tf.math.l2_normalize(tf.nn.relu(state @ voice.kernel + voice.bias), axis=-1)
    return tf.math.l2_normalize(tf.reduce_mean(tf.reshape(embeddings, (-1, count, WIDTH)), axis=1), axis=-1)


def pieces(wave: Any) -> Any:
    """Mel power of the pieces: float32 (batch, samples) -> (batch, pieces, 160, 40)."""
    import tensorflow as tf

    spectra = MEL(at_least(louder(wave), covered(tf.shape(wave)[1])))
    return tf.signal.frame(spectra, FRAMES, STEP, axis=1)


def louder(wave: Any) -> Any:
    """Quiet sounds at the loudness that the network knows, others as they are."""
    import tensorflow as tf

    power = tf.reduce_mean(tf.square(wave), axis=1, keepdims=True)
    return wave * tf.maximum(1.0, LOUDNESS * tf.math.rsqrt(tf.maximum(power, 1e-12)))


def covered(samples: Any) -> Any:
    """Samples under all pieces of a sound; its end counts where it fills three quarters of a piece.

    Source: `compute_partial_slices` of resemblyzer 0.1.4.
    """
    import tensorflow as tf

    frames = (samples + MEL.step) // MEL.step
    count = (tf.maximum(1, frames - FRAMES + STEP + 1) + STEP - 1) // STEP
    short = tf.logical_and(count > 1, samples - (count - 1) * STEP * MEL.step < COVERAGE)
    count -= tf.cast(short, count.dtype)
    return ((count - 1) * STEP + FRAMES) * MEL.step


def _through(layers: Sequence[Lstm], spectra: Any) -> Any:
    """Last output of the last layer: float32 (pieces, 160, 40) -> (pieces, 256).

    One loop over time carries the states of all layers: without lists of tensors, it converts to TFLite's builtins.
    """
    import tensorflow as tf

    nothing = tf.zeros((tf.shape(spectra)[0], WIDTH))

    def step(time: Any, *states: Any) -> tuple[Any, ...]:
        x, after = spectra[:, time], []
        for lstm, output, cell in zip(layers, states[::2], states[1::2], strict=True):
            x, cell_state = _step(lstm, x, output, cell)
            after += [x, cell_state]
        return (time + 1, *after)

    start = (tf.constant(0), *[nothing] * (2 * len(layers)))
    return tf.while_loop(lambda time, *_: time < FRAMES, step, start, maximum_iterations=FRAMES)[-2]


def _step(lstm: Lstm, x: Any, output: Any, cell: Any) -> tuple[Any, Any]:
    """One step of one layer: its new output and cell."""
    import tensorflow as tf

    gates = x @ lstm.kernel + output @ lstm.recurrent + lstm.bias
    enter, keep, new, show = tf.split(gates, 4, axis=-1)
    cell = tf.sigmoid(keep) * cell + tf.sigmoid(enter) * tf.tanh(new)
    return tf.sigmoid(show) * tf.tanh(cell), cell
