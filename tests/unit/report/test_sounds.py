"""Sounds on the report's page: bounded players and spectrograms."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re

import numpy as np
import pytest
import soundfile
import synthetic
from changing import reread
from PIL import Image

from tlkit import report
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Pipeline
from tlkit.modalities import audio_shown as sounds
from tlkit.report import examples

RATE = 16_000
READ = Pipeline().then("audio", sample_rate=RATE, trim_db=None)


def content(url: str) -> bytes:
    return base64.b64decode(url.partition("base64,")[2])


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def waves(count: int, pipeline: Pipeline = READ, seconds: float = 1.0) -> Examples:
    ids = tuple(f"{i}.wav" for i in range(count))
    noise = [
        np.random.default_rng(i).uniform(-0.5, 0.5, round(RATE * seconds)).astype(np.float32) for i in range(count)
    ]
    return Examples(
        ids,
        ReadColumn(noise.__getitem__, ArraySpec(noise[0].shape, "float32"), ids),
        ArrayColumn(np.arange(count) % 10),
        modality="audio",
        pipeline=pipeline,
    )


@pytest.mark.parametrize(("rate", "kind"), [(16_000, "audio/mpeg"), (8_000, "audio/mpeg"), (10_000, "audio/wav")])
def test_a_sound_comes_back_as_it_was(rate, kind):
    wave = tone(440, 0.5, rate)
    played = sounds.played(wave, rate)
    assert played.url.startswith(f"data:{kind};base64,") and not played.cut and played.seconds == 0.5
    back, stored_rate = soundfile.read(io.BytesIO(content(played.url)))
    assert stored_rate == rate
    assert np.abs(np.fft.rfft(back, rate)).argmax() == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [10_000, 16_000, 44_100])
def test_a_long_sound_is_cut_to_what_the_page_holds(rate):
    wave = np.random.default_rng(0).uniform(-1, 1, 30 * rate).astype(np.float32)
    played = sounds.played(wave, rate)
    assert played.cut and len(content(played.url)) <= sounds.BYTES
    assert played.seconds > 0.9
    assert len(content(played.picture)) < 12_000


def test_a_spectrogram_shows_where_a_tone_lies():
    shades = sounds.spectrogram(np.concatenate([tone(2_000), tone(6_000)]))
    assert shades.shape == (sounds.ROWS, sounds.WIDTH) and shades.max() == 255
    rows = shades.argmax(axis=0)
    for half, hertz in ((rows[:70], 2_000), (rows[-70:], 6_000)):
        expected = sounds.ROWS - 1 - math.floor(hertz / (RATE / 2) * sounds.ROWS)
        assert np.abs(half - expected).max() <= 1


@pytest.mark.parametrize("samples", [1, 40, 300])
def test_the_shortest_and_silent_sounds_have_pictures(samples):
    picture = Image.open(io.BytesIO(content(sounds.played(np.zeros(samples, np.float32), RATE).picture)))
    assert picture.size[1] == sounds.ROWS


def test_what_is_no_sound_or_is_gone_is_left_out():
    reference = {"index": 1, "id": "1.wav"}
    assert not examples.shown(None, reference)["html"]
    assert not examples.shown(waves(2, pipeline=Pipeline().then("image")), reference)["html"]
    assert not examples.shown(waves(2), {"index": 0, "id": "gone.wav"})["html"]
    gone = reread(waves(2), lambda i: np.load("/nowhere.npy"))
    assert not examples.shown(gone, reference)["html"]
    assert sounds.played(waves(2).inputs[1], RATE).url in examples.shown(waves(2), reference)["html"]


def test_the_page_plays_24_mistakes_in_about_a_megabyte(tmp_path):
    run, test = synthetic.run(), waves(24, seconds=20.0)
    mistakes = [{"index": i, "id": name, "true": "one", "predicted": "two", "probability": 0.9, "true_probability": 0.1}
                for i, name in enumerate(test.ids)]  # fmt: skip
    evaluation = dataclasses.replace(run.evaluation, details={**run.evaluation.details, "mistakes": mistakes})
    heard = dataclasses.replace(run, data=dataclasses.replace(run.data, test=test), evaluation=evaluation)
    page = report.write(heard, tmp_path / "report.html").read_text()
    assert len(re.findall(r'<audio controls preload="metadata" src="data:audio/mpeg;base64,', page)) == 24
    assert page.count('alt="Spectrogram of') == 24 and 'title="its first' in page
    assert "media-src data:" in page and '<ul class="mistakes" data-modality="audio">' in page
    silent = report.write(dataclasses.replace(heard, data=run.data), tmp_path / "silent.html").read_text()
    assert len(page) - len(silent) < 1_200_000
