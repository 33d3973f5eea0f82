"""Modules in every form: lists, no batch, one example at a time, grey, whole numbers, half precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from changing import decoded

import tlkit
from tlkit.core.errors import InputError
from tlkit.exporting import saved_model
from tlkit.formats import tflite
from tlkit.layer.hub_layer import HubLayer
from tlkit.tokenizing.wordpiece import INPUTS, WordPiece

LABELS = ["low", "high"]
TASK = tlkit.tasks.classify(LABELS)
SIDE, SAMPLES, FRAME = 16, 800, 200
LAYERS = keras.layers


class Recording(tf.Module):
    """YAMNet's kind: one waveform without a batch -> (scores, embeddings, spectrogram), a row a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(tf.random.stateless_normal((FRAME, 6), (1, 2)) * 0.1)
        self.v = tf.Variable(tf.random.stateless_normal((6, 5), (3, 4)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")])
    def __call__(self, waveform: Any) -> Any:
        frames = tf.signal.frame(waveform, FRAME, FRAME // 2, pad_end=True)
        embeddings = tf.nn.relu(frames @ self.w)
        return tf.nn.softmax(embeddings @ self.v), embeddings, frames[:, :8]


class Two(keras.Model):
    """Two arguments in place of a list of two tensors."""

    def __init__(self) -> None:
        super().__init__(name="two")
        self.dense = LAYERS.Dense(3)

    def call(self, first: Any, second: Any) -> Any:
        return self.dense(first) + self.dense(second)


class Pictures(tf.Module):
    """A convolution on pictures of any spec, by themselves without a batch where the spec has none."""

    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 3, 4), (5, 6)))

        def call(x: Any) -> Any:
            batch = tf.reshape(tf.cast(x, tf.float32), [-1, SIDE, SIDE, 3])
            pooled = tf.reduce_mean(tf.nn.conv2d(batch, self.kernel, 2, "SAME"), [1, 2])
            return pooled[0] if spec.shape.rank == 3 else pooled

        self.call = tf.function(call, input_signature=[spec])
        self.__call__ = self.call


def conv(shape: tuple[int, ...], first: Any = None, wrap: Any = None) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input(shape, name="image")
    x = image if first is None else first(image)
    y = LAYERS.GlobalAveragePooling2D()(LAYERS.Conv2D(4, 3, 2, activation="relu")(x))
    return keras.Model(image if wrap is None else wrap(image), y)


def mixed() -> keras.Model:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return conv((SIDE, SIDE, 3), LAYERS.Rescaling(1 / 255))
    finally:
        keras.mixed_precision.set_global_policy("float32")


def tensors(dtype: Any = tf.float32, batch: Any = None) -> Any:
    return Pictures(tf.TensorSpec([batch, SIDE, SIDE, 3], dtype, name="x"))


FORMS: dict[str, Any] = {
    "a list of one": lambda: conv((SIDE, SIDE, 3), wrap=lambda i: [i]),
    "a dict of one": lambda: conv((SIDE, SIDE, 3), wrap=lambda i: {"image": i}),
    "mixed_float16": mixed,
    "grey": lambda: conv((SIDE, SIDE, 1)),
    "channels first": lambda: conv((3, SIDE, SIDE), LAYERS.Permute((2, 3, 1))),
    "uint8": lambda: tensors(tf.uint8),
    "int32": lambda: tensors(tf.int32),
    "a batch of one": lambda: tensors(batch=1),
    "a batch of three": lambda: tensors(batch=3),
    "no batch": lambda: Pictures(tf.TensorSpec([SIDE, SIDE, 3], tf.float32, name="x")),
    "recordings": Recording,
}


def pictures() -> tlkit.Splits:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (20, SIDE, SIDE, 3), "uint8")
    return tlkit.data.image.resized(tlkit.data.image.from_arrays(x, np.arange(20) % 2, labels=LABELS), (SIDE, SIDE))


def sounds() -> tlkit.Splits:
    waves = [np.random.default_rng(i).normal(size=SAMPLES).astype("f") * 0.1 for i in range(20)]
    targets = [i % 2 for i in range(20)]
    return tlkit.data.audio.from_arrays(waves, targets, labels=LABELS, rate=16_000, seconds=SAMPLES / 16_000)


def module_of(form: str) -> HubLayer:
    says = {"recordings": {"output_key": 1}, "uint8": {}, "int32": {}}
    return HubLayer(FORMS[form](), name="backbone", **says.get(form, {"input_range": (0, 255)}))


