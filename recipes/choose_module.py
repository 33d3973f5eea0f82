"""Choose a module: rank several by what a linear model could make of their frozen features, without training.

tlkit run choose_module --data photos --modules zoo:efficientnet-lite0 keras.applications:MobileNetV2 --out runs/choice
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tlkit
from tlkit.core.files import write_atomic


def main(
    data: Path | None = None,
    modules: tuple[str, ...] = ("zoo:efficientnet-lite0", "zoo:efficientnet-lite0-imagenet"),
    out: Path = Path("runs/choose_module"),
    convert: bool = True,
    batch_size: int = 32,
    input_range: tuple[float, float] | None = None,
    pixel_max: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Rank modules for a folder of images; the table goes into OUT/ranking.json, the plot into OUT/ranking.png.

    Args:
        data: Folder with one folder of images a class; without it, the bundled emoji.
        modules: Handles of two modules or more: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the table and the plot.
        convert: Whether to convert each module to TFLite, for its size and latency.
        batch_size: Images at a time.
        input_range: Range of the pixels of those modules of which nothing says it: 0 255, 0 1 or -1 1.
        pixel_max: Value that is white in images of more than 8 bits, such as 4095; else their bits are counted.
        seed: Of the split; the training images are used.
    """
    splits = (
        tlkit.datasets.samples.emoji10("noto", seed=seed)
        if data is None
        else tlkit.data.image.from_folder(data, seed=seed, pixel_max=pixel_max)
    )
    ranking = tlkit.rank(modules, splits, convert=convert, batch_size=batch_size, input_range=input_range)
    print(ranking, file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    ranking.plot(out / "ranking.png")
    record = {"examples": len(splits.train), "rows": [asdict(row) for row in ranking.rows], "pareto": ranking.pareto}
    write_atomic(out / "ranking.json", json.dumps(record, indent=1))
    return record


if __name__ == "__main__":
    tlkit.flags.cli(main)
