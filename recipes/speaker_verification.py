"""Verify speakers: a folder with one folder of recordings a speaker becomes embeddings that tell voices apart.

tlkit run speaker_verification --data speakers --module zoo:speaker-encoder --out runs/speakers
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:speaker-encoder",
    out: Path = Path("runs/speaker_verification"),
    seconds: float = 3.0,
    sample_rate: int = 16_000,
    trim_db: float | None = 40.0,
    size: int = 256,
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(10, 0), lr=(1e-3, 1e-5)),
    augment: bool = False,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Adapt a module to the voices of some speakers, judge it by others, and export the embedding.

    Scores are of an open set: no speaker of the test is heard in training. The threshold from which two recordings
    count as one voice is chosen on validation, and written into task.json and the exported files.

    Args:
        data: Folder with one folder of recordings a speaker; without it, sentences of synthetic voices, and, in the
            test, of one real one.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        seconds: Length of the windows that recordings are cut into; shorter ones are padded.
        sample_rate: Samples a second that the module takes, in Hz.
        trim_db: Cut what is quieter than a recording's peak by so many decibels off its ends; None keeps them.
        size: Numbers of an embedding.
        fit: How to train.
        augment: Whether training recordings are also shifted, made louder or quieter, masked, and noisy.
        strict: Fail on a broken file instead of leaving it out.
        formats: What to export.
    """
    changes = tlkit.data.audio.augmentation() if augment else None
    if data is None:
        splits = tlkit.datasets.speakers.voices(
            seconds=seconds, sample_rate=sample_rate, seed=fit.seed, augment=changes
        )
    else:
        splits = tlkit.data.speakers.from_folder(
            data,
            seconds=seconds,
            sample_rate=sample_rate,
            trim_db=trim_db,
            seed=fit.seed,
            strict=strict,
            augment=changes,
        )
    task = tlkit.tasks.verify(len(set(splits.train.target_array.tolist())), size)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
