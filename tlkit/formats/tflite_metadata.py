"""TFLite metadata: what a .tflite file says about itself, so that mobile clients need no code of ours.

Metadata is a FlatBuffer of its own (identifier "M001") in a buffer of the model, and files it names are a stored ZIP
archive appended to the model. Tables are written by slot number, in the order in which Google's metadata_schema.fbs
(github.com/google-ai-edge/mediapipe, mediapipe/tasks/metadata) declares their fields, so that no generated schema is
needed; a table is a dict of slot to value.
"""

from __future__ import annotations

import functools
import io
import json
import re
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np

from tlkit.core.errors import InputError

__all__ = [  # the shelf tlkit.metadata; what reads and writes files is for tlkit itself
    "Number",
    "audio_input",
    "bert_tokenizer",
    "detection_outputs",
    "image_input",
    "plain_tensor",
    "regex_tokenizer",
    "score_output",
]

CARD = "tlkit.json"  # what tlkit itself wants to know, beside the files that other clients read
LABELS = "labels.txt"
VOCABULARY = "vocab.txt"
_NAME, _IDENTIFIER, _PARSER = "TFLITE_METADATA", b"M001", "1.0.0"
_IMAGE_PROPERTIES, _AUDIO_PROPERTIES, _RGB = 2, 4, 1  # members of ContentProperties and ColorSpaceType
_FEATURE_PROPERTIES, _NORMALIZATION, _TENSOR_AXIS_LABELS, _TENSOR_VALUE_LABELS = 1, 1, 2, 3
_BOX_PROPERTIES, _BOUNDARIES, _RATIO = 3, 1, 0  # members of ContentProperties, BoundingBoxType and CoordinateType
_BERT_TOKENIZER, _REGEX_TOKENIZER, _VOCABULARY = 4, 6, 5  # members of ProcessUnitOptions and AssociatedFileType

Table = dict[int, Any]


def __dir__() -> list[str]:
    return sorted(__all__)


class Number(int):
    """An unsigned integer of 32 bits; plain integers in a table are enums and union tags of one byte."""


@dataclass(frozen=True)
class Metadata:
    """What a file says about itself.

    Attributes:
        name: Of the model.
        description: One or two sentences.
        inputs: Metadata table of each input, by its name in the signature.
        outputs: The same of each output; of a further signature's by "signature.output".
        units: Tables of what a client does to all inputs together.
        files: Content of the associated files by name; labels, vocabularies.
        card: Plain data for tlkit's own use.
        layers: How Keras calls layers that were given no name, without their numbers, which are counted anew.
    """

    name: str
    description: str
    inputs: Mapping[str, Table]
    outputs: Mapping[str, Table]
    units: Sequence[Table] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    layers: frozenset[str] = frozenset()


def image_input(name: str) -> Table:
    """Table of an RGB image of pixels 0..255; the scaling is inside the model, so its mean is 0 and its deviation 1."""
    normalization = {0: _NORMALIZATION, 1: {0: [0.0], 1: [1.0]}}
    content = {0: _IMAGE_PROPERTIES, 1: {0: _RGB}}
    return {
        0: name,
        1: "RGB image, pixels 0 to 255, resized to the input's height and width.",
        3: content,
        4: [normalization],
        5: {0: [255.0], 1: [0.0]},
    }


def audio_input(name: str, rate: int) -> Table:
    """Table of one channel of sound in -1 to 1, `rate` samples a second."""
    content = {0: _AUDIO_PROPERTIES, 1: {0: Number(rate), 1: Number(1)}}
    return {0: name, 1: f"Sound in mono, {rate} samples a second, -1 to 1.", 3: content}


def plain_tensor(name: str, description: str) -> Table:
    """Table of a tensor without further meaning."""
    return {0: name, 1: description, 3: {0: _FEATURE_PROPERTIES, 1: {}}}


def bert_tokenizer() -> Table:
    """Table of the process unit by which a client makes word pieces of a text, with the vocabulary in the file."""
    return {0: _BERT_TOKENIZER, 1: {0: [{0: VOCABULARY, 1: "Word pieces, one a line.", 2: _VOCABULARY}]}}


