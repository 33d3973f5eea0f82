"""What kills.py kills: two phases with dropout, augmented views, partial unfreezing and early stopping, then an export.

tlkit run benchmarks/kill_recipe.py --data images --module module --out run
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(data: Path, module: str, out: Path, seed: int = 0) -> tlkit.Run:
    """Adapt a module to a folder of images.

    Args:
        data: Folder with one folder of images a class.
        module: Handle of the module.
        out: Folder of the run.
        seed: Of everything random.
    """
    splits = tlkit.data.image.from_folder(data, seed=seed, augment=tlkit.data.image.augmentation())
    task = tlkit.tasks.classify(splits.labels, hidden=(32,), dropout=0.4)
    phases = tlkit.plans.two_phase(epochs=(8, 30), lr=(5e-3, 2e-3), unfrozen=0.5, lr_decay=0.9, patience=4)
    run = tlkit.finetune(module, task, splits, phases, out=out, seed=seed, batch_size=8, input_range=(0, 1))
    return tlkit.export(run, formats=("saved_model", "float32"))
