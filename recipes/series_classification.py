"""Classify series: recordings at regular steps, and fixed convolutions, become a classifier in seconds.

tlkit run series_classification --data recordings --out runs/series
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:rocket",
    out: Path = Path("runs/series_classification"),
    label: str = "label",
    series: str | None = None,
    time: str = "time",
    value: tuple[str, ...] = ("value",),
    steps: int | None = None,
    epochs: int = 100,
    lr: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    export: tlkit.flags.Export = tlkit.flags.Export(),
) -> tlkit.Run:
    """Learn to classify series of one or many channels, and export the result.

    Args:
        data: Folder with one folder of recordings (tables) a class, or with NAME_TRAIN.ts and NAME_TEST.ts; a .ts file;
            or a table, with a row a series and a column a step, or with `series` a row a step; without it,
            made-up gestures.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        label: Name of the column of labels, in a table.
        series: Name of the column that tells the series of a long table apart.
        time: Name of the column of times, in a long table.
        value: Names of the columns of values, one a channel, in a long table.
        steps: Length to which series are stretched; without it, that of the longest.
        epochs: Epochs of the head.
        lr: Its learning rate.
        batch_size: Series a step.
        seed: Of the split, the first weights, and the order of series.
        export: Which files to write.
    """
    if data is None:
        splits = tlkit.datasets.made_series.gestures(seed=seed)
    elif data.is_dir():
        splits = tlkit.data.series.from_folder(data, steps=steps, seed=seed)
    elif data.suffix == ".ts":
        splits = tlkit.data.series.from_ts(data, steps=steps, seed=seed)
    else:
        splits = tlkit.data.series.from_table(
            data, label=label, series=series, time=time, value=value, steps=steps, seed=seed
        )
    task = tlkit.tasks.classify(splits.labels, normalize=True, dropout=0.0, l2=1e-3, multi_label=splits.multi_label)
    phases = (tlkit.Phase(epochs=epochs, lr=lr, cosine=True),)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