def regex_tokenizer(apart: str) -> Table:
    """What a tensor's table has besides, where a client fills it with the numbers of a text's words.

    Args:
        apart: What lies between words, a regular expression of RE2.
    """
    vocabulary = {0: VOCABULARY, 1: "A word and its number a line.", 2: _VOCABULARY}
    return {4: [{0: _REGEX_TOKENIZER, 1: {0: apart, 1: [vocabulary]}}]}


def score_output(name: str, file: str = LABELS) -> Table:
    """Table of scores in [0, 1], the labels of which a file in the model names."""
    labels = {0: file, 1: "Label of each score.", 2: _TENSOR_AXIS_LABELS}
    return plain_tensor(name, "Score of each label, 0 to 1.") | {5: {0: [1.0], 1: [0.0]}, 6: [labels]}


def names_axis(file: Table) -> bool:
    """Whether the table of an associated file says that it names the places of a tensor's axis."""
    return file.get(2) == _TENSOR_AXIS_LABELS


def detection_outputs(file: str = LABELS) -> dict[str, Table]:
    """Tables of "boxes" (top, left, bottom, right in shares), "classes", "scores" and "count", the labels of which a
    file names; under the names by which clients look for them.
    """
    axes = {2: {0: Number(2), 1: Number(2)}}  # the axis of the objects, of each tensor but the count
    sides = {0: [Number(1), Number(0), Number(3), Number(2)], 1: _BOUNDARIES, 2: _RATIO}
    boxes = {0: "location", 1: "Sides of each box.", 3: {0: _BOX_PROPERTIES, 1: sides, **axes}}
    classes = plain_tensor("category", "Number of each box's label.")
    classes = {**classes, 3: {**classes[3], **axes}, 6: [{0: file, 1: "Labels.", 2: _TENSOR_VALUE_LABELS}]}
    scores = plain_tensor("score", "Score of each box, 0 to 1.")
    count = plain_tensor("number of detections", "How many boxes there are.")
    return {"boxes": boxes, "classes": classes, "scores": {**scores, 3: {**scores[3], **axes}}, "count": count}


def label_lines(labels: Sequence[str]) -> bytes:
    """One label a line, as clients read them; line breaks inside a label become spaces."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in labels).encode()


def attach(model: bytes, metadata: Metadata) -> bytes:
    """The model with metadata and files inside; what it had before is replaced.

    Args:
        model: Content of a .tflite file with one signature or more.
        metadata: What to write. Names of inputs and outputs are those of the model's signatures.
    """
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    tree.description = metadata.description
    for tensors in (graph.tensors for graph in tree.subgraphs):
        for tensor, name in zip(tensors, numbered_anew([_text(t.name) for t in tensors], metadata.layers), strict=True):
            tensor.name = name
    _set_buffer(schema, tree, _encode(metadata, tree))
    builder = flatbuffers.Builder(len(model) + 65536)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return _append(bytes(builder.Output()), {**metadata.files, CARD: json.dumps(dict(metadata.card)).encode()})


def numbered_anew(names: Sequence[str], layers: Collection[str]) -> list[str]:
    """Names of tensors with the numbers that Keras gave to nameless layers counted from the start.

    Keras counts on for as long as a process lives, so a run that was broken off and gone on with would else give
    other bytes than one that was never broken off.

    Example:
        >>> names = ["functional_7/conv2d_9/Relu", "functional_7/conv2d_4/Relu", "block_3/Relu"]
        >>> numbered_anew(names, layers={"functional", "conv2d"})
        ['functional/conv2d/Relu', 'functional/conv2d_1/Relu', 'block_3/Relu']
    """
    numbers_of_kind = dict[str, dict[str, str]]()

    def anew(match: re.Match[str]) -> str:
        kind, number = match[1], match[2]
        if kind not in layers:
            return match[0]
        numbers = numbers_of_kind.setdefault(kind, {})
        return numbers.setdefault(number, f"{kind}_{len(numbers)}" if numbers else kind)

    return [
        re.sub(r"(?<![^/;])([a-z][a-z0-9]*(?:_[a-z][a-z0-9]*)*)((?:_\d+)*)(?=[/;:]|$)", anew, name) for name in names
    ]


@functools.cache
def nameless_layers() -> frozenset[str]:
    """How Keras calls layers that were given no name, without their numbers, for `Metadata.layers`."""
    import keras

    classes = (name for name in dir(keras.layers) if name[0].isupper())
    words = (re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)) for name in classes)
    return frozenset(word.lower() for word in words) | {"functional", "sequential", "model", "hub_layer"}


def _text(name: str | bytes | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""


def read_files(model: bytes) -> dict[str, bytes]:
    """Associated files of a .tflite file by name; none where it has no metadata."""
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        return {}  # no archive, or a damaged one


def read_card(model: bytes) -> dict[str, Any]:
    """What tlkit wrote about the model; nothing of somebody else's file."""
    try:
        return dict(json.loads(read_files(model).get(CARD, b"{}")))
    except (ValueError, TypeError, RecursionError):  # damaged
        return {}


