"""What is inside a module: how it is called, what it holds, what is unsafe about it, and whether it converts."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import graph as graphs
from tlkit import hub
from tlkit.choosing.conversion import OPEN_SIZE, Conversion, try_conversion
from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.core.files import sha256_tree
from tlkit.graph import Block
from tlkit.hub import Finding
from tlkit.layer import detectors
from tlkit.layer.endpoints import Endpoint, open_endpoint
from tlkit.layer.forms import WAVE, form_of, formed

IMAGE_SIZE = (224, 224)  # tried where a module takes images of any size and its card names none
RANDOM = ("RandomUniform", "StatelessRandomUniform")  # what dropout draws from, in every version of TensorFlow


@dataclass(frozen=True)
class Tensor:
    """Name, shape (None is any size, as a whole: any rank) and dtype of one input or output."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        sizes = "any shape" if self.shape is None else ", ".join("any" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype} ({sizes})"


@dataclass(frozen=True)
class Signature:
    """A named way into a module."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Inspection:
    """What is inside a module. What only a loaded module can tell is None where it was too unsafe to load.

    Attributes:
        handle: What was looked at.
        folder: Where it lies, or None for an object.
        sha256: Hash of its content.
        loaded: Whether it was loaded; the scan comes first, and what it refuses is only read.
        endpoint: The function that a layer calls: "__call__", "serve" or a signature's name.
        inputs: What that takes.
        outputs: What that gives.
        input_range: Lowest and highest value that it expects, and how that is known, or (None, reason).
        signatures: All signatures of the SavedModel.
        parameters: Count of the weights, statistics included.
        trainable_parameters: Those that the module declares trainable.
        variables: Count of the variables.
        takes_training: Whether it tells training from inference.
        batch_norms: Count of the BatchNorms.
        dropout: Whether training draws random numbers.
        unsafe: What the scan refuses.
        unknown: What the scan does not know to be harmless.
        blocks: Its blocks, input side first, with their share of the depth: what can be unfrozen.
        cannot_cut: Why there are no blocks, or "".
        conversion: Whether it converts to TFLite, or None where that was not tried.
        card: What its author wrote down.
    """

    handle: str
    folder: str | None
    sha256: str | None
    loaded: bool
    endpoint: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    input_range: tuple[tuple[float, float] | None, str]
    signatures: tuple[Signature, ...]
    parameters: int | None
    trainable_parameters: int | None
    variables: int | None
    takes_training: bool | None
    batch_norms: int | None
    dropout: bool | None
    unsafe: tuple[Finding, ...]
    unknown: tuple[Finding, ...]
    blocks: tuple[Block, ...]
    cannot_cut: str
    conversion: Conversion | None
    card: Mapping[str, Any]


def inspect_module(
    handle: Any, *, signature: str | None = None, convert: bool = True, trust: bool = False, offline: bool | None = None
) -> Inspection:
    """Look into a module. One that the scan refuses is not loaded: what can be read without that is told.

    Args:
        handle: All that `HubLayer` takes: folder, archive, URL, `zoo:NAME`, a keras.Model, a loaded SavedModel.
        signature: The signature to look at instead of `__call__`.
        convert: Whether to try the conversion to TFLite, the slowest part.
        trust: Whether to load it whatever the scan says.
        offline: Never download; None asks TLKIT_OFFLINE.

    Raises:
        InputError: If there is no such module, or it is damaged.

    Example:
        found = tlkit.inspect("zoo:efficientnet-lite0")
        found.parameters, [block.name for block in found.blocks]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown operations: they are listed here
        try:
            module = hub.open_module(handle, trust=trust, offline=offline)
        except UnsafeModuleError:
            if not isinstance(handle, str | os.PathLike):
                raise
            return _unloaded(os.fspath(handle), hub.resolve(handle, offline=offline))
        return _loaded(module, signature, convert)


@dataclass(frozen=True, eq=False)
class _Opened:
    """What `tlkit.model` asks of a HubLayer, without making one: a layer would copy nothing but trace a lot."""

    handle: str
    endpoint: Endpoint
    card: Mapping[str, Any]

    @functools.cached_property
    def graph(self) -> graphs.Graph:
        return graphs.flatten(self.endpoint.inference, self.endpoint.variables)


def _loaded(module: hub.Module, signature: str | None, convert: bool) -> Inspection:
    endpoint = detectors.with_weights(open_endpoint(module.loaded, signature))
    opened = _Opened(module.handle, _tapped(endpoint), module.card)
    blocks, cannot_cut = _blocks(opened)
    findings = hub.scan(module.folder) if module.folder is not None else None
    return Inspection(
        handle=module.handle,
        folder=None if module.folder is None else str(module.folder),
        sha256=module.sha256,
        loaded=True,
        endpoint=endpoint.name,
        inputs=_tensors(endpoint.inputs, "inputs"),
        outputs=_tensors(endpoint.inference.structured_outputs, "outputs"),
        input_range=_input_range(_Opened(module.handle, endpoint, module.card)),
        signatures=tuple(_signatures(module.folder)) if module.folder else tuple(_restored(module.loaded)),
        parameters=_count(endpoint.variables),
        trainable_parameters=_count(endpoint.trainable),
        variables=len(endpoint.variables),
        takes_training=endpoint.takes_training,
        batch_norms=len(graphs.batch_norms(opened.graph)),
        dropout=_draws(module.loaded, endpoint),
        unsafe=findings.denied if findings else (),
        unknown=findings.unknown if findings else (),
        blocks=blocks,
        cannot_cut=cannot_cut,
        conversion=_converted(module, endpoint) if convert else None,
        card=module.card,
    )


