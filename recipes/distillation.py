"""Distil a large module into a small one: what a transformer has learned, in a model that is the mean of word vectors.

tlkit run distillation --data reviews.csv --teacher zoo:minilm-l6-v2 --student zoo:glove-50d-30k --out runs/small
"""

from __future__ import annotations

from pathlib import Path

import tlkit
from tlkit import methods, plans


def main(
    data: Path | None = None,
    teacher: str = "zoo:minilm-l6-v2",
    student: str = "zoo:glove-50d-30k",
    out: Path = Path("runs/distillation"),
    table: tlkit.flags.TextTable = tlkit.flags.TextTable(),
    unlabelled: Path | None = None,
    labelled: int = 1000,
    hidden: int = 64,
    epochs: tuple[int, int] = (3, 10),
    lr: tuple[float, float] = (3e-3, 3e-3),
    temperature: float = 2.0,
    weight: float = 0.5,
    seed: int = 0,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16", "dynamic"),
) -> tlkit.Run:
    """Train the teacher, the student alone, and the student by the teacher's answers; export the latter.

    Args:
        data: Folder with one folder of .txt files a class, or a table; without it, movie reviews (vaderSentiment's,
            MIT), of which few are labelled.
        teacher: Handle of the large module, which is tuned as `text_classification` does it.
        student: Handle of the small one.
        out: Folder of the student's run; teacher and alone lie below it.
        table: How to read a table or texts.
        unlabelled: Folder or table of further texts, for which the teacher answers alone; labels are not looked at.
        labelled: Movie reviews that keep their labels where there are no `data`; the rest are read as `unlabelled`.
        hidden: Width of the student's hidden layer.
        epochs: Epochs of the student with its module frozen, and with all of it unfrozen.
        lr: Peak learning rates of the two.
        temperature: By which both logits are divided.
        weight: Of the teacher's answers in the loss; the labels have the rest.
        seed: Of the split, the heads and the order of texts.
        formats: What to export of the student.
    """
    further = None
    if unlabelled is not None:
        further = tlkit.data.collection.texts(
            unlabelled, text=table.text, encoding=table.encoding, separator=table.separator
        ).train
    if data is None:
        reviews = tlkit.datasets.reviews.sentences("movies", seed=seed)
        splits, without_labels = tlkit.data.collection.few_labels(reviews, labelled, seed=seed)
        further = further or without_labels
    elif data.is_dir():
        splits = tlkit.data.text.from_folder(data, encoding=table.encoding, seed=seed)
    else:
        splits = tlkit.data.text.from_table(data, **vars(table), seed=seed)
    if not len(splits.test):
        raise tlkit.InputError("Ways are compared on test examples, and there are none: give the data a part `test`.")
    large = tlkit.finetune(
        teacher, tlkit.tasks.classify(splits.labels), splits,
        plans.two_phase(epochs=(10, 3), lr=(3e-3, 1e-4), unfrozen=0.34), out=out / "teacher", seed=seed,
    )  # fmt: skip
    small = tlkit.tasks.classify(splits.labels, hidden=(hidden,))
    phases = plans.two_phase(epochs=epochs, lr=lr, unfrozen=1.0)
    alone = tlkit.finetune(student, small, splits, phases, out=out / "alone", seed=seed)
    task = methods.distill(small, temperature=temperature, weight=weight)
    answered = methods.taught(splits, large, unlabelled=further)
    run = tlkit.finetune(student, task, answered, phases, out=out, seed=seed)
    compared = {"teacher": large, "alone": alone, "distilled": run}
    run = run.with_scores({name: other.scores["accuracy"] for name, other in compared.items()})
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
