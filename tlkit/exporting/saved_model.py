"""SavedModels of a run: one for servers, and one of a single example that the TFLite converter starts from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit import graph as graphs
from tlkit.core.batches import outputs_at_once
from tlkit.core.examples import Examples
from tlkit.core.modality import Serving, Tensors
from tlkit.core.run import Run
from tlkit.core.task import Answer
from tlkit.exporting.parity import Rows
from tlkit.exporting.units import raw_by_name
from tlkit.formats.tflite import DEFAULT
from tlkit.graph.constant import WITHOUT_GRADIENTS, quiet_log
from tlkit.layer.lookup import all_layers
from tlkit.modalities.prepare import serving_of
from tlkit.model.deployed import traced, used

BACKBONE, FEATURES = "backbone", "features"
MOST_CONSTANT = 1 << 28  # bytes of weights that several functions hold as constants of their own

Core = Callable[[Tensors], tuple[Tensors, Tensors]]  # model inputs -> decoded outputs, features; all by name
Choice = Callable[[Tensors, Tensors, Tensors], Tensors]  # decoded outputs, features, what was sent -> a signature's


def trace(run: Run) -> Core:
    """One graph of the model, its decoding and its features in inference mode, for all that needs it.

    Tracing and saving a graph takes most of the time of writing a SavedModel, so all signatures share this one.
    """
    outputs = [run.model.output, *_backbone_outputs(run.model)]
    model = keras.Model(run.model.input, outputs, name="served")  # Keras counts models, and names are in the graph
    specs = {name: tf.TensorSpec(t.shape, t.dtype, name=name) for name, t in inputs_of(run.model).items()}

    def core(inputs: Tensors) -> tuple[Tensors, Tensors]:
        model_outputs = model(_structured(inputs), training=False)
        # Keras unwraps a list of one
        raw, *features = model_outputs if isinstance(model_outputs, list) else [model_outputs]
        numbered = {f"{FEATURES}_{i}": value for i, value in enumerate(features)}
        return run.task.decode(raw), {FEATURES: features[0]} if len(features) == 1 else numbered

    return tf.function(core, input_signature=[specs], autograph=False)  # type: ignore[no-any-return]


def in_float32(model: keras.Model) -> keras.Model:
    """The model with every layer computing in float32: TFLite's operations know no mixed precision.

    Layers that compute in float32 already, the HubLayer among them, are shared with the model.
    """
    if all(_is_wide(layer) for layer in all_layers(model)):
        return model

    def clone(layer: Any) -> Any:
        return layer if _is_wide(layer) else layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _is_wide(layer: Any) -> bool:
    """Whether it computes in float32; an operation of `keras.ops` computes in what it is given."""
    return getattr(layer, "compute_dtype", "float32") == "float32"


def inputs_of(model: keras.Model) -> Tensors:
    """The model's symbolic inputs by name."""
    return {tensor.name: tensor for tensor in model.inputs}


def has_features(model: keras.Model) -> bool:
    """Whether a layer named "backbone" says what the model's features are."""
    return any(layer.name == BACKBONE for layer in model.layers)


def expected(core: Core, inputs: Mapping[str, np.ndarray], folder: Path, batch_size: int = 32) -> dict[str, np.ndarray]:
    """What the Keras model gives for the inputs, decoded, by name; on the CPU, where files are run too.

    Returns:
        float32 arrays that lie on disk, in `folder`.
    """
    rows = Rows(folder, len(next(iter(inputs.values()))))
    outputs, _ = core.get_concrete_function().structured_outputs  # type: ignore[attr-defined]
    batch_size = outputs_at_once([tuple(output.shape) for output in outputs.values()], batch_size)
    with tf.device("/CPU:0"):
        for start in range(0, rows.count, batch_size):
            batch = {k: tf.cast(v[start : start + batch_size], _dtype(core, k)) for k, v in inputs.items()}
            rows.add({k: np.asarray(v, np.float32) for k, v in core(batch)[0].items()})
    return rows.arrays


def expected_of_use(run: Run, examples: Examples, folder: Path) -> dict[str, np.ndarray]:
    """What the trained model itself says in use, as slowly as that is, and what files are compared by besides; arrays
    as `expected` gives them.
    """
    rows = Rows(folder, len(examples))
    for outputs in used(run.task, run.model, examples, "trained", checking=True):
        rows.add({name: np.asarray(value, np.float32) for name, value in outputs.items()})
    return rows.arrays