def data_of(form: str) -> tlkit.Splits:
    return sounds() if form == "recordings" else pictures()


def inputs(data: tlkit.Splits, count: int = 4) -> np.ndarray:
    return np.stack([data.train.inputs[i] for i in range(count)]).astype("float32")


def lite(model: keras.Model, data: tlkit.Splits, folder: Any, form: str = "float32") -> np.ndarray:
    x, name = inputs(data), model.inputs[0].name
    saved_model.write_convertible(tlkit.Run(model, TASK, data), folder / "source")
    (folder / "seen").mkdir()
    np.save(folder / "seen" / f"{name}.npy", x)
    with tflite.quiet():
        content = tflite.convert(folder / "source", form, folder / "seen", spanned=False)
    (folder / "model.tflite").write_bytes(content)
    opened = tflite.open_tflite(folder / "model.tflite", threads=1)
    return np.concatenate([opened.call({name: x[i : i + 1]})["probabilities"] for i in range(len(x))])


def gradients(model: keras.Model, variables: Any, x: Any) -> Any:
    """As a training step has them, traced."""

    @tf.function(autograph=False)
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        return tape.gradient(loss, [v.value for v in variables])

    return step(x)


@pytest.mark.parametrize("form", FORMS)
def test_a_module_of_any_form_is_built_on_trained_and_saved(form, tmp_path):
    data = data_of(form)
    layer = module_of(form)
    model = tlkit.build(layer, TASK, data=data)
    x = inputs(data)
    together, alone = np.asarray(model(x)), np.concatenate([np.asarray(model(x[i : i + 1])) for i in range(len(x))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    layer.unfreeze(1.0)
    assert all(np.abs(g).max() > 0 for g in gradients(model, layer.trainable_variables[:1], x))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(np.asarray(again(x)), together, rtol=1e-5, atol=1e-5)


def test_a_module_of_whole_numbers_becomes_an_int8_file(tmp_path):
    data = pictures()
    model = tlkit.build(module_of("uint8"), TASK, data=data)
    expected = decoded(TASK, model(inputs(data)))
    assert np.abs(lite(model, data, tmp_path, "int8") - expected).max() < 0.1


def test_a_module_of_one_recording_becomes_a_tflite_file(tmp_path):
    data = sounds()
    model = tlkit.build(module_of("recordings"), TASK, data=data)
    expected = decoded(TASK, model(inputs(data)))
    np.testing.assert_allclose(lite(model, data, tmp_path), expected, atol=1e-4)


def test_grey_pictures_are_made_by_luma_weights_and_a_note_says_so():
    module = conv((SIDE, SIDE, 1))
    layer = HubLayer(module).shaped(pictures().train.inputs.spec)
    assert "luma" in layer.form.notes[0]
    x = inputs(pictures())
    expected = module((x @ np.array([0.299, 0.587, 0.114], "f"))[..., None])
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4)
    assert HubLayer(module).shaped(tlkit.core.examples.ArraySpec((SIDE, SIDE, 1), "uint8")).form.notes == ()


def test_a_module_made_in_half_precision_computes_in_float32_and_inspect_says_that_it_converts():
    module = mixed()
    layer = HubLayer(module)
    assert layer(np.zeros((1, SIDE, SIDE, 3))).dtype == "float16"
    formed = HubLayer(module).shaped()
    x = inputs(pictures())
    np.testing.assert_allclose(formed(x), np.asarray(layer(x), "f"), atol=2e-3)
    assert formed(x).dtype == "float32" and not formed.graph.problem and formed.blocks
    assert tlkit.HubLayer(module, input_range=(0, 255))(x).shape == (4, 4)
    converted = tlkit.inspect(module).conversion
    assert converted.converts, converted.reason


# -- lists, tuples, nested structures


class Sum(tf.Module):
    """A weighted sum of what it is called with, in any structure."""

    def __init__(self, *signature: Any) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.random.stateless_normal((5, 3), (1, 2)))
        self.__call__ = tf.function(self.call, input_signature=signature)

    def call(self, *arguments: Any) -> Any:
        leaves = tf.nest.flatten(arguments)
        return tf.add_n([(i + 1.0) * leaf for i, leaf in enumerate(leaves)]) @ self.weight


ROW = tf.TensorSpec([None, 5], tf.float32)
A, B = np.full((2, 5), 1.0, "f"), np.full((2, 5), 3.0, "f")


