"""Tag music: recordings with any number of tags each, and a pretrained module, become a tagger.

tlkit run music_tagging --data tags.csv --module zoo:musicnn --out runs/music
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:musicnn",
    out: Path = Path("runs/music_tagging"),
    table: tlkit.flags.Table = tlkit.flags.Table(),
    seconds: float = 3.0,
    hop: float | None = None,
    sample_rate: int = 16_000,
    epochs: int = 100,
    lr: float = 1e-2,
    batch_size: int = 16,
    seed: int = 0,
    augment: bool = False,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(),
) -> tlkit.Run:
    """Learn tags from the frozen features of a module and export the result.

    Args:
        data: Table (CSV, TSV, JSONL, Parquet) of recordings and their tags, several tags separated by `|`; without it,
            the samples of Sonic Pi, whose names say what they are.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        table: How to read a table.
        seconds: Length of the windows that recordings are cut into; shorter ones are padded.
        hop: Seconds between the starts of two windows; None is `seconds`.
        sample_rate: Samples a second that the module takes, in Hz.
        epochs: Epochs of the head; the module stays frozen.
        lr: Learning rate.
        batch_size: Windows a step.
        seed: Of the split, the head and the order of recordings.
        augment: Whether training recordings are also shifted, made louder or quieter, masked, and noisy.
        strict: Fail on a broken file instead of leaving it out.
        export: Which files to write.
    """
    changes = tlkit.data.audio.augmentation() if augment else None
    if data is None:
        splits = tlkit.datasets.music.samples(seconds=seconds, sample_rate=sample_rate, seed=seed, augment=changes)
    else:
        splits = tlkit.data.audio.from_csv(
            data, **vars(table), seconds=seconds,
            hop=hop, sample_rate=sample_rate, seed=seed, strict=strict, augment=changes,
        )  # fmt: skip
    task = tlkit.tasks.classify(splits.labels, normalize=True, multi_label=splits.multi_label)
    phases = tlkit.plans.feature_extraction(epochs=epochs, lr=lr)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
