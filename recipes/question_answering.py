"""Answer questions from a text: a SQuAD file and a pretrained module become a model that points at the answer.

tlkit run question_answering --data train-v2.0.json --test dev-v2.0.json --out runs/questions

Without --data the questions are made by templates from the Brown corpus: nobody asked them, and they repeat the words
beside their answer. They show that the whole path works; a score on them says nothing about people's questions.
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    val: Path | None = None,
    test: Path | None = None,
    module: str = "zoo:minilm-l6-v2",
    out: Path = Path("runs/question_answering"),
    epochs: tuple[int, int] = (1, 3),
    lr: tuple[float, float] = (3e-3, 1e-4),
    unfrozen: float = 1.0,
    length: int | None = None,
    batch_size: int = 16,
    micro_batch: int | None = None,
    seed: int = 0,
    strict: bool = False,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16", "dynamic"),
    max_drop: float = 0.01,
) -> tlkit.Run:
    """Adapt a module to questions on texts and export the result.

    Args:
        data: JSON file of training questions in the format of SQuAD 1.1 or 2.0; without it, 2,400 templated ones.
        val: The same for validation; without it, questions are taken out of `data`, all on a text together.
        test: The same for the test.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        epochs: Epochs with the module frozen, and with its top unfrozen.
        lr: Peak learning rates of the two phases.
        unfrozen: Share of the module's depth that trains in the second phase.
        length: Word pieces of question and text together; longer texts are read in several windows. None is what 99 %
            of the training questions need, at most 384.
        batch_size: Windows a step.
        micro_batch: Windows in memory at a time inside a step; None is what about 0.5 GB hold.
        seed: Of the split, the head and the order of questions.
        strict: Fail on a broken question instead of leaving it out.
        formats: What to export.
        max_drop: Largest drop in right starts and ends that dynamic and int8 files may show, as a share.
    """
    if data is None:
        splits = tlkit.datasets.templated.questions(seed=seed)
    else:
        splits = tlkit.data.text.from_squad(data, val=val, test=test, seed=seed, strict=strict)
    unanswered = bool((splits.train.target_array[:, 0] < 0).any())
    task = tlkit.tasks.span(no_answer=unanswered)
    phases = tlkit.plans.two_phase(epochs=epochs, lr=lr, unfrozen=unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=seed, batch_size=batch_size, micro_batch=micro_batch, length=length,
    )  # fmt: skip
    return tlkit.export(run, formats=formats, max_drop=max_drop)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
