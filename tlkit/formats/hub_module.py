"""Write modules in the hub's format: a SavedModel that can be called, trained and served.

A reusable SavedModel has a `__call__` traced for training True and False, `variables`, `trainable_variables`,
`regularization_losses`, and a `serving_default` signature. A Keras 3 `model.export()` has only the last of these.

Source: the interface is the one of tensorflow/community rfcs/20190430-reusable-saved-models.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.core.errors import InputError

if TYPE_CHECKING:
    import keras

CARD_FILE = "assets.extra/tlkit.json"


def write_keras_model(
    model: keras.Model,
    folder: str | Path,
    *,
    card: Mapping[str, Any] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    specs: Any = None,
) -> Path:
    """Write a built Keras 3 model as a hub-format SavedModel.

    Args:
        model: Functional, Sequential, or subclassed and called at least once.
        folder: Where to write; an empty or new folder. The caller makes it atomic (`files.atomic_folder`).
        card: Plain JSON data about the module, kept in `assets.extra/tlkit.json`.
        preprocess: Applied to the inputs in the graph, before the model.
        specs: `tf.TensorSpec` or a dict (or list) of them, where the model does not tell them, or `preprocess`
            takes something else than the model.

    Returns:
        The folder.

    Raises:
        InputError: If the model is not built and no specs are given.
    """
    prepare, trainable = preprocess or (lambda inputs: inputs), model.trainable_variables
    return write_module(
        lambda inputs, training: model(prepare(inputs), training=training),
        model.variables,
        trainable,
        input_specs(model) if specs is None else specs,
        folder,
        card=card,
        regularization_losses=[functools.partial(v.regularizer, v) for v in trainable if v.regularizer is not None],
    )


def write_module(
    call: Callable[[Any, bool], Any],
    variables: Sequence[Any],
    trainable_variables: Sequence[Any],
    specs: Any,
    folder: str | Path,
    *,
    card: Mapping[str, Any] | None = None,
    regularization_losses: Iterable[Callable[[], Any]] = (),
    attachments: Mapping[str, Any] | None = None,
    signatures: Mapping[str, tuple[Callable[[Any], Any], Any]] | None = None,
) -> Path:
    """Write anything that computes with TensorFlow variables as a hub-format SavedModel.

    Args:
        call: `call(inputs, training)` gives a tensor, or a dict or list of tensors; traced for both values.
        variables: Keras or TensorFlow variables: all that `call` reads.
        trainable_variables: Those of them that training changes.
        specs: `tf.TensorSpec`, or a dict or list of them: what `call` takes.
        folder: Where to write; the caller makes it atomic.
        card: Plain JSON data about the module, kept in `assets.extra/tlkit.json`.
        regularization_losses: Functions without arguments, each giving a scalar.
        attachments: Further objects to keep under these attribute names: lookup tables that `call` uses, a
            `tf.saved_model.Asset` with a vocabulary.
        signatures: Further ones by name: (function of the inputs, their specs), for modules of several endpoints.

    Returns:
        The folder.
    """
    import tensorflow as tf

    root = tf.__internal__.tracking.AutoTrackable()
    root.__call__ = _traced(call, specs)
    root.variables = [_raw(v) for v in variables]
    root.trainable_variables = [_raw(v) for v in trainable_variables]
    root.regularization_losses = [tf.function(loss, input_signature=()) for loss in regularization_losses]
    for name, value in (attachments or {}).items():
        setattr(root, name, value)
    served = {"serving_default": _served(root.__call__, specs)}
    for name, (function, signature_specs) in (signatures or {}).items():
        served[name] = _served(lambda inputs, training, function=function: function(inputs), signature_specs)
    tf.saved_model.save(root, str(folder), signatures=served)
    _rename_variables(Path(folder), unique_names(_name(v) for v in variables))
    if card is not None:
        path = Path(folder, CARD_FILE)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(card), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return Path(folder)


def input_specs(model: keras.Model) -> Any:
    """`tf.TensorSpec` of what a built Keras model takes, in its structure, with any batch size.

    Raises:
        InputError: If the model was never built, so that its inputs are unknown.
    """
    import keras

    try:
        return keras.tree.map_structure(_any_batch, model.input)
    except (AttributeError, ValueError):  # subclassed: only the shapes it was built with are known
        shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None or not model.built:
        raise InputError(
            f"The model {model.name!r} does not know its inputs yet: call it once on a batch of them, model(batch), "
            "before it is used as a module."
        )
    return _specs_of_shapes(shapes, model.input_dtype)


def unique_names(names: Iterable[str]) -> list[str]:
    """Names with characters that graphs, files and Keras paths all accept, each once.

    Example:
        >>> unique_names(["conv 1/kernel:0", "conv 1/kernel:0", "_private"])
        ['conv_1/kernel', 'conv_1/kernel_1', 'private']
    """
    seen_names: dict[str, None] = {}
    for name in names:
        base = re.sub(r"[^A-Za-z0-9_./-]", "_", re.sub(r":\d+$", "", name)).lstrip("_/-.") or "variable"
        unique, count = base, 0
        while unique in seen_names:
            count += 1
            unique = f"{base}_{count}"
        seen_names[unique] = None
    return list(seen_names)


def _traced(call: Callable[[Any, bool], Any], specs: Any) -> Any:
    import tensorflow as tf

    def __call__(inputs: Any, training: bool = False) -> Any:  # noqa: N807 (the name that the graph's functions get)
        return call(inputs, training)

    function = tf.function(__call__)
    for training in (False, True):
        function.get_concrete_function(specs, training=training)
    return function


def _served(function: Any, specs: Any) -> Any:
    """The signature: flat, named inputs and outputs, inference mode."""
    import keras
    import tensorflow as tf

    names = input_names(specs)
    flat = keras.tree.flatten(specs)

    def serve(**named: Any) -> dict[str, Any]:
        inputs = keras.tree.pack_sequence_as(specs, [named[name] for name in names])
        return named_outputs(function(inputs, training=False))

    signature = {name: tf.TensorSpec(s.shape, s.dtype, name=name) for name, s in zip(names, flat, strict=True)}
    return tf.function(serve).get_concrete_function(**signature)


def input_names(specs: Any) -> list[str]:
    """Names of the signature's inputs, in the order in which `keras.tree` flattens the specs."""
    import keras

    if not isinstance(specs, list | tuple | dict):
        return ["inputs"]
    if isinstance(specs, dict) and len(keras.tree.flatten(specs)) == len(specs):
        return sorted(specs)  # the order in which structures of dicts are flattened
    return unique_names(s.name or "inputs" for s in keras.tree.flatten(specs))


