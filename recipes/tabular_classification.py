"""Classify rows of a table: numbers and texts as they are become a classifier in one file, with trees beside it.

tlkit run tabular_classification --data people.csv --label income --out runs/people
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
    read = functools.partial(
        tlkit.data.table.from_table, label=label, encoding=encoding, separator=separator, seed=seed
    )
    whole = functools.partial(read, numbers=numbers, categories=categories, leave_out=leave_out)
    other = None if source is None else whole(source)
    like = other if other is not None else module
    splits = whole(data) if like is None else read(data, like=like)
    task = tlkit.tasks.classify(splits.labels)
    backbone = module or tlkit.data.table.module(splits, seed=seed)
    phases = tlkit.plans.whole(epochs=epochs, lr=lr) if module is None else tlkit.plans.two_phase(unfrozen=1.0)
    beside = tlkit.methods.trees(splits, task, seed=seed) if trees else None  # first: it needs scikit-learn
    run = tlkit.finetune(backbone, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    run = tlkit.methods.beside_trees(run, beside) if beside else run
    run = run if other is None else tlkit.table_check(other, splits, task).shown_in(run)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