def keras_lists(*, subclassed: bool) -> Any:
    if not subclassed:
        first, second = keras.Input((5,), name="one"), keras.Input((5,), name="two")
        return keras.Model([first, second], LAYERS.Dense(3)(LAYERS.concatenate([first, second])))

    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = LAYERS.Dense(3)

        def call(self, pair: Any) -> Any:
            return self.dense(pair[0] + 2 * pair[1])

    model = Subclassed()
    model([A, B])
    return model


def exported(folder: Any) -> Any:
    keras_lists(subclassed=False).export(folder, verbose=False)
    return str(folder)


def keras2(folder: Any) -> Any:
    import tf_keras

    first, second = tf_keras.Input((5,)), tf_keras.Input((5,))
    tf_keras.Model([first, second], tf_keras.layers.Dense(3)(tf_keras.layers.concatenate([first, second]))).save(
        str(folder), save_format="tf"
    )
    return str(folder)


STRUCTURES: dict[str, Any] = {
    "functional": (lambda folder: keras_lists(subclassed=False), [A, B]),
    "subclassed": (lambda folder: keras_lists(subclassed=True), [A, B]),
    "Keras 3 export": (exported, [A, B]),
    "Keras 2 SavedModel": (keras2, [A, B]),
    "a list": (lambda folder: Sum([ROW, ROW]), [A, B]),
    "a tuple": (lambda folder: Sum((ROW, ROW)), (A, B)),
    "several arguments": (lambda folder: Sum(ROW, ROW), [A, B]),
    "nested": (lambda folder: Sum((ROW, {"k": [ROW]})), (A, {"k": [B]})),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_module_of_several_inputs_is_called_as_it_was_made_and_built_on_by_name(kind, tmp_path):
    make, value = STRUCTURES[kind]
    module = make(tmp_path / "module")
    layer = HubLayer(module)
    alone = np.asarray(layer(value))
    assert alone.shape == (2, 3)
    if isinstance(module, Sum):
        np.testing.assert_allclose(alone, (A + 2 * B) @ module.weight.numpy(), rtol=1e-5)
    model = tlkit.build(HubLayer(module, name="backbone"), TASK)
    assert isinstance(model.input, dict) and len(model.input) == 2
    named = dict(zip(model.get_layer("backbone").form.names, (A, B), strict=True))
    features = keras.Model(model.input, model.get_layer("backbone").output)
    np.testing.assert_allclose(features(named), HubLayer(module)(value), rtol=1e-5)


def test_a_list_of_one_takes_its_tensor_bare_or_listed():
    layer = HubLayer(conv((SIDE, SIDE, 3), wrap=lambda i: [i]))
    x = inputs(pictures())
    np.testing.assert_array_equal(layer(x), layer([x]))


# -- outputs


def test_an_output_is_chosen_by_its_position_as_inspect_shows_it():
    wave = np.linspace(0, 1, SAMPLES, dtype="f")
    scores, embeddings, _ = Recording()(wave)
    module = Recording()
    np.testing.assert_allclose(HubLayer(module, output_key=1)(wave), embeddings, rtol=1e-5)
    np.testing.assert_allclose(HubLayer(module, output_key="0")(wave), scores, rtol=1e-5)
    shown = [t.name for t in tlkit.inspect(module, convert=False).outputs]
    assert shown == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"`output_key` must be one of \['0', '1', '2'\]. Received: output_key=3"):
        HubLayer(module, output_key=3)(wave)
    with pytest.raises(InputError, match=r"several outputs; make HubLayer\(..., output_key=one of \['0', '1', '2'\]"):
        tlkit.build(module, TASK)


def test_a_recording_is_told_from_a_batch_of_numbers_without_data():
    class Numbers(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, x: Any) -> Any:
            return tf.stack([x, x * x], 1)

    assert HubLayer(Numbers()).shaped().form.batched
    assert not HubLayer(Recording()).shaped().form.batched


def test_frames_are_kept_for_a_task_of_steps():
    task = tlkit.tasks.tag(["O", "B-word"])
    model = tlkit.build(module_of("recordings"), task, data=sounds())
    assert len(model.output.shape) == 3
    frames = Recording()(inputs(sounds())[0])[0].shape[0]
    assert model(inputs(sounds())).shape[:2] == (4, frames)


