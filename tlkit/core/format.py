"""A format of exported files as a record: how a file is written, opened and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.core.examples import ArraySpec

if TYPE_CHECKING:
    import numpy as np

    from tlkit.exporting.gates import Comparison, Gates
    from tlkit.formats.tflite_metadata import Metadata

    Call = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Format:
    """How one kind of file is written, opened and judged.

    `write` and `open` are called in a worker process, so they are functions of a module that it can import.

    Attributes:
        name: As in `formats=` and run.json: one word for what tlkit brings, for yours the import path of this record.
        file: Its name in the run's folder; `write` may make a folder of it.
        write: (what it starts from, where to) -> None, in a worker without Keras; InputError says why it cannot be.
        open: (file, threads) -> the file ready to run, in a worker, and in `predict`.
        gate: (how it agrees with the model, what it must keep to) -> why it falls short, or None; without a gate it is
            judged as float32 must be.
        serves: Whether it starts from the SavedModel for servers, which takes what clients send.
        scales: Whether `write` itself brings values to their unit, by `Source.scales`, and decodes by `Source.tail`:
            for formats that quantise.
        calls: Markdown of how clients call such a file, a Jinja template (docs/extending.md has its names) for the
            README of an export; "" says nothing.
        measures: Whether `write` measures the ranges of activations, by calling one function on `Source.inputs`: not
            for tasks that answer by a loop over several (`Task.deployment`).
        looped: Whether clients run its functions with LiteRT, so that of a task that answers by a loop the README shows
            that loop (`Deployment.calls`) in place of `calls`.
    """

    name: str
    file: str
    write: Callable[[Source, Path], None]
    open: Callable[[Path, int], Opened]
    gate: Callable[[Comparison, Gates], str | None] | None = None
    serves: bool = False
    scales: bool = False
    calls: str = ""
    measures: bool = False
    looped: bool = False


@dataclass(frozen=True)
class Source:
    """What a file is written from.

    Attributes:
        saved_model: Folder of a SavedModel of one example (of one that `serves`: any number), float32, that gives the
            decoded outputs; its weights are constants.
        inputs: Folder of training inputs to measure ranges with, one .npy file (n, ...) for each input; None where the
            run has no training examples.
        metadata: What the file says about itself.
        tail: Folder of a SavedModel that makes the decoded outputs of those of `saved_model`, by name, and is to stay
            float32; None where these are decoded, and always for a format without `Format.scales`.
        scales: (signature, output) -> factor and offset of each column, which bring those outputs of `saved_model` to
            their unit; {} where they have it, and always for a format without `Format.scales`.
    """

    saved_model: Path
    inputs: Path | None
    metadata: Metadata
    scales: Mapping[tuple[str, str], tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    tail: Path | None = None


@dataclass(frozen=True, eq=False)
class Shaped:
    """A function of a file that says what it takes.

    Attributes:
        call: Tensors by name -> tensors by name.
        shapes: Shape of each input by name, the batch axis included; None, or -1, is any size.
        dtypes: NumPy's name of each input's dtype; {} where it is not known.
        outputs: Shape, batch axis included, and dtype of each output by name; {} where they are not known.
    """

    call: Call
    shapes: Mapping[str, tuple[int | None, ...]]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, ArraySpec] = field(default_factory=dict)

    def signature(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Shape and dtype of each input and output as plain data; any size is None."""
        inputs = {name: ArraySpec(shape, self.dtypes.get(name, "")) for name, shape in self.shapes.items()}
        return {"inputs": _plain(inputs), "outputs": _plain(self.outputs)}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Call it."""
        return self.call(inputs)


@dataclass(frozen=True, eq=False)
class Opened:
    """A file that is ready to run.

    Attributes:
        call: Inputs of one example by name, with their batch axis -> outputs by name.
        card: What the file says of itself, `Source.metadata.card`; under "files" the content of files that it holds, by
            name. {} where it cannot say, and then the run's is taken.
        signatures: All signatures of the file by name, called alike; `call` is the default one, or else the first.
        owner: What must live as long as `call`, because `call` holds it weakly.
    """

    call: Call
    card: Mapping[str, Any] = field(default_factory=dict)
    signatures: Mapping[str, Call] = field(default_factory=dict)
    owner: Any = None


def _plain(specs: Mapping[str, ArraySpec]) -> dict[str, dict[str, Any]]:
    return {
        name: {"shape": [None if n is None or n < 0 else int(n) for n in spec.shape], "dtype": spec.dtype}
        for name, spec in specs.items()
    }


def signatures_of(opened: Opened) -> dict[str, dict[str, Any]]:
    """What each signature of a file takes and gives, the default one first; {} of a file that does not say."""
    default = [name for name, call in opened.signatures.items() if call is opened.call]
    names = dict.fromkeys((*default, *opened.signatures))
    calls = {name: opened.signatures[name] for name in names}
    return {name: call.signature() for name, call in calls.items() if isinstance(call, Shaped)}
