"""Adapt to a domain without labels: labelled examples of one, and unlabelled ones of another, become a classifier.

tlkit run domain_adaptation --source photos --target drawings --module zoo:efficientnet-lite0 --out runs/drawings
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import tlkit
from tlkit.errors import InputError
from tlkit.runs import save_record

METHODS = {
    "coral": {"weight": 100.0},
    "mmd": {"weight": 3.0},
    "dann": {"hidden": 100, "weight": 0.3},
    "cdan": {"hidden": 100, "weight": 0.3},
    "mcc": {},
}


def main(
    source: Path | None = None,
    target: Path | None = None,
    module: str | None = None,
    method: Literal["coral", "mmd", "dann", "cdan", "mcc"] = "mmd",
    out: Path = Path("runs/domain_adaptation"),
    hidden: int = 100,
    epochs: int = 10,
    lr: float = 1e-3,
    unfrozen: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Train on the source alone, adapted to the target, and on the target's labels; export the adapted model.

    Args:
        source: Folder with one folder of images a class, whose labels are used; without it, 3,000 digits of MNIST.
        target: The same of the other domain: its labels are read for the scores alone; without it, UCI's digits.
        module: Handle of the module; without it, a small convolutional net that starts from nothing.
        method: "coral", "mmd", "dann", "cdan" or "mcc".
        out: Folder of the run; those that it is compared with lie in source_only and target_trained below it.
        hidden: Width of the head's hidden layer, whose features are aligned.
        epochs: Epochs of each training.
        lr: Learning rate.
        unfrozen: Share of the module's depth that trains.
        batch_size: Examples a step.
        seed: Of the splits, the weights and the order of examples.
        formats: What to export.
    """
    if (source is None) != (target is None):
        raise InputError("Give both `--source` and `--target`, or neither for the digits.")
    read = tlkit.data.image.from_folder
    given = tlkit.data.digits.mnist(3000, seed=seed) if source is None else read(source, seed=seed)
    other = tlkit.data.digits.uci(seed=seed) if target is None else read(target, seed=seed)
    plain = tlkit.tasks.classify(given.labels, hidden=(hidden,), dropout=0.0)
    adapting = getattr(tlkit.methods, method)(plain, **METHODS[method])
    phases = (tlkit.Phase(epochs=epochs, lr=lr, unfrozen=unfrozen),)

    def trained(task: tlkit.Task, data: tlkit.Splits, folder: Path) -> tlkit.Run:
        handle = small_net(seed) if module is None else module
        data = replace(data, test=other.test)
        return tlkit.finetune(handle, task, data, phases, out=folder, seed=seed, batch_size=batch_size)

    before = trained(plain, given, out / "source_only").scores["accuracy"]
    best = trained(plain, other, out / "target_trained").scores["accuracy"]
    run = trained(adapting, tlkit.methods.domain_mix(given, other), out)
    scores = {**run.scores, "source_only": before, "adapted": run.scores["accuracy"], "target_trained": best}
    run = save_record(replace(run, evaluation=replace(run.evaluation, scores=scores)))
    return tlkit.export(run, formats=formats)


def small_net(seed: int) -> tlkit.HubLayer:
    """A convolutional net for 28 x 28 pixels, with fresh weights."""
    import keras

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 3))
    for filters in (32, 48):
        x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    return tlkit.HubLayer(keras.Model(inputs, keras.layers.Flatten()(x)), name="backbone", input_range=(0, 1))


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