def test_recordings_are_learned_indexed_and_extracted(tmp_path):
    data = sounds()
    phases = [tlkit.Phase(epochs=1, lr=1e-2), tlkit.Phase(epochs=1, lr=1e-3, unfrozen=1.0)]
    run = tlkit.finetune(module_of("recordings"), TASK, data, phases, out=tmp_path, fresh=True)
    opened = tlkit.load(tmp_path)
    x = inputs(data)
    np.testing.assert_allclose(opened.model(x), run.model(x), atol=1e-5)
    frames = np.asarray(Recording()(x[0])[1])
    vectors = tlkit.extract(module_of("recordings"), data.train)
    np.testing.assert_allclose(np.asarray(vectors)[0], frames, atol=1e-5)
    index = tlkit.index(module_of("recordings"), data.train)
    assert index.nearest([x[1]], k=1)[0][0].id == data.train.ids[1]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_run_on_a_module_of_any_form_passes_its_gates(form, tmp_path):
    data = data_of(form)
    phases = [tlkit.Phase(epochs=1, lr=1e-2), tlkit.Phase(epochs=1, lr=1e-4, unfrozen=0.5)]
    tlkit.finetune(module_of(form), TASK, data, phases, out=tmp_path, fresh=True)
    done = tlkit.export(tmp_path, formats=("saved_model", "float32", "float16"))
    assert all(file.passed for file in done.exports)


# -- one length of texts


class Encoder(tf.Module):
    """A text encoder of one length, without a vocabulary."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.embedding = tf.Variable(tf.random.stateless_normal((10, 4), (1, 2)))
        spec = {name: tf.TensorSpec([None, steps], tf.int32, name=name) for name in INPUTS}
        self.__call__ = tf.function(self.call, input_signature=[spec])

    def call(self, x: Any) -> Any:
        vectors = tf.gather(self.embedding, x[INPUTS[0]])
        return {"default": tf.reduce_mean(vectors * tf.cast(x[INPUTS[1]], tf.float32)[..., None], 1)}


PIECES = WordPiece(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "the", "plot", "very"))


def tokens(length: int) -> tlkit.Splits:
    texts = [f"{LABELS[i % 2]} film the plot {i} {'very ' * (i % 4)}" for i in range(20)]
    raw = tlkit.data.text.from_arrays(texts, [i % 2 for i in range(20)], labels=LABELS)
    return tlkit.data.text.tokenized(raw, PIECES, length)


@pytest.mark.parametrize("unfrozen", [0.0, 1.0])
def test_batches_of_texts_are_never_cut_below_the_one_length_that_a_module_takes(unfrozen, tmp_path):
    phases = [tlkit.Phase(epochs=1, lr=1e-2, unfrozen=unfrozen)]
    run = tlkit.finetune(Encoder(32), TASK, tokens(32), phases, out=tmp_path, fresh=True)
    assert 0 <= run.scores["accuracy"] <= 1


@pytest.mark.slow
def test_a_run_on_word_pieces_without_a_vocabulary_is_exported_for_clients_that_have_it(tmp_path):
    phases = [tlkit.Phase(epochs=1, lr=1e-2)]
    run = tlkit.finetune(Encoder(32), TASK, tokens(32), phases, out=tmp_path, fresh=True)
    assert all(e.passed for e in tlkit.export(run, formats=("saved_model", "float32")).exports)
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    assert set(served.structured_input_signature[1]) == set(INPUTS)


def test_texts_of_another_length_than_the_module_takes_are_refused():
    with pytest.raises(InputError, match=r"takes texts of 16 word pieces only, and these were made with 32"):
        tlkit.finetune(Encoder(16), TASK, tokens(32))


# -- the task's side


def test_raw_outputs_that_no_answer_reads_are_refused():
    def head(features: Any) -> Any:
        return {"a": LAYERS.Dense(2)(features), "b": LAYERS.Dense(2)(features)}

    def answered(decode):
        return dataclasses.replace(TASK, head=head, answers=(dataclasses.replace(TASK.answers[0], decode=decode),))

    task = answered(lambda raw: {"probabilities": keras.ops.softmax(raw)})
    with pytest.raises(InputError, match=r"cannot decode what the model gives, \{'a': \(None, 2\), 'b': \(None, 2\)\}"):
        tlkit.build(HubLayer(conv((SIDE, SIDE, 3)), input_range=(0, 1)), task)
    other = answered(lambda raw: {"scores": keras.ops.softmax(raw["a"])})
    with pytest.raises(InputError, match=r"gives \['scores'\], and its `tensors` are \['probabilities'\]"):
        tlkit.build(HubLayer(conv((SIDE, SIDE, 3)), input_range=(0, 1)), other)
    answering = answered(lambda raw: {"probabilities": keras.ops.softmax(raw["a"] + raw["b"])})
    assert len(tlkit.build(HubLayer(conv((SIDE, SIDE, 3)), input_range=(0, 1)), answering).outputs) == 2


class Called(tf.Module):
    """Any function of a convolution's mean, of pictures (or of whatever the specs say)."""

    def __init__(self, gives: Any, *specs: Any) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((3, 3, 3, 4), (5, 6)))
        self.gives = gives
        self.__call__ = tf.function(self.call, input_signature=specs or [tf.TensorSpec([None, SIDE, SIDE, 3])])

    def call(self, x: Any, *others: Any) -> Any:
        if x.shape.rank == 2:
            x = tf.reshape(x, [-1, SIDE, SIDE, 3])
        if x.shape.rank != 4:
            return self.gives(tf.reduce_mean(tf.cast(x, tf.float32)) + tf.reduce_sum(self.kernel))
        x = tf.ensure_shape(tf.cast(x, tf.float32), [None, None, None, 3])
        return self.gives(tf.reduce_mean(tf.nn.conv2d(x / 255.0, self.kernel, 2, "SAME"), [1, 2]))


