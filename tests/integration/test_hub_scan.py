"""Modules that attack: each is refused before it is loaded, op and node are named, and nothing has happened.

Some of the attacks are also let through with trust=True, to show that they are real.
"""

import shutil
import sys
import warnings
from pathlib import Path

import modules
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.hub import check, open_module, scan

SPEC = [tf.TensorSpec([None], tf.float32)]


class Attacker(tf.Module):
    def __init__(self, body):
        super().__init__()
        self.v, self.body = tf.Variable(2.0), body

    @tf.function(input_signature=SPEC)
    def __call__(self, x):
        with tf.control_dependencies([self.body(x)]):
            return x * self.v


def _queue_reader(x):
    queue = tf.raw_ops.FIFOQueueV2(component_types=[tf.string])
    with tf.control_dependencies([tf.raw_ops.QueueEnqueueV2(handle=queue, components=["/etc/hostname"])]):
        return tf.raw_ops.ReaderReadV2(reader_handle=tf.raw_ops.WholeFileReaderV2(), queue_handle=queue)[1]


def _constant_vocabulary(x):
    table = tf.raw_ops.AnonymousHashTable(key_dtype=tf.string, value_dtype=tf.int64)
    return tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=table, filename="/etc/hostname", key_index=-2, value_index=-1
    )


BODIES = {
    "WriteFile": lambda x: tf.io.write_file("loot.txt", "x"),
    "PrintV2": lambda x: tf.print("x", output_stream="file://loot.txt"),
    "SaveV2": lambda x: tf.raw_ops.SaveV2(
        prefix="loot", tensor_names=["a"], shape_and_slices=[""], tensors=[x]
    ),
    "RestoreV2": lambda x: tf.raw_ops.RestoreV2(
        prefix="loot", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0],
    "MergeV2Checkpoints": lambda x: tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=["a"], destination_prefix="loot"
    ),
    "ReadFile": lambda x: tf.io.read_file("/etc/hostname"),
    "WholeFileReaderV2": _queue_reader,
    "TextLineDataset": lambda x: tf.data.TextLineDataset("/etc/hostname").reduce(tf.constant(""), lambda a, b: a + b),
    "CacheDatasetV2": lambda x: tf.data.Dataset.range(3).cache("loot").reduce(tf.constant(0, tf.int64), tf.add),
    "MatchingFiles": lambda x: tf.io.matching_files("/root/*"),
    "EagerPyFunc": lambda x: tf.py_function(lambda: None, [], []),
    "PyFunc": lambda x: tf.numpy_function(lambda: 1.0, [], tf.float64),
    "ImmutableConst": lambda x: tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name="/etc/hostname"
    ),
    "InitializeTableFromTextFileV2": _constant_vocabulary,
    "DecodeProtoV2": lambda x: tf.raw_ops.DecodeProtoV2(
        bytes=tf.constant(""), message_type="a", field_names=[], output_types=[], descriptor_source="/etc/hostname"
    ).sizes,
    "DatasetFromGraph": lambda x: tf.raw_ops.DatasetFromGraph(graph_def=tf.constant("")),
    "DataServiceDatasetV2": lambda x: tf.raw_ops.DataServiceDatasetV2(
        dataset_id=tf.constant(0, tf.int64), processing_mode="parallel_epochs", address="h:1", protocol="grpc",
        job_name="", consumer_index=tf.constant(0, tf.int64), num_consumers=tf.constant(1, tf.int64),
        max_outstanding_requests=tf.constant(1, tf.int64), iteration_counter=tf.raw_ops.DummyIterationCounter(),
        output_types=[tf.int64], output_shapes=[[]],
    ),
}  # fmt: skip


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A working folder where any loot would lie; all attacks use relative names."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield tmp_path
    assert loot() == [], "something ran"


def loot():
    return sorted(p.name for p in Path().iterdir())


def take_away():
    for name in loot():
        Path(name).unlink()


def save(module, folder, **kwargs):
    tf.saved_model.save(module, str(folder), **kwargs)
    return folder


def edited(folder, change):
    """The SavedModel with its protocol buffer changed by hand."""
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(model.meta_graphs[0])
    path.write_bytes(model.SerializeToString())
    return folder


def refuse(folder, *words):
    with pytest.raises(UnsafeModuleError) as caught:
        open_module(folder)
    message = str(caught.value)
    assert "trust=True" in message
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("op", BODIES)
def test_attacks_in_the_call(op, scene):
    module = Attacker(BODIES[op])
    refuse(save(module, scene / "m", signatures=module.__call__), f"{op} (node '", "in function '__inference_")