def _unloaded(handle: str, folder: Path) -> Inspection:
    """What saved_model.pb says, read as data."""
    scan = hub.scan(folder)
    signatures = tuple(_signatures(folder))
    served = next((s for s in signatures if s.name == "serving_default"), signatures[0] if signatures else None)
    counts = _counts(folder)
    return Inspection(
        handle=handle,
        folder=str(folder),
        sha256=sha256_tree(folder),
        loaded=False,
        endpoint=None,
        inputs=served.inputs if served else (),
        outputs=served.outputs if served else (),
        input_range=(None, "the module was not loaded"),
        signatures=signatures,
        parameters=counts[0] if counts else None,
        trainable_parameters=counts[1] if counts else None,
        variables=counts[2] if counts else None,
        takes_training=None,
        batch_norms=None,
        dropout=None,
        unsafe=scan.denied,
        unknown=scan.unknown,
        blocks=(),
        cannot_cut="the module was not loaded",
        conversion=None,
        card={},
    )


# -- a loaded module


def _tapped(endpoint: Endpoint) -> Endpoint:
    """Of a detector the trunk, where it can be tapped; else the endpoint itself."""
    try:
        return detectors.tapped(endpoint) if detectors.is_detector(endpoint) else endpoint
    except InputError:
        return endpoint


def _blocks(opened: _Opened) -> tuple[tuple[Block, ...], str]:
    try:
        return graphs.blocks(opened.graph), opened.graph.problem or ""
    except InputError as error:
        return (), str(error)


def _input_range(opened: Any) -> tuple[tuple[float, float] | None, str]:
    from tlkit.layer import lookup
    from tlkit.layer.input_range import established_range

    if opened.card.get("input_range"):
        low, high = opened.card["input_range"]
        return (float(low), float(high)), "its card says so"
    taken: Any = _Opened(opened.handle, _taken(opened.endpoint), opened.card)
    if not lookup.is_image(taken):
        return None, "it does not take images"
    expected = established_range(opened)
    return expected.range, expected.how


def _taken(endpoint: Endpoint) -> Endpoint:
    """The endpoint as `build` calls it; the module's own where the data would have to tell its form."""
    try:
        return formed(endpoint, form_of(endpoint))
    except InputError:
        return endpoint


def _converted(module: hub.Module, endpoint: Endpoint) -> Conversion:
    taken = _taken(endpoint)
    recording = len(taken.input_leaves) == 1 and taken.input_leaves[0].shape.rank == 2 and taken is not endpoint
    open_size = WAVE if recording and taken.input_leaves[0].dtype.is_floating else OPEN_SIZE
    return try_conversion(module.loaded, taken, _image_size(module.card), open_size)


def _image_size(card: Mapping[str, Any]) -> tuple[int, int]:
    height, width = card.get("image_size") or IMAGE_SIZE
    return int(height), int(width)


def _count(variables: tuple[Any, ...]) -> int:
    """Elements of the weights; the state of random number generators is none."""
    return sum(math.prod(v.shape) for v in variables if v.dtype.is_floating)


def _draws(loaded: Any, endpoint: Endpoint) -> bool:
    """Whether a function of the module that is traced for training draws random numbers, as dropout does."""
    if not endpoint.takes_training:
        return False
    definitions = [f.graph.as_graph_def() for f in getattr(loaded, endpoint.name).concrete_functions]
    bodies = [b for d in definitions for b in (d.node, *(f.node_def for f in d.library.function))]
    return any(node.op.startswith(RANDOM) for body in bodies for node in body)


def _tensors(structure: Any, single: str) -> tuple[Tensor, ...]:
    """The leaves of specs or tensors, named by the path that leads to them."""
    import keras

    leaves = keras.tree.flatten_with_path(structure)
    return tuple(_tensor("/".join(map(str, path)) or single, leaf.shape, leaf.dtype) for path, leaf in leaves)


def _tensor(name: str, shape: Any, dtype: Any) -> Tensor:
    return Tensor(name, None if shape.rank is None else tuple(shape.as_list()), dtype.name)


def _restored(loaded: Any) -> Iterator[Signature]:
    for name, function in (getattr(loaded, "signatures", None) or {}).items():
        inputs = _tensors(dict(function.structured_input_signature[1]), "inputs")
        yield Signature(name, inputs, _tensors(dict(function.structured_outputs), "outputs"))


# -- saved_model.pb as data


