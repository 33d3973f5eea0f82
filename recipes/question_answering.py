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
    fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(1, 3), lr=(3e-3, 1e-4), unfrozen=1.0, batch_size=16),
    length: int | None = None,
    micro_batch: int | None = None,
    strict: bool = False,
    export: tlkit.flags.Export = tlkit.flags.Export(formats=("saved_model", "float32", "float16", "dynamic")),
) -> tlkit.Run:
    """Adapt a module to questions on texts and export the result.

    Args:
        data: JSON file of training questions in the format of SQuAD 1.1 or 2.0; without it, 2,400 templated ones.
        val: The same for validation; without it, questions are taken out of `data`, all on a text together.
        test: The same for the test.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        fit: How to train.
        length: Word pieces of question and text together; longer texts are read in several windows. None is what 99 %
            of the training questions need, at most 384.
        micro_batch: Windows in memory at a time inside a step; None is what about 0.5 GB hold.
        strict: Fail on a broken question instead of leaving it out.
        export: Which files to write.
    """
    if data is None:
        splits = tlkit.datasets.templated.questions(seed=fit.seed)
    else:
        splits = tlkit.data.text.from_squad(data, val=val, test=test, seed=fit.seed, strict=strict)
    unanswered = bool((splits.train.target_array[:, 0] < 0).any())
    task = tlkit.tasks.span(no_answer=unanswered)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr, unfrozen=fit.unfrozen)
    run = tlkit.finetune(
        module, task, splits, phases, out=out, seed=fit.seed, batch_size=fit.batch_size, micro_batch=micro_batch,
        length=length,
    )  # fmt: skip
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
