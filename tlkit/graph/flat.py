"""One inference function as a flat graph, and parts of it as functions that share its variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from tlkit.core.errors import InputError
from tlkit.graph import _private
from tlkit.graph.grouping import without_groups

WRITES = ("Assign", "ResourceScatter", "ResourceApply", "LookupTableInsert", "LookupTableImport", "WriteFile", "Save")
READS = {  # stateful for TensorFlow, yet the same answer at every call while nothing is written
    "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "LookupTableFindV2", "LookupTableSizeV2", "Placeholder",
    "VariableShape", "HashTableV2", "NoOp",
}  # fmt: skip
IN_GRAPH_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
MARK = 7919  # a batch size that no weight has as its first size
CONTROL_FLOW = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "Switch", "Merge", "Enter")

Change = Callable[["Graph", Any, Sequence[str]], None]


@dataclass(frozen=True, eq=False)
class Graph:
    """A function with all nested calls inlined.

    Attributes:
        whole: The function itself: flat inputs in, structured outputs out.
        inputs: Names of the input tensors, in the order of `tf.nest.flatten` of the function's arguments.
        outputs: Names of the output tensors, flat.
        structure: The function's outputs with positions in `outputs` at the leaves: 0, or {"default": 0, ...}.
        variables: The variables given to `flatten`, then those that the function reads besides.
        resources: Name of a captured tensor -> index of its variable.
        shapes: Name of a tensor -> static shape, at the sizes given to `flatten`.
        problem: Why the graph cannot be cut, as the end of a sentence, or None.
    """

    whole: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    structure: Any
    variables: tuple[Any, ...]
    resources: Mapping[str, int]
    shapes: Mapping[str, Any] = field(repr=False)
    problem: str | None
    nodes: Mapping[str, Any] = field(repr=False)
    library: Any = field(repr=False)
    captures: Mapping[str, Any] = field(repr=False)
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)


def remembered(graph: Graph, key: Any, make: Callable[[], Any]) -> Any:
    """What `make()` gives, computed once a graph: graphs never change."""
    if key not in graph.memo:
        graph.memo[key] = tf.autograph.experimental.do_not_convert(make)()  # the first use may lie inside a trace
    return graph.memo[key]


def flatten(
    function: Any, variables: Sequence[Any] = (), *, input_shapes: Sequence[Sequence[int | None]] | None = None
) -> Graph:
    """Inline an inference function's nested calls.

    Custom gradients inside are replaced by the gradients of the ops that they wrap (swish and its like are the same
    function either way): the closures of the originals belong to a graph that is gone.

    Args:
        function: A ConcreteFunction: traced, or restored from a SavedModel.
        variables: Variables whose order fixes the indices everywhere else; those missing are added behind them.
        input_shapes: Shape of each flat input, batch included (None), where the function leaves sizes open and they
            are known: costs and strides are then exact. The parts keep the function's own open sizes.

    Returns:
        The flat graph; where it cannot be cut, `problem` says why.
    """
    plain = tf.autograph.experimental.do_not_convert(_flattened)  # the first use may lie inside a trace
    return plain(function, variables, input_shapes)  # type: ignore[no-any-return]


def _flattened(function: Any, variables: Sequence[Any], input_shapes: Sequence[Any] | None) -> Graph:
    if reason := _untouchable(function, variables):
        return closed(function, variables, reason)
    try:
        return _taken_apart(function, variables, input_shapes)
    except (ValueError, tf.errors.OpError) as error:
        return closed(function, variables, f"cannot be taken apart by TensorFlow ({str(error).splitlines()[0]})")


def _taken_apart(function: Any, variables: Sequence[Any], input_shapes: Sequence[Any] | None) -> Graph:
    all_variables = _with_missing(function, variables)
    feeds, captures = _inputs(function)
    inlined = _private.inlined_graph_def(function)
    nodes = {node.name: _cleaned(node) for node in inlined.node}
    handles = {id(_private.handle(v)): i for i, v in enumerate(all_variables)}
    draft = Graph(
        whole=None,
        inputs=feeds,
        outputs=_names(_outputs(function)),
        structure=_structure(function),
        variables=all_variables,
        resources={name: handles[id(e)] for name, e in captures.items() if id(e) in handles},
        shapes={},
        problem=None,
        nodes=nodes,
        library=inlined.library,
        captures=captures,
    )
    return _completed(draft, [t.shape for t in function.inputs[: len(feeds)]], function, input_shapes)


def _completed(draft: Graph, traced_shapes: Sequence[Any], function: Any, input_shapes: Sequence[Any] | None) -> Graph:
    """Add what needs the assembled graph: the whole function, static shapes, and whether it can be cut."""
    dtypes = [t.dtype for t in function.inputs]
    whole = whole_of(draft, [tf.TensorSpec(s, d) for s, d in zip(traced_shapes, dtypes, strict=False)])
    shapes = [_marked(tf.TensorShape(s)) for s in (traced_shapes if input_shapes is None else input_shapes)]
    marked = whole_of(draft, [tf.TensorSpec(s, d) for s, d in zip(shapes, dtypes, strict=False)])
    nodes = without_groups(draft.nodes, marked)
    if nodes != draft.nodes:
        return _completed(dataclasses.replace(draft, nodes=nodes), traced_shapes, function, input_shapes)
    graph = dataclasses.replace(draft, whole=whole, shapes=_shapes(marked, draft.inputs), memo={})
    return dataclasses.replace(graph, problem=_problem(graph), memo={})


def whole_of(graph: Graph, specs: Sequence[Any]) -> Any:
    """The function from all inputs of a graph, of these specs, to its outputs in their structure."""
    return _assembled(graph, graph.inputs, graph.outputs, graph.structure, specs)


def at_sizes(graph: Graph, specs: Sequence[Any]) -> Graph:
    """The graph whose inputs have other sizes: `whole` and `shapes` are those at them.

    Args:
        graph: A flat graph.
        specs: `tf.TensorSpec` of each input, in the order of `graph.inputs`.

    Raises:
        InputError: If the graph is not to be taken apart, or a size inside it was fixed when it was made.
    """
    if not graph.nodes:
        raise InputError(f"The module runs at its own sizes only: it {graph.problem}.")
    try:
        marked = whole_of(graph, [tf.TensorSpec(_marked(spec.shape), spec.dtype) for spec in specs])
        return dataclasses.replace(graph, whole=whole_of(graph, specs), shapes=_shapes(marked, graph.inputs), memo={})
    except (ValueError, tf.errors.OpError) as error:
        raise InputError("The module runs at its own sizes only: layers of it were made for them.") from error


def _marked(shape: Any) -> Any:
    """The shape with an open batch set to a size that nothing else has: shapes behind reshapes become known too."""
    return shape if not shape.rank or shape[0] is not None else tf.TensorShape([MARK, *shape[1:]])


def _shapes(function: Any, inputs: Sequence[str]) -> dict[str, Any]:
    """Tensor -> static shape, its batch open again."""
    tensors = [(t.name, t) for op in function.graph.get_operations() for t in op.outputs]
    tensors += zip(inputs, function.inputs, strict=False)
    return {name: _unmarked(t.shape) for name, t in tensors}


def _unmarked(shape: Any) -> Any:
    return shape if not shape.rank or shape[0] != MARK else tf.TensorShape([None, *shape[1:]])


def _names(tensors: Iterable[Any]) -> tuple[str, ...]:
    return tuple(t.name for t in tensors)


def _inputs(function: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of the real inputs, and captured placeholder name -> external tensor; captures come last."""
    external = list(function.captured_inputs)
    count = len(function.inputs) - len(external)
    names = _names(function.inputs)
    return names[:count], dict(zip(names[count:], external, strict=True))


