"""SavedModels drawn by hand, node by node, for the scan; nothing here is ever loaded.

Each is a chain that carries a file's name from where it is given to where it is read, and has an evil twin in which one
step puts in another name. `write(folder, seed, evil=...)` draws one: the name comes from an asset of TF2 or TF1, or is
the path that a saver is given; it goes through operations, functions, loops, branches and variables; then a table or
RestoreV2 reads it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

STRING, RESOURCE, INT32, FLOAT = (t.as_datatype_enum for t in (tf.string, tf.resource, tf.int32, tf.float32))
SECRET = "/etc/hostname"


@dataclass
class Chain:
    """A graph in the making.

    Attributes:
        meta: The MetaGraphDef.
        body: The graph or function where the name is now.
        tensor: The name's tensor there.
        outer: The node of the top graph that leads there, or "".
        count: Nodes made so far, for their names.
    """

    random: random.Random
    meta: Any = field(default_factory=meta_graph_pb2.MetaGraphDef)
    body: Any = None
    tensor: str = ""
    outer: str = ""
    count: int = 0

    @property
    def top(self) -> Any:
        return self.meta.graph_def

    def add(self, op: str, *inputs: str, at: Any = None, **attributes: Any) -> str:
        """A node; the name of its first output is returned."""
        body = self.body if at is None else at
        self.count += 1
        nodes = body.node if body is self.top else body.node_def
        node = nodes.add(name=f"n{self.count}", op=op, input=[self.spelt(i, body) for i in inputs])
        for key, value in attributes.items():
            self._attribute(node.attr[key], value)
        return node.name

    def spelt(self, tensor: str, body: Any) -> str:
        """ "n1" and "n1:2" as this body writes them."""
        name, _, position = tensor.partition(":")
        arguments = () if body is self.top else [a.name for a in body.signature.input_arg]
        if body is self.top or name in arguments or tensor.startswith("^"):
            return tensor
        op = next(n.op for n in body.node_def if n.name == name)
        output = "result" if op.startswith("f_") else "value" if op == "ReadVariableOp" else "output"
        return f"{name}:{output}:{position or 0}"

    def const(self, value: Any = SECRET, at: Any = None) -> str:
        tensor = tf.make_tensor_proto(value)
        return self.add("Const", at=at, dtype=tensor.dtype, value=tensor)

    def function(self, *arguments: str) -> Any:
        self.count += 1
        function = self.top.library.function.add()
        function.signature.name = f"f_{self.count}"
        for name in arguments:
            function.signature.input_arg.add(name=name, type=STRING)
        return function

    def returns(self, function: Any, *tensors: str) -> None:
        for i, tensor in enumerate(tensors):
            name = "result" if len(tensors) == 1 else f"result{i}"
            function.signature.output_arg.add(name=name, type=STRING)
            function.ret[name] = self.spelt(tensor, function)

    def enter(self, node: str, function: Any, argument: str) -> None:
        """From here on the chain goes on inside a function."""
        self.outer = self.outer or node
        self.body, self.tensor = function, argument

    @staticmethod
    def _attribute(target: Any, value: Any) -> None:
        if isinstance(value, int):
            target.type = value
        elif isinstance(value, bytes):
            target.s = value
        elif isinstance(value, str):
            target.func.name = value
        elif isinstance(value, list):
            for name in value:
                target.list.func.add(name=name)
        else:
            target.tensor.CopyFrom(value)


# -- steps: each moves the name on; the evil ones put in another


def _operation(chain: Chain, evil: bool) -> None:
    harmless = ("Identity", "StopGradient", "EnsureShape", "PreventGradient", "Snapshot")
    if not evil:
        chain.tensor = chain.add(chain.random.choice(harmless), chain.tensor, T=STRING)
        return
    other = chain.const()
    arguments_of_op = {
        "StringJoin": (chain.tensor, other),
        "Substr": (other, chain.const(0), chain.const(9)),
        "Select": (chain.const(True), other, chain.tensor),
        "SelectV2": (chain.const(True), other, chain.tensor),
        "GatherV2": (other, chain.const(0), chain.const(0)),
        "ConcatV2": (chain.tensor, other, chain.const(0)),
        "RegexReplace": (chain.tensor, chain.const(".*"), other),
        "StaticRegexReplace": (chain.tensor,),
        "ReduceJoin": (other, chain.const([0])),
        "DecodeBase64": (other,),
        "StringFormat": (chain.tensor,),
        "AsString": (other,),
        "DynamicStitch": (chain.const(0), other),
        "Pack": (other,),
        "StridedSlice": (other, chain.const([0]), chain.const([1]), chain.const([1])),
        "Where": (other,),
        "LookupTableFindV2": (chain.add("HashTableV2"), chain.tensor, other),
        "TensorListGetItem": (other, chain.const(0), chain.const([])),
        "StackPopV2": (other,),
        "TensorArrayReadV3": (other, chain.const(0), chain.const(0.0)),
        "BatchFunction": (chain.tensor,),
        "StringLower": (chain.tensor,),
        "Squeeze": (other,),
    }
    op = chain.random.choice(sorted(arguments_of_op))
    chain.tensor = chain.add(op, *arguments_of_op[op])


def _several(chain: Chain, evil: bool) -> None:
    """IdentityN, of which one output is ours."""
    many = chain.add("IdentityN", chain.const(), chain.tensor)
    chain.tensor = f"{many}:{0 if evil else 1}"


def _call(chain: Chain, evil: bool) -> None:
    """A function that gives the name back."""
    function = chain.function("x")
    other = chain.const(at=function)
    chain.returns(function, other if evil else chain.add("Identity", "x", at=function))
    name = function.signature.name
    op = chain.random.choice(("PartitionedCall", "StatefulPartitionedCall", name))
    chain.tensor = chain.add(op, chain.tensor, **({} if op == name else {"f": name}))


def _into(chain: Chain, evil: bool) -> None:
    """A function that goes on with the name itself."""
    function = chain.function("x")
    name = function.signature.name
    caller = chain.add("StatefulPartitionedCall", chain.tensor, f=name)
    if evil:
        library, bad = chain.top.library, chain.const()
        way = chain.random.randrange(7)
        if way == 0:
            chain.add("PartitionedCall", bad, f=name)
        elif way == 1:
            library.registered_gradients.add(gradient_func=name, registered_op_type="CustomGradient-1")
        elif way == 2:
            library.gradient.add(function_name="f_x", gradient_func=name)
        elif way == 3:
            function.attr["api_implements"].s = b"lstm"
        elif way == 4:
            chain.add("ReduceDataset", bad, bad, bad, f=name)
        elif way == 5:
            chain.meta.object_graph_def.concrete_functions[name].bound_inputs[:] = []
        else:
            chain.add(name, bad)
    chain.enter(caller, function, "x")


def _loop(chain: Chain, evil: bool) -> None:
    """A loop that has the name among its variables; the chain goes on behind it."""
    _turning(chain, evil)


def _into_a_loop(chain: Chain, evil: bool) -> None:
    """... or inside it, in its body or its condition."""
    inside = chain.random.choice(_turning(chain, evil))
    chain.enter(chain.tensor.partition(":")[0], inside, "x")


def _turning(chain: Chain, evil: bool) -> tuple[Any, Any]:
    cond, body = chain.function("i", "x"), chain.function("i", "x")
    chain.returns(cond, chain.const(True, at=cond))
    other = chain.const(at=body)
    chain.returns(body, "i", other if evil else chain.add("Identity", "x", at=body))
    names = {"cond": cond.signature.name, "body": body.signature.name}
    loop = chain.add(chain.random.choice(("While", "StatelessWhile")), chain.const(0), chain.tensor, **names)
    chain.tensor = f"{loop}:1"
    return cond, body


def _branch(chain: Chain, evil: bool) -> None:
    """Branches that give the name back."""
    functions = []
    for bad in (evil, False) if chain.random.random() < 0.5 else (False, evil):
        function = chain.function("x")
        other = chain.const(at=function)
        chain.returns(function, other if bad else chain.add("Identity", "x", at=function))
        functions.append(function.signature.name)
    if chain.random.random() < 0.5:
        chain.tensor = chain.add(
            "If", chain.const(True), chain.tensor, then_branch=functions[0], else_branch=functions[1]
        )
    else:
        chain.tensor = chain.add("Case", chain.const(0), chain.tensor, branches=functions)


def _into_a_branch(chain: Chain, evil: bool) -> None:
    taken, other = chain.function("x"), chain.function("x")
    index, names = chain.const(0), [taken.signature.name, other.signature.name]
    caller = chain.add("Case", index, chain.tensor, branches=names)
    if evil:
        chain.add("Case", index, chain.const(), branches=names)
    chain.enter(caller, taken, "x")


def _old_loop(chain: Chain, evil: bool) -> None:
    """A loop of TF1: Enter, Merge, NextIteration, Switch, Exit."""
    entered = chain.add("Enter", chain.tensor)
    merge = chain.add("Merge", entered, entered)
    switch = chain.add("Switch", merge, chain.const(True))
    turned = chain.add("NextIteration", chain.const() if evil else switch)
    nodes = chain.top.node if chain.body is chain.top else chain.body.node_def
    next(n for n in nodes if n.name == merge).input[1] = chain.spelt(turned, chain.body)
    chain.tensor = chain.add("Exit", switch)


def _variable(chain: Chain, evil: bool) -> None:
    """A variable that the name is assigned to; only the top graph can follow one."""
    if chain.body is not chain.top:
        return _operation(chain, evil)
    handle = chain.add("VarHandleOp", dtype=STRING)
    chain.add("AssignVariableOp", handle, chain.tensor)
    if evil:
        way = chain.random.randrange(5)
        if way == 0:
            chain.add("AssignVariableOp", handle, chain.const())
        elif way == 1:
            chain.add("AssignVariableOp", chain.add("VarHandleOp", shared_name=handle.encode()), chain.const())
        elif way == 2:
            saved = variable_pb2.VariableDef(variable_name=f"{handle}:0", initial_value_name=chain.const())
            chain.meta.collection_def["variables"].bytes_list.value.append(saved.SerializeToString())
        elif way == 3:
            function = chain.function("x")
            chain.add("StatefulPartitionedCall", handle, f=function.signature.name)
        else:
            chain.add("VarHandleOp", at=chain.function(), shared_name=handle.encode())
    chain.tensor = chain.add("ReadVariableOp", handle)
    return None


STEPS: tuple[Callable[[Chain, bool], None], ...] = (
    _operation, _several, _call, _into, _loop, _into_a_loop, _branch, _into_a_branch, _old_loop, _variable,
)  # fmt: skip


# -- where names come from, and where they are read


def write(folder: Path, seed: int, *, evil: bool) -> Path:
    """A SavedModel with a chain of random steps; in the evil twin one of them goes wrong."""
    chance = random.Random(seed)
    chain = Chain(chance)
    chain.body = chain.top
    kind = chance.choice(("tf2", "tf1", "saver"))
    steps = [chance.choice(STEPS) for _ in range(chance.randint(1, 8))]
    everywhere = kind == "tf2" or _variable in steps  # then it is the asset's path wherever it is read
    wrong = chance.randrange(0 if everywhere else -1, len(steps)) if evil else len(steps)
    _begin(chain, kind)
    for i, step in enumerate(steps):
        chain.random = random.Random(seed * 100 + i)
        step(chain, i == wrong)
    _end(chain, kind, wrong == -1)
    model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[chain.meta])
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def _begin(chain: Chain, kind: str) -> None:
    if kind == "saver":
        chain.tensor = chain.add("PlaceholderWithDefault", chain.const("model"), dtype=STRING)
        chain.meta.saver_def.filename_tensor_name = f"{chain.tensor}:0"
        return
    chain.tensor = chain.const("v.txt") if kind == "tf1" else chain.add("Placeholder", dtype=STRING)
    asset = meta_graph_pb2.AssetFileDef(filename="v.txt")
    asset.tensor_info.name = f"{chain.tensor}:0"
    if kind == "tf2":
        chain.meta.asset_file_def.append(asset)
    else:
        chain.meta.collection_def["saved_model_assets"].any_list.value.add().Pack(asset)
        chain.meta.collection_def["asset_filepaths"].node_list.value.append(f"{chain.tensor}:0")


def _end(chain: Chain, kind: str, evil: bool) -> None:
    """The reader, and what runs it: initialization or restoring; the evil one runs it from elsewhere too."""
    if kind == "saver":
        reader = chain.add("RestoreV2", chain.tensor, chain.const(["v"]), chain.const([""]))
    else:
        reader = chain.add("InitializeTableFromTextFileV2", chain.add("HashTableV2"), chain.tensor)
    runs = chain.add("NoOp", f"^{chain.outer or reader}", at=chain.top)
    if kind == "saver":
        chain.meta.saver_def.restore_op_name = runs
    else:
        chain.meta.collection_def["saved_model_main_op"].node_list.value.append(runs)
    if evil:
        answer = chain.add("Identity", chain.const(1.0, at=chain.top), f"^{runs}", at=chain.top)
        chain.meta.signature_def["serving_default"].outputs["y"].name = f"{answer}:0"
