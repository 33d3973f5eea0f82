"""Augmentation of sounds: a pure function of sound and seed, in range, neutral where it is switched off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.core.errors import InputError
from tlkit.data import audio_augment
from tlkit.data.audio import augmentation
from tlkit.data.audio_augment import Augmentation, band_stopped, shifted, silenced, with_noise

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)


def power(x: np.ndarray) -> float:
    return float(np.mean(np.square(x, dtype=np.float64)))


def test_the_same_seed_gives_the_same_copy_and_others_differ():
    augment = augmentation()
    before = TONE.copy()
    copies = [augment(TONE, seed) for seed in range(20)]
    assert all(np.array_equal(copy, augment(TONE, seed)) for seed, copy in enumerate(copies))
    assert len({copy.tobytes() for copy in copies}) == 20
    assert all(copy.shape == TONE.shape and copy.dtype == np.float32 for copy in copies)
    assert max(np.abs(copy).max() for copy in copies) <= 1
    np.testing.assert_array_equal(TONE, before)


def test_everything_off_changes_nothing_and_gives_a_copy():
    same = augmentation(0, 0, 0, 0, None)(TONE, 3)
    np.testing.assert_array_equal(same, TONE)
    assert not np.shares_memory(same, TONE)


@pytest.mark.parametrize("slope", [0, 1, 2])
@pytest.mark.parametrize("snr_db", [-5, 5, 20])
def test_noise_has_the_ratio_and_colour_that_were_asked_for(snr_db, slope):
    noise = with_noise(TONE, snr_db, slope, seed=1).astype(np.float64) - TONE
    assert 10 * np.log10(power(TONE) / power(noise)) == pytest.approx(snr_db, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [spectrum[low : 2 * low].mean() for low in (125, 250, 500, 1000, 2000, 4000)]
    assert np.polyfit(range(6), np.log2(octaves), 1)[0] == pytest.approx(-slope, abs=0.2)


def test_noise_stays_in_its_range_and_leaves_silence_alone():
    noise = Augmentation(snr_db=(5, 20))
    ratios = [10 * np.log10(power(TONE) / power(noise(TONE, seed).astype(np.float64) - TONE)) for seed in range(40)]
    assert 5 - 1e-2 <= min(ratios) < 8 and 17 < max(ratios) <= 20 + 1e-2
    silence = np.zeros(100, np.float32)
    np.testing.assert_array_equal(noise(silence, 0), silence)


def test_gain_stays_in_its_range():
    gains = [20 * np.log10(np.abs(Augmentation(gain_db=6)(TONE, seed)).max() / 0.5) for seed in range(60)]
    assert -6.01 <= min(gains) < -4 and 4 < max(gains) <= 6.01


def test_shifts_move_both_ways_and_fill_with_zeros():
    copies = [Augmentation(shift=0.25)(TONE + np.float32(0.1), seed) for seed in range(40)]
    lead = [int(np.argmax(copy != 0)) for copy in copies]
    tail = [int(np.argmax(copy[::-1] != 0)) for copy in copies]
    assert 3000 < max(lead) <= 4000 and 3000 < max(tail) <= 4000
    assert all(min(pair) == 0 for pair in zip(lead, tail, strict=True))


def test_a_silenced_stretch_is_no_longer_than_asked():
    zeros = [int((Augmentation(time_mask=0.2)(TONE + np.float32(1), seed) == 0).sum()) for seed in range(40)]
    assert max(zeros) <= 3200 and max(zeros) > 2000
    np.testing.assert_array_equal(silenced(np.ones(5), 1, 3), [1, 0, 0, 0, 1])


def test_a_band_stop_takes_its_band_and_nothing_else():
    two = TONE + (0.25 * np.sin(2 * np.pi * 5000 * np.arange(RATE) / RATE)).astype(np.float32)
    np.testing.assert_allclose(band_stopped(two, 4000 / 8000, 6000 / 8000), TONE, atol=1e-5)
    np.testing.assert_allclose(band_stopped(two, 0.3, 0.3), two, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 700), seed=st.integers(-(2**40), 2**40))
def test_any_length_and_seed_will_do(samples, seed):
    x = np.linspace(-1, 1, samples, dtype=np.float32)
    copy = augmentation(0.9, 40, 0.9, 0.9, (-40, 100))(x, seed)
    assert copy.shape == x.shape and np.isfinite(copy).all() and np.abs(copy).max() <= 1


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 20), by=st.integers(-20, 20))
def test_shifting_keeps_what_stays_inside(samples, by):
    by = max(-samples, min(samples, by))
    x = np.arange(1, samples + 1, dtype=np.float32)
    moved = shifted(x, by)
    unmoved = x[: samples - by] if by >= 0 else x[-by:]
    np.testing.assert_array_equal(moved[moved != 0], unmoved)


def test_white_noise_is_pinned():
    white = audio_augment._white(3, 0)
    assert [round(float(value), 4) for value in white] == [-0.3951, 0.1809, -0.0041]
    assert np.std(audio_augment._white(20_000, 5)) == pytest.approx(3**-0.5, abs=0.01)


def test_its_repr_names_it_in_caches():
    expected = "Augmentation(shift=0.0, gain_db=0.0, band_stop=0.0, time_mask=0.0, snr_db=(5, 20))"
    assert repr(Augmentation(snr_db=(5, 20))) == expected
    assert repr(Augmentation(band_stop=0.2)).startswith("Augmentation(shift=0.0, gain_db=0.0, band_stop=0.2,")


@pytest.mark.parametrize(
    "wrong", [{"shift": 1.0}, {"gain_db": -1}, {"band_stop": 2}, {"time_mask": float("nan")}, {"snr_db": (20, 5)}]
)
def test_values_outside_their_range_are_refused(wrong):
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}` must "):
        augmentation(**wrong)


def test_other_arrays_are_refused():
    with pytest.raises(InputError, match=r"Augmentation takes float32 \(samples,\). Received: float64 \(4,\)"):
        augmentation()(np.zeros(4), 0)
