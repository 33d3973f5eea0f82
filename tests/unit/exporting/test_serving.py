"""The SavedModel for servers: what its signatures promise whatever the processor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.run import Run
from tlkit.exporting import saved_model


def vectors(count: int) -> Examples:
    names = tuple(map(str, range(count)))
    rows = np.ones((count, 3), np.float32)
    return Examples(
        names, ReadColumn(rows.__getitem__, ArraySpec((3,), "float32"), names), ArrayColumn(np.zeros(count, np.int32))
    )


@pytest.mark.numeric
def test_no_signature_runs_the_model_on_an_empty_batch(tmp_path: Path):
    task = tasks.classify(["a", "b"])

    def decode(raw: tf.Tensor) -> dict[str, tf.Tensor]:  # as a convolution of oneDNN, it cannot take an empty batch
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(raw)[0])]):
            return task.answers[0].decode(raw)

    careful = dataclasses.replace(task, answers=(dataclasses.replace(task.answers[0], decode=decode),))
    x = keras.Input((3,), name="x")
    model = keras.Model(x, task.head(keras.layers.Identity(name="backbone")(x)))
    run = Run(model, careful, Splits(vectors(4), vectors(0), vectors(4), task.labels))
    saved_model.write_serving(run, saved_model.trace(run), saved_model.serving(run), tmp_path)
    served = tf.saved_model.load(str(tmp_path)).signatures
    assert set(served) == {"serving_default", "classify", "embedding"}
    for signature in served.values():
        shapes = {count: [v.shape for v in signature(x=tf.zeros((count, 3))).values()] for count in (0, 1, 3)}
        assert {count: {shape[0] for shape in batch_shapes} for count, batch_shapes in shapes.items()} == {
            0: {0},
            1: {1},
            3: {3},
        }


def test_an_answer_a_pixel_has_no_classify_signature(tmp_path: Path):
    task = tasks.classify(["a", "b"])
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Reshape((3, 2))(keras.layers.Dense(6)(x)))
    run = Run(model, task, Splits(vectors(4), vectors(0), vectors(4), task.labels))
    saved_model.write_serving(run, saved_model.trace(run), saved_model.serving(run), tmp_path)
    assert set(tf.saved_model.load(str(tmp_path)).signatures) == {"serving_default"}


def test_a_task_needs_answers_with_names_of_their_own():
    task = tasks.classify(["a", "b"])
    for answers in ((), (*task.answers, *task.answers)):
        with pytest.raises(InputError, match="needs an answer or more, each with a name of its own"):
            dataclasses.replace(task, answers=answers)
