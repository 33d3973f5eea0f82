"""What an export needs to know about one kind of input; a further kind (text, audio) is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.examples import Column, Examples, Pipeline
from tlkit.formats.tflite_metadata import Table

if TYPE_CHECKING:
    import keras

_KINDS = ("image", "text", "words", "audio", "plain")  # the first that accepts a spec is taken; `plain` accepts all

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Inside:
    """What a TFLite file says about its inputs to whoever reads files for it.

    Attributes:
        pipeline: What made the examples it was trained on.
        shapes: Shape of each input without the batch, by name.
        files: Content of the files in it, by name.
    """

    pipeline: Pipeline
    shapes: Mapping[str, tuple[int, ...]]
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the only input."""
        (shape,) = self.shapes.values()
        return shape


@dataclass(frozen=True, eq=False)
class Reading:
    """One file of a user's as the model takes it.

    Attributes:
        value: Made as in training, with the batch axis; a dict of arrays where the model has several inputs.
        plain: Made as a client without our code makes it; None where that is the same.
        change: What was done to it ("resized from 480x640 to 224x224"), "" for nothing.
        steps: What each step of a sequence is the first piece of (a word), "" for none; () where there are no steps.
        shares: Of a text in windows, how much of it each row of `value` shows; () where `value` is one example.
        passages: Of a question with a text, what each row of `value` shows of the text; None elsewhere.
    """

    value: Any
    plain: np.ndarray | None = None
    change: str = ""
    steps: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    passages: Column | None = None


@dataclass(frozen=True, eq=False)
class Serving:
    """What clients of the SavedModel send, and what is made of it.

    Attributes:
        specs: `tf.TensorSpec` of what they send, by name.
        prepare: Tensors of these specs -> tensors that the model takes, by name.
        resources: Tables that `prepare` uses, or None; saved with the model.
        sent: Examples -> arrays (n, ...) of these specs by name: what clients would send for them. None where that is
            what the examples read.
        combine: (what `prepare` gave, what the model made of it) -> outputs for what clients sent; None where each
            example of the model's is one of theirs. `prepare` may give tensors for it that the model does not take.
    """

    specs: Tensors
    prepare: Callable[[Tensors], Tensors]
    resources: Any = None
    sent: Callable[[Examples], Mapping[str, np.ndarray]] | None = None
    combine: Callable[[Tensors, Tensors], Tensors] | None = None


@dataclass(frozen=True)
class About:
    """What a TFLite file says of its inputs.

    Attributes:
        inputs: Metadata table of each Keras input, by name.
        units: Tables of what a client does to all inputs together (a tokenizer).
        files: Content of the files that these name.
        says: A sentence on what else a client does, or "".
    """

    inputs: Mapping[str, Table]
    units: tuple[Table, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Modality:
    """One kind of input, as functions.

    Attributes:
        name: "image"; recorded in the file, so that `predict` knows how to read.
        accepts: Examples -> whether they are of this kind.
        serving: (model, examples) -> what clients of the SavedModel send, and what is made of it.
        about: (model, examples) -> what the TFLite metadata say of its inputs.
        read: (a user's file, the TFLite file's own) -> what it makes; None where files cannot be read.
    """

    name: str
    accepts: Callable[[Examples], bool]
    serving: Callable[[keras.Model, Examples], Serving]
    about: Callable[[keras.Model, Examples], About]
    read: Callable[[Path, Inside], Reading] | None = None


def modality_of(examples: Examples) -> Modality:
    """The kind of input that examples are."""
    return next(kind for kind in map(modality, _KINDS) if kind.accepts(examples))


def modality(name: str) -> Modality:
    """The kind of input of this name."""
    kind: Modality = import_module(f"tlkit.exporting.{name}").KIND
    return kind
