"""Mel spectra in a graph against their definition in float64."""

import numpy as np
import pytest

from tlkit.zoo.mel import Mel, at_least, filters, window

tf = pytest.importorskip("tensorflow")

SETTINGS = [
    Mel(16_000, window=400, transform=512, step=160, bands=32, low=60, high=3800),
    Mel(16_000, window=400, transform=400, step=160, bands=40, low=0, high=8000, centred=True),
    Mel(16_000, window=512, transform=512, step=256, bands=96, low=0, high=8000, centred=True),
]


def edges(mel):
    """Slaney's scale, written by its bend: 66.67 Hz a mel up to 1000 Hz, then 27 mel a factor of 6.4."""

    def to_mel(hertz):
        return hertz / (200 / 3) if hertz <= 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    mels = np.linspace(to_mel(mel.low), to_mel(mel.high), mel.bands + 2)
    return [m * 200 / 3 if m <= 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in mels]


@pytest.mark.parametrize("mel", SETTINGS)
def test_power_is_that_of_the_definition(mel):
    wave = np.random.default_rng(0).normal(size=5000)
    padded = np.pad(wave, mel.transform // 2) if mel.centred else wave
    hann = np.zeros(mel.transform)
    first = (mel.transform - mel.window) // 2
    hann[first : first + mel.window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(mel.window) / mel.window)
    starts = range(0, len(padded) - mel.transform + 1, mel.step)
    power = np.stack([np.abs(np.fft.rfft(padded[s : s + mel.transform] * hann)) ** 2 for s in starts])
    bands = mel(tf.constant(wave[None], tf.float32)).numpy()[0]
    expected = power @ filters(mel).astype(np.float64)
    np.testing.assert_allclose(bands, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("mel", SETTINGS)
def test_triangles_rise_and_fall_between_their_neighbours(mel):
    frequencies = np.arange(mel.transform // 2 + 1) * mel.sample_rate / mel.transform
    corners = edges(mel)
    for band, weights in enumerate(filters(mel).T):
        low, _, high = triangle = corners[band : band + 3]
        expected = np.interp(frequencies, triangle, [0, 2 / (high - low), 0], left=0, right=0)
        np.testing.assert_allclose(weights, expected, atol=1e-7)


def test_the_window_is_periodic_and_centred():
    assert window(4, 6).tolist() == [0, 0, 0.5, 1, 0.5, 0]


def test_short_sounds_are_followed_by_silence_and_long_ones_left_alone():
    assert at_least(tf.ones((1, 2)), 4).numpy().tolist() == [[1, 1, 0, 0]]
    assert at_least(tf.ones((1, 5)), 4).shape == (1, 5)
