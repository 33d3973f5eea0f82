"""What an export needs to know about one kind of input; a further kind (text, audio) is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.exporting.metadata import Table

_KINDS = ("image", "plain")  # the first that accepts a spec is taken; `plain` accepts all

Tensors = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Reading:
    """One file of a user's as the model takes it.

    Attributes:
        value: Made as in training, with the batch axis.
        plain: Made as a client without our code makes it; None where that is the same.
        change: What was done to it ("resized from 480x640 to 224x224"), "" for nothing.
    """

    value: np.ndarray
    plain: np.ndarray | None = None
    change: str = ""


@dataclass(frozen=True)
class Modality:
    """One kind of input, as functions.

    Attributes:
        name: "image"; recorded in the file, so that `predict` knows how to read.
        accepts: `Examples.spec` -> whether this kind is meant.
        serving: Keras input tensors by name -> the specs that clients of the SavedModel see, and the function from
            tensors of these specs to tensors that the model takes (both by name).
        metadata: Name of a Keras input -> its table of TFLite metadata.
        spanned: Representative examples -> the same, made to span the whole range of the input's bytes, so that an
            int8 file takes them as they are; None where int8 files keep float inputs.
        read: (file, recipe of the examples, shape of the input without the batch) -> what a user's file makes; None
            where files cannot be read.
    """

    name: str
    accepts: Callable[[Any], bool]
    serving: Callable[[Mapping[str, Any]], tuple[Tensors, Callable[[Tensors], Tensors]]]
    metadata: Callable[[str], Table]
    spanned: Callable[[np.ndarray], np.ndarray] | None = None
    read: Callable[[Path, str, tuple[int, ...]], Reading] | None = None


def modality_of(spec: Any) -> Modality:
    """The kind of input that an `ArraySpec`, or a dict of them, describes."""
    return next(kind for kind in map(modality, _KINDS) if kind.accepts(spec))


def modality(name: str) -> Modality:
    """The kind of input of this name."""
    kind: Modality = import_module(f"tlkit.exporting.{name}").KIND
    return kind
