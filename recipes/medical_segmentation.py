"""Segment medical images: scans or microscope images with masks, and a module that saw photographs alone.

The model is a tool to work with, no medical device: judge it on patients, machines and clinics that it has not seen.

tlkit run medical_segmentation --data scans --labels background tumour --out runs/scans
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tlkit


def main(
    data: Path | None = None,
    labels: tuple[str, ...] = (),
    sample: Literal["brain", "nuclei"] = "brain",
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/medical_segmentation"),
    image_size: tuple[int, int] = (256, 256),
    strides: tuple[int, ...] = (2, 4, 8, 16, 32),
    width: int = 64,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(12, 6), lr=(4e-3, 1e-3), batch_size=8),
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16", "int8")),
) -> tlkit.Run:
    """Adapt a module to medical images and their masks and export the result.

    Args:
        data: Folder with images/ and masks/ of the same names: image files, DICOM files, or NIfTI volumes, which are
            read as axial slices and divided by volume. Without it, the sample.
        labels: Names of the classes in the order of the masks' numbers, from 0.
        sample: Slices of one averaged brain, or tiles of one microscope image.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        image_size: Height and width at which images and masks are read.
        strides: Pixels of the image per place of the feature maps that the head reads; 2 is for thin structures.
        width: Channels of the head.
        fit: How to train.
        augment: Whether training images and their masks are also flipped, cropped, turned and recoloured.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    changes = tlkit.data.masks.augmentation() if augment else None
    if data is None:
        splits = getattr(tlkit.datasets.medical, sample)(image_size=image_size, seed=fit.seed, augment=changes)
    elif not labels:
        raise tlkit.InputError("Say what the masks' numbers mean: --labels background tumour (from 0, in their order).")
    else:
        volumes = any((data / "images").rglob("*.nii*"))
        read = tlkit.data.volumes.from_nifti if volumes else tlkit.data.masks.from_folder
        splits = read(
            data / "images", data / "masks", labels=labels, image_size=image_size, seed=fit.seed, strict=strict,
            augment=changes,
        )  # fmt: skip
    task = tlkit.tasks.segment(splits.labels, strides=strides, width=width)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, image_size=image_size
    )
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
