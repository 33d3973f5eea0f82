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
    path: str = "path",
    label: str = "label",
    folder: Path | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    output_key: str | None = None,
    seconds: float = 1.0,
    hop: float | None = None,
    sample_rate: int = 16_000,
    trim_db: float | None = 40.0,
    epochs: tuple[int, int] = (20, 5),
    lr: tuple[float, float] = (3e-3, 3e-4),
    unfrozen: float = 0.25,
    batch_size: int = 32,
    seed: int = 0,
    augment: bool = False,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
    max_drop: float = 0.01,
) -> tlkit.Run:
    """Adapt a module to labelled sounds and export the result.

    Args:
        data: Folder with one folder of sounds a class (or train/, val/ and test/ folders of such), or a table of paths
            and labels (CSV, TSV, JSONL, Parquet); without it, spoken digits: synthetic voices to train on, ten
            recordings of a real voice to test on.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        path: Name of the table's column of the files' paths.
        label: Name of the table's column of labels; several labels are separated by `|`.
        folder: Where the paths start; without it, the table's own folder.
        encoding: Python's name of the table's encoding; without it, UTF-8 or what is found, which is noted.
        separator: Character between the table's columns; without it, what is found.
        output_key: Which output to take of a module that gives several: a name, or a position such as 1; without it,
            the usual one.
        seconds: Length of the windows that sounds are cut into; shorter sounds are padded.
        hop: Seconds between the starts of two windows; None is `seconds`.
        sample_rate: Samples a second that the module takes, in Hz.
        trim_db: Cut what is quieter than a sound's peak by so many decibels off its ends, for words and other short
            sounds; None keeps sounds as they are. The digits are always trimmed, and always one window.
        epochs: Epochs with the module frozen, and with its top unfrozen.
        lr: Peak learning rates of the two phases.
        unfrozen: Share of the module's depth that trains in the second phase.
        batch_size: Windows a step.
        seed: Of the split, the head and the order of sounds.
        augment: Whether training sounds are also shifted, made louder or quieter, masked, and noisy.
        strict: Fail on a broken file instead of leaving it out.
        formats: What to export; not dynamic and int8, whose eight bits are too coarse for the logarithms of the
            spectrum inside such modules.
        max_drop: Largest drop in accuracy that dynamic and int8 files may show, as a share.
    """
    changes = tlkit.data.audio.augmentation() if augment else None
    if data is None:
        splits = tlkit.datasets.spoken.digits(seconds=seconds, sample_rate=sample_rate, seed=seed, augment=changes)
    elif data.is_file():
        splits = tlkit.data.audio.from_csv(
            data, path=path, label=label, folder=folder, encoding=encoding, separator=separator, seconds=seconds,
            hop=hop, sample_rate=sample_rate, seed=seed, strict=strict, augment=changes, trim_db=trim_db,
        )  # fmt: skip
    else:
        splits = tlkit.data.audio.from_folder(
            data, seconds=seconds, hop=hop, sample_rate=sample_rate, seed=seed, strict=strict, augment=changes,
            trim_db=trim_db,
        )  # fmt: skip
    task = tlkit.tasks.classify(splits.labels, normalize=True, multi_label=splits.multi_label)
    phases = tlkit.plans.two_phase(epochs=epochs, lr=lr, unfrozen=unfrozen)
    backbone = module if output_key is None else tlkit.HubLayer(module, output_key=output_key, name="backbone")
    run = tlkit.finetune(backbone, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    return tlkit.export(run, formats=formats, max_drop=max_drop)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
