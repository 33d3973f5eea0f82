"""Settings that are no numbers, or no pairs of them: refused in a sentence that names the setting."""

from __future__ import annotations

import numpy as np
import pytest

import tlkit
from tlkit.core.errors import InputError

TEXTS, LABELS = [f"some words {i}" for i in range(24)], np.arange(24) % 2
PIXELS = np.zeros((24, 4, 4, 3), np.uint8)
ODD = ("x", [], {}, object(), 1 + 2j, float("nan"), True)


def pictures(**options):
    return tlkit.data.image.from_arrays(PIXELS, LABELS, **options)


def sounds(**options):
    waves = np.ones((24, 1600), np.float32) / 2
    return tlkit.data.audio.from_arrays(waves, LABELS, **({"sample_rate": 16000, "seconds": 0.1} | options))


def texts(**options):
    return tlkit.data.text.from_arrays(TEXTS, LABELS, **options)


def phase(**options):
    return tlkit.Phase(**({"epochs": 1, "lr": 0.1} | options))


SETTINGS = {
    pictures: ("split", "groups", "background", "pixel_max", "val", "test"),
    texts: ("split", "groups", "max_characters", "val", "test"),
    sounds: ("split", "groups", "sample_rate", "resampled_to", "seconds", "hop", "trim_db", "limits", "val", "test"),
    phase: ("lr", "unfrozen", "lr_decay", "warmup", "patience", "weight_decay", "clip_norm", "l2_sp", "batch_stats"),
    tlkit.data.audio.Limits: ("silence_dbfs", "max_clipped"),
    tlkit.data.image.augmentation: ("crop", "colour", "rotate"),
    tlkit.data.audio.augmentation: ("shift", "gain_db", "band_stop", "time_mask"),
    tlkit.plans.two_phase: ("epochs", "lr", "unfrozen", "patience"),
    tlkit.plans.gradual: ("stages", "epochs", "lr", "unfrozen", "lr_decay"),
}


@pytest.mark.parametrize(
    ("make", "name"),
    [(make, name) for make, names in SETTINGS.items() for name in names],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_what_is_no_number_is_refused_by_name(make, name):
    make()
    for value in ODD:
        with pytest.raises(InputError) as caught:
            make(**{name: value})
        assert f"`{name}`" in str(caught.value) and len(str(caught.value)) < 400, value


def test_numbers_of_numpy_pass():
    assert tlkit.Phase(epochs=np.int64(1), lr=np.float32(0.5), patience=np.int32(2)).lr == 0.5
    assert len(pictures(split=np.array([8, 1, 1]), background=np.array([0, 0, 255], np.uint8)).train) > 15


def test_one_number_for_two_phases_is_refused():
    with pytest.raises(InputError, match="two numbers each"):
        tlkit.plans.two_phase(epochs=5)
    with pytest.raises(InputError, match="`num_examples`"):
        tlkit.plans.recommend("many")
    with pytest.raises(InputError, match="`stages` must be 2 to 100"):  # each is a phase in memory
        tlkit.plans.gradual(stages=10**30)
