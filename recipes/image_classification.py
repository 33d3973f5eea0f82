"""Classify images: a folder with one folder of images a class, and a pretrained module, become a phone's classifier.

tlkit run image_classification --data flower_photos --module zoo:efficientnet-lite0 --out runs/flowers
"""

from __future__ import annotations

from pathlib import Path

import tlkit
from tlkit.core.errors import InputError


def main(
    data: Path,
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/image_classification"),
    path: str = "path",
    label: str = "label",
    folder: Path | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    output_key: str | None = None,
    epochs: tuple[int, int] = (10, 5),
    lr: tuple[float, float] = (3e-3, 3e-4),
    unfrozen: float = 0.25,
    image_size: tuple[int, int] | None = None,
    input_range: tuple[float, float] | None = None,
    pixel_max: float | None = None,
    batch_size: int = 32,
    micro_batch: int | None = None,
    seed: int = 0,
    augment: bool = False,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16", "dynamic", "int8"),
    max_drop: float = 0.01,
    check: int = 0,
) -> tlkit.Run:
    """Adapt a module to a folder of images and export the result.

    Args:
        data: Folder with one folder of images a class (or train/, val/ and test/ folders of such), or a table of paths
            and labels (CSV, TSV, JSONL, Parquet).
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        path: Name of the table's column of the files' paths.
        label: Name of the table's column of labels; several labels are separated by `|`.
        folder: Where the paths start; without it, the table's own folder.
        encoding: Python's name of the table's encoding; without it, UTF-8 or what is found, which is noted.
        separator: Character between the table's columns; without it, what is found.
        output_key: Which output to take of a module that gives several: a name, or a position such as 1; without it,
            the usual one.
        epochs: Epochs with the module frozen, and with its top unfrozen.
        lr: Peak learning rates of the two phases.
        unfrozen: Share of the module's depth that trains in the second phase.
        image_size: Height and width, for modules that take any.
        input_range: Range of the pixels that the module takes, where nothing in it says: 0 255, 0 1 or -1 1.
        pixel_max: Value that is white in pictures of more than 8 bits, such as 4095; else their bits are counted.
        batch_size: Images a step.
        micro_batch: Images in memory at a time inside a step; None is what about 0.5 GB hold.
        seed: Of the split, the head and the order of images.
        augment: Whether training images are also flipped, cropped and recoloured.
        strict: Fail on a broken file instead of leaving it out.
        formats: What to export.
        max_drop: Largest drop in accuracy that dynamic and int8 files may show, as a share.
        check: Seeds of a check whether transfer helped, which trains three more times a seed; 0 makes none.
    """
    if check < 0:
        raise InputError(f"`check` must be 0 or more. Received: check={check!r}.")
    changes = tlkit.data.image.augmentation() if augment else None
    if data.is_file():
        splits = tlkit.data.image.from_csv(
            data, path=path, label=label, folder=folder, encoding=encoding, separator=separator, seed=seed,
            strict=strict, augment=changes, pixel_max=pixel_max,
        )  # fmt: skip
    else:
        splits = tlkit.data.image.from_folder(data, seed=seed, strict=strict, augment=changes, pixel_max=pixel_max)
    task = tlkit.tasks.classify(splits.labels, multi_label=splits.multi_label)
    phases = tlkit.plans.two_phase(epochs=epochs, lr=lr, unfrozen=unfrozen)
    backbone = module if output_key is None else tlkit.HubLayer(module, output_key=output_key, name="backbone")
    run = tlkit.finetune(
        backbone, task, splits, phases, out=out, seed=seed, batch_size=batch_size, micro_batch=micro_batch,
        image_size=image_size, input_range=input_range,
    )  # fmt: skip
    if check:
        found = tlkit.transfer_check(
            module, task, splits, phases=phases, seeds=range(check), batch_size=batch_size, image_size=image_size,
            input_range=input_range,
        )  # fmt: skip
        run = found.shown_in(run)
    return tlkit.export(run, formats=formats, max_drop=max_drop)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
