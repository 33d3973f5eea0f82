"""Classify rows of a table: numbers and texts as they are become a classifier in one file, with trees beside it.

tlkit run tabular_classification --data people.csv --label income --out runs/people
tlkit run tabular_classification --data reviews.csv --label recommended --texts title review --out runs/reviews
"""

from __future__ import annotations

import functools
from pathlib import Path

import tlkit


def main(
    data: Path,
    label: str = "label",
    module: str | None = None,
    source: Path | None = None,
    out: Path = Path("runs/tabular_classification"),
    numbers: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
    images: tuple[str, ...] = (),
    text_module: str = "zoo:minilm-l6-v2",
    image_module: str = "zoo:efficientnet-lite0",
    unfrozen: float = 0.0,
    leave_out: tuple[str, ...] = (),
    encoding: str | None = None,
    separator: str | None = None,
    epochs: int = 12,
    lr: float = 2e-3,
    batch_size: int = 256,
    trees: bool = True,
    seed: int = 0,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16", "dynamic")),
) -> tlkit.Run:
    """Learn the classes of a table's rows and export the result; scores with `_trees` are those of boosted trees.

    Args:
        data: The table, with a header: CSV, TSV, JSONL or Parquet.
        label: Column of the classes.
        module: Folder of a module that another slice of such a table was learned through, as `tlkit.publish` writes
            it; without it, one is made of the training rows and begins with random weights.
        source: Table of another slice with the same columns: whether to start from it is measured, and reported.
        out: Folder of the run.
        numbers: Columns that hold numbers whatever else is in them.
        categories: Columns that hold categories though they are numbers, such as postcodes.
        texts: Columns that hold whole texts; several are read as one.
        images: The column that holds paths of images, from the table's folder on.
        text_module: Handle of the module that reads the texts.
        image_module: Handle of the module that reads the images.
        unfrozen: Share of the depth of these modules that trains in a second phase; 0 leaves them frozen.
        leave_out: Columns that the model does not get.
        encoding: Python's name of the table's encoding; without it, UTF-8 or what is found, which is noted.
        separator: Character between the table's columns; without it, what is found.
        epochs: Passes over the training rows.
        lr: Peak learning rate.
        batch_size: Rows a step.
        trees: Whether scikit-learn's boosted trees learn from the same rows, for comparison.
        seed: Of the split, the weights and the order of rows.
        export: Which files to write.
    """
    if source is not None and (texts or images):
        raise tlkit.InputError("Slices are compared without texts and images: leave out --source, or these columns.")
    read = functools.partial(
        tlkit.data.table.from_table, label=label, encoding=encoding, separator=separator, seed=seed
    )
    whole = functools.partial(
        read, numbers=numbers, categories=categories, texts=texts, images=images, leave_out=leave_out
    )
    other = None if source is None else whole(source)
    splits = whole(data, like=module) if other is None else read(data, like=other)
    kinds = {kind for _, _, kind in (splits.train.pipeline.get("table") or {})["columns"]}
    if kinds & {"text", "image"}:
        task = tlkit.tasks.classify(splits.labels, hidden=(256, 128), dropout=0.3)
        phases = tlkit.plans.two_phase((epochs, 3 if unfrozen else 0), (lr, lr / 10), unfrozen=unfrozen or 0.25)
    else:
        task = tlkit.tasks.classify(splits.labels)
        phases = tlkit.plans.two_phase(unfrozen=1.0) if module else tlkit.plans.whole(epochs=epochs, lr=lr)
    readers = {"texts": tlkit.HubLayer(text_module)} if texts and module is None else {}
    readers |= {"images": tlkit.HubLayer(image_module)} if images and module is None else {}
    backbone = module or tlkit.data.table.module(splits, **readers, seed=seed)
    comparable = trees and kinds & {"number", "category"}
    beside = tlkit.methods.trees(splits, task, seed=seed) if comparable else None  # first: it needs scikit-learn
    run = tlkit.finetune(backbone, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    run = tlkit.methods.beside_trees(run, beside) if beside else run
    run = run if other is None else tlkit.table_check(other, splits, task).shown_in(run)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
