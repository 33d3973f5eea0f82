"""SavedModels, hostile and clean, written into a folder: `python library.py FOLDER`, from the builders of the tests."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import keras
import modules
import numpy as np
import tensorflow as tf
import test_hub_scan as scans

SECRET = "secret.txt"
LINES = tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER


# Hostile: each reads, writes, connects or runs code outside its folder; those of S1 go round a scan that looks away


def _loop(folder: Path) -> None:
    scans.save(scans.Loop(str(Path("v.txt").absolute()), str(Path(SECRET).absolute())), folder)


def _tf1_asset(folder: Path) -> None:
    def change(meta: Any) -> None:
        asset = meta.asset_file_def.add(filename="v.txt")
        asset.tensor_info.name = "c:0"
        meta.collection_def["saved_model_assets"].any_list.value.add().Pack(asset)

    def answer(x: Any, v: Any) -> Any:
        name = tf.constant(str(Path(SECRET).absolute()), name="c")
        return scans._first_line(name) + tf.strings.as_string(tf.reduce_sum(x * v))

    scans.edited(scans._tf1(folder, answer), change)


def _tf1_restore(folder: Path) -> None:
    other = str(Path("other").absolute())
    tf.raw_ops.SaveV2(prefix=other, tensor_names=["v"], shape_and_slices=[""], tensors=[tf.constant(4242.0)])

    def change(meta: Any) -> None:
        nodes = meta.graph_def.node
        for name, value in (("zero", 0), ("path", other)):
            const = nodes.add(name=name, op="Const")
            const.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            const.attr["dtype"].type = const.attr["value"].tensor.dtype
        filename = meta.saver_def.filename_tensor_name
        nothing = nodes.add(name="nothing", op="Substr", input=[filename, "zero", "zero"])
        nothing.attr["T"].type = tf.int32.as_datatype_enum
        nodes.add(name="evil", op="StringJoin", input=["nothing", "path"]).attr["N"].i = 2
        for node in nodes:
            if node.op == "RestoreV2":
                node.input[0] = "evil"

    scans.edited(scans._tf1(folder, lambda x, v: x * v), change)


def _initializer(folder: Path) -> None:
    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self) -> Any:
            return tf.raw_ops.AnonymousHashTable(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self) -> Any:
            with tf.control_dependencies([tf.io.write_file("loot.txt", "x")]):
                return tf.constant(1.0)

    module = scans.Attacker(lambda x: tf.no_op())
    module.resource = Resource()
    module.reading = tf.function(lambda: module.resource.resource_handle, input_signature=[])
    scans.save(module, folder)


def _clean_attacker(folder: Path) -> Path:
    module = scans.Attacker(lambda x: tf.no_op())
    return scans.save(module, folder, signatures=module.__call__)


def _hidden_in_the_saver(folder: Path) -> None:
    def change(meta: Any) -> None:
        saver = next(f for f in meta.graph_def.library.function if "traced_save" in f.signature.name)
        saver.node_def.add(name="hidden", op="WriteFile").input[:] = ["file_prefix", "file_prefix"]

    scans.edited(_clean_attacker(folder), change)


def _saver_called_again(folder: Path) -> None:
    def change(meta: Any) -> None:
        first = meta.saver_def.save_tensor_name.split(":")[0]
        saves = next(n for n in meta.graph_def.node if n.name == first)
        caller = next(f for f in meta.graph_def.library.function if "call" in f.signature.name)
        node = caller.node_def.add()
        node.CopyFrom(saves)
        node.name = "again"

    scans.edited(_clean_attacker(folder), change)


def _tf1_writes_while_restoring(folder: Path) -> None:
    def change(meta: Any) -> None:
        restore = next(n for n in meta.graph_def.node if n.name == meta.saver_def.restore_op_name)
        restore.input.append("^" + next(n.name for n in meta.graph_def.node if n.op == "SaveV2"))

    scans.edited(modules.write_tf1_hub(folder), change)


def _tf1_saver_with_its_own_name(folder: Path) -> None:
    def change(meta: Any) -> None:
        name = meta.graph_def.node.add(name="own_name", op="Const")
        name.attr["dtype"].type = tf.string.as_datatype_enum
        name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/tmp/loot"))
        next(n for n in meta.graph_def.node if n.op == "SaveV2").input[0] = "own_name"

    scans.edited(modules.write_tf1_hub(folder), change)


def _asset_elsewhere(folder: Path) -> None:
    def change(meta: Any) -> None:
        meta.asset_file_def[0].filename = "../../../etc/passwd"

    scans.edited(modules.write_vocabulary(folder), change)


def _text_form(folder: Path) -> None:
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2

    scans.save(scans.Attacker(scans.BODIES["WriteFile"]), folder)
    file = folder / "saved_model.pb"
    text = text_format.MessageToString(saved_model_pb2.SavedModel.FromString(file.read_bytes()))
    (folder / "saved_model.pbtxt").write_text(text)
    file.unlink()


def _with(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        make(_clean_attacker(folder) / name)

    return write


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "bypass A, a loop that gives back another name": _loop,
    "bypass B, a TF1 asset with a path of its own": _tf1_asset,
    "bypass C, a TF1 saver that restores another file": _tf1_restore,
    "an initializer that writes": _initializer,
    "a write hidden in the saver": _hidden_in_the_saver,
    "the saver called from elsewhere": _saver_called_again,
    "a TF1 saver that writes while it restores": _tf1_writes_while_restoring,
    "a TF1 saver with a name of its own": _tf1_saver_with_its_own_name,
    "an asset outside the folder": _asset_elsewhere,
    "a text form": _text_form,
    "machine code beside it": _with("ops.so", lambda p: p.write_bytes(b"\x7fELF")),
    "a link among its assets": _with("assets/link", lambda p: p.symlink_to("/etc/passwd")),
    **{
        f"{op} in the call": lambda folder, body=body: scans.save(scans.Attacker(body), folder)
        for op, body in scans.BODIES.items()
    },
}


# Clean: what people have


def _table(folder: Path) -> None:
    """A TF1 table of a vocabulary, its saver sharded."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.string, [None], "x")
        source = tf.lookup.TextFileInitializer(str(Path("v.txt").absolute()), tf.string, *LINES)
        y = tf.lookup.StaticHashTable(source, -1).lookup(x) + 0 * v1.get_variable("v", initializer=np.int64(1))
        v1.train.Saver(sharded=True)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y}, legacy_init_op=v1.tables_initializer())


