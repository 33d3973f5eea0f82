"""Tag words: CoNLL files and a pretrained module become a tagger of named entities (or any labels of words).

tlkit run token_tagging --data train.conll --val dev.conll --test test.conll --out runs/entities
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    val: Path | None = None,
    test: Path | None = None,
    module: str = "zoo:minilm-l6-v2",
    out: Path = Path("runs/token_tagging"),
    epochs: tuple[int, int] = (2, 5),
    lr: tuple[float, float] = (3e-3, 2e-4),
    unfrozen: float = 1.0,
    length: int | None = None,
    batch_size: int = 16,
    micro_batch: int | None = None,
    seed: int = 0,
    strict: bool = False,
    formats: tuple[str, ...] = ("float32", "float16", "dynamic"),
    max_drop: float = 0.01,
) -> tlkit.Run:
    """Adapt a module to labelled words and export the result.

    Args:
        data: File of training sentences, a word and its label a line, an empty line between sentences; without it,
            proper nouns are found in the Brown corpus.
        val: The same for validation; without it, sentences are taken out of `data`.
        test: The same for the test.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        epochs: Epochs with the module frozen, and with its top unfrozen.
        lr: Peak learning rates of the two phases.
        unfrozen: Share of the module's depth that trains in the second phase.
        length: Word pieces of a sentence; longer ones are cut. None is what 99 % of the training sentences need.
        batch_size: Sentences a step.
        micro_batch: Sentences in memory at a time inside a step; None is what about 0.5 GB hold.
        seed: Of the split, the head and the order of sentences.
        strict: Fail on a broken sentence instead of leaving it out.
        formats: What to export; a SavedModel takes whole sentences, so it is for words that spaces tell apart.
        max_drop: Largest drop in word accuracy that dynamic and int8 files may show, as a share.
    """
    if data is None:
        splits = tlkit.datasets.brown.proper_nouns(seed=seed)
    else:
        splits = tlkit.data.text.from_conll(data, val=val, test=test, seed=seed, strict=strict)
    task = tlkit.tasks.tag(splits.labels)
    phases = tlkit.plans.two_phase(epochs=epochs, lr=lr, unfrozen=unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=seed, batch_size=batch_size, micro_batch=micro_batch, length=length,
    )  # fmt: skip
    return tlkit.export(run, formats=formats, max_drop=max_drop)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
