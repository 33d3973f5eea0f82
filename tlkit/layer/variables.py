"""A module's TensorFlow variables as Keras variables over the same storage, under names that Keras can use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def keras_variables(variables: Sequence[Any], trainable: Sequence[Any]) -> dict[int, keras.Variable]:
    """One Keras variable for each variable that holds numbers, by its position in `variables`.

    Nothing is copied: keras.Variable keeps a tf.Variable that it is given, so what one writes the other reads.
    """
    chosen = {id(v) for v in trainable}
    names = clean_names([v.name for v in variables])
    return {
        i: keras.Variable(v, trainable=id(v) in chosen, dtype=v.dtype.base_dtype.name, name=name)
        for i, (v, name) in enumerate(zip(variables, names, strict=True))
        if v.dtype != tf.string
    }


def clean_names(names: Sequence[str]) -> list[str]:
    """Names without "/" and ":", of which optimizers build scopes; each once.

    Example:
        >>> clean_names(["conv/kernel:0", "conv/kernel:0", "_seed"])
        ['conv.kernel', 'conv.kernel.2', 'seed']
    """
    unique_names: dict[str, None] = {}
    for name in names:
        base = name.split(":")[0].replace("/", ".").strip("._") or "variable"
        unique, count = base, 1
        while unique in unique_names:
            count += 1
            unique = f"{base}.{count}"
        unique_names[unique] = None
    return list(unique_names)
