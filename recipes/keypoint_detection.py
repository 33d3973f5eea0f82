"""Find named points: images with COCO's keypoints, and a pretrained module, become a point finder for phones.

tlkit run keypoint_detection --data hands --out runs/hands
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path,
    images: Path | None = None,
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/keypoint_detection"),
    image_size: tuple[int, int] = (256, 256),
    strides: tuple[int, ...] = (4, 8, 16, 32),
    width: int = 64,
    within: float = 0.05,
    margin: float = 0.25,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(12, 8), lr=(4e-3, 1e-3), batch_size=16),
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(
        formats=("saved_model", "float32", "float16", "int8"), max_drop=0.02
    ),
) -> tlkit.Run:
    """Adapt a module to images whose objects have named points, and export the result.

    Args:
        data: COCO's JSON, whose category names the points, or a folder that holds it (with train/, valid/ and test/ as
            Roboflow writes them, or without).
        images: Folder that the names in the JSON start at; its own, or the one above annotations/, unless given.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        image_size: Height and width at which objects are read, once they are cut out.
        strides: Pixels of the image per place of the feature maps that the head reads.
        width: Channels of the head.
        within: Distance in shares of the sides within which a point counts as found.
        margin: What is cut out around an object on each side, as a share of its box.
        fit: How to train.
        augment: Whether training images and their points are also flipped, cropped and recoloured; points whose names
            have "left" or "right" in them then change places.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    splits = tlkit.data.keypoints.from_coco(
        data, images, margin=margin, image_size=image_size, seed=fit.seed, strict=strict,
        augment=tlkit.data.keypoints.augmentation() if augment else None,
    )  # fmt: skip
    task = tlkit.tasks.keypoints(splits.labels, strides=strides, width=width, within=within)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, image_size=image_size
    )
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
