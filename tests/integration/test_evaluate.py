"""evaluate on a small Keras model: batches, padding, shapes, headline, memory of the order."""

import dataclasses

import numpy as np
import pytest

from tlkit import tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples
from tlkit.model import evaluate as evaluation
from tlkit.model.evaluate import decoded_outputs, evaluate, headline, raw_outputs


@pytest.fixture(scope="module")
def model():
    import keras

    image = keras.Input((4, 4, 3), name="image")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    keras.utils.set_random_seed(0)
    return keras.Model(image, tasks.classify(["dark", "light", "grey"]).head(flat))


def shades(count, size=4):
    ids = tuple(f"{i}.png" for i in range(count))
    read = lambda i: np.full((size, size, 3), i * 7 % 256, np.uint8)
    return Examples(
        ids,
        ReadColumn(read, ArraySpec((size, size, 3), "uint8"), ids),
        ArrayColumn(np.arange(count, dtype=np.int32) % 3),
    )


@pytest.mark.numeric
def test_outputs_equal_predict_whatever_the_batch_size(model):
    import keras

    data, task = shades(13), tasks.classify(["dark", "light", "grey"])
    whole = keras.ops.softmax(model.predict(np.stack([data.inputs[i] for i in range(13)]), verbose=0))
    for batch_size in (1, 5, 13, 32):
        assert np.allclose(decoded_outputs(model, task, data, batch_size=batch_size)["probabilities"], whole, atol=1e-6)
    result = evaluate(model, task, data)
    assert result.outputs.dtype == np.float32
    assert result.scores["accuracy"] == np.mean(np.argmax(whole, 1) == data.target_array)


def test_a_short_last_batch_is_not_traced_anew(model):
    import keras

    traced = []
    image = keras.Input((4, 4, 3))
    spy = keras.Model(image, keras.layers.Lambda(lambda x: (traced.append(1), model(x))[1])(image))
    traced.clear()
    decoded_outputs(spy, tasks.classify(["a", "b", "c"]), shades(13), batch_size=5)
    assert len(traced) == 1


@pytest.mark.parametrize(("count", "most", "size"), [(45, 32, 23), (64, 32, 32), (33, 32, 17), (1, 32, 1), (7, 7, 7)])
def test_batches_share_the_examples_evenly(count, most, size):
    assert evaluation._even(count, most) == size


def test_dict_inputs():
    import keras

    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((2,), name="b")}
    both = keras.Model(inputs, keras.layers.Add()([inputs["a"], inputs["b"]]))
    spec = {"a": ArraySpec((2,), "float32"), "b": ArraySpec((2,), "float32")}
    read = lambda i: {"a": np.array([i, 0], np.float32), "b": np.array([0, i], np.float32)}
    data = Examples(tuple("abcde"), ReadColumn(read, spec, tuple("abcde")), ArrayColumn(np.ones((5, 2), np.float32)))
    task = tasks.regress(["x", "y"], mean=[0, 0], std=[1, 1])
    assert decoded_outputs(both, task, data, batch_size=2)["values"][:, 1].tolist() == [0, 1, 2, 3, 4]


def test_the_first_batch_may_be_the_shortest():
    """Sequences of like length come together: the longest are left over, and the first example may be one of them."""
    import keras

    words = keras.Input((None,), name="words")
    summed = keras.Model(words, keras.layers.Lambda(lambda x: keras.ops.sum(x, axis=1, keepdims=True))(words))
    sizes = np.array([24, 8, 8, 16, 16, 23], np.int32)
    read = lambda i: (np.arange(24) < sizes[i]).astype(np.float32)
    spec, ids = ArraySpec((24,), "float32"), tuple("abcdef")
    data = Examples(
        ids,
        ReadColumn(read, spec, ids),
        ArrayColumn(np.zeros((6, 1), np.float32)),
        columns={"length": ArrayColumn(sizes)},
    )
    task = tasks.regress(["n"], mean=[0], std=[1])
    few = decoded_outputs(summed, task, data.subset(range(5)), batch_size=4)["values"]
    assert few[:, 0].tolist() == [24, 8, 8, 16, 16]
    assert decoded_outputs(summed, task, data, batch_size=4)["values"][:, 0].tolist() == sizes.tolist()
    np.testing.assert_array_equal(
        raw_outputs(summed, data, batch_size=4), decoded_outputs(summed, task, data)["values"]
    )


def test_headline_and_example_scores(model):
    task = tasks.classify(["dark", "light", "grey"])
    result = evaluate(model, task, shades(9))
    line = headline(result)
    assert (line.name, line.value, line.interval) == ("accuracy", result.scores["accuracy"], "Wilson")
    assert line.low <= line.value <= line.high
    assert np.mean(result.details["example_scores"]) == pytest.approx(line.value)
    assert headline(dataclasses.replace(result, details={})) is None


def test_what_cannot_be_evaluated(model):
    task = tasks.classify(["dark", "light", "grey"])
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate(model, task, shades(0))
    with pytest.raises(InputError, match=r"takes inputs of shape \(4, 4, 3\)"):
        evaluate(model, task, shades(3, size=8))
    with pytest.raises(InputError, match="`batch_size` must be 1 or more"):
        evaluate(model, task, shades(3), batch_size=0)