def _encode(metadata: Metadata, tree: Any) -> bytes:
    if not tree.signatureDefs:
        raise InputError("TFLite metadata needs a model with a signature; convert it from a SavedModel.")
    signatures = sorted(tree.signatureDefs, key=lambda signature: signature.subgraphIndex)
    subgraphs = [_subgraph(signature, metadata, tree) for signature in signatures]
    model = {0: metadata.name, 1: metadata.description, 2: "v1", 3: subgraphs, 4: "tlkit", 7: _PARSER}
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, model), _IDENTIFIER)
    return bytes(builder.Output())


def _subgraph(signature: Any, metadata: Metadata, tree: Any) -> Table:
    """Tables of one signature in the order of its subgraph's tensors, which is not that of the signature."""
    graph, prefix = tree.subgraphs[signature.subgraphIndex], f"{signature.signatureKey.decode()}."
    names_in = {entry.tensorIndex: entry.name.decode() for entry in signature.inputs}
    names_out = {entry.tensorIndex: entry.name.decode() for entry in signature.outputs}
    inputs = [_table_of(metadata.inputs, names_in[i]) for i in graph.inputs]
    outputs = [_table_of(metadata.outputs, prefix + names_out[i], names_out[i]) for i in graph.outputs]
    units = {5: list(metadata.units)} if metadata.units else {}
    name = "main" if len(tree.signatureDefs) == 1 else prefix[:-1]
    return {0: name, 2: inputs, 3: outputs, **units}


def _table_of(tables: Mapping[str, Table], *names: str) -> Table:
    """The first table of these names; a tensor without further meaning where there is none."""
    return next((tables[name] for name in names if name in tables), plain_tensor(names[-1], ""))


def _set_buffer(schema: Any, tree: Any, data: bytes) -> None:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    entries = [m for m in tree.metadata or [] if m.name in (_NAME, _NAME.encode())]
    if entries:
        tree.buffers[entries[0].buffer] = buffer
        return
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME, len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or []), entry]


def _append(model: bytes, files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO(model)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():  # a fixed date keeps equal models equal to the byte
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def _write(builder: Any, value: Any) -> int:
    """Write a string, a list of floats, of Numbers or of tables, or a table, and return its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, list):
        return _write_vector(builder, value)
    offsets = {slot: item if isinstance(item, int) else _write(builder, item) for slot, item in value.items()}
    builder.StartObject(max(value, default=-1) + 1)
    for slot, item in offsets.items():
        _slot_writer(builder, value[slot])(slot, item, 0)
    return int(builder.EndObject())


def _slot_writer(builder: Any, item: Any) -> Any:
    if isinstance(item, Number):
        return builder.PrependUint32Slot
    return builder.PrependInt8Slot if isinstance(item, int) else builder.PrependUOffsetTRelativeSlot


def _write_vector(builder: Any, values: list[Any]) -> int:
    kind = type(values[0]) if values else None
    plain = {float: builder.PrependFloat32, Number: builder.PrependUint32}.get(kind)  # type: ignore[arg-type]
    items = [_write(builder, value) for value in values] if plain is None else values
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        (plain or builder.PrependUOffsetTRelative)(item)
    return int(builder.EndVector())
