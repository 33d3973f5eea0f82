"""Read the net of a TFLite file, and compute it with variables in the place of its weights. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError

KINDS = {0: np.float32, 1: np.float16, 2: np.int32}
ACTIVATIONS = {0: "linear", 1: "relu", 3: "relu6"}


@dataclass(frozen=True)
class Step:
    """An operation: its kind, the tensors that it takes and gives by number, and its options."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Any


@dataclass(frozen=True, eq=False)
class TfliteNet:
    """The steps of a file's only graph in order, its constants as float32 by number, and names of all tensors.

    Constants that are kept in half precision are under the number of what is made of them.
    """

    steps: tuple[Step, ...]
    constants: Mapping[int, np.ndarray]
    names: tuple[str, ...]
    image: int


def read(content: bytes) -> TfliteNet:
    """The net in the bytes of a TFLite file."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    (graph,) = model.subgraphs
    words = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [
        code.customCode.decode() if code.customCode else words[max(code.builtinCode, code.deprecatedBuiltinCode)]
        for code in model.operatorCodes
    ]
    constants = {number: _values(model, tensor) for number, tensor in enumerate(graph.tensors)}
    arrays = {number: value for number, value in constants.items() if value is not None}
    steps = []
    for operator in graph.operators:
        kind, inputs = codes[operator.opcodeIndex], tuple(int(i) for i in operator.inputs)
        if kind == "DEQUANTIZE":
            arrays[int(operator.outputs[0])] = arrays.pop(inputs[0]).astype(np.float32)
        else:
            steps.append(Step(kind, inputs, int(operator.outputs[0]), operator.builtinOptions))
    names = tuple(tensor.name.decode() for tensor in graph.tensors)
    return TfliteNet(tuple(steps), arrays, names, int(graph.inputs[0]))


def _values(model: Any, tensor: Any) -> np.ndarray | None:
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data) or tensor.type not in KINDS:
        return None
    return np.frombuffer(bytes(data), KINDS[tensor.type]).reshape(tuple(tensor.shape))


def computed(net: TfliteNet, weights: Mapping[int, Any], image: Any) -> dict[int, Any]:
    """Tensors by number, as far as the operations reach that are known here; what lies behind others is left out.

    Args:
        net: Of `read`.
        weights: Tensors by number, in the places of the constants.
        image: What the net takes.
    """
    tensors: dict[int, Any] = {**weights, net.image: image}
    for step in net.steps:
        if step.kind in OPERATIONS and all(i in tensors for i in step.inputs):
            result = OPERATIONS[step.kind](step.options, *(tensors[i] for i in step.inputs))
            tensors[step.output] = _activated(step.options, result)
    return tensors


def step_of(net: TfliteNet, word: str) -> Step:
    """The convolution whose output's name begins with a word.

    Raises:
        InputError: If there is none.
    """
    for step in net.steps:
        if step.kind == "CONV_2D" and net.names[step.output].startswith(word):
            return step
    raise InputError(f"The TFLite file has no convolution {word!r}.")


def _activated(options: Any, x: Any) -> Any:
    import tensorflow as tf

    name = ACTIVATIONS[getattr(options, "fusedActivationFunction", 0)]
    return {"linear": tf.identity, "relu": tf.nn.relu, "relu6": tf.nn.relu6}[name](x)


def _convolution(options: Any, x: Any, kernel: Any, bias: Any) -> Any:
    import tensorflow as tf

    filters = tf.transpose(kernel, (1, 2, 3, 0))  # from (out, height, width, in)
    return tf.nn.bias_add(tf.nn.conv2d(x, filters, *_steps(options)), bias)


def _depthwise(options: Any, x: Any, kernel: Any, bias: Any) -> Any:
    import tensorflow as tf

    filters = tf.transpose(kernel, (1, 2, 3, 0))  # from (1, height, width, channels)
    return tf.nn.bias_add(tf.nn.depthwise_conv2d(x, filters, *_steps(options)), bias)


def _steps(options: Any) -> tuple[tuple[int, ...], str]:
    return (1, options.strideH, options.strideW, 1), ("SAME", "VALID")[options.padding]


def _doubled(options: Any, x: Any, kernel: Any, bias: Any) -> Any:
    """MediaPipe's own operation: a transposed convolution that doubles both sides, with a bias."""
    import tensorflow as tf

    filters = tf.transpose(kernel, (1, 2, 0, 3))
    sides = [2 * side for side in x.shape[1:3]]
    size = tf.stack([tf.shape(x)[0], *sides, filters.shape[2]])
    return tf.nn.bias_add(tf.nn.conv2d_transpose(x, filters, size, 2), bias)


def _averaged(options: Any, x: Any) -> Any:
    import tensorflow as tf

    window = (options.filterHeight, options.filterWidth)
    if window == tuple(x.shape[1:3]):  # all places, whatever their number
        return tf.reduce_mean(x, axis=(1, 2), keepdims=True)
    return tf.nn.avg_pool2d(x, window, *_steps(options))


def _resized(options: Any, x: Any, size: Any) -> Any:
    import tensorflow as tf

    return tf.raw_ops.ResizeBilinear(
        images=x, size=size, align_corners=options.alignCorners, half_pixel_centers=options.halfPixelCenters
    )


def _function(name: str) -> Callable[..., Any]:
    """An operation without options, by its name in TensorFlow or in its `nn`."""

    def compute(options: Any, *inputs: Any) -> Any:
        import tensorflow as tf

        return getattr(tf if hasattr(tf, name) else tf.nn, name)(*inputs)

    return compute


def _hard_swish(options: Any, x: Any) -> Any:
    import tensorflow as tf

    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "Convolution2DTransposeBias": _doubled,
    "AVERAGE_POOL_2D": _averaged,
    "RESIZE_BILINEAR": _resized,
    "HARD_SWISH": _hard_swish,
    "ADD": _function("add"),
    "MUL": _function("multiply"),
    "RELU": _function("relu"),
    "LOGISTIC": _function("sigmoid"),
}
