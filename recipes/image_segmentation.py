"""Segment images: images with masks, and a pretrained module, become a model that names each pixel on a phone.

tlkit run image_segmentation --data cells --labels background cell --out runs/cells
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    labels: tuple[str, ...] = (),
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/image_segmentation"),
    image_size: tuple[int, int] = (256, 256),
    strides: tuple[int, ...] = (4, 8, 16, 32),
    width: int = 64,
    balanced: bool = False,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(8, 5), lr=(4e-3, 1e-3), batch_size=16),
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16", "int8")),
) -> tlkit.Run:
    """Adapt a module to a folder of images and masks and export the result.

    Args:
        data: Folder with images/ and masks/ of the same names (or with train/, valid/ and test/ in both); without it,
            synthetic composites of stamps on photographs.
        labels: Names of the classes in the order of the masks' numbers, from 0.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        image_size: Height and width at which images and masks are read.
        strides: Pixels of the image per place of the feature maps that the head reads; 2 besides for thin structures.
        width: Channels of the head.
        balanced: Whether labels with few pixels weigh more.
        fit: How to train.
        augment: Whether training images and their masks are also flipped, cropped, turned and recoloured.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    changes = tlkit.data.masks.augmentation() if augment else None
    if data is None:
        splits = tlkit.datasets.composites.masks(seed=fit.seed, augment=changes)
    elif not labels:
        raise tlkit.InputError("Say what the masks' numbers mean: --labels background cell (from 0, in their order).")
    else:
        splits = tlkit.data.masks.from_folder(
            data / "images", data / "masks", labels=labels, image_size=image_size, seed=fit.seed, strict=strict,
            augment=changes,
        )  # fmt: skip
    weights = "balanced" if balanced else None
    task = tlkit.tasks.segment(splits.labels, strides=strides, width=width, class_weights=weights)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, image_size=image_size
    )
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
