"""Detect objects: images with boxes, and a pretrained module, become a detector for phones.

tlkit run object_detection --data stamps --out runs/stamps
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/object_detection"),
    image_size: tuple[int, int] = (256, 256),
    strides: tuple[int, ...] = (8, 16, 32),
    width: int = 64,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(12, 8), lr=(4e-3, 1e-3), batch_size=16),
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(
        formats=("saved_model", "float32", "float16", "int8"), max_drop=0.02
    ),
) -> tlkit.Run:
    """Adapt a module to a folder of annotated images and export the result.

    Args:
        data: Folder in COCO's, Pascal VOC's or YOLO's form, which is told by what lies in it (with train/, valid/ and
            test/ as Roboflow writes them, or without); without it, synthetic composites of stamps on photographs.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        image_size: Height and width at which images are read.
        strides: Pixels of the image per place of the feature maps that the head reads.
        width: Channels of the head.
        fit: How to train.
        augment: Whether training images and their boxes are also flipped, cropped and recoloured.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    changes = tlkit.data.boxes.augmentation() if augment else None
    if data is None:
        splits = tlkit.datasets.composites.boxes(seed=fit.seed, augment=changes)
    else:
        splits = tlkit.data.boxes.from_folder(
            data, image_size=image_size, seed=fit.seed, strict=strict, augment=changes
        )
    task = tlkit.tasks.detect(splits.labels, strides=strides, width=width)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, image_size=image_size
    )
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