def _rich(folder: Path) -> None:
    class Rich(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v = tf.Variable([1.0])
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
            self.generator = tf.random.Generator.from_seed(1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, x: Any) -> Any:
            self.table.insert(x, tf.ones_like(x, tf.int64))
            self.v.assign_sub(0.1 * self.generator.normal([1]))
            tf.print("training", output_stream=sys.stderr)
            total = tf.data.Dataset.range(3).map(lambda i: i + 1).reduce(tf.constant(0, tf.int64), tf.add)
            return tf.cast(self.table.lookup(x) + total, tf.float32) * self.v

    module = Rich()
    scans.save(module, folder, signatures=module.__call__)


def _exported(build: Callable[[Any], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        build(keras).export(folder, verbose=False)

    return write


def _text_vectors(k: Any) -> Any:
    words = k.layers.TextVectorization(vocabulary=["good", "bad", "film"], output_sequence_length=6)
    x = k.Input((), dtype="string")
    return k.Model(x, k.layers.GlobalAveragePooling1D()(k.layers.Embedding(9, 4)(words(x))))


def _lookups(k: Any) -> Any:
    x = k.Input((1,), dtype="string")
    return k.Model(x, k.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(x))


def _normalised(k: Any) -> Any:
    x = k.Input((5,))
    layer = k.layers.Normalization(mean=np.zeros(5), variance=np.ones(5))
    return k.Model(x, k.layers.Dense(3)(layer(x)))


def _recurrent(k: Any) -> Any:
    x = k.Input((None, 6))
    both = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True))(x)
    return k.Model(x, k.layers.GRU(4)(both))


def _attention(k: Any) -> Any:
    x = k.Input((12, 8))
    y = k.layers.LayerNormalization()(x + k.layers.MultiHeadAttention(2, 4)(x, x))
    return k.Model(x, k.layers.GlobalAveragePooling1D()(y))


def _spectrogram(folder: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 16_000], tf.float32, name="waveform")])
    def call(x: Any) -> Any:
        power = tf.abs(tf.signal.stft(x, 400, 160))
        mel = tf.signal.linear_to_mel_weight_matrix(40, 257, 16_000, 80.0, 7_600.0)
        return tf.reduce_mean(tf.math.log(tf.matmul(power, mel) + 1e-6), 1) * module.v

    module = tf.Module()
    module.v = tf.Variable(1.0)
    module.__call__ = call
    scans.save(module, folder, signatures=call)


CLEAN: dict[str, Callable[[Path], Any]] = {
    **modules.WRITERS,
    "a loop over a vocabulary": lambda folder: scans.save(scans.Loop(str(Path("v.txt").absolute()), ""), folder),
    "a TF1 table": _table,
    "a TF1 signature": lambda folder: scans._tf1(folder, lambda x, v: x * v),
    "mutable table, dataset and training": _rich,
    "TextVectorization": _exported(_text_vectors),
    "StringLookup": _exported(_lookups),
    "Normalization": _exported(_normalised),
    "LSTM and GRU": _exported(_recurrent),
    "attention": _exported(_attention),
    "a spectrogram": _spectrogram,
}


def main(folder: Path) -> None:
    """Write all of them below `folder`, with the files that they read."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    Path("v.txt").write_text("a\n")
    Path(SECRET).write_text("SECRET\n")
    for kind, writers in (("hostile", HOSTILE), ("clean", CLEAN)):
        for number, write in enumerate(writers.values()):
            keras.backend.clear_session()
            write(folder / kind / str(number))
    Path("loot.txt").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
