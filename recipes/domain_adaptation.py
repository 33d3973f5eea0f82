"""Adapt to a domain without labels: labelled examples of one, and unlabelled ones of another, become a classifier.

tlkit run domain_adaptation --source photos --target drawings --module zoo:efficientnet-lite0 --out runs/drawings
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import tlkit
from tlkit import methods

METHODS: dict[str, Callable[[tlkit.Task], tlkit.Task]] = {
    "coral": functools.partial(methods.coral, weight=100.0),
    "mmd": functools.partial(methods.mmd, weight=1.0),
    "dann": functools.partial(methods.dann, hidden=100, weight=0.3),
    "cdan": functools.partial(methods.cdan, hidden=100, weight=0.3),
    "mcc": methods.mcc,
    "coral+mcc": lambda task: methods.mcc(methods.coral(task, weight=100.0)),
}


def main(
    source: Path | None = None,
    target: Path | None = None,
    module: str | None = None,
    method: Literal["coral", "mmd", "dann", "cdan", "mcc", "coral+mcc"] = "coral+mcc",
    out: Path = Path("runs/domain_adaptation"),
    hidden: int = 100,
    crop: float = 0.3,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(10, 10), lr=(1e-3, 1e-4), batch_size=64),
    input_range: tuple[float, float] | None = None,
    pixel_max: float | None = None,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Train on the source alone, adapted to the target, and on the target's labels if any; export the adapted model.

    Args:
        source: Folder with one folder of images a class, whose labels are used; without it, 3,000 digits of MNIST.
        target: The same of the other domain, whose labels are read for the scores alone, or images that lie in it
            without folders and have none; without it, UCI's digits.
        module: Handle of the module; without it, a small convolutional net that starts from nothing.
        method: "coral", "mmd", "dann", "cdan", "mcc", or the first and the last of them together.
        out: Folder of the run; those that it is compared with lie in source_only and target_trained below it.
        hidden: Width of the head's hidden layer, whose features are aligned.
        crop: Largest share of each side that changed copies of training images lose; 0 leaves images as they are.
        fit: How to train.
        input_range: Range of the pixels that the module takes, where nothing in it says: 0 255, 0 1 or -1 1.
        pixel_max: Value that is white in images of more than 8 bits, such as 4095; else their bits are counted.
        formats: What to export.
    """
    if (source is None) != (target is None):
        raise tlkit.InputError("Give both `--source` and `--target`, or neither for the digits.")
    source_data, target_data = domains(source, target, crop, fit.seed, pixel_max)
    mixed = methods.domain_mix(source_data, target_data)
    if not len(mixed.test):
        raise tlkit.InputError("Ways are compared on test examples, and there are none: give the data a part `test`.")
    plain = tlkit.tasks.classify(source_data.labels, hidden=(hidden,), dropout=0.0)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    if module is None:
        phases = (tlkit.Phase(epochs=fit.epochs[0], lr=fit.lr[0], unfrozen=1.0),)

    def trained(task: tlkit.Task, data: tlkit.Splits, folder: Path) -> tlkit.Run:
        backbone = small_net(fit.seed) if module is None else module
        return tlkit.finetune(
            backbone, task, data, phases, out=folder, seed=fit.seed, batch_size=fit.batch_size, input_range=input_range
        )

    compared = {"source_only": trained(plain, replace(source_data, test=mixed.test), out / "source_only")}
    if target_data.labels:
        compared["target_trained"] = trained(plain, target_data, out / "target_trained")
    run = compared["adapted"] = trained(METHODS[method](plain), mixed, out)
    run = run.with_scores({name: candidate.scores["accuracy"] for name, candidate in compared.items()})
    return tlkit.export(run, formats=formats)


def domains(
    source: Path | None, target: Path | None, crop: float, seed: int, pixel_max: float | None = None
) -> tuple[tlkit.Splits, tlkit.Splits]:
    """Both folders, or both sets of digits."""
    changes = tlkit.data.image.augmentation(flip=False, crop=crop, colour=0.0) if crop else None
    if source is None or target is None:
        digits = tlkit.datasets.digits
        return digits.mnist(3000, seed=seed, augment=changes), digits.uci(seed=seed, augment=changes)
    source_data = tlkit.data.image.from_folder(source, seed=seed, augment=changes, pixel_max=pixel_max)
    labelled = not target.is_dir() or any(path.is_dir() and path.name[0] != "." for path in target.iterdir())
    read = functools.partial(tlkit.data.image.from_folder, seed=seed) if labelled else tlkit.data.collection.images
    return source_data, read(target, augment=changes, pixel_max=pixel_max)


def small_net(seed: int) -> tlkit.HubLayer:
    """A convolutional net for digits, with fresh weights."""
    return tlkit.HubLayer(tlkit.datasets.digits.small_net(seed), name="backbone", input_range=(0, 1))


if __name__ == "__main__":
    tlkit.flags.cli(main)