def write_functions(run: Run, examples: Examples, kind: str, folder: Path) -> None:
    """Write the functions of a task's deployment as the signatures of a SavedModel.

    Weights become constants where that is quick: those of a large model would be held once for each function.
    """
    functions = traced(run.task, run.model, examples, kind).functions
    variables = {id(v): v for function in functions.values() for v in function.variables}
    size = sum(int(np.prod(v.shape)) * v.dtype.size for v in variables.values())
    if kind == "file" and size * len(functions) <= MOST_CONSTANT:
        graphs.save_constant(functions, folder, _held(run.model, functions.values()))
        return
    module = tf.Module()
    module.kept = _held(run.model, functions.values())
    with quiet_log():
        tf.saved_model.save(module, str(folder), signatures=dict(functions), options=WITHOUT_GRADIENTS)
    graphs.renumber(folder)


def serving(run: Run) -> Serving:
    """What clients of the SavedModel send, and what is made of it."""
    return serving_of(run.model, run.data.test)


def write_serving(run: Run, core: Core, served: Serving, folder: Path) -> None:
    """Write the SavedModel for servers.

    Signatures: `serving_default` takes what clients have (uint8 images of any size and number) and gives the decoded
    outputs; those of the answer (`classify`, where outputs are one row of scores of labels an example, gives `classes`
    (strings) and `scores`, both (batch, k), best first; `detect` gives `boxes` in pixels of the images that were sent);
    `embedding` gives the `features` that the layer named "backbone" computes.

    Args:
        run: The trained model and its task.
        core: Of `trace(run)`.
        served: Of `serving(run)`.
        folder: Where to write; must be empty or absent.
    """
    signatures = {
        name: _endpoint(served, core, choose).get_concrete_function()
        for name, choose in _signatures(run, core, served).items()
    }
    _save(run.model, signatures, folder, served.resources)


def write_convertible(run: Run, folder: Path) -> None:
    """Write the SavedModel of one example, float32, that all TFLite files are converted from.

    Of several answers it has a signature each, besides the one for all.
    """
    shapes = input_shapes(run.data.test.inputs.spec, run.model)
    specs = {n: tf.TensorSpec((1, *shapes[n]), t.dtype, name=n) for n, t in inputs_of(run.model).items()}

    def concrete(choose: Callable[[Any], Tensors]) -> Any:
        def serve(*tensors: Any) -> Tensors:
            inputs = _structured(dict(zip(specs, tensors, strict=True)))
            return choose(run.model(inputs, training=False))

        return tf.function(serve, input_signature=list(specs.values()), autograph=False).get_concrete_function()

    functions = {DEFAULT: concrete(run.task.decode)}
    if len(run.task.answers) > 1:
        functions |= {answer.name: concrete(functools.partial(_alone, answer)) for answer in run.task.answers}
    graphs.save_constant(functions, folder, _held(run.model, functions.values()))


def write_tail(run: Run, folder: Path) -> None:
    """Write the SavedModel that decodes the raw outputs of one example, taken by name."""
    shapes = input_shapes(run.data.test.inputs.spec, run.model)
    example = {name: tf.zeros((1, *shapes[name]), t.dtype) for name, t in inputs_of(run.model).items()}
    raw = run.model(_structured(example), training=False)
    specs = {name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in raw_by_name(raw).items()}

    def decode(*tensors: Any) -> Tensors:
        by_name = dict(zip(specs, tensors, strict=True))
        return run.task.decode({key: by_name[str(key)] for key in raw} if isinstance(raw, Mapping) else by_name["raw"])

    function = tf.function(decode, input_signature=list(specs.values()), autograph=False)
    graphs.save_constant({DEFAULT: function.get_concrete_function()}, folder)


def _alone(answer: Answer, raw: Any) -> Tensors:
    return dict(answer.decode(raw[answer.name]))


def input_shapes(spec: Any, model: keras.Model) -> dict[str, tuple[int | None, ...]]:
    """Shape of each input without the batch; sizes that the model leaves open are those of the examples."""
    names = list(inputs_of(model))
    shapes = {name: spec[name].shape for name in names} if isinstance(spec, Mapping) else {names[0]: spec.shape}
    return {
        tensor.name: tuple(b if a is None else a for a, b in zip(tensor.shape[1:], shapes[tensor.name], strict=True))
        for tensor in model.inputs
    }


