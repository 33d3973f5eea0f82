"""Explanations against closed forms."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFont

from tlkit.core.errors import InputError
from tlkit.explaining import explanation, methods, series
from tlkit.explaining.explanation import Explanation
from tlkit.explaining.parts import Parts
from tlkit.explaining.words import Word, grouped


def first(raw):
    return raw[:, 0]


def test_integrated_gradients_of_a_linear_model_are_weight_times_input():
    weights = np.array([1.0, -2.0, 3.0], np.float32)
    value, baseline = np.array([2.0, 1.0, 0.5], np.float32), np.array([1.0, 0.0, 0.5], np.float32)
    attributions, missing = methods.integrated_gradients(lambda x: x @ weights[:, None], value, baseline, first, 1)
    np.testing.assert_allclose(attributions, weights * (value - baseline), rtol=1e-6)
    assert missing < 1e-6


@pytest.mark.parametrize(("steps", "most"), [(1, 0.3), (4, 0.02), (40, 2e-4)])
def test_more_steps_miss_less(steps, most):
    """f(x) = x^3 from 0: the sum at the middles of n parts misses 1 / (4 n^2)."""
    value, zero = np.array([2.0], np.float32), np.zeros(1, np.float32)
    _, missing = methods.integrated_gradients(lambda x: x**3, value, zero, first, steps)
    assert missing == pytest.approx(1 / (4 * steps**2), rel=1e-2, abs=1e-5) and missing < most


@pytest.mark.parametrize(("power", "steps"), [(2, 20), (40, 60), (400, 180)])
def test_without_steps_as_many_are_taken_as_are_exact_and_none_twice(power, steps):
    """f(x) = x^p from 0 to 1: the middles of n parts miss about p (p - 1) / (24 n^2); 180 are the most."""
    unit, zero, places = np.ones(1, np.float32), np.zeros(1, np.float32), []

    def run(x):
        places.extend(np.asarray(x)[:, 0].tolist())
        return x**power

    attribution, missing = methods.integrated_gradients(run, unit, zero, first, None)
    middles = [place for place in places if 0 < place < 1]
    assert len(middles) == len(set(middles)) == steps
    expected, as_asked = methods.integrated_gradients(lambda x: x**power, unit, zero, first, steps)
    np.testing.assert_allclose(attribution, expected, rtol=1e-4)
    assert missing == pytest.approx(as_asked, abs=1e-4) and (missing <= methods.MISSING) == (power < 400)


def test_grad_cam_weighs_maps_by_their_mean_gradient_and_keeps_what_speaks_for():
    maps = np.random.default_rng(0).normal(size=(1, 3, 4, 2)).astype(np.float32)
    head = np.array([2.0, -1.0], np.float32)
    parts = Parts("maps", 1.0, lambda x: (tf.constant(x),), lambda t, _: tf.reduce_mean(t[0], (1, 2)) @ head[:, None])
    np.testing.assert_allclose(
        methods.grad_cam(parts, maps, first), np.maximum(maps[0] @ head / 12, 0), rtol=1e-5, atol=1e-6
    )


def test_occlusion_is_the_fall_of_the_output():
    inputs = np.array([[1.0, 2.0, 4.0]], np.float32)
    hidden = (inputs * (np.arange(3) != i) for i in range(3))
    falls = methods.occlusion(lambda x: tf.reduce_sum(tf.constant(x), 1, keepdims=True), inputs, hidden, first)
    assert falls.tolist() == [1.0, 2.0, 4.0]


def test_batches_of_what_is_hidden_hold_each_once():
    rows = [np.full((1, 2), i) for i in range(methods.AT_ONCE * 2 + 3)]
    together = [row for batch in methods._together(iter(rows)) for row in batch]
    assert [int(row[0]) for row in together] == list(range(len(rows)))


def test_pieces_of_a_word_are_added_up():
    words = [Word("cat", (1,)), Word("unaffable", (2, 3, 4))]
    assert grouped(np.array([9, 1, 2, 3, 4], np.float32), words).tolist() == [1.0, 9.0]


def test_words_and_labels_are_escaped():
    explanation = Explanation(
        "<i>", "<b>", 1.0, "occlusion", np.array([1.0, -0.5], np.float32), words=("<script>", "b")
    )
    assert (
        "<script>" not in explanation.html()
        and "<b>" not in explanation.html()
        and "&lt;script&gt;" in explanation.html()
    )
    assert explanation.png()[:4] == b"\x89PNG" and explanation.plain()["shares"] == [1.0, -0.5]


def drawn_rows(words):
    """Of each word, the pixels of the picture beside its bar."""
    heat = np.zeros(len(words), np.float32)
    picture = np.asarray(Image.open(io.BytesIO(Explanation("", "", 1.0, "occlusion", heat, words=words).png())))
    return [picture[4 + 22 * row : 26 + 22 * row, :170] for row in range(len(words))]


def test_words_of_other_scripts_and_long_ones_are_drawn_beside_their_bars():
    """Pillow's own font has neither; what it lacks loses its accents."""
    for font in (explanation._font(), ImageFont.load_default(13)):
        assert explanation._fitting("naïve", font) == ("naïve" if isinstance(font.path, str) else "naive")
        assert font.getlength(explanation._fitting("w" * 400, font)) <= explanation.WORD_WIDTH
    short, long = drawn_rows(("a", "a" * 400))
    assert (short < 128).sum() < (long < 128).sum() and (long[:, 165:168] == 255).all()