def same(y: Any) -> Any:
    return y


REFUSED: dict[str, Any] = {
    "whole numbers": (lambda y: tf.cast(y, tf.int32), (), "features of float32, and the module gives int32"),
    "strings": (tf.strings.as_string, (), "features of float32, and the module gives string"),
    "truth values": (lambda y: y > 0, (), "features of float32, and the module gives bool"),
    "a number": (lambda y: tf.reduce_mean(y, -1), (), r"features \(batch, d\); the module gives shape \(None,\)"),
    "no numbers": (lambda y: y[:, :0], (), r"gives features without numbers, of shape \(None, 0\)"),
    "a row for all": (lambda y: tf.reduce_mean(y, 0, keepdims=True), (), "gives 1 row for a batch of any size"),
    "bytes with a sign": (same, [tf.TensorSpec([None, SIDE, SIDE, 3], tf.int8)], "takes images of int8, and pixels"),
    "16 bits": (same, [tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint16)], "takes images of uint16, and pixels are 0"),
    "a number besides": (
        same, [tf.TensorSpec([None, SIDE, SIDE, 3]), tf.TensorSpec([], tf.int32, name="rate")],
        "takes rate besides, one value for all examples",
    ),
    "flat pictures": (same, [tf.TensorSpec([None, 3 * SIDE**2])], "wrap the module in a keras.Model that takes such"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_head_can_be_put_on_is_refused_in_a_sentence(kind, tmp_path):
    gives, specs, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        tlkit.finetune(Called(gives, *specs), TASK, pictures(), [tlkit.Phase(epochs=1, lr=1e-2)], out=tmp_path / "run")


def test_a_recording_of_another_length_is_told_by_its_length(tmp_path):
    module = Called(lambda y: tf.fill([4, 5], y), tf.TensorSpec([SAMPLES // 2]))
    with pytest.raises(InputError, match=rf"have shape \({SAMPLES},\), but the model takes \({SAMPLES // 2},\)"):
        tlkit.finetune(module, TASK, sounds(), [tlkit.Phase(epochs=1, lr=1e-2)], out=tmp_path / "run")


def test_the_data_say_how_many_channels_there_are_where_a_module_does_not():
    module = Called(same, tf.TensorSpec([None, SIDE, SIDE, None]))
    with pytest.raises(InputError, match="does not say how many channels its images have, so the data must"):
        tlkit.build(module, TASK)
    with pytest.raises(InputError, match="Nothing says which range of pixels"):
        tlkit.build(module, TASK, data=pictures())
    layer = HubLayer(module, name="backbone", input_range=(0, 255))
    x = inputs(pictures())
    np.testing.assert_allclose(layer.shaped(pictures().train.inputs.spec)(x), module.call(tf.constant(x)), rtol=1e-5)


def test_a_model_of_two_arguments_is_told_to_take_a_list():
    model = Two()
    model(tf.ones((1, 4)), tf.ones((1, 4)))
    with pytest.raises(
        InputError, match=r"The model 'two' cannot be called with its inputs as one argument \(.*second"
    ):
        HubLayer(model)


def test_a_module_of_whole_numbers_takes_their_own_range_and_no_other():
    pixels = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    model = keras.Model(pixels, LAYERS.GlobalAveragePooling2D()(LAYERS.Rescaling(1 / 255)(pixels)))
    layer, white = HubLayer(model, input_range=(0, 255)), np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    np.testing.assert_allclose(layer(white), [[1.0, 1.0, 1.0]], rtol=1e-6)
    with pytest.raises(InputError, match="takes no pixels of a range, but uint8; leave out `input_range`"):
        HubLayer(model, input_range=(0, 1))
