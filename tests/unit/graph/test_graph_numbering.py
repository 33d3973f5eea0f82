"""SavedModels of equal functions have equal bytes, whatever the process has traced before, and work as they did."""

import numpy as np
import pytest
import tensorflow as tf

from tlkit.graph import renumber


class Module(tf.Module):
    """A table of words, a loop, a branch and a function that two signatures call."""

    def __init__(self, vocabulary):
        super().__init__()
        asset = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(asset, -1)
        self.other = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [7]), 0)
        self.scale = tf.Variable([2.0, 3.0])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def ids(self, words):
        places = self.table.lookup(words)
        return {
            "ids": tf.cond(tf.reduce_any(places < 0), lambda: places + 10, lambda: places),
            "other": self.other.lookup(words),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def scaled(self, x):
        _, y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, self.twice(y)), (0, x))
        return {"y": y, "once": self.twice(x)}

    @tf.function
    def twice(self, x):
        return x * self.scale


@pytest.fixture
def saved(tmp_path):
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("a\nb\n")

    def save(name, before=0):
        for i in range(before):
            tf.function(lambda x, i=i: x + i)(tf.constant(1.0))
        module = Module(vocabulary)
        tf.saved_model.save(module, str(tmp_path / name), signatures={"ids": module.ids, "scaled": module.scaled})
        return tmp_path / name

    return save


def _bytes(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_bytes_do_not_depend_on_what_was_traced_before(saved):
    folders = [saved("first"), saved("second", before=7), saved("third", before=60)]  # the numbers get longer
    differing = {name for name, content in _bytes(folders[0]).items() if content != _bytes(folders[1])[name]}
    assert differing >= {"saved_model.pb", "fingerprint.pb"}, "TensorFlow numbers no longer: renumber can go"
    for folder in folders:
        renumber(folder)
    assert _bytes(folders[0]) == _bytes(folders[1]) == _bytes(folders[2])


def test_it_computes_what_it_did(saved):
    folder = saved("model", before=3)
    renumber(folder)
    loaded = tf.saved_model.load(str(folder))
    outputs = loaded.signatures["ids"](words=tf.constant(["b", "a"]))
    np.testing.assert_array_equal(outputs["ids"], [1, 0])
    np.testing.assert_array_equal(outputs["other"], [0, 7])
    np.testing.assert_array_equal(loaded.signatures["ids"](words=tf.constant(["b", "?"]))["ids"], [11, 9])
    outputs = loaded.signatures["scaled"](x=tf.constant([[1.0, 1.0]]))
    np.testing.assert_array_equal(outputs["y"], [[8, 27]])
    np.testing.assert_array_equal(outputs["once"], [[2, 3]])
    np.testing.assert_array_equal(loaded.scaled(tf.constant([[1.0, 1.0]]))["y"], [[8, 27]])


def test_gradients_flow_through_it(saved):
    folder = saved("model")
    renumber(folder)
    loaded, x = tf.saved_model.load(str(folder)), tf.constant([[1.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = loaded.scaled(x)["y"]
    np.testing.assert_array_equal(tape.gradient(y, x), [[8, 27]])


def test_older_programs_open_it(saved):
    folder = saved("model")
    renumber(folder)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(folder)).signature_def
        input_name, asked = signatures["ids"].inputs["words"].name, signatures["ids"].outputs["ids"].name
        np.testing.assert_array_equal(session.run(asked, {input_name: ["b", "a"]}), [1, 0])


def test_tables_of_two_models_in_one_process_stay_apart(saved, tmp_path):
    first = saved("first")
    (tmp_path / "vocabulary.txt").write_text("b\na\n")
    second = saved("second")
    for folder in (first, second):
        renumber(folder)
    numbers = [
        tf.saved_model.load(str(f)).signatures["ids"](words=tf.constant(["a", "b"]))["ids"] for f in (first, second)
    ]
    np.testing.assert_array_equal(numbers, [[0, 1], [1, 0]])


def test_the_fingerprint_is_that_of_the_file(saved):
    folder = saved("model")
    before = tf.saved_model.experimental.read_fingerprint(str(folder))
    renumber(folder)
    after = tf.saved_model.experimental.read_fingerprint(str(folder))
    assert after.saved_model_checksum != before.saved_model_checksum
    assert after.checkpoint_hash == before.checkpoint_hash
    once = (folder / "fingerprint.pb").read_bytes()
    renumber(folder)
    assert (folder / "fingerprint.pb").read_bytes() == once, "a second time changes nothing"
