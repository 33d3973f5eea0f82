"""The examples that exported files are checked and int8 ranges are measured with, on disk where workers find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tlkit.core import excerpts
from tlkit.core.disk_arrays import disk_array
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.data.splitting import spread


def examples_to_check(data: Splits, most: int) -> tuple[str, Examples]:
    """The split that exported files are checked on, and at most `most` examples of it.

    Test examples; where there are none, validation examples, and of training data alone its own.

    Returns:
        "test", "val" or "train", and examples.

    Raises:
        InputError: If the run has no examples at all.
    """
    name = next((name for name in ("test", "val", "train") if len(getattr(data, name))), None)
    if name is None:
        raise InputError("The run has no examples to check an export with; load it with some.")
    examples = getattr(data, name)
    texts = excerpts.whole(examples)
    sample = examples if len(texts) <= most else excerpts.of_texts(examples, sorted(spread_over(texts, most)))
    return name, sample


def spread_over(examples: Examples, count: int) -> tuple[int, ...]:
    """At most `count` of the examples, of all classes in turn where targets are class numbers; no other is read."""
    spec = examples.targets.spec
    of_classes = isinstance(spec, ArraySpec) and spec.shape == ()
    return spread(examples.target_array if of_classes else np.zeros((len(examples), 0)), count)


def store(examples: Examples, names: Sequence[str], folder: Path) -> dict[str, np.ndarray]:
    """Write the inputs of all examples as one .npy file a model input; the arrays given back stay on disk.

    Args:
        examples: Whose inputs to write.
        names: Names of the model's inputs; an example that is a plain array is the only one's.
        folder: Where to; is made.
    """
    folder.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {}
    for i in range(len(examples)):
        for name, row in _row(examples, i, names).items():
            if row.dtype.kind in "OU":
                return _store_strings(examples, names, folder)
            if name not in arrays:
                file, shape = folder / f"{name}.npy", (len(examples), *row.shape)
                arrays[name] = disk_array(file, row.dtype, shape)
            arrays[name][i] = row
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    return arrays


def _store_strings(examples: Examples, names: Sequence[str], folder: Path) -> dict[str, np.ndarray]:
    """The same where some inputs are texts: UTF-8 of one width, as workers read arrays without Python objects."""
    rows = [_row(examples, i, names) for i in range(len(examples))]
    arrays = {name: [row[name] for row in rows] for name in names}
    shaped = {n: _encoded(values) if values[0].dtype.kind in "OU" else np.stack(values) for n, values in arrays.items()}
    for name, array in shaped.items():
        np.save(folder / f"{name}.npy", array)
    return shaped


def _encoded(rows: Sequence[np.ndarray]) -> np.ndarray:
    flat = np.array([[str(value).encode() for value in np.ravel(row)] for row in rows], "S")
    return flat.reshape(len(rows), *rows[0].shape)


def store_arrays(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write arrays as one .npy file each."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _row(examples: Examples, index: int, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The inputs of one example by name, as a batch has them: ragged rows are padded there."""
    batch = examples.inputs.batch([examples.inputs[index]])
    by_name = {name: batch[name] for name in names} if isinstance(batch, Mapping) else {names[0]: batch}
    return {name: np.asarray(np.asarray(rows)[0]) for name, rows in by_name.items()}