def test_an_attack_in_an_initializer_which_runs_at_load(scene):
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.AnonymousHashTable(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self):
            with tf.control_dependencies([tf.io.write_file("loot.txt", "x")]):
                return tf.constant(1.0)

    module = Attacker(lambda x: tf.no_op())
    module.resource = Resource()
    module.reading = tf.function(lambda: module.resource.resource_handle, input_signature=[])
    folder = save(module, scene / "m")
    take_away()  # making the module here ran it once
    refuse(folder, "WriteFile", "initialize")
    assert loot() == []
    open_module(folder, trust=True)
    assert loot() == ["loot.txt"], "the attack is none: loading did not run it"
    take_away()


def test_an_attack_only_the_saver_refers_to(scene):
    """A function named by nothing but the node that writes checkpoints."""
    folder = save(Attacker(lambda x: tf.no_op()), scene / "m")

    def change(meta):
        saver = next(f for f in meta.graph_def.library.function if "traced_save" in f.signature.name)
        node = saver.node_def.add(name="hidden", op="WriteFile")
        node.input[:] = ["file_prefix", "file_prefix"]

    refuse(edited(folder, change), "WriteFile (node 'hidden' in function '__inference__traced_save")


def test_the_savers_own_operations_lose_their_licence_when_called_from_elsewhere(scene):
    module = Attacker(lambda x: tf.no_op())
    folder = save(module, scene / "m", signatures=module.__call__)

    def change(meta):
        save_node = next(n for n in meta.graph_def.node if n.name == meta.saver_def.save_tensor_name.split(":")[0])
        caller = next(f for f in meta.graph_def.library.function if "call" in f.signature.name)
        node = caller.node_def.add()
        node.CopyFrom(save_node)
        node.name = "again"

    assert scan(folder).findings == ()
    refuse(edited(folder, change), "SaveV2", "writes a checkpoint outside the saver")


def test_a_tf1_saver_that_writes_while_restoring(scene):
    """Restoring runs at load in TF1-format modules, so a writer must not hang on it."""
    folder = modules.write_tf1_hub(scene / "m")

    def change(meta):
        restore = next(n for n in meta.graph_def.node if n.name == meta.saver_def.restore_op_name)
        restore.input.append("^" + next(n.name for n in meta.graph_def.node if n.op == "SaveV2"))

    assert scan(folder).findings == ()
    refuse(edited(folder, change), "SaveV2", "top graph", "outside the saver")


def test_a_tf1_signature_that_returns_the_savers_output(scene):
    folder = modules.write_tf1_hub(scene / "m")

    def change(meta):
        meta.signature_def["default"].outputs["default"].name = meta.saver_def.save_tensor_name

    refuse(edited(folder, change), "SaveV2", "outside the saver")


def test_a_saver_with_a_file_name_of_its_own(scene):
    folder = modules.write_tf1_hub(scene / "m")

    def change(meta):
        name = meta.graph_def.node.add(name="own_name", op="Const")
        name.attr["dtype"].type = tf.string.as_datatype_enum
        name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/tmp/loot"))
        node = next(n for n in meta.graph_def.node if n.op == "SaveV2")
        node.input[0] = "own_name"

    refuse(edited(folder, change), "SaveV2", "outside the saver")


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "C:\\secret", "a/../../b"])
def test_assets_that_escape(name, scene):
    folder = modules.write_vocabulary(scene / "m")

    def change(meta):
        meta.asset_file_def[0].filename = name

    refuse(edited(folder, change), "leaves the module's folder")


def test_a_vocabulary_bound_to_something_that_is_no_asset(scene):
    folder = modules.write_vocabulary(scene / "m")

    def change(meta):
        for node in meta.object_graph_def.nodes:
            if node.WhichOneof("kind") == "asset":
                node.constant.operation = "Const"

    refuse(edited(folder, change), "InitializeTableFromTextFileV2", "not one of the module's assets")


def test_a_top_graph_that_assigns_another_file_name(scene):
    folder = modules.write_vocabulary(scene / "m")

    def change(meta):
        for node in meta.graph_def.node:
            if node.op == "AssignVariableOp":
                value = next(n for n in meta.graph_def.node if n.name == node.input[1])
                copy = meta.graph_def.node.add()
                copy.CopyFrom(value)
                copy.name, node.input[1] = "other", "other"
                return

    refuse(edited(folder, change), "InitializeTableFromTextFileV2", "not one of the module's assets")


# Modules that put another file's name where an asset's or the saver's belongs; with trust each reads that file


