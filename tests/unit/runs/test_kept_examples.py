"""The examples that a run keeps: what is read back is what was trained on, and nothing is held in memory as a whole."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any, cast

import numpy as np

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, DictColumn, FileColumn, RaggedColumn, ReadColumn, TextColumn
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.run import Run
from tlkit.runs.kept_examples import keep, kept_splits

LABELS = ("low", "high")


def examples(inputs, **fields) -> Examples:
    count = len(inputs)
    return Examples(tuple(map(str, range(count))), inputs, np.arange(count) % 2, **fields)


def again(data: Splits, folder) -> Splits:
    """What is kept of the data, read from the file."""
    run = Run(model=cast(Any, None), task=tasks.classify(LABELS), data=data)
    keep(run, folder / "examples.npz")
    assert [path.name for path in folder.glob("*examples*")] == ["examples.npz"]
    assert not list(folder.glob(".tlkit*"))
    with np.load(folder / "examples.npz", allow_pickle=False) as archive:
        return kept_splits(dict(archive))


def test_groups_weights_heads_and_notes_are_kept(tmp_path):
    train = examples(np.ones((4, 3), np.float32), groups=("a", "a", "b", "b"), weights=np.float32([1, 2, 3, 4]))
    data = Splits(train, train, train.subset([3, 0]), LABELS, notes=("odd",), heads={"one": ("x", "y")})
    opened = again(data, tmp_path)
    assert opened.train.groups == ("a", "a", "b", "b") and opened.test.groups == ("b", "a")
    assert opened.test.weights is not None and opened.test.weights.tolist() == [4, 1]
    assert opened.notes == ("odd",) and opened.heads == {"one": ("x", "y")} and opened.labels == LABELS
    plain = again(Splits(*[dataclasses.replace(train, groups=(), weights=None)] * 3, LABELS), tmp_path)
    assert plain.train.groups == () and plain.train.weights is None


def test_ragged_inputs_keep_their_padding_and_digests(tmp_path):
    rows = [np.arange(2 * count, dtype=np.float32).reshape(count, 2) for count in (1, 3, 2)]
    inputs = DictColumn({"a": RaggedColumn(rows, fill=-1, most=4), "b": ArrayColumn(np.zeros((3, 1), np.float32))})
    for column in (inputs.columns["a"], inputs):
        data = Splits(*[examples(column)] * 2, examples(column).subset([]), LABELS)
        opened = again(data, tmp_path)
        assert opened.train.digests == data.train.digests and opened.train.inputs.spec == column.spec
        for part, of in ((opened.train.subset([2, 0]), data.train.subset([2, 0])), (opened.test, data.test)):
            before, after = (x.inputs.take(np.arange(len(x))) for x in (of, part))
            for name in before if isinstance(before, dict) else (None,):
                x, y = (before, after) if name is None else (before[name], after[name])
                assert x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y)


def test_a_part_without_files_keeps_the_shape_of_the_others(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((4, 2), number, np.float32))
    column = FileColumn([tmp_path / f"{number}.npy" for number in range(3)], np.load)
    assert column.subset([]).spec == column.spec == ArraySpec((4, 2), "float32")
    opened = again(Splits(examples(column), examples(column), examples(column).subset([]), LABELS), tmp_path)
    assert opened.test.inputs.spec == column.spec
    assert opened.val.inputs.take(np.array([2])).tolist() == [[[2, 2]] * 4]


def test_what_is_read_is_never_in_memory_as_a_whole(tmp_path):
    count, shape = 300, (512, 512)
    names = tuple(map(str, range(count)))

    def read(i):
        return {"image": np.full(shape, i % 250, np.uint8), "name": f"picture {i}"}

    spec = cast(Any, {"image": ArraySpec(shape, "uint8"), "name": ArraySpec((), "string")})
    data = Splits(*[examples(ReadColumn(read, spec, names))] * 3, LABELS)
    run = Run(model=cast(Any, None), task=tasks.classify(LABELS), data=data)
    tracemalloc.start()
    try:
        keep(run, tmp_path / "examples.npz")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count * 512 * 512 / 2
    with np.load(tmp_path / "examples.npz", allow_pickle=False) as archive:
        test = kept_splits(dict(archive)).test
    assert np.array_equal(test.inputs[299]["image"], read(299)["image"]) and test.inputs[299]["name"] == "picture 299"


def test_texts_and_masks_of_functions_are_kept(tmp_path):
    words = ReadColumn(lambda i: ["one", "a longer text", ""][i], ArraySpec((), "string"), ("a", "b", "c"))
    opened = again(Splits(*[examples(words, columns={"text": TextColumn(["x", "y", "z"])})] * 3, LABELS), tmp_path)
    assert [opened.test.inputs[i] for i in range(3)] == ["one", "a longer text", ""]
    assert opened.test.columns["text"][1] == "y"
