"""Classify sounds: a folder with one folder of recordings a class, and a pretrained module, become a classifier.

tlkit run audio_classification --data sounds --module zoo:speech-embedding --out runs/sounds
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:speech-embedding",
    out: Path = Path("runs/audio_classification"),
    table: tlkit.flags.Table = tlkit.flags.Table(),
    output_key: str | None = None,
    seconds: float = 1.0,
    hop: float | None = None,
    sample_rate: int = 16_000,
    trim_db: float | None = 40.0,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(20, 5)),
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(),
) -> tlkit.Run:
    """Adapt a module to labelled sounds and export the result.

    Args:
        data: Folder with one folder of sounds a class (or train/, val/ and test/ folders of such), or a table of paths
            and labels (CSV, TSV, JSONL, Parquet); without it, spoken digits: synthetic voices to train on, ten
            recordings of a real voice to test on.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        table: How to read a table.
        output_key: Which output to take of a module that gives several: a name, or a position such as 1; without it,
            the usual one.
        seconds: Length of the windows that sounds are cut into; shorter sounds are padded.
        hop: Seconds between the starts of two windows; None is `seconds`.
        sample_rate: Samples a second that the module takes, in Hz.
        trim_db: Cut what is quieter than a sound's peak by so many decibels off its ends, for words and other short
            sounds; None keeps sounds as they are. The digits are always trimmed, and always one window.
        fit: How to train.
        augment: Whether training sounds are also shifted, made louder or quieter, masked, and noisy.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    changes = tlkit.data.audio.augmentation() if augment else None
    if data is None:
        splits = tlkit.datasets.spoken.digits(seconds=seconds, sample_rate=sample_rate, seed=fit.seed, augment=changes)
    elif data.is_file():
        splits = tlkit.data.audio.from_csv(
            data, **vars(table), seconds=seconds,
            hop=hop, sample_rate=sample_rate, seed=fit.seed, strict=strict, augment=changes, trim_db=trim_db,
        )  # fmt: skip
    else:
        splits = tlkit.data.audio.from_folder(
            data, seconds=seconds, hop=hop, sample_rate=sample_rate, seed=fit.seed, strict=strict, augment=changes,
            trim_db=trim_db,
        )  # fmt: skip
    task = tlkit.tasks.classify(splits.labels, normalize=True, multi_label=splits.multi_label)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    backbone = module if output_key is None else tlkit.HubLayer(module, output_key=output_key, name="backbone")
    run = tlkit.finetune(backbone, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
