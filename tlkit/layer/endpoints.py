"""Which function answers for a loaded module: `__call__`, a Keras 3 export's `serve`, or a named signature."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tlkit.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One way into a module.

    Attributes:
        name: "__call__", "serve", or the signature's name.
        call: (inputs, training) -> outputs, exactly as the module gives them.
        inference: The traced function behind it that has no `training`, or training=False.
        inputs: `tf.TensorSpec` of the input, or a dict or list of them.
        takes_training: Whether the module tells training from inference.
        variables: All variables that it reads or lists, in the module's own order.
        trainable: The part of them that the module declares trainable.
        accepts: Specs like `inputs`, one for each way in which the module was traced; `inputs` comes first.
        regularization_losses: Functions without arguments that give the module's own losses.
    """

    name: str
    call: Callable[[Any, bool], Any]
    inference: Any
    inputs: Any
    takes_training: bool
    variables: tuple[Any, ...]
    trainable: tuple[Any, ...]
    accepts: tuple[Any, ...]
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
    if signature is None and _traces(getattr(loaded, "__call__", None)):  # noqa: B004 (a restored one, with traces)
        return _callable_endpoint(loaded, loaded.__call__, "__call__", extra)
    if extra:
        raise InputError(
            "`arguments` go to a module's `__call__`, but this module, or this signature, takes none. "
            f"Received: arguments={extra!r}."
        )
    if signature in (None, "serve") and _traces(getattr(loaded, "serve", None)):
        return _callable_endpoint(loaded, loaded.serve, "serve", {})
    return _signature_endpoint(loaded, signature)


def _traces(function: Any) -> Sequence[Any]:
    """Concrete functions of a restored function; none for anything else."""
    return list(getattr(function, "concrete_functions", None) or ())


# -- functions


def _callable_endpoint(loaded: Any, function: Any, name: str, extra: Mapping[str, Any]) -> Endpoint:
    defaults = _defaults(function, extra)
    traces = _agreeing(_traces(function), name, extra, defaults)
    takes_training = any(_flag(t) is True for t in traces)
    inference = [t for t in traces if _flag(t) is not True] or traces
    losses = tuple(getattr(loaded, "regularization_losses", None) or ())
    variables, trainable = _variables(loaded, [*inference, *traces, *(t for f in losses for t in _traces(f))])
    aside = {"training", *extra, *defaults}
    accepts = tuple(_input_specs(t, aside) for t in inference)
    call = functools.partial(_call, function, dict(extra), takes_training, len(_arguments(inference[0], aside)) > 1)
    return Endpoint(
        name=name,
        call=call,
        inference=_of_inputs_alone(inference[0], accepts[0], call),
        inputs=accepts[0],
        takes_training=takes_training,
        variables=variables,
        trainable=trainable,
        accepts=accepts,
        regularization_losses=losses,
    )


def _call(
    function: Any, extra: Mapping[str, Any], takes_training: bool, spread: bool, inputs: Any, training: bool
) -> Any:
    arguments = inputs if spread else (inputs,)
    return function(*arguments, training=training, **extra) if takes_training else function(*arguments, **extra)


def _of_inputs_alone(trace: Any, specs: Any, call: Callable[[Any, bool], Any]) -> Any:
    """The trace itself; or, where it takes further tensors (a momentum, say), one in which these are set."""
    leaves = tf.nest.flatten(specs)
    if len(leaves) == sum(isinstance(s, tf.TypeSpec) for s in tf.nest.flatten(trace.structured_input_signature)):
        return trace

    def body(*values: Any) -> Any:
        return call(tf.nest.pack_sequence_as(specs, list(values)), False)

    with tf.init_scope():
        return tf.function(body, autograph=False).get_concrete_function(*leaves)


def _bound(trace: Any) -> dict[str, Any]:
    """The arguments of a trace by name: specs, and the plain values that it was made for."""
    args, kwargs = trace.structured_input_signature
    return {**dict(zip(trace.function_type.parameters, args, strict=False)), **kwargs}


def _flag(trace: Any) -> bool | None:
    """The trace's value of `training`, or None where it has none."""
    value = _bound(trace).get("training")
    return value if isinstance(value, bool) else None