def _outputs(function: Any) -> list[Any]:
    """The function's own outputs: a gradient through it appends what its backward pass takes."""
    leaves = tf.nest.flatten(function.structured_outputs, expand_composites=True)
    count = sum(leaf is not None for leaf in leaves)
    return list(function.outputs[: count or None])


def _structure(function: Any) -> Any:
    """The outputs' structure with flat positions at its leaves."""
    count = len(_outputs(function))
    if len(tf.nest.flatten(function.structured_outputs)) != count:
        return tuple(range(count))
    return tf.nest.pack_sequence_as(function.structured_outputs, list(range(count)))


def _with_missing(function: Any, variables: Sequence[Any]) -> tuple[Any, ...]:
    """The given variables, then those that the function reads besides."""
    listed = {id(_private.handle(v)) for v in variables}
    return (*variables, *(v for v in function.graph.variables if id(_private.handle(v)) not in listed))


def _untouchable(function: Any, variables: Sequence[Any]) -> str | None:
    """Why the function cannot even be taken apart, or None."""
    inner_variable = next((op.type for op in function.graph.get_operations() if op.type in IN_GRAPH_VARIABLES), None)
    if inner_variable is not None:
        return f"keeps its variables inside the graph, as TF1 modules do ({inner_variable})"
    spread = any(isinstance(v, tf.distribute.DistributedValues) for v in (*variables, *function.captured_inputs))
    return "has its variables spread over replicas (tf.distribute)" if spread else None


