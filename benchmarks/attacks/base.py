"""A small module, pictures and a finished run that attacks copy; made once, in processes of their own."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 16


@functools.cache
def base() -> Path:
    """Folder with `data/`, `module/` and `run/`, for this process and what it forks."""
    folder = Path(tempfile.mkdtemp(prefix="tlkit-robustness-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pictures(folder / "data")
    subprocess.run([sys.executable, __file__, str(folder / "module")], check=True, cwd=Path(__file__).parents[2])
    words = ["run", "image_classification", "--data", folder / "data", "--module", folder / "module"]
    words += ["--out", folder / "run", "--epochs", 5, 0, "--formats", "saved_model", "float32", "--max-drop", 1]
    command = [sys.executable, "-m", "tlkit.cli", *map(str, words)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], capture_output=True)
    return folder


def pictures(folder: Path, each: int = 12) -> Path:
    """Two classes that a mean tells apart."""
    rng = np.random.default_rng(0)
    for label, value in (("dark", 60), ("light", 190)):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(value + rng.normal(0, 30, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i:02}.png")
    return folder


def _write_module(folder: Path) -> None:
    import keras

    from tlkit.formats import hub_module

    keras.utils.set_random_seed(0)
    x = image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters in (4, 8):
        x = keras.layers.ReLU()(keras.layers.Conv2D(filters, 3, strides=2, padding="same")(x))
    hub_module.write_keras_model(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)), folder)


if __name__ == "__main__":
    _write_module(Path(sys.argv[1]))