def _defaults(function: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Values that a restored function's own signature gives to further arguments which are left out.

    What is a tensor in every trace and has no value of its own (a mask, say) is an input like the first one.
    """
    values = getattr(getattr(function, "function_spec", None), "default_values", None) or {}
    bound = [_bound(t) for t in _traces(function)]
    tensors = {k for k in bound[0] if all(isinstance(b.get(k), tf.TypeSpec) for b in bound)} - set(extra)
    inputs = {next(iter(bound[0]), None), "training", *(k for k in tensors if values.get(k) is None)}
    return {k: v for k, v in values.items() if k not in inputs}


def _agreeing(traces: Sequence[Any], name: str, extra: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Any]:
    """The traces that answer when the function is called with `extra`; TensorFlow's own message fills a screen."""
    further = sorted({*list(_bound(traces[0]))[1:], *defaults} - {"training"})
    unknown = sorted(set(extra) - set(further))
    if unknown:
        hint = f"besides `training` it has {further}" if further else "it takes none besides `training`"
        raise InputError(f"The module's {name} has no argument {unknown[0]!r} to set; {hint}.")
    agreeing = [t for t in traces if all(_same(_bound(t).get(k), v) for k, v in {**defaults, **extra}.items())]
    if not agreeing:
        traced = "; ".join(dict.fromkeys(repr({k: _bound(t).get(k) for k in further}) for t in traces))
        raise InputError(
            f"The module's {name} was never traced with arguments={dict(extra)!r}. It was traced with: {traced}."
        )
    return agreeing


def _same(traced: Any, value: Any) -> bool:
    """Whether a value is what a trace was made for; a trace that takes a tensor there takes any number."""
    return value is not None if isinstance(traced, tf.TypeSpec) else bool(traced == value)


def _input_specs(trace: Any, aside: Iterable[str] = ()) -> Any:
    bound = {k: v for k, v in _bound(trace).items() if k not in set(aside)}
    if not trace.structured_input_signature[0]:
        return {k: v for k, v in bound.items() if isinstance(v, tf.TypeSpec)}
    arguments = _arguments(trace, aside)
    return arguments if len(arguments) > 1 else next(iter([*arguments, *bound.values()]))


def _arguments(trace: Any, aside: Iterable[str]) -> list[Any]:
    """The arguments that hold tensors, one by one: a list that is one argument is no list of arguments."""
    bound = {k: v for k, v in _bound(trace).items() if k not in set(aside)}
    return [v for v in bound.values() if any(isinstance(leaf, tf.TypeSpec) for leaf in tf.nest.flatten(v))]


# -- signatures


def _signature_endpoint(loaded: Any, signature: str | None) -> Endpoint:
    signatures = dict(getattr(loaded, "signatures", None) or {})
    name = signature or _default_signature(tuple(signatures))
    if name not in signatures:
        names = ", ".join(sorted(signatures)) or "none"
        raise InputError(f"The module has no signature {name!r}; it has: {names}. Pass one of these as `signature`.")
    trace = signatures[name]
    specs = dict(trace.structured_input_signature[1])
    variables, trainable = _variables(loaded, [trace])
    only = next(iter(specs.values())) if len(specs) == 1 else None
    return Endpoint(
        name=str(name),
        call=functools.partial(_call_signature, trace, tuple(specs)),
        inference=trace,
        inputs=specs if only is None else only,
        takes_training=False,
        variables=variables,
        trainable=trainable,
        accepts=(specs,) if only is None else (only, specs),
    )


def _default_signature(names: tuple[str, ...]) -> str:
    """What is taken where the user names none; "default" is what TF1 modules call theirs."""
    usual = [n for n in ("serving_default", "default") if n in names]
    return usual[0] if usual else names[0] if len(names) == 1 else "serving_default"


def _call_signature(trace: Any, names: tuple[str, ...], inputs: Any, _training: bool) -> Any:
    return trace(**(inputs if isinstance(inputs, Mapping) else {names[0]: inputs}))


# -- variables


def _variables(loaded: Any, traces: Iterable[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """All variables, those the module lists first, and the trainable ones: as it declares, else as they are marked.

    A list may leave out what a function reads all the same, and a saved layer must hold that too.
    """
    captured = [v for t in traces for v in t.graph.variables]
    variables = tuple({id(v): v for v in [*(getattr(loaded, "variables", None) or ()), *captured]}.values())
    declared = getattr(loaded, "trainable_variables", None)
    chosen = {id(v) for v in (declared if declared is not None else (v for v in variables if v.trainable))}
    return variables, tuple(v for v in variables if id(v) in chosen and v.dtype.is_floating)


def why_untrainable(endpoint: Endpoint) -> str | None:
    """Why no gradient can reach the module's variables, as the end of a sentence; None where one does.

    The function is traced with its gradient; nothing is computed.
    """
    if not endpoint.trainable:
        return "it has no trainable variables"
    reached: list[bool] = []

    def body(*leaves: Any) -> None:
        inputs = tf.nest.pack_sequence_as(endpoint.inputs, list(leaves))
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(endpoint.call(inputs, False))
            total = [tf.reduce_sum(tf.cast(o, tf.float32)) for o in outputs if o.dtype.is_floating]
        reached.extend(g is not None for g in tape.gradient(total, endpoint.trainable))

    try:
        tf.function(body).get_concrete_function(*endpoint.input_leaves)
    except LookupError as error:
        return f"an operation in its {endpoint.name!r} has no gradient ({str(error).splitlines()[0]})"
    return None if any(reached) else f"no gradient reaches them through its {endpoint.name!r}"


# -- inputs


def fitted(endpoint: Endpoint, inputs: Any, module: str) -> Any:
    """Inputs as tensors of the dtypes that the module was traced with; autocast or NumPy may have chosen others.

    Args:
        endpoint: What is to be called.
        inputs: Tensors or arrays, or a dict or list of them.
        module: What the module is called in an error.

    Raises:
        InputError: If no trace takes inputs of this structure, these shapes and kinds.
    """
    tensors = tf.nest.map_structure(_tensor, inputs)
    for specs in endpoint.accepts:
        if _fits(specs, tensors):
            return _cast(specs, tensors)
    for specs in endpoint.accepts:
        if _fits_alone(specs, tensors):
            return _cast(specs, tensors)
    expected = " or ".join(dict.fromkeys(_text(specs) for specs in endpoint.accepts))
    raise InputError(f"{module} does not take these inputs. Expected: {expected}. Received: {_text(tensors)}.")


def joined(endpoint: Endpoint, inputs: Any) -> Any:
    """A list of plain strings or numbers as the one tensor that the module takes; anything else unchanged."""
    if not isinstance(inputs, list | tuple) or not isinstance(endpoint.inputs, tf.TypeSpec):
        return inputs
    plain = all(isinstance(leaf, str | bytes | int | float) for leaf in tf.nest.flatten(inputs))
    return tf.convert_to_tensor(inputs) if plain else inputs


def _tensor(value: Any) -> Any:
    return value if tf.is_tensor(value) else tf.convert_to_tensor(value)


def _fits(spec: Any, value: Any) -> bool:
    if isinstance(spec, Mapping):
        same = isinstance(value, Mapping) and spec.keys() == value.keys()
        return same and all(_fits(spec[k], value[k]) for k in spec)
    if isinstance(spec, list | tuple):
        fitting = isinstance(value, list | tuple) and len(spec) == len(value)
        return fitting and all(map(_fits, spec, value))
    if not isinstance(spec, tf.TypeSpec) or not hasattr(value, "dtype"):
        return spec is value
    return _castable(spec.dtype, value.dtype) and bool(spec.shape.is_compatible_with(value.shape))


def _castable(takes: Any, gets: Any) -> bool:
    """Float to float and integer to any number freely; anything else would be a mistake."""
    return takes == gets or (gets.is_floating and takes.is_floating) or (gets.is_integer and _is_number(takes))


def _is_number(dtype: Any) -> bool:
    return bool(dtype.is_floating or dtype.is_integer)


def _fits_alone(specs: Any, tensors: Any) -> bool:
    """Whether both are one tensor, one of them inside a list (or a dict) of one, as Keras models take it too."""
    leaves, values = tf.nest.flatten(specs), tf.nest.flatten(tensors)
    listed = not isinstance(tensors, Mapping)
    return listed and len(leaves) == len(values) == 1 and _fits(leaves[0], values[0])


def _cast(specs: Any, tensors: Any) -> Any:
    """The tensors in the very structure that was traced (a tuple is no list to it), and in its dtypes."""
    pairs = zip(tf.nest.flatten(specs), tf.nest.flatten(tensors), strict=True)
    return tf.nest.pack_sequence_as(specs, [_as_spec(spec, value) for spec, value in pairs])


def _as_spec(spec: Any, value: Any) -> Any:
    return value if not isinstance(spec, tf.TypeSpec) or value.dtype == spec.dtype else tf.cast(value, spec.dtype)


def _text(structure: Any) -> str:
    """Dtypes and shapes of specs or tensors, in their structure."""
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{k}: {_text(structure[k])}" for k in sorted(structure)) + "}"
    if isinstance(structure, list | tuple):
        return "[" + ", ".join(map(_text, structure)) + "]"
    if not hasattr(structure, "dtype"):
        return repr(structure)
    return f"{structure.dtype.name} {tuple(structure.shape) if structure.shape.rank is not None else 'of any shape'}"