def closed(function: Any, variables: Sequence[Any], problem: str) -> Graph:
    """A graph that can only be used whole; `problem` says why, as the end of a sentence."""
    return Graph(
        whole=function,
        inputs=_names(function.inputs[: len(function.inputs) - len(function.captured_inputs)]),
        outputs=_names(_outputs(function)),
        structure=_structure(function),
        variables=tuple(variables),
        resources={},
        shapes={},
        problem=problem,
        nodes={},
        library=None,
        captures={},
    )


def _cleaned(node: Any) -> Any:
    """The node free of what ties it to others: colocation, devices, closures of custom gradients, control inputs.

    Inlining orders every node behind all variables and inputs; without side effects there is nothing to order.
    """
    data = [name for name in node.input if not name.startswith("^")]
    del node.input[:]
    node.input.extend(data)
    node.device = ""
    for key in ("_class", "_output_shapes", "_gradient_op_type"):
        node.attr.pop(key, None)
    return node


# Whether it can be cut


def _problem(graph: Graph) -> str | None:
    for name, node in graph.nodes.items():
        if node.op.startswith(WRITES):
            return f"writes state when it is called ({node.op} `{name}`)"
    heavy = _behind_variables(graph)
    for op in graph.whole.graph.get_operations():
        if op.type in CONTROL_FLOW and op.name in heavy:
            return f"has control flow that weights go through ({op.type} `{op.name}`)"
        if op.type not in CONTROL_FLOW and op.op_def.is_stateful and op.type not in READS:
            return f"has state of its own ({op.type} `{op.name}`)"
    return None if graph.resources else "reads no variables"


def _behind_variables(graph: Graph) -> set[str]:
    """Names of the ops that a variable reaches; the ops of a function's graph are in topological order."""
    handles = {_private.handle(v).ref() for v in graph.variables}
    pairs = zip(graph.whole.captured_inputs, graph.whole.inputs[len(graph.inputs) :], strict=True)
    reached = {inner.op.name for outer, inner in pairs if outer.ref() in handles}
    for op in graph.whole.graph.get_operations():
        if any(t.op.name in reached for t in op.inputs):
            reached.add(op.name)
    return reached


# Parts


def part(graph: Graph, feeds: Sequence[str], fetches: Sequence[str]) -> Any:
    """The function from some tensors of the graph to others, sharing the graph's variables.

    Gradients reach the original variables, eagerly and inside other functions. Asking again for the same part gives
    the same function.

    Args:
        graph: A flat graph.
        feeds: Names of the tensors that the part takes, in order; what lies before them is left out.
        fetches: Names of the tensors that it gives, in order.

    Returns:
        A ConcreteFunction that gives a tuple of tensors.

    Raises:
        InputError: If a name is not in the graph.
    """
    key = ("part", tuple(feeds), tuple(fetches))
    return remembered(graph, key, lambda: _assembled(graph, feeds, fetches, tuple(range(len(fetches))), None))


