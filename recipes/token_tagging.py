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
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(2, 5), lr=(3e-3, 2e-4), unfrozen=1.0, batch_size=16),
    length: int | None = None,
    micro_batch: int | None = None,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("float32", "float16", "dynamic")),
) -> tlkit.Run:
    """Adapt a module to labelled words and export the result.

    Args:
        data: File of training sentences, a word and its label a line, an empty line between sentences; without it,
            proper nouns are found in the Brown corpus.
        val: The same for validation; without it, sentences are taken out of `data`.
        test: The same for the test.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        fit: How to train.
        length: Word pieces of a sentence; longer ones are cut. None is what 99 % of the training sentences need.
        micro_batch: Sentences in memory at a time inside a step; None is what about 0.5 GB hold.
        strict: Fail on a broken sentence instead of leaving it out.
        export: Which files to write.
    """
    if data is None:
        splits = tlkit.datasets.brown.proper_nouns(seed=fit.seed)
    else:
        splits = tlkit.data.text.from_conll(data, val=val, test=test, seed=fit.seed, strict=strict)
    task = tlkit.tasks.tag(splits.labels)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, micro_batch=micro_batch,
        length=length,
    )  # fmt: skip
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
