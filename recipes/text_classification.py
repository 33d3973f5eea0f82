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
    text: str = "text",
    label: str = "label",
    encoding: str | None = None,
    separator: str | None = None,
    epochs: tuple[int, int] = (10, 3),
    lr: tuple[float, float] = (3e-3, 1e-4),
    unfrozen: float = 0.34,
    length: int | None = None,
    long: str = "cut",
    batch_size: int = 32,
    micro_batch: int | None = None,
    seed: int = 0,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16", "dynamic"),
    max_drop: float = 0.01,
) -> tlkit.Run:
    """Adapt a module to labelled texts and export the result.

    Args:
        data: Folder with one folder of .txt files a class, or a table (CSV, TSV, JSONL, Parquet); without it, movie
            reviews are told positive from negative (vaderSentiment's, MIT).
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        text: Name of the table's column of texts.
        label: Name of the table's column of labels; several labels are separated by `|`.
        encoding: Python's name of the texts' encoding; without it, UTF-8 or what is found, which is noted.
        separator: Character between the table's columns; without it, what is found.
        epochs: Epochs with the module frozen, and with its top unfrozen.
        lr: Peak learning rates of the two phases.
        unfrozen: Share of the module's depth that trains in the second phase.
        length: Word pieces of a text; longer ones: `long`. None is what 99 % of the training texts need.
        long: What becomes of longer texts: cut, or windows that show all of a text, whose answers are averaged.
        batch_size: Texts a step.
        micro_batch: Texts in memory at a time inside a step; None is what about 0.5 GB hold.
        seed: Of the split, the head and the order of texts.
        strict: Fail on a broken text instead of leaving it out.
        formats: What to export.
        max_drop: Largest drop in accuracy that dynamic and int8 files may show, as a share.
    """
    splits = _splits(data, text, label, encoding, separator, seed, strict)
    task = tlkit.tasks.classify(splits.labels, multi_label=splits.multi_label)
    phases = tlkit.plans.two_phase(epochs=epochs, lr=lr, unfrozen=unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=seed, batch_size=batch_size, micro_batch=micro_batch, length=length,
        long=long,
    )  # fmt: skip
    return tlkit.export(run, formats=formats, max_drop=max_drop)


def _splits(
    data: Path | None, text: str, label: str, encoding: str | None, separator: str | None, seed: int, strict: bool
) -> tlkit.Splits:
    if data is None:
        return tlkit.datasets.reviews.sentences("movies", seed=seed)
    if data.is_dir():
        return tlkit.data.text.from_folder(data, encoding=encoding, seed=seed, strict=strict)
    return tlkit.data.text.from_table(
        data, text=text, label=label, encoding=encoding, separator=separator, seed=seed, strict=strict
    )


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
