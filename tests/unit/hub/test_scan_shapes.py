"""The scan on graphs that are odd, huge or made to mislead; each is drawn by hand and none is ever loaded."""

import time

import hub_graphs
import pytest
import tensorflow as tf
from hub_graphs import RESOURCE, STRING, Chain
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.hub import check, flaws, scan, wire


def _chain():
    chain = Chain(None)
    chain.body = chain.top
    hub_graphs._begin(chain, "tf2")
    return chain


def _denied(chain, folder):
    return [str(f) for f in scan(_written(chain, folder)).denied]


def _written(chain, folder):
    model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[chain.meta])
    folder.mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def _read(chain):
    hub_graphs._end(chain, "tf2", False)


# Names that stand for two things, and attributes that a caller fills in


def _two_nodes(chain):
    chain.top.node.add(name=chain.tensor, op="Const")


def _two_nodes_in_a_function(chain):
    function = chain.function("x")
    function.node_def.add(name="x", op="NoOp")


def _two_functions(chain):
    name = chain.function().signature.name
    chain.function().signature.name = name


def _a_function_called_identity(chain):
    chain.function("x").signature.name = "Identity"


def _a_nameless_function(chain):
    chain.function("x").signature.name = ""


def _a_placeholder(chain):
    chain.add("PrintV2", "x", at=chain.function("x"))
    chain.top.library.function[0].node_def[0].attr["output_stream"].placeholder = "stream"


def _a_placeholder_in_a_nested_function(chain):
    call = chain.add("PartitionedCall", f=chain.function().signature.name)
    node = next(n for n in chain.top.node if n.name == call)
    node.attr["f"].func.attr["g"].func.attr["stream"].placeholder = "stream"


def _a_handle_as_a_constant(chain):
    chain.add("Const", dtype=RESOURCE, value=tf.make_tensor_proto(0))
    chain.top.node[-1].attr["value"].tensor.dtype = RESOURCE


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_two_nodes, "a name that two nodes have"),
        (_two_nodes_in_a_function, "a name that two nodes have"),
        (_two_functions, "a name that two functions have"),
        (_a_function_called_identity, "a function with the name of an operation"),
        (_a_nameless_function, "a function without a name"),
        (_a_placeholder, "leaves an attribute to its caller"),
        (_a_placeholder_in_a_nested_function, "leaves an attribute to its caller"),
        (_a_handle_as_a_constant, "holds a handle as a constant"),
    ],
)
def test_what_cannot_be_followed_is_refused(change, word, tmp_path):
    chain = _chain()
    assert _denied(chain, tmp_path / "clean") == []
    change(chain)
    assert any(word in d for d in _denied(chain, tmp_path / "evil"))


def test_a_function_that_only_a_nested_attribute_names_is_called_with_unknown_names(tmp_path):
    chain = _chain()
    function, outer = chain.function("x"), chain.function()
    caller = chain.add("StatefulPartitionedCall", chain.tensor, f=function.signature.name)
    call = chain.add("PartitionedCall", f=outer.signature.name)
    chain.enter(caller, function, "x")
    _read(chain)
    assert _denied(chain, tmp_path / "clean") == []
    node = next(n for n in chain.top.node if n.name == call)
    node.attr["f"].func.attr["g"].func.name = function.signature.name
    assert any("a computed name" in d for d in _denied(chain, tmp_path / "evil"))


# Assets and savers


def test_an_asset_that_only_the_list_names_which_the_loaders_pass_over(tmp_path):
    chain = _chain()
    other = chain.const("v.txt")
    asset = meta_graph_pb2.AssetFileDef(filename="v.txt")
    asset.tensor_info.name = f"{other}:0"
    chain.meta.collection_def["saved_model_assets"].any_list.value.add().Pack(asset)
    chain.tensor = other
    _read(chain)
    assert any("a constant" in d for d in _denied(chain, tmp_path))


@pytest.mark.parametrize("name", ["n1:1", "n1:00"])
def test_an_assets_tensor_is_the_only_output_of_its_node(name, tmp_path):
    chain = _chain()
    chain.meta.asset_file_def[0].tensor_info.name = name
    _read(chain)
    assert any("not one of the module's assets" in d for d in _denied(chain, tmp_path))


def _saver(chain, join=None, op="RestoreV2"):
    chain.body = chain.top
    hub_graphs._begin(chain, "saver")
    if join:
        chain.tensor = chain.add("StringJoin", *join(chain))
    node = chain.add(op, chain.tensor, chain.const(["v"]), chain.const([""]))
    runs = chain.add("NoOp", f"^{node}")
    if op == "RestoreV2":
        chain.meta.saver_def.restore_op_name = runs
    else:
        chain.meta.saver_def.save_tensor_name = f"{runs}:0"


JOINS = {
    "_temp_0ab1/part": True,
    ".part": True,
    "/../../other": False,
    "_temp/../../part": False,
    "": False,
}


