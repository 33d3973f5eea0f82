"""Read the net of a TFLite file, and compute it with variables in the place of its weights. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
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
    codes = [words[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
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
    """Tensors by number, as far as convolutions and sums reach; what lies behind other operations is left out.

    Args:
        net: Of `read`.
        weights: Tensors by number, in the places of the constants.
        image: What the net takes.
    """
    tensors: dict[int, Any] = {**weights, net.image: image}
    for step in net.steps:
        if step.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD") and all(i in tensors for i in step.inputs):
            tensors[step.output] = _result(step, [tensors[i] for i in step.inputs])
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


def _result(step: Step, inputs: list[Any]) -> Any:
    import tensorflow as tf

    options = step.options
    activation = {"linear": tf.identity, "relu": tf.nn.relu, "relu6": tf.nn.relu6}[
        ACTIVATIONS[options.fusedActivationFunction]
    ]
    if step.kind == "ADD":
        return activation(inputs[0] + inputs[1])
    padding, strides = ("SAME", "VALID")[options.padding], (1, options.strideH, options.strideW, 1)
    if step.kind == "CONV_2D":  # kernels are (out, height, width, in)
        x = tf.nn.conv2d(inputs[0], tf.transpose(inputs[1], (1, 2, 3, 0)), strides, padding)
    else:  # (1, height, width, channels)
        x = tf.nn.depthwise_conv2d(inputs[0], tf.transpose(inputs[1], (1, 2, 3, 0)), strides, padding)
    return activation(tf.nn.bias_add(x, inputs[2]))