def test_the_peak_and_the_picture_of_a_heat():
    heat = np.zeros((4, 8), np.float32)
    heat[1, 6] = 2.0
    explanation = Explanation(
        "a", "b", 1.0, "grad_cam", heat, shown=np.zeros((4, 8, 3), np.uint8), box=(0, 0, 0.5, 0.5)
    )
    assert explanation.peak == (6.5 / 8, 1.5 / 4)
    plateau = np.zeros((4, 8), np.float32)
    plateau[:2, 4:7] = 1.0
    assert dataclasses.replace(explanation, heat=plateau).peak == (5.5 / 8, 1 / 4)
    dark = dataclasses.replace(explanation, heat=np.zeros((4, 8), np.float32))
    assert dark.peak == () and "nothing speaks for it" in dark.html() and "nothing speaks" not in explanation.html()
    assert explanation.plain()["url"].startswith("data:image/jpeg") and explanation.shares().max() == 1.0
    assert Explanation("a", "b", 0.0, "grad_cam", heat * 0).shares().max() == 0.0


def test_what_speaks_against_a_sound_is_blue():
    """One number a sample, drawn on the spectrogram."""
    heat = np.repeat(np.array([-1, 1], np.float32), 2000)
    drawn = Explanation("a", "b", 1.0, "integrated_gradients", heat, shown=np.zeros((72, 160, 3), np.uint8)).png()
    red, _, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(drawn))).astype(int), -1, 0)
    assert (blue > red)[:, :230].all() and (red > blue)[:, 250:].all()


def rises_with_two_steps(batch):
    return tf.reduce_sum(tf.convert_to_tensor(batch)[:, 10:12] ** 2, (1, 2))[:, None]


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_of_a_series_the_stretch_that_decides_counts_most(method):
    values = np.random.default_rng(0).normal(size=(1, 24, 2)).astype(np.float32)
    values[:, 10:12] += 3
    heat, missing = series.looked_at(rises_with_two_steps, values, first, method, 256)
    assert heat.shape == (12,) and series.names(series.stretches(24))[int(heat.argmax())] == "steps 10 to 11"
    assert np.all(np.delete(heat, 5) == 0) and (missing is None or missing < 1e-3)


def test_gaps_in_a_series_have_no_part_in_integrated_gradients():
    """They are not known (NaN) to the model either; with them in it the sum was NaN, and all steps were taken."""
    values = np.random.default_rng(0).normal(size=(1, 24, 2)).astype(np.float32)
    values[:, 3:14, 0] = np.nan
    places = []

    def run(batch):
        places.append(batch)
        known = tf.where(tf.math.is_nan(batch), tf.zeros_like(batch), batch)
        return tf.reduce_sum(known**2, (1, 2))[:, None]

    heat, missing = series.looked_at(run, values, first, "integrated_gradients", None)
    assert np.isfinite(heat).all() and missing <= methods.MISSING
    assert sum(len(batch) for batch in places) == 2 + methods.COARSE


def test_a_series_has_no_map_to_look_at():
    with pytest.raises(InputError, match="no map of features"):
        series.looked_at(rises_with_two_steps, np.zeros((1, 24, 2), np.float32), lambda raw: raw, "grad_cam", 1)
