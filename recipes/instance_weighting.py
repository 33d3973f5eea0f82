"""Weight examples of another domain: images in one style teach a classifier of images in another.

tlkit run instance_weighting --source photos --target drawings --method tradaboost --out runs/drawings
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import tlkit
from tlkit import methods


def main(
    source: Path | None = None,
    target: Path | None = None,
    method: Literal["tradaboost", "kmm", "density_ratio"] = "tradaboost",
    module: str = "zoo:efficientnet-lite0",
    out: Path = Path("runs/instance_weighting"),
    few: int = 2,
    input_range: tuple[float, float] | None = None,
    pixel_max: float | None = None,
    seed: int = 0,
    formats: tuple[str, ...] = ("saved_model", "float32", "float16"),
) -> tlkit.Run:
    """Learn from a labelled source for a target, by the source's examples that fit it.

    Args:
        source: Folder with one folder of images a class; without it and `target`, emoji as noto draws them.
        target: Folder of the other domain, with the same classes; without it, the emoji as twemoji draws them.
        method: tradaboost, which uses `few` labels of the target, or kmm or density_ratio, which use none.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        few: Labelled examples of the target for each class.
        input_range: Range of the pixels that the module takes, where nothing in it says: 0 255, 0 1 or -1 1.
        pixel_max: Value that is white in images of more than 8 bits, such as 4095; else their bits are counted.
        seed: Of the splits and the fit.
        formats: What to export.
    """
    source_data, target_data = (
        tlkit.datasets.samples.emoji10(style, seed=seed)
        if path is None
        else tlkit.data.image.from_folder(path, seed=seed, pixel_max=pixel_max)
        for path, style in ((source, "noto"), (target, "twemoji"))
    )
    task = tlkit.tasks.classify(source_data.labels)
    backbone = tlkit.HubLayer(module, name="backbone", input_range=input_range)
    if method != "tradaboost":
        weigh = methods.kmm if method == "kmm" else methods.density_ratio
        run = tlkit.finetune(backbone, task, weigh(source_data, target_data, backbone), out=out, seed=seed)
    else:
        labels = target_data.train.target_array.tolist()
        chosen = [i for i, label in enumerate(labels) if labels[:i].count(label) < few]
        run = methods.tradaboost(
            source_data, replace(target_data, train=target_data.train.subset(chosen)), task, backbone
        )
        run = tlkit.save(run, out, seed=seed)
    return tlkit.export(run, formats=formats)


if __name__ == "__main__":
    tlkit.flags.cli(main)
