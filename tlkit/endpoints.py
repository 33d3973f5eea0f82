"""Which function answers for a loaded module: `__call__`, a Keras 3 export's `serve`, or a named signature."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tlkit.errors import InputError


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One way into a module.

    Attributes:
        name: "__call__", "serve", or the signature's name.
        call: (inputs, training) -> outputs, exactly as the module gives them.
        inference: The traced function behind it that has no `training`, or training=False.
        inputs: `tf.TensorSpec` of the input, or a dict or list of them.
        takes_training: Whether the module tells training from inference.
        variables: All variables it reads, in the module's own order.
        trainable: The part of them that the module declares trainable.
        regularization_losses: Functions without arguments that give the module's own losses.
    """

    name: str
    call: Callable[[Any, bool], Any]
    inference: Any
    inputs: Any
    takes_training: bool
    variables: tuple[Any, ...]
    trainable: tuple[Any, ...]
    regularization_losses: tuple[Callable[[], Any], ...] = ()

    @property
    def input_leaves(self) -> list[Any]:
        """The specs of the inputs, flat."""
        return list(tf.nest.flatten(self.inputs))


def open_endpoint(loaded: Any, signature: str | None = None, arguments: Mapping[str, Any] | None = None) -> Endpoint:
    """Choose the endpoint of a loaded module.

    Args:
        loaded: What `tf.saved_model.load` gave.
        signature: Name of a signature; None takes `__call__`, else `serve`, else `serving_default`, else the only one.
        arguments: Further keyword arguments of `__call__`, plain Python values.

    Raises:
        InputError: If the module has no such endpoint.
    """
    extra = dict(arguments or {})
    if signature is None and _traces(getattr(loaded, "__call__", None)):
        return _callable_endpoint(loaded, loaded.__call__, "__call__", extra)
    if extra:
        raise InputError("`arguments` go to a module's `__call__`; this module, or this signature, takes none.")
    if signature in (None, "serve") and _traces(getattr(loaded, "serve", None)):
        return _callable_endpoint(loaded, loaded.serve, "serve", {})
    return _signature_endpoint(loaded, signature)


def _traces(function: Any) -> Sequence[Any]:
    """Concrete functions of a restored function; none for anything else."""
    return list(getattr(function, "concrete_functions", None) or ())


def _callable_endpoint(loaded: Any, function: Any, name: str, extra: Mapping[str, Any]) -> Endpoint:
    traces = [t for t in _traces(function) if _agrees(t, extra)]
    if not traces:
        raise InputError(f"The module's {name} was never traced with arguments={dict(extra)!r}; drop or change them.")
    takes_training = any(_flag(t) is True for t in traces)
    inference = next((t for t in traces if _flag(t) is not True), traces[0])
    variables, trainable = _variables(loaded, inference)
    return Endpoint(
        name=name,
        call=functools.partial(_call, function, dict(extra), takes_training),
        inference=inference,
        inputs=_input_specs(inference),
        takes_training=takes_training,
        variables=variables,
        trainable=trainable,
        regularization_losses=tuple(getattr(loaded, "regularization_losses", None) or ()),
    )


def _call(function: Any, extra: Mapping[str, Any], takes_training: bool, inputs: Any, training: bool) -> Any:
    return function(inputs, training=training, **extra) if takes_training else function(inputs, **extra)


def _flag(trace: Any) -> bool | None:
    """The trace's value of `training`, or None where it has none."""
    args, kwargs = trace.structured_input_signature
    if isinstance(kwargs.get("training"), bool):
        return bool(kwargs["training"])
    return next((a for a in args[1:] if isinstance(a, bool)), None)


def _agrees(trace: Any, extra: Mapping[str, Any]) -> bool:
    kwargs = trace.structured_input_signature[1]
    return all(kwargs.get(key, value) == value for key, value in extra.items())


def _input_specs(trace: Any) -> Any:
    args, kwargs = trace.structured_input_signature
    first = args[0] if args else {k: v for k, v in kwargs.items() if isinstance(v, tf.TensorSpec)}
    if args and isinstance(first, tf.TensorSpec) and len([a for a in args if isinstance(a, tf.TensorSpec)]) > 1:
        return [a for a in args if isinstance(a, tf.TensorSpec)]
    return first


def _signature_endpoint(loaded: Any, signature: str | None) -> Endpoint:
    signatures = dict(getattr(loaded, "signatures", None) or {})
    name = signature or ("serving_default" if "serving_default" in signatures else next(iter(signatures), None))
    if name not in signatures:
        have = ", ".join(sorted(signatures)) or "none"
        raise InputError(f"The module has no signature {name!r}; it has: {have}. Pass one of these as `signature`.")
    trace = signatures[name]
    specs = dict(trace.structured_input_signature[1])
    variables, trainable = _variables(loaded, trace)
    only = next(iter(specs.values())) if len(specs) == 1 else None
    return Endpoint(
        name=str(name),
        call=functools.partial(_call_signature, trace, tuple(specs)),
        inference=trace,
        inputs=only if only is not None else specs,
        takes_training=False,
        variables=variables,
        trainable=trainable,
    )


def _call_signature(trace: Any, names: tuple[str, ...], inputs: Any, _training: bool) -> Any:
    values = {names[0]: inputs} if len(names) == 1 and not isinstance(inputs, Mapping) else dict(inputs)
    return trace(**values)


def _variables(loaded: Any, trace: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """All variables and the trainable ones: declared by the module, else those that the trace captures."""
    declared = getattr(loaded, "variables", None)
    variables = _unique(declared if declared is not None else trace.graph.variables)
    if declared is not None and not variables:
        variables = _unique(trace.graph.variables)
    chosen = getattr(loaded, "trainable_variables", None)
    if chosen is None:
        return variables, tuple(v for v in variables if v.trainable)
    known = {id(v) for v in chosen}
    return variables, tuple(v for v in variables if id(v) in known)


def _unique(variables: Any) -> tuple[Any, ...]:
    return tuple({id(v): v for v in variables}.values())


def gradients_reach(endpoint: Endpoint) -> set[int]:
    """Indices of the trainable variables that a gradient of the outputs reaches; traced, nothing is computed."""

    def body(*leaves: Any) -> list[Any]:
        inputs = tf.nest.pack_sequence_as(endpoint.inputs, list(leaves))
        with tf.GradientTape() as tape:
            tape.watch(endpoint.trainable)
            outputs = [o for o in tf.nest.flatten(endpoint.call(inputs, False)) if o.dtype.is_floating]
            total = tf.add_n([tf.reduce_sum(tf.cast(o, tf.float32)) for o in outputs])
        found.extend(g is not None for g in tape.gradient(total, endpoint.trainable))
        return outputs

    found: list[bool] = []
    tf.function(body).get_concrete_function(*endpoint.input_leaves)
    return {i for i, reached in enumerate(found) if reached}