def _first_line(name):
    table = tf.raw_ops.AnonymousHashTable(key_dtype=tf.int64, value_dtype=tf.string)
    init = tf.raw_ops.InitializeTableFromTextFileV2(table_handle=table, filename=name, key_index=-1, value_index=-2)
    with tf.control_dependencies([init]):
        keys = tf.constant([0], tf.int64)
        return tf.reshape(tf.raw_ops.LookupTableFindV2(table_handle=table, keys=keys, default_value="?"), [])


class Loop(tf.Module):
    def __init__(self, asset, other):
        super().__init__()
        self.asset, self.other = tf.saved_model.Asset(asset), other

    @tf.function(input_signature=SPEC)
    def __call__(self, x):
        def turn(i, name, lines):
            return i + 1, tf.constant(self.other) if self.other else name, lines + _first_line(name)

        start = [tf.constant(0), tf.identity(self.asset.asset_path), tf.constant("")]
        return tf.while_loop(lambda i, name, lines: i < 2, turn, start)[2]


@pytest.fixture
def secret(scene):
    (scene / "v.txt").write_text("a\n")
    (scene / "secret.txt").write_text("SECRET\n")
    return str(scene / "secret.txt")


def test_a_loop_whose_body_gives_back_another_name(scene, secret):
    asset = str(scene / "v.txt")
    clean = save(Loop(asset, ""), scene / "clean")
    assert scan(clean).findings == ()
    assert open_module(clean).loaded(tf.constant([1.0])).numpy() == b"aa"
    evil = save(Loop(asset, secret), scene / "evil")
    refuse(evil, "InitializeTableFromTextFileV2", "its name is a constant")
    assert open_module(evil, trust=True).loaded(tf.constant([1.0])).numpy() == b"aSECRET"


def _tf1(folder, build):
    """A TF1-format module of one variable v; `build(x, v)` gives its answer."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        y = build(x, v1.get_variable("v", initializer=1.0, use_resource=True))
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return folder


def _answer(folder, **kwargs):
    return open_module(folder, **kwargs).loaded.signatures["serving_default"](tf.constant([1.0]))["y"].numpy()


def test_a_tf1_asset_with_a_path_of_its_own(scene, secret):
    """The loaders put the asset's path in only while the module is initialized; a signature reads the constant."""

    def change(meta):
        asset = meta.asset_file_def.add(filename="v.txt")
        asset.tensor_info.name = "c:0"
        meta.collection_def["saved_model_assets"].any_list.value.add().Pack(asset)

    def answer(x, v):
        return _first_line(tf.constant(secret, name="c")) + tf.strings.as_string(tf.reduce_sum(x * v))

    folder = edited(_tf1(scene / "m", answer), change)
    refuse(folder, "InitializeTableFromTextFileV2", "its name is a constant")
    assert _answer(folder, trust=True).startswith(b"SECRET")


def test_a_tf1_saver_that_restores_from_another_file(scene, secret):
    other = str(scene / "other")
    tf.raw_ops.SaveV2(prefix=other, tensor_names=["v"], shape_and_slices=[""], tensors=[tf.constant(4242.0)])

    def change(meta):
        nodes = meta.graph_def.node
        for name, value in (("zero", 0), ("path", other)):
            const = nodes.add(name=name, op="Const")
            const.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            const.attr["dtype"].type = const.attr["value"].tensor.dtype
        nothing = nodes.add(name="nothing", op="Substr", input=[meta.saver_def.filename_tensor_name, "zero", "zero"])
        nothing.attr["T"].type = tf.int32.as_datatype_enum
        nodes.add(name="evil", op="StringJoin", input=["nothing", "path"]).attr["N"].i = 2
        for node in nodes:
            if node.op == "RestoreV2":
                node.input[0] = "evil"

    folder = _tf1(scene / "m", lambda x, v: x * v)
    assert scan(folder).findings == ()
    refuse(edited(folder, change), "RestoreV2", "from another file than it is given")
    assert _answer(folder, trust=True) == 4242.0


