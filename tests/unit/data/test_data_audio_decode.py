"""One sound: what scanning finds, stretches at another rate, windows, and why a file is none."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.core.errors import InputError
from tlkit.data import audio_decode as decode
from tlkit.data import mpeg
from tlkit.data.audio_decode import Limits
from tlkit.data.audio_source import starts


def tone(hertz: float, rate: int, seconds: float = 1.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def scan(x: np.ndarray, rate: int = 16_000, claimed: int | None = None, **limits: float) -> decode.Scan:
    return decode.scan([x] if len(x) else [], rate, len(x) if claimed is None else claimed, Limits(**limits))


@pytest.mark.parametrize(
    ("kind", "one"), [(np.int16, 2**14), (np.int32, 2**30), (np.uint8, 192), (np.int64, 2**14), (np.float64, 0.5)]
)
def test_numbers_of_all_kinds_become_floats(kind, one):
    assert decode.mono(np.array([one, one], kind)).tolist() == [0.5, 0.5]
    assert decode.mono(np.array([[one, one, one]], kind)).tolist() == [0.5]
    assert decode.mono(np.array([[one]], kind)).dtype == np.float32


def test_a_sound_is_loud_where_it_is():
    x = np.concatenate([np.zeros(8000, np.float32), tone(440, 16_000, 0.5)])
    scanned = scan(x)
    assert (scanned.rate, scanned.frames, scanned.step) == (16_000, 16_000, 160)
    assert scanned.loud.tolist() == [False] * 50 + [True] * 50


def test_blocks_make_no_difference():
    x = np.random.default_rng(0).normal(0, 0.001, (44_100, 2)).astype(np.float32)
    whole = scan(x, 44_100)
    parts = decode.scan([x[:4410], x[4410:39_690], x[39_690:]], 44_100, len(x), Limits())
    np.testing.assert_array_equal(whole.loud, parts.loud)


@pytest.mark.parametrize(
    ("x", "rate", "reason"),
    [
        (np.zeros(0, np.float32), 16_000, "empty: it has no samples"),
        (np.zeros(100, np.float32), 16_000, "silent: its peak is 0, below -60 dBFS"),
        (tone(440, 16_000, peak=0.0005), 16_000, "silent: its peak is -66 dBFS, below -60 dBFS"),
        (np.array([[0.5, -0.5]] * 99), 16_000, "silent: its peak is 0"),
        (np.where(np.arange(16_000) == 8000, np.nan, 0.1), 16_000, "NaN or infinite samples, the first at 0.50 s"),
        (np.where(np.arange(16_000) == 4000, np.inf, 0.1), 16_000, "NaN or infinite samples, the first at 0.25 s"),
        (np.clip(tone(440, 16_000, peak=1.5), -1, 1), 16_000, r"clipped: 5\d\.\d% of its samples .*, above 5.0%"),
        (np.full(99, 3000.0), 16_000, "its samples reach 3000: scale floats to -1 to 1"),
        (tone(440, 4000), 4000, "its sample rate is 4000 Hz, and must lie in 8000 to 768000 Hz"),
        (tone(440, 8000), 10**9, "its sample rate is 1000000000 Hz"),
    ],
)
def test_what_cannot_be_used_is_named(x, rate, reason):
    with pytest.raises(InputError, match=f"^{reason}"):
        scan(x, rate)


def test_a_sound_shorter_than_its_header_says_is_truncated():
    with pytest.raises(InputError, match=r"^truncated: it holds 1\.00 of 2\.00 s$"):
        scan(tone(440, 8000), 8000, claimed=16_000)


def test_limits_decide():
    assert scan(tone(440, 16_000, peak=0.0005), silence_dbfs=-70).loud.any()
    assert scan(np.zeros(99, np.float32), silence_dbfs=-math.inf).loud.all()
    assert scan(np.clip(tone(440, 16_000, peak=1.5), -1, 1), max_clipped=0.9).frames == 16_000
    with pytest.raises(InputError, match="`silence_dbfs` must be negative"):
        Limits(silence_dbfs=3)
    with pytest.raises(InputError, match=r"`max_clipped` must lie in \[0, 1\]"):
        Limits(max_clipped=-0.1)


@pytest.mark.parametrize("own", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("rate", [8000, 16_000, 22_050])
def test_a_resampled_tone_keeps_its_frequency_and_loudness(own, rate):
    x = tone(1000, own, 2.0)
    y = decode.stretch(lambda a, b: x[a:b], own, len(x), rate=rate, start=rate // 2, samples=rate)
    spectrum = np.abs(np.fft.rfft(y)) * 2 / rate
    assert int(spectrum.argmax()) == 1000
    assert spectrum[1000] == pytest.approx(0.5, abs=0.002)
    spectrum[1000] = 0
    assert spectrum.max() < 0.001


def test_what_lies_above_the_new_rate_is_filtered_and_not_folded():
    x = tone(7000, 16_000)
    y = decode.stretch(lambda a, b: x[a:b], 16_000, len(x), rate=8000, start=2000, samples=4000)
    assert np.abs(y).max() < 0.001


@settings(max_examples=60, deadline=None)
@given(
    own=st.sampled_from([8000, 11_025, 22_050, 44_100, 48_000, 44_101]),
    start=st.floats(0, 1),
    samples=st.integers(1, 30_000),
)
def test_a_stretch_is_what_resampling_the_whole_gives(own, start, samples):
    import soxr

    x = np.random.default_rng(own).uniform(-0.3, 0.3, 2 * own).astype(np.float32)
    whole = np.pad(soxr.resample(x, own, 16_000, "HQ"), (0, 64_000))
    first = int(start * 31_999)
    y = decode.stretch(lambda a, b: x[a:b], own, len(x), rate=16_000, start=first, samples=samples)
    assert y.shape == (samples,) and y.dtype == np.float32
    np.testing.assert_allclose(y, whole[first : first + samples], atol=2e-5)


def test_a_stretch_behind_the_end_is_padded_and_overshoot_is_cut():
    x = np.ones(100, np.float32) * 1.5
    y = decode.stretch(lambda a, b: x[a:b], 16_000, 100, rate=16_000, start=90, samples=20)
    assert y.tolist() == [1.0] * 10 + [0.0] * 10


@settings(max_examples=200, deadline=None)
@given(length=st.integers(0, 500), samples=st.integers(1, 60), hop=st.integers(1, 80))
def test_windows_lie_inside_in_order_and_cover_all_but_less_than_half_a_hop(length, samples, hop):
    begins = starts(length, samples, hop)
    assert begins == sorted(set(begins)) and begins[0] == 0
    if length > samples:
        assert begins[-1] + samples <= length
        assert 2 * (length - samples - begins[-1]) < hop
        assert all(b - a <= hop for a, b in itertools.pairwise(begins))
    else:
        assert begins == [0]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"<!DOCTYPE html><html>", "it holds HTML, not sound: probably the page of a failed download"),
        (b"hello, I am a text file", "it holds text, not sound"),
        ("grüße".encode(), "it holds text, not sound"),
        (b"\0\0\0\x18ftypM4A ", "it holds AAC, video or WMA, which cannot be read here: convert it to WAV or FLAC"),
        (b"RIFF\0\0", "damaged: it begins like a sound, and its header cannot be read"),
        (bytes(range(256)), "its content is no sound that can be read (WAV, FLAC, OGG, MP3, AIFF)"),
    ],
)
def test_a_file_that_is_no_sound_is_explained(head, reason):
    assert decode.explain(head) == reason


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(InputError, match=r"'soundfile', which is missing: `pip install tlkit\[audio\]`"):
        decode.library("soundfile")


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_the_frames_of_an_mp3_are_counted(tmp_path, rate, mode):
    soundfile.write(tmp_path / "x.mp3", tone(440, rate, 3.0), rate, bitrate_mode=mode, compression_level=0.4)
    data = (tmp_path / "x.mp3").read_bytes()
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 1]) + bytes(257)  # syncsafe: 2 * 128 + 1
    for content in (data, tag + data, data + b"TAG" + bytes(125)):
        assert 3 * rate <= mpeg.samples(content) <= 3 * rate + 5 * 1152
    assert mpeg.samples(b"") == mpeg.samples(b"ID3") == mpeg.samples(b"RIFF") == 0


def test_lengths_are_whole():
    assert decode.resampled_length(44_100, 44_100, 16_000) == 16_000
    assert decode.resampled_length(1, 48_000, 16_000) == 0
    assert math.isclose(decode.resampled_length(22_051, 22_050, 16_000), 16_000)
