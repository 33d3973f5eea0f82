"""What the tests of zoo modules share. The modules lie in the user's real cache, built there by the first that asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlkit import zoo
from tlkit.core import packages
from tlkit.core.errors import DownloadError, OfflineError


def folder(name: str) -> Path:
    """Folder of a module, or the test is skipped."""
    try:
        return zoo.folder(name)
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"needs the network once: {error}")


def files(package: Any, target: Path) -> dict[str, Path]:
    """A package's pinned files, or the test is skipped."""
    try:
        return packages.fetch(package, target)
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"needs the network: {error}")


def check_interface(name: str, loaded: Any, example: Any) -> None:
    """What every module promises: its card's count of weights, distinct names, and gradients for all that trains."""
    import tensorflow as tf

    assert sum(np.prod(v.shape) for v in loaded.variables if v.dtype.is_floating) == zoo.cards()[name].parameters
    assert len({v.name for v in loaded.variables}) == len(loaded.variables)
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(y * y) for y in tf.nest.flatten(loaded(example, training=True)))
    gradients = tape.gradient(loss, loaded.trainable_variables)
    assert all(g is not None for g in gradients)
    assert all(np.isfinite(tf.reduce_sum(tf.convert_to_tensor(g))) for g in gradients)


def litert(loaded: Any, endpoint: str = "serving_default", /, **shapes: tuple[int, ...]) -> Any:
    """A runner of a signature of the module, converted with builtins alone for inputs of these shapes."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    served = loaded.signatures[endpoint]
    dtypes = {k: s.dtype for k, s in served.structured_input_signature[1].items()}
    specs = {k: tf.TensorSpec(shape, dtypes[k], name=k) for k, shape in shapes.items()}
    function = tf.function(lambda **inputs: served(**inputs)).get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], loaded)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return Interpreter(model_content=converter.convert()).get_signature_runner()
