"""Classify texts: a folder of texts or a table, and a pretrained module, become a classifier that takes strings.

tlkit run text_classification --data reviews.csv --module zoo:minilm-l6-v2 --out runs/reviews
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:minilm-l6-v2",
    out: Path = Path("runs/text_classification"),
    table: tlkit.flags.TextTable = tlkit.flags.TextTable(),
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(10, 3), lr=(3e-3, 1e-4), unfrozen=0.34),
    length: int | None = None,
    long: str = "cut",
    micro_batch: int | None = None,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16", "dynamic")),
) -> tlkit.Run:
    """Adapt a module to labelled texts and export the result.

    Args:
        data: Folder with one folder of .txt files a class, or a table (CSV, TSV, JSONL, Parquet); without it, movie
            reviews are told positive from negative (vaderSentiment's, MIT).
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        table: How to read a table or texts.
        fit: How to train.
        length: Word pieces of a text; longer ones: `long`. None is what 99 % of the training texts need.
        long: What becomes of longer texts: cut, or windows that show all of a text, whose answers are averaged.
        micro_batch: Texts in memory at a time inside a step; None is what about 0.5 GB hold.
        strict: Fail on a broken text instead of leaving it out.
        export: Which files to write.
    """
    if data is None:
        splits = tlkit.datasets.reviews.sentences("movies", seed=fit.seed)
    elif data.is_dir():
        splits = tlkit.data.text.from_folder(data, encoding=table.encoding, seed=fit.seed, strict=strict)
    else:
        splits = tlkit.data.text.from_table(data, **vars(table), seed=fit.seed, strict=strict)
    task = tlkit.tasks.classify(splits.labels, multi_label=splits.multi_label)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, micro_batch=micro_batch,
        length=length, long=long,
    )  # fmt: skip
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
