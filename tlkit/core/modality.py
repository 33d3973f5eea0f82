"""A modality as a record: what goes into a module, how it is prepared, sent, read from files and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tlkit.core.checks import check_fields, functions
from tlkit.core.examples import Examples, Pipeline, Splits

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tlkit.layer.hub_layer import HubLayer

NOTE = "note"  # the column of what was done to a thing, for people; "" is nothing
PLAIN = "plain"  # the column of the same input as a client without tlkit's code makes it, where that differs
ORIGINAL = "original"  # the column of the same thing at the size that a file has it, for drawing on
STEPS = "steps"  # str (steps,): what each step of a sequence is the first piece of (a word), "" for none

Tensors = dict[str, Any]
Table = dict[int, Any]  # of TFLite metadata


@dataclass(frozen=True)
class FileInfo:
    """What an exported file, or an index, knows of its inputs, without model and data.

    Attributes:
        pipeline: What made the examples that the model was trained on.
        shapes: Shape of each input without the batch, by name.
        files: Content of the files in it, by name, such as a vocabulary.
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
class Serving:
    """What clients of the SavedModel send, and what is made of it.

    Attributes:
        specs: `tf.TensorSpec` of what they send, by name.
        prepare: Tensors of these specs -> tensors that the model takes, by name.
        resources: Tables that `prepare` uses, or None; saved with the model.
        sent: Examples -> arrays (n, ...) of these specs by name: what clients would send for them. None where that is
            what the examples' inputs are.
        combine: (what `prepare` gave, what the model made of it) -> outputs for what clients sent; None where each
            example of the model's is one of theirs. `prepare` may give tensors for it that the model does not take.
    """

    specs: Tensors
    prepare: Callable[[Tensors], Tensors]
    resources: Any = None
    sent: Callable[[Examples], Mapping[str, np.ndarray]] | None = None
    combine: Callable[[Tensors, Tensors], Tensors] | None = None


@dataclass(frozen=True)
class InputInfo:
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
    """What an example is; `Examples.modality` holds its name.

    Attributes:
        name: One word for what tlkit brings; the import path of this record for yours.
        prepare: (data, layer, **settings) -> the data as the module takes them, with what there is to say added to
            `Splits.notes`. Its keywords are the settings that it knows. It runs before a model is built, and leaves
            data as they are that are prepared already, as `parse` gives them.
        inputs: (layer, spec of the prepared inputs) -> `keras.Input`, or a dict of them; None takes the module's own
            specs, with the sizes of `spec` where it leaves them open.
        serve: (model, examples) -> what clients of the SavedModel send; None is the model's own inputs.
        describe: (model, examples) -> what the TFLite metadata say of inputs; None is arrays without further meaning.
        parse: (a user's file or value, what an exported file or an index says) -> examples of it: one, or several that
            are one thing, such as the windows of a text; a list of examples is several things, as the rows of a table.
            The column "note" says what was done to it, and "original" has it as it was, for answers that draw. None: it
            cannot be read from files.
        show: (examples, index) -> HTML of one example, escaped; None shows nothing.
        calls: Language ("python", "kotlin", "swift") -> the lines by which a client makes `inputs` of a user's file, a
            Jinja template that is given the "inputs" of a file's signature and the "settings" of each step of the
            pipeline; a language without one gets zeros. "page" is the JavaScript module by which the try-it page reads
            a file; without one it takes numbers as JSON.
    """

    name: str
    prepare: Callable[..., Splits]
    inputs: Callable[[HubLayer, Any], Any] | None = None
    serve: Callable[[keras.Model, Examples], Serving] | None = None
    describe: Callable[[keras.Model, Examples], InputInfo] | None = None
    parse: Callable[[Any, FileInfo], Examples | Sequence[Examples]] | None = None
    show: Callable[[Examples, int], str] | None = None
    calls: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        optional = functions(self, "inputs", "serve", "describe", "parse", "show", optional=True)
        check_fields(f"the modality {self.name!r}", self, functions(self, "prepare") | optional)
