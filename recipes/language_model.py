"""A chat on your own dialogues: a small language model learns your answers, and is written for phones.

tlkit run language_model --data pairs.jsonl --out runs/chat
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    module: str = "zoo:smollm2-135m",
    out: Path = Path("runs/language_model"),
    system: str | None = None,
    epochs: int = 3,
    lr: float = 1e-4,
    unfrozen: float = 0.2,
    batch_size: int = 16,
    seed: int = 0,
    head: str = "frozen",
    most: int = 64,
    length: int | None = None,
    general: Path | None = None,
    mix: float = 0.0,
    texts: tuple[str, ...] = (),
    samples: int = 8,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "dynamic"),
) -> tlkit.Run:
    """Adapt a causal language model to dialogues and export the result.

    Args:
        data: Dialogues (.jsonl with prompt and answer, or messages; .yml of chatterbot; a folder of such) or a table of
            the columns prompt and answer; without it, small talk in English (chatterbot-corpus, BSD-3-Clause).
        module: Handle of a causal module with byte pairs: zoo:NAME, a folder, a URL, kaggle:...
        out: Folder of the run.
        system: What the model is told before each dialogue.
        epochs: Passes over the answers.
        lr: Learning rate.
        unfrozen: Share of the module that trains, from the top down; what lies below is computed once.
        batch_size: Dialogues a step.
        seed: Of the division, the order and all else that is random.
        head: What gives the scores of tokens: frozen, untied or lora.
        most: Most tokens of an answer in use.
        length: Tokens of a dialogue; without it, what 99 % need.
        general: File of other text, one a line, on which forgetting is measured; without it, sentences of editorials.
        mix: Share of such texts in training, against forgetting.
        texts: Further scores of written answers: exact, rouge_l, chrf, bleu.
        samples: Questions of the test that are answered before training and after it, for the report and `texts`.
        strict: Fail on a broken text instead of leaving it out.
        formats: What to export.
    """
    others = tlkit.datasets.reviews.editorials(64) if general is None else general.read_text("utf-8").splitlines()
    if data is None:
        splits = tlkit.datasets.chats.english(system=system, general=others, mix=mix, seed=seed)
    else:
        table = data.suffix.lower() in (".csv", ".tsv", ".parquet")
        read = tlkit.data.text.from_pairs if table else tlkit.data.text.from_dialogues
        splits = read(data, system=system, general=others, mix=mix, seed=seed, strict=strict)
    task = tlkit.tasks.generate(head, most=most, texts=texts, samples=samples)
    phases = (tlkit.Phase(epochs, lr, unfrozen=unfrozen),)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=batch_size, length=length)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