@pytest.mark.parametrize("op", ["RestoreV2", "SaveV2"])
@pytest.mark.parametrize("suffix", JOINS)
def test_a_saver_may_name_its_parts_and_nothing_else(suffix, op, tmp_path):
    chain = Chain(None)
    _saver(chain, lambda c: (c.tensor, c.const(suffix)), op)
    assert (_denied(chain, tmp_path) == []) == JOINS[suffix]


def test_a_saver_that_puts_its_path_behind_another(tmp_path):
    chain = Chain(None)
    _saver(chain, lambda c: (c.const("/other/"), c.tensor))
    assert any("from another file than it is given" in d for d in _denied(chain, tmp_path))


def test_an_earlier_saver_that_nothing_can_run_passes(tmp_path):
    """As in TF1 modules that were trained, saved, and then exported."""
    chain = Chain(None)
    _saver(chain)
    old = chain.add("PlaceholderWithDefault", chain.const("model"), dtype=STRING)
    restore = chain.add("RestoreV2", old, chain.const(["v"]), chain.const([""]))
    assert _denied(chain, tmp_path / "left") == []
    chain.meta.signature_def["serving_default"].outputs["y"].name = f"{restore}:0"
    assert any("outside the saver" in d for d in _denied(chain, tmp_path / "used"))


# Time and memory


def _long(chain):
    for _ in range(5_000):
        chain.tensor = chain.add("Identity", chain.tensor)


def _diamonds(chain):
    for _ in range(40):
        many = chain.add("IdentityN", chain.tensor, chain.tensor)
        chain.tensor = chain.add("Merge", many, f"{many}:1")


def _calls(chain):
    """2 ** 40 paths through functions that each call the next one twice."""
    for _ in range(40):
        function = chain.function("x")
        name = function.signature.name
        first, _second = (chain.add("StatefulPartitionedCall", chain.tensor, f=name) for _ in range(2))
        chain.enter(first, function, "x")


@pytest.mark.parametrize("shape", [_long, _diamonds, _calls])
def test_long_and_branching_paths_take_no_time(shape, tmp_path):
    chain = _chain()
    shape(chain)
    _read(chain)
    started = time.process_time()
    assert _denied(chain, tmp_path) == []
    assert time.process_time() - started < 5


def test_many_tables_behind_one_long_path_take_time_in_proportion(tmp_path):
    chain = _chain()
    _long(chain)
    for _ in range(2_000):
        chain.add("InitializeTableFromTextFileV2", chain.tensor, chain.tensor)
    started = time.process_time()
    assert _denied(chain, tmp_path) == []
    assert time.process_time() - started < 10


def test_a_constant_that_would_fill_the_memory(tmp_path):
    chain = _chain()
    chain.const(1.0)
    shape = chain.top.node[-1].attr["value"].tensor.tensor_shape
    shape.dim.add(size=1 << 20)
    assert _denied(chain, tmp_path / "small") == []
    shape.dim.add(size=1 << 20)
    assert any("takes the graph over 4 GiB" in d for d in _denied(chain, tmp_path / "large"))


def test_more_nodes_than_a_module_has(tmp_path, monkeypatch):
    monkeypatch.setattr("tlkit.hub.scanning.MOST_NODES", 100)
    chain = _chain()
    _long(chain)
    with pytest.raises(UnsafeModuleError, match="more than 100 nodes"):
        check(_written(chain, tmp_path))
    assert flaws.MOST_NODES > 1_000_000


def test_a_file_of_tiny_messages_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tlkit.hub.scanning.MOST_NODES", 1_000)
    monkeypatch.setattr("tlkit.hub.scanning._SMALL_BYTES", 1_000)
    monkeypatch.setattr(saved_model_pb2, "SavedModel", _Unread)
    node = b"\x12\x80\x10" + b"\x0a\x00" * 1_024  # a graph of 1,024 nodes of no bytes
    (tmp_path / "saved_model.pb").write_bytes((b"\x12\x83\x10" + node) * 5)
    with pytest.raises(UnsafeModuleError, match="holds more than 5000 parts"):
        scan(tmp_path)


class _Unread:
    DESCRIPTOR = saved_model_pb2.SavedModel.DESCRIPTOR


def test_messages_are_counted_as_they_are():
    chain = _chain()
    _long(chain)
    data = saved_model_pb2.SavedModel(meta_graphs=[chain.meta]).SerializeToString()
    count = 1 + 1 + 5_001 + 1 + 1 + 2 + 1  # meta graph, graph, nodes, an attribute, an asset
    assert wire.holds_more_than(data, saved_model_pb2.SavedModel.DESCRIPTOR, count - 3)
    assert not wire.holds_more_than(data, saved_model_pb2.SavedModel.DESCRIPTOR, count + 3)
    assert not wire.holds_more_than(data[:1_000], saved_model_pb2.SavedModel.DESCRIPTOR, count)


def test_a_text_form_that_is_nested_without_end(tmp_path):
    (tmp_path / "saved_model.pbtxt").write_text(
        "meta_graphs { graph_def { node { attr { key: 'f' value { " + "func { attr { key: 'f' value { " * 20_000
    )
    with pytest.raises(InputError, match="cannot be read"):
        scan(tmp_path)