def test_a_tf1_module_with_a_table_of_its_own_passes(scene, secret):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [None], "x")
        source = tf.lookup.TextFileInitializer(
            str(scene / "v.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )  # fmt: skip
        y = tf.lookup.StaticHashTable(source, -1).lookup(x) + 0 * v1.get_variable("v", initializer=np.int64(1))
        saver = v1.train.Saver(sharded=True)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        saver.save(session, str(scene / "ckpt"))
        builder = v1.saved_model.Builder(str(scene / "m"))
        builder.add_meta_graph_and_variables(
            session, ["serve"],
            {"serving_default": v1.saved_model.predict_signature_def({"x": x}, {"y": y})},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )  # fmt: skip
        builder.save()
    assert scan(scene / "m").findings == ()
    (scene / "v.txt").unlink()
    loaded = open_module(scene / "m").loaded
    assert loaded.signatures["serving_default"](tf.constant(["a", "b"]))["y"].numpy().tolist() == [0, -1]


def test_text_form_beside_or_instead(scene):
    evil = save(Attacker(BODIES["WriteFile"]), scene / "evil")
    text = text_format.MessageToString(saved_model_pb2.SavedModel.FromString((evil / "saved_model.pb").read_bytes()))
    good = save(Attacker(lambda x: tf.no_op()), scene / "good")
    (good / "saved_model.pbtxt").write_text(text)
    refuse(good, "WriteFile")
    (good / "saved_model.pb").unlink()
    refuse(good, "WriteFile")


def test_files_beside_the_model(scene):
    good = save(Attacker(lambda x: tf.no_op()), scene / "good")
    assert scan(good).findings == ()
    (good / "assets" / "link").symlink_to("/etc/passwd")
    refuse(good, "assets/link is a symbolic link")
    (good / "assets" / "link").unlink()
    (good / "custom_ops.so").touch()
    refuse(good, "custom_ops.so is machine code")
    (good / "custom_ops.so").rename(good / "saved_model.cpb")
    refuse(good, "saved_model.cpb is a SavedModel in pieces")
    (good / "saved_model.cpb").rename(good / "labels.pkl")
    with pytest.warns(UserWarning, match=r"labels\.pkl is code beside the model; it is not run"):
        open_module(good)


def test_unknown_operations_warn(scene):
    stateful = save(Attacker(lambda x: tf.raw_ops.StageSize(dtypes=[tf.float32])), scene / "stateful")
    with pytest.warns(UserWarning, match=r"StageSize \(node .* has effects that are not on the list"):
        check(stateful)

    def change(meta):
        meta.graph_def.node.add(name="custom", op="SomebodysOwnOp")

    custom = edited(save(Attacker(lambda x: tf.no_op()), scene / "custom"), change)
    with pytest.warns(UserWarning, match="SomebodysOwnOp .*an operation that this TensorFlow does not have"):
        check(custom)


def test_text_operations_say_which_package_has_them(scene):
    def change(meta):
        meta.graph_def.library.function[0].node_def.add(name="words", op="TFText>WhitespaceTokenizeWithOffsetsV2")

    folder = edited(save(Attacker(lambda x: tf.no_op()), scene / "m"), change)
    assert scan(folder).findings == ()
    assert scan(folder).missing == ("TFText>WhitespaceTokenizeWithOffsetsV2",)
    with pytest.raises(InputError, match=r"tensorflow_text .*pip install 'tlkit\[text\]'"):
        open_module(folder)


def test_damaged_models(scene):
    folder = save(Attacker(lambda x: tf.no_op()), scene / "m")
    data = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        open_module(folder)
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="holds no graph"):
        open_module(folder)
    (folder / "saved_model.pb").write_bytes(data)
    shutil.rmtree(folder / "variables")
    with pytest.raises(InputError, match="cannot be loaded as a SavedModel") as caught:
        open_module(folder)
    assert "\n" not in str(caught.value)


def test_the_variables_of_another_module(scene, module_folder):
    folder = modules.write_nested(scene / "m")
    shutil.copytree(module_folder("keras3_hub") / "variables", folder / "variables", dirs_exist_ok=True)
    with pytest.raises(InputError, match="folder variables hold the weights of another module"):
        open_module(folder)


@pytest.mark.parametrize("kind", modules.WRITERS)
def test_no_false_alarms(kind, module_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scanned = check(module_folder(kind))
    assert scanned.findings == ()
    assert sum(scanned.operations.values()) > 20


def test_no_false_alarm_on_a_module_with_tables_datasets_and_training(scene):
    """What a rich Keras export holds: a mutable table, an optimizer step, random numbers, a dataset in memory."""

    class Rich(tf.Module):
        def __init__(self):
            super().__init__()
            self.v = tf.Variable([1.0])
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
            self.generator = tf.random.Generator.from_seed(1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, x):
            self.table.insert(x, tf.ones_like(x, tf.int64))
            self.v.assign_sub(0.1 * self.generator.normal([1]))
            tf.debugging.assert_greater(tf.size(x), 0)
            tf.print("training", output_stream=sys.stderr)
            total = tf.data.Dataset.range(3).map(lambda i: i + 1).reduce(tf.constant(0, tf.int64), tf.add)
            return tf.cast(self.table.lookup(x) + total, tf.float32) * self.v + tf.random.uniform([1])

    module = Rich()
    assert scan(save(module, scene / "m", signatures=module.__call__)).findings == ()