def part_as(
    graph: Graph, feeds: Sequence[str], fetches: Sequence[str], structure: Any, change: Change | None = None
) -> Any:
    """As `part`, giving `structure` with the fetched tensors in the places of their positions.

    Args:
        graph: A flat graph.
        feeds, fetches: As in `part`.
        structure: With positions in `fetches` at its leaves.
        change: (graph, GraphDef of the part, fetches) -> None; may change the definition before it is imported.
    """
    key = ("part", tuple(feeds), tuple(fetches), repr(structure), change)
    return remembered(graph, key, lambda: _assembled(graph, feeds, fetches, structure, None, change))


def _assembled(
    graph: Graph, feeds: Sequence[str], fetches: Sequence[str], structure: Any, specs: Sequence[Any] | None,
    change: Change | None = None,
) -> Any:  # fmt: skip
    signature = list(_specs(graph, feeds) if specs is None else specs)
    sub, outside = _between(graph, set(feeds), fetches)
    if change is not None:
        change(graph, sub, fetches)
    inner = [name for name in fetches if name not in feeds]
    used: list[Any] = []

    def body(*values: Any) -> Any:
        tensors = dict(zip(feeds, values, strict=True))
        for name in sorted(outside & graph.captures.keys()):
            tensors[name] = _private.captured(graph.captures[name])
        used.extend(graph.variables[graph.resources[n]] for n in sorted(outside) if n in graph.resources)
        mapped = {name: tensors[name] for name in outside}
        inner_tensors = tf.graph_util.import_graph_def(sub, input_map=mapped, return_elements=inner, name="")
        tensors |= dict(zip(inner, inner_tensors, strict=True))
        return tf.nest.map_structure(lambda i: tensors[fetches[i]], structure)

    with tf.init_scope():
        traced = tf.function(body, input_signature=signature, autograph=False)
        function = traced.get_concrete_function()
    _private.watch(function, used)
    return function


def _specs(graph: Graph, feeds: Sequence[str]) -> list[Any]:
    """Specs of the fed tensors; the names keep clear of those in the graph."""
    tensors = dict(zip(graph.inputs, graph.whole.inputs, strict=False))
    specs = []
    for i, name in enumerate(feeds):
        tensor = tensors[name] if name in tensors else _tensor(graph, name)
        specs.append(tf.TensorSpec(tensor.shape, tensor.dtype, name=f"tlkit_feed_{i}"))
    return specs


def _tensor(graph: Graph, name: str) -> Any:
    try:
        return graph.whole.graph.get_tensor_by_name(name)
    except (KeyError, ValueError) as error:
        raise InputError(f"The module's graph has no tensor `{name}`; name one of its cuts.") from error


def _between(graph: Graph, feeds: set[str], fetches: Sequence[str]) -> tuple[Any, set[str]]:
    """The nodes between some tensors and others, and the tensors that they take from outside."""
    keep: dict[str, Any] = {}
    outside: set[str] = set()
    stack = list(fetches)
    while stack:
        name = stack.pop()
        full = name if ":" in name else f"{name}:0"
        node = full.split(":")[0]
        if full in feeds or full in graph.captures:
            outside.add(full)
        elif node not in keep:
            if node not in graph.nodes or full in graph.inputs:
                raise InputError(f"The part that gives `{fetches[0]}` needs `{full}`; name it among the feeds.")
            keep[node] = graph.nodes[node]
            stack.extend(keep[node].input)
    sub = tf.compat.v1.GraphDef(library=_library(graph, keep.values()))
    sub.node.extend(node for name, node in graph.nodes.items() if name in keep)
    direct = {name for name in fetches if name in outside}
    consumed = {i if ":" in i else f"{i}:0" for node in keep.values() for i in node.input}
    return sub, outside - (direct - consumed)


