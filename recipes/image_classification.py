"""Classify images: a folder with one folder of images a class, and a pretrained module, become a phone's classifier.

tlkit run image_classification --data flower_photos --module zoo:efficientnet-lite0 --out runs/flowers
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path,
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/image_classification"),
    table: tlkit.flags.Table = tlkit.flags.Table(),
    output_key: str | None = None,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(),
    image_size: tuple[int, int] | None = None,
    input_range: tuple[float, float] | None = None,
    pixel_max: float | None = None,
    micro_batch: int | None = None,
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16", "dynamic", "int8")),
    check: int = 0,
) -> tlkit.Run:
    """Adapt a module to a folder of images and export the result.

    Args:
        data: Folder with one folder of images a class (or train/, val/ and test/ folders of such), or a table of paths
            and labels (CSV, TSV, JSONL, Parquet).
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        table: How to read a table.
        output_key: Which output to take of a module that gives several: a name, or a position such as 1; without it,
            the usual one.
        fit: How to train.
        image_size: Height and width, for modules that take any.
        input_range: Range of the pixels that the module takes, where nothing in it says: 0 255, 0 1 or -1 1.
        pixel_max: Value that is white in images of more than 8 bits, such as 4095; else their bits are counted.
        micro_batch: Images in memory at a time inside a step; None is what about 0.5 GB hold.
        augment: Whether training images are also flipped, cropped and recoloured.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
        check: Seeds of a check whether transfer helped, which trains three more times a seed; 0 makes none.
    """
    if check < 0:
        raise tlkit.InputError(f"`check` must be 0 or more. Received: check={check!r}.")
    changes = tlkit.data.image.augmentation() if augment else None
    if data.is_file():
        splits = tlkit.data.image.from_csv(
            data, **vars(table), seed=fit.seed,
            strict=strict, augment=changes, pixel_max=pixel_max,
        )  # fmt: skip
    else:
        splits = tlkit.data.image.from_folder(data, seed=fit.seed, strict=strict, augment=changes, pixel_max=pixel_max)
    task = tlkit.tasks.classify(splits.labels, multi_label=splits.multi_label)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    backbone = module if output_key is None else tlkit.HubLayer(module, output_key=output_key, name="backbone")
    run = tlkit.finetune(
        backbone, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, micro_batch=micro_batch,
        image_size=image_size, input_range=input_range,
    )  # fmt: skip
    if check:
        transfer = tlkit.transfer_check(
            module, task, splits, phases=phases, seeds=range(check), batch_size=fit.batch_size, image_size=image_size,
            input_range=input_range,
        )  # fmt: skip
        run = transfer.shown_in(run)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
