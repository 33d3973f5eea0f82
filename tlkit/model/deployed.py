"""What is used of a task whose trained graph is not the one that is used: its functions, ready to be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkit.core.examples import Examples
from tlkit.core.format import Shaped
from tlkit.core.task import Decoded, Function, Signature, Task


@dataclass(frozen=True, eq=False)
class Traced:
    """Functions of a trained model as concrete functions by name, in inference mode."""

    functions: Mapping[str, Any]

    @property
    def calls(self) -> dict[str, Function]:
        """The functions on arrays; on the CPU, where files are run too."""
        return {name: _on_arrays(function) for name, function in self.functions.items()}


def traced(task: Task, model: keras.Model, examples: Examples, kind: str) -> Traced:
    """The functions of a task's deployment, traced.

    Args:
        task: With a deployment.
        model: The trained model.
        examples: Examples of use.
        kind: "trained", "file" or "server".
    """
    assert task.deployment is not None
    signatures = task.deployment.functions(model, examples, kind)
    functions = {id(signature): concrete(signature) for signature in signatures.values()}  # some have two names
    return Traced({name: functions[id(signature)] for name, signature in signatures.items()})


def concrete(signature: Signature) -> Any:
    """A signature as a concrete function, whose arguments have its names."""
    specs = {name: tf.TensorSpec(s.shape, s.dtype, name=name) for name, s in signature.inputs.items()}

    def call(*tensors: Any) -> dict[str, Any]:
        return dict(signature.call(dict(zip(specs, tensors, strict=True))))

    return tf.function(call, input_signature=list(specs.values()), autograph=False).get_concrete_function()


def _on_arrays(function: Any) -> Function:
    specs = function.structured_input_signature[0]
    names, dtypes = [spec.name for spec in specs], {spec.name: spec.dtype for spec in specs}

    def call(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with tf.device("/CPU:0"):
            outputs = function(*(tf.cast(inputs[name], dtypes[name]) for name in names))
        return {name: np.asarray(value) for name, value in outputs.items()}

    return Shaped(call, {spec.name: tuple(spec.shape) for spec in specs})


def inputs_by_name(examples: Examples, index: int) -> dict[str, np.ndarray]:
    """One example's inputs as `Deployment.run` takes them, with the batch axis."""
    value = examples.inputs[index]
    inputs = value if isinstance(value, Mapping) else {"inputs": value}
    return {name: np.asarray(array)[None] for name, array in inputs.items()}


def used(
    task: Task, model: keras.Model, examples: Examples, kind: str = "file", *, checking: bool = False
) -> list[Decoded]:
    """What the deployment of a task says of each example of use: decoded outputs by name, with the batch axis.

    Args:
        task: With a deployment.
        model: The trained model.
        examples: Examples of use.
        kind: As `traced` takes it.
        checking: Whether to give what files are compared by besides.
    """
    assert task.deployment is not None
    calls, run = traced(task, model, examples, kind).calls, task.deployment.run
    run = task.deployment.compared if checking else run
    return [run(calls, inputs_by_name(examples, i)) for i in range(len(examples))]