def _library(graph: Graph, nodes: Iterable[Any]) -> Any:
    """The functions that the nodes call (bodies of loops over weight-free values), and what those call."""
    by_name = {f.signature.name: f for f in graph.library.function}
    needed: dict[str, Any] = {}
    stack = list(nodes)
    while stack:
        for name in _called(stack.pop()):
            if name in by_name and name not in needed:
                needed[name] = by_name[name]
                stack.extend(by_name[name].node_def)
    return type(graph.library)(function=needed.values())


def _called(node: Any) -> Iterable[str]:
    for _, value in sorted(node.attr.items()):
        if value.HasField("func"):
            yield value.func.name
        yield from (f.name for f in value.list.func)


# Outputs


def output_keys(outputs: Any) -> tuple[str, ...]:
    """Names of the leaves of a module's outputs: the path to each, as in "1" or "encoder_outputs/0"; () for a tensor.

    Example:
        >>> output_keys({"b": ["x", "y"], "a": "z"})
        ('a', 'b/0', 'b/1')
    """
    if not isinstance(outputs, Mapping | list | tuple):
        return ()
    items = sorted(outputs.items()) if isinstance(outputs, Mapping) else enumerate(outputs)
    return tuple("/".join([str(name), *below]) for name, value in items for below in _rests(value))


def _rests(value: Any) -> list[list[str]]:
    return [[key] for key in output_keys(value)] if isinstance(value, Mapping | list | tuple) else [[]]


def output_at(outputs: Any, key: str | int) -> Any:
    """The entry of a module's outputs under a key of a dict, a position, or a path to a leaf.

    Raises:
        KeyError: If there is none.

    Example:
        >>> output_at(["x", {"a": "y"}], "1/a"), output_at(["x", "y"], 1)
        ('y', 'y')
    """
    if isinstance(outputs, Mapping) and key in outputs:
        return outputs[key]
    for part in str(key).split("/"):
        outputs = _child(outputs, part)
    return outputs


def _child(outputs: Any, part: str) -> Any:
    if isinstance(outputs, list | tuple):
        outputs = {str(i): value for i, value in enumerate(outputs)}
    if not isinstance(outputs, Mapping):
        raise KeyError(part)
    return outputs[part]


def with_output(graph: Graph, key: str | int | None) -> Graph:
    """The graph that gives only one entry of several outputs: fewer tensors stay live, so more cuts are found.

    Args:
        graph: A flat graph.
        key: As in `output_at`; None gives the graph back as it is.

    Raises:
        InputError: If the outputs have no entry of that name.
    """
    if key is None:
        return graph
    try:
        chosen = output_at(graph.structure, key)
    except KeyError as error:
        names = list(output_keys(graph.structure)) or "one unnamed tensor"
        raise InputError(
            f"The module has no output of this name; it gives {names}. Received: output_key={key!r}."
        ) from error
    outputs = tuple(graph.outputs[i] for i in tf.nest.flatten(chosen))
    return _narrowed(graph, outputs, tf.nest.pack_sequence_as(chosen, list(range(len(outputs)))))


def giving(graph: Graph, tensors: Sequence[str]) -> Graph:
    """The graph whose outputs are other tensors of it, as a tuple.

    Args:
        graph: A flat graph.
        tensors: Names of tensors that lead to its outputs.
    """
    names = tuple(tensors)
    return remembered(graph, ("giving", names), lambda: _narrowed(graph, names, tuple(range(len(names)))))  # type: ignore[no-any-return]


def _narrowed(graph: Graph, outputs: tuple[str, ...], structure: Any) -> Graph:
    if graph.problem is not None:
        return graph
    narrow = dataclasses.replace(graph, outputs=outputs, structure=structure, memo={})
    specs = _specs(graph, graph.inputs)
    return dataclasses.replace(narrow, whole=whole_of(narrow, specs), memo={})
