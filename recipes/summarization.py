"""Summaries: a small language model learns to write yours, from texts with a summary each.

tlkit run summarization --data papers.csv --out runs/summaries
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path,
    module: str = "zoo:smollm2-135m",
    out: Path = Path("runs/summarization"),
    text: str = "text",
    summary: str = "summary",
    system: str | None = "Summarize the text in one line.",
    epochs: int = 2,
    lr: float = 1e-4,
    unfrozen: float = 0.2,
    batch_size: int = 16,
    seed: int = 0,
    most: int = 48,
    length: int | None = None,
    samples: int = 80,
    formats: tuple[str, ...] = ("saved_model", "float32", "dynamic"),
) -> tlkit.Run:
    """Adapt a causal language model to texts and their summaries and export the result.

    Args:
        data: A table (CSV, TSV, JSONL, Parquet) of texts and summaries.
        module: Handle of a causal module with byte pairs: zoo:NAME, a folder, a URL, kaggle:...
        out: Folder of the run.
        text: Name of the column of texts.
        summary: Name of the column of summaries.
        system: What the model is told before each text.
        epochs: Passes over the summaries.
        lr: Learning rate.
        unfrozen: Share of the module that trains, from the top down; what lies below is computed once.
        batch_size: Texts a step.
        seed: Of the division, the order and all else that is random.
        most: Most tokens of a summary in use.
        length: Tokens of a text with its summary; of longer texts the beginning is lost. None is what 99 % need.
        samples: Texts of the test that are summarized before training and after it, for the score rouge_l.
        formats: What to export.
    """
    splits = tlkit.data.text.from_pairs(data, prompt=text, answer=summary, system=system, seed=seed)
    task = tlkit.tasks.generate(most=most, samples=samples, texts=("rouge_l",))
    phases = (tlkit.Phase(epochs, lr, unfrozen=unfrozen),)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size, length=length)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
