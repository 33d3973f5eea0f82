"""The SavedModel for servers, which takes what clients send."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tlkit.core.format import Format, Opened, Source


def write(source: Source, folder: Path) -> None:
    """Copy the SavedModel for servers, as it was written from the model."""
    shutil.copytree(source.saved_model, folder)


def open_folder(folder: Path, _threads: int) -> Opened:
    """Make the `serving_default` of a SavedModel ready to run."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def call(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {name: tf.constant(np.asarray(value)) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in signature(**given).items()}

    return Opened(call, owner=loaded)


saved_model = Format("saved_model", "saved_model", write, open_folder, serves=True)