def _meta(folder: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    metas = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs if path.is_file() else ()
    return metas[0] if metas else None  # a .pbtxt is scanned, and its signatures are seen once it is loaded


def _signatures(folder: Path) -> Iterator[Signature]:
    meta = _meta(folder)
    for name, signature in sorted(meta.signature_def.items() if meta is not None else ()):
        if not name.startswith("__"):  # TensorFlow's own: the initializers
            yield Signature(name, _written(signature.inputs), _written(signature.outputs))


def _written(tensors: Any) -> tuple[Tensor, ...]:
    import tensorflow as tf

    named_tensors = ((name, tensors[name]) for name in sorted(tensors))
    return tuple(_tensor(name, tf.TensorShape(t.tensor_shape), tf.as_dtype(t.dtype)) for name, t in named_tensors)


def _counts(folder: Path) -> tuple[int, int, int] | None:
    """Parameters, trainable ones, and variables; None of a TF1-style SavedModel, which does not say."""
    meta = _meta(folder)
    nodes = meta.object_graph_def.nodes if meta is not None else ()
    variables = [node.variable for node in nodes if node.WhichOneof("kind") == "variable"]
    sizes = [(math.prod(d.size for d in v.shape.dim), v.trainable) for v in variables]
    return (sum(n for n, _ in sizes), sum(n for n, t in sizes if t), len(sizes)) if sizes else None


# -- telling


def to_dict(inspection: Inspection) -> dict[str, Any]:
    """The inspection as plain data for JSON."""
    return {field.name: _plain(getattr(inspection, field.name)) for field in dataclasses.fields(inspection)}


def rendered(inspection: Inspection) -> Any:
    """The inspection for a terminal: a rich renderable."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for name, text in _facts(inspection):
        facts.add_row(name, Text(text))
    return Group(facts, *([Text(), _block_table(inspection.blocks)] if inspection.blocks else []))


def _facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    yield "module", inspection.handle
    yield from (("folder", inspection.folder or ""), ("sha256", inspection.sha256 or ""))
    yield from (
        (word, str(inspection.card[word])) for word in ("summary", "licence", "source") if word in inspection.card
    )
    if inspection.card.get("weights") == "random":
        yield ("weights", "RANDOM, as the published ones cannot be had: good for trying things out, not for transfer")
    yield "called by", inspection.endpoint or "not loaded: the scan refuses it, and only what can be read is shown"
    yield "takes", "\n".join(map(str, inspection.inputs))
    yield "gives", "\n".join(map(str, inspection.outputs))
    yield "input range", _range_text(*inspection.input_range)
    yield "signatures", "\n".join(map(_signature_text, inspection.signatures)) or "none"
    yield "parameters", _parameters_text(inspection)
    yield "training", _training_text(inspection)
    yield "unsafe", "\n".join(map(str, inspection.unsafe)) or "nothing found"
    if inspection.unknown:
        yield "unknown", "\n".join(map(str, inspection.unknown))
    yield "TFLite", _conversion_text(inspection.conversion)
    if not inspection.blocks:
        yield "blocks", f"none: {inspection.cannot_cut or 'it has nothing to cut between'}"


def _range_text(value: tuple[float, float] | None, reason: str) -> str:
    return reason if value is None else f"{value[0]:g} to {value[1]:g} ({reason})"


def _signature_text(signature: Signature) -> str:
    names = (", ".join(t.name for t in tensors) for tensors in (signature.inputs, signature.outputs))
    return f"{signature.name}: {' -> '.join(names)}"


def _parameters_text(inspection: Inspection) -> str:
    if inspection.parameters is None or inspection.trainable_parameters is None:
        return "unknown"
    trainable = f"{inspection.trainable_parameters:,} of them trainable"
    return f"{inspection.parameters:,} in {inspection.variables} variables, {trainable}"


def _training_text(inspection: Inspection) -> str:
    if inspection.takes_training is None:
        return "unknown"
    mode = "tells training from inference" if inspection.takes_training else "is always in inference mode"
    return f"{mode}; {inspection.batch_norms} BatchNorms, {'dropout' if inspection.dropout else 'no dropout'}"


def _conversion_text(conversion: Conversion | None) -> str:
    if conversion is None:
        return "not tried"
    if not conversion.converts:
        return f"does not convert: {conversion.reason}"
    return f"converts with builtins ({conversion.megabytes:.1f} MB, largest difference {conversion.difference:.1e})"


def _block_table(blocks: tuple[Block, ...]) -> Any:
    """Blocks from the input up, and the `unfrozen` that trains from each of them on."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("block", "shape", "parameters", "cost", "unfrozen"):
        table.add_column(title, justify="left" if title in ("block", "shape") else "right")
    before = 0.0
    for block in blocks:
        shape = "" if block.shape is None else ", ".join("any" if d is None else str(d) for d in block.shape[1:])
        table.add_row(block.name, shape, f"{block.parameters:,}", f"{block.cost:.1%}", f"{1 - before:.3f}")
        before = block.depth
    return table


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy numbers as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