def named_outputs(outputs: Any) -> dict[str, Any]:
    """Outputs of a call under the names that the signature gives them: "default" for a single one."""
    import keras

    if isinstance(outputs, dict) and len(keras.tree.flatten(outputs)) == len(outputs):
        return dict(outputs)
    flat = keras.tree.flatten(outputs)
    return {"default": flat[0]} if len(flat) == 1 else {f"output_{i}": y for i, y in enumerate(flat)}


def _any_batch(tensor: Any) -> Any:
    import tensorflow as tf

    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=re.sub(r"\W", "_", tensor.name))


def _specs_of_shapes(shapes: Any, dtype: Any) -> Any:
    import tensorflow as tf

    if isinstance(shapes, dict):
        return {name: _specs_of_shapes(shape, dtype) for name, shape in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return tf.TensorSpec((None, *shapes[1:]), dtype)
    return [_specs_of_shapes(shape, dtype) for shape in shapes]


def _raw(variable: Any) -> Any:
    """The tf.Variable under a Keras variable."""
    import keras

    return variable.value if isinstance(variable, keras.Variable) else variable


def _name(variable: Any) -> str:
    import keras

    return str(variable.path if isinstance(variable, keras.Variable) else variable.name)


def _rename_variables(folder: Path, names: Sequence[str]) -> None:
    """Give the saved variables their names, and drop what makes two writings of the same module differ.

    Keras names its TensorFlow variables "kernel", all of them. The fingerprint goes: it holds a random number, and
    hashes of the file as it was; TensorFlow loads without it.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = proto.meta_graphs[0].object_graph_def.nodes
    members = {child.local_name: nodes[child.node_id] for child in nodes[0].children}
    for child in members["variables"].children:
        if child.local_name.isdigit():
            nodes[child.node_id].variable.name = names[int(child.local_name)]
    path.write_bytes(proto.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)
