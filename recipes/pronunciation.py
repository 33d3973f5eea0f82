"""Pronounce: words with their phonemes adapt a module that reads letters to your names, or your dialect.

tlkit run pronunciation --data words.csv --out runs/pronunciation
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path,
    module: str = "zoo:g2p-en",
    out: Path = Path("runs/pronunciation"),
    word: str = "word",
    phonemes: str = "phonemes",
    groups: str | None = None,
    epochs: int = 20,
    lr: float = 1e-3,
    unfrozen: float = 0.5,
    batch_size: int = 32,
    seed: int = 0,
    scored: int | None = 1000,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Adapt a module of letters and phonemes to words, judge it on words that were not trained on, and export it.

    Scores are the error rate of phonemes and the share of words without an error, before training ("per_before") and
    after.

    Args:
        data: A table (CSV, TSV, JSONL, Parquet) of words and their phonemes with blanks between: "HH AH0 L OW1".
        module: Handle of an encoder-decoder that brings the tokens of both sides.
        out: Folder of the run.
        word: Name of the column of words.
        phonemes: Name of the column of phonemes.
        groups: Name of a column of what stays in one part, such as a word's stem.
        epochs: Passes over the words.
        lr: Peak learning rate.
        unfrozen: Share of the module that trains, from the top of the decoder down; what lies below is computed once.
        batch_size: Words a step.
        seed: Of the division, the order and all else that is random.
        scored: Words of the test that are pronounced for the scores.
        strict: Fail on a broken text instead of leaving it out.
        formats: What to export.
    """
    splits = tlkit.data.text.from_translations(
        data, source=word, target=phonemes, groups=groups, seed=seed, strict=strict
    )
    task = tlkit.tasks.translate(("per", "exact"), scored=scored)
    phases = (tlkit.Phase(epochs, lr, unfrozen=unfrozen, warmup=0.1, cosine=True),)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