def _save(model: keras.Model, signatures: Mapping[str, Any], folder: Path, resources: Any = None) -> None:
    """Save the signatures with the variables and tables that they read.

    keras.export.ExportArchive writes the same, but looks for tables by tracing every layer, which takes several times
    as long as all the rest.
    """
    module = tf.Module()
    module.kept, module.resources = _held(model, signatures.values()), resources
    with quiet_log():
        tf.saved_model.save(module, str(folder), signatures=dict(signatures), options=WITHOUT_GRADIENTS)
    graphs.renumber(folder)


def _held(model: keras.Model, functions: Iterable[Any]) -> list[Any]:
    """Weights of a model and what else the functions read, and lookup tables with their assets inside hub modules.

    States of random numbers that nothing reads stay out: they are drawn anew whenever a model is loaded.
    """
    needed = {id(v.value) for v in model.weights} | {id(v) for function in functions for v in function.variables}
    loaded = [m for m in (getattr(layer, "_module", None) for layer in model.layers) if m is not None]
    kind = tf.saved_model.experimental.TrackableResource
    tables = [item for m in loaded for item in tf.train.TrackableView(m).descendants() if isinstance(item, kind)]
    return [*(v.value for v in model.variables if id(v.value) in needed), *tables]


def _backbone_outputs(model: keras.Model) -> list[Any]:
    """Outputs of the backbone inside this very model; the layer's own `output` is that of the first model around it."""
    if not has_features(model):
        return []
    layer = model.get_layer(BACKBONE)
    depths = getattr(model, "_nodes_by_depth", {})  # a Keras-private name, of functional models; pinned by a test
    calls = [node for nodes in depths.values() for node in nodes if node.operation is layer]
    return list(calls[0].outputs) if calls else keras.tree.flatten(layer.output)


def _structured(inputs: Tensors) -> Any:
    """Tensors as Keras models take them: a dict by name, or the one tensor."""
    return dict(inputs) if len(inputs) > 1 else next(iter(inputs.values()))


def _dtype(core: Any, name: str) -> Any:
    return core.input_signature[0][name].dtype


def _signatures(run: Run, core: Any, served: Serving) -> dict[str, Choice]:
    """Name of each signature and what it picks from outputs, features and what was sent."""
    choices: dict[str, Choice] = {DEFAULT: lambda outputs, features, sent: outputs}
    outputs, _ = core.get_concrete_function().structured_outputs
    further = run.task.answers[0].signatures if len(run.task.answers) == 1 else {}
    for name, choose in further.items():
        if _gives(choose, outputs, served.specs):
            choices[name] = functools.partial(_chosen, choose)
    if has_features(run.model):
        choices["embedding"] = lambda outputs, features, sent: features
    return choices


def _gives(choose: Callable[[Tensors, Tensors], Any], outputs: Any, specs: Any) -> bool:
    """Whether an answer has that signature for outputs and sent tensors of these shapes."""
    with tf.Graph().as_default():
        blank, sent = (
            {name: tf.zeros([size or 1 for size in spec.shape], spec.dtype) for name, spec in part.items()}
            for part in (outputs, specs)
        )
        return choose(blank, sent) is not None


def _chosen(choose: Callable[[Tensors, Tensors], Any], outputs: Tensors, _features: Tensors, sent: Tensors) -> Tensors:
    return dict(choose(outputs, sent))


def _endpoint(served: Serving, core: Core, choose: Choice) -> Any:
    core_specs = core.input_signature[0]  # type: ignore[attr-defined]

    def endpoint(*tensors: Any) -> Tensors:
        sent = dict(zip(served.specs, tensors, strict=True))
        prepared = served.prepare(sent)
        count = tf.shape(prepared[next(iter(core_specs))])[0]
        filled = core({name: _filled(prepared[name], count) for name in core_specs})
        outputs, features = ({name: value[:count] for name, value in part.items()} for part in filled)
        if served.combine is not None:
            outputs, features = (served.combine(prepared, part) for part in (outputs, features))
        return choose(outputs, features, sent)

    return tf.function(endpoint, input_signature=list(served.specs.values()), autograph=False)


def _filled(batch: Any, count: Any) -> Any:
    """A batch with one blank example where it is empty.

    On processors where TensorFlow computes with oneDNN, a convolution gives an empty batch the shape of its input.
    """
    if batch.shape[0] is not None:
        return batch
    blank = tf.zeros(tf.concat([[tf.cast(count == 0, tf.int32)], tf.shape(batch)[1:]], 0), batch.dtype)
    return tf.ensure_shape(tf.concat([batch, blank], 0), batch.shape)
