"""Translate: pairs of texts teach a small Transformer of your own, or adapt one that was trained before, for phones.

tlkit run translation --data pairs.csv --out runs/translation
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path,
    module: str | None = None,
    out: Path = Path("runs/translation"),
    source: str = "source",
    target: str = "target",
    groups: str | None = None,
    epochs: int = 20,
    lr: float = 1e-3,
    unfrozen: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
    vocabulary: int = 4000,
    width: int = 128,
    blocks: int = 2,
    longest: int = 64,
    length: int | None = None,
    scores: tuple[str, ...] = ("chrf", "bleu"),
    scored: int | None = 500,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Learn to write one text out of another, judge it on texts that were not trained on, and export it.

    The folder of a run is a module too: `--module runs/translation` adapts what it learned to other pairs.

    Args:
        data: A table (CSV, TSV, JSONL, Parquet) of pairs.
        module: Handle of an encoder-decoder, such as the folder of an earlier run; without it, an untrained one.
        out: Folder of the run.
        source: Name of the column of what is read.
        target: Name of the column of what is to be written.
        groups: Name of a column of what stays in one part, such as the document.
        epochs: Passes over the pairs.
        lr: Peak learning rate.
        unfrozen: Share of the module that trains, from the top of the decoder down; what lies below is computed once.
        batch_size: Pairs a step.
        seed: Of the division, the weights, the order and all else that is random.
        vocabulary: Byte pairs of an untrained module.
        width: Of its states.
        blocks: Of its encoder, and of its decoder.
        longest: Most tokens that are written.
        length: Most tokens of a text on either side; without it, what 99 % need.
        scores: Of what is written: chrf, bleu, rouge_l, exact, per.
        scored: Texts of the test that are translated for them.
        strict: Fail on a broken text instead of leaving it out.
        formats: What to export.
    """
    splits = tlkit.data.text.from_translations(
        data, source=source, target=target, groups=groups, seed=seed, strict=strict
    )
    task = tlkit.tasks.translate(scores, longest, scored=scored)
    phases = (tlkit.Phase(epochs, lr, unfrozen=unfrozen, warmup=0.1, cosine=True),)
    if module is None:
        texts = [splits.train.columns[side][i] for side in ("asked", "text") for i in range(len(splits.train))]
        sizes = tlkit.zoo.Sizes(vocabulary, width, blocks)
        module = str(tlkit.zoo.write_transformer(out / "untrained", texts, sizes, seed=seed))
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size, length=length)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
