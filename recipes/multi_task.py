"""Two questions to one image: one module with a head for each, on a phone at the size of one model.

tlkit run multi_task --data photos --outer season --inner animal --out runs/animals
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import tlkit
from tlkit import methods, tasks


def main(
    data: Path | None = None,
    outer: str = "style",
    inner: str = "kind",
    module: str = "zoo:efficientnet-lite0",
    weighting: str = "equal",
    validate: float = 0.0,
    out: Path = Path("runs/multi_task"),
    unfrozen: float | None = None,
    input_range: tuple[float, float] | None = None,
    pixel_max: float | None = None,
    seed: int = 0,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Train both heads together, and export one file that answers both and one file a head.

    Args:
        data: Folder of folders of images: photos/winter/fox/1.jpg has the outer label winter and the inner one fox;
            without it, emoji as two fonts draw them (`style`) in ten kinds.
        outer: Name of the head that tells the outer folders apart.
        inner: Name of the head that tells the inner folders apart.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        weighting: "equal" or "uncertainty": how the losses of the heads are balanced.
        validate: Share of the images that choose the epoch, by the sum of both losses; with 0 the last weights are
            taken, which is fairer to the head that learns the slower.
        out: Folder of the run; each head's own files lie in a folder of its name below it.
        unfrozen: Share of the module's depth that trains in the second phase; None is chosen by the amount of data.
        input_range: Range of the pixels that the module takes, where nothing in it says: 0 255, 0 1 or -1 1.
        pixel_max: Value that is white in images of more than 8 bits, such as 4095; else their bits are counted.
        seed: Of the split, the weights and the order of examples.
        formats: What to export.
    """
    split = (0.8 - validate, validate, 0.2)
    if data is None:
        pictures = tlkit.datasets.samples.emoji10("both", split=split, seed=seed)
    else:
        pictures = tlkit.data.image.from_folder(data, split=split, seed=seed, pixel_max=pixel_max)
    labels = {
        outer: methods.relabelled(pictures, lambda name: PurePosixPath(name).parts[0]),
        inner: methods.relabelled(pictures, lambda name: PurePosixPath(name).parent.name),
    }
    if labels[outer].labels == labels[inner].labels:
        raise tlkit.InputError(f"{data} holds one level of folders; two questions need two: photos/winter/fox/1.jpg.")
    task = methods.multitask(
        weighting=weighting, **{name: tasks.classify(head_data.labels) for name, head_data in labels.items()}
    )
    phases = None if unfrozen is None else tlkit.plans.two_phase(unfrozen=unfrozen)
    run = tlkit.finetune(module, task, methods.task_mix(**labels), phases, out=out, seed=seed, input_range=input_range)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
