"""A small fit on generated pictures, which several test files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.examples import ArraySpec, Examples, Splits

SIZE, LABELS = 32, ("dark", "light", "red")


def image(label: int, rng: np.random.Generator) -> np.ndarray:
    base = np.asarray(((40, 40, 40), (200, 200, 200), (200, 60, 60)))[label]
    return np.clip(base + rng.normal(0, 60, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def examples(count: int, seed: int, augment=None) -> Examples:
    rng = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int32) % len(LABELS)
    images = [image(int(t), rng) for t in targets]
    return Examples(
        tuple(f"{seed}-{i}" for i in range(count)),
        ReadColumn(images.__getitem__, ArraySpec((SIZE, SIZE, 3), "uint8"), tuple(f"{seed}-{i}" for i in range(count))),
        ArrayColumn(targets),
        modality="image",
        augment=augment,
    )


class Brighter:
    """An augmentation that is a pure function of image and seed."""

    def __call__(self, x: np.ndarray, seed: int) -> np.ndarray:
        return np.clip(x.astype(int) + seed % 40, 0, 255).astype(np.uint8)

    def __repr__(self) -> str:
        return "Brighter()"


def data(augment=None) -> Splits:
    return Splits(examples(42, 1, augment), examples(15, 2), examples(15, 3), LABELS)


def built(folder: Path, seed: int = 0, task=None):
    import keras

    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.build import build

    keras.utils.set_random_seed(seed)
    task = task or tasks.classify(LABELS, hidden=(8,), dropout=0.3)
    layer = HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    return build(layer, task, image_size=(SIZE, SIZE)), task


def values(model) -> list[np.ndarray]:
    return [np.array(v) for v in model.weights]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def fitted(folder: Path, phases, *, seed: int = 0, splits=None, **options):
    from tlkit.training.fit import fit

    model, task = built(folder, seed)
    return fit(model, task, splits or data(), phases, seed=seed, batch_size=8, **options)


def stopped_after(epochs: int, fit) -> None:
    """Run `fit`, which a Ctrl-C ends behind so many epochs."""
    from tlkit.training import fit as fitting

    run_epoch, done = fitting._run_epoch, []

    def stopping(*arguments):
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(1)
        return run_epoch(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fitting, "_run_epoch", stopping)
        fit()


def goes_on_to_the_same_weights(finetuned, epochs: int = 2) -> None:
    """Check that a fit that is stopped behind so many epochs, and begun again, is the fit that was never stopped.

    Args:
        finetuned: Name of a folder -> run.
        epochs: Before the stop.
    """
    whole = finetuned("whole")
    stopped_after(epochs, lambda: finetuned("stopped"))
    again = finetuned("stopped")
    assert [dict(phase.history) for phase in again.phases] == [dict(phase.history) for phase in whole.phases]
    assert same(map(np.array, again.model.variables), map(np.array, whole.model.variables))
    assert again.scores == whole.scores
