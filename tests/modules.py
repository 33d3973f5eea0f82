"""Tiny SavedModels of every kind that users bring, written into a folder: `WRITERS[kind](folder)`.

Weights are seeded and BatchNorm statistics are not trivial, so that two paths through a module that should agree can
disagree. `inputs(kind)` gives what a module of that kind is called with.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

IMAGE_SIZE = 32  # the image modules take float32 (batch, 32, 32, 3) in [0, 1]
FEATURES = 12  # and give float32 (batch, 12)
TOKENS = 10
POSITIONS = 24  # longest text of the encoders that leave it open
PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "##s", "the", "a", "very", "not", "long", "short"),
    *("!", ".", "plot", "anna", "rome", "in"),
)
HIDDEN = 8
VOCABULARY = ("the", "a", "cat", "dog", "sat", "ran")
SAMPLE_RATE = 16_000  # of the module of sounds
CLASSES = 5  # outputs of the modules that are classifiers

IMAGE = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.float32, name="inputs")


# Weights


def _seeded(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A value that keeps activations near unit size; scales and variances stay positive."""
    if any(word in name for word in ("gamma", "variance")):
        return rng.uniform(0.5, 1.5, shape)
    if any(word in name for word in ("beta", "bias", "mean")):
        return rng.normal(0.0, 0.2, shape)
    fan_in = max(1, int(np.prod(shape[:-1])))
    return rng.normal(0.0, fan_in**-0.5, shape)


def seed_weights(variables: list[Any], seed: int = 0) -> None:
    """Fill variables with seeded values."""
    rng = np.random.default_rng(seed)
    for v in variables:
        if "seed" not in v.name:
            v.assign(_seeded(v.name, tuple(v.shape), rng).astype(np.float32))


def _weights(**shapes: tuple[int, ...]) -> dict[str, tf.Variable]:
    rng = np.random.default_rng(7)
    return {
        name: tf.Variable(_seeded(name, shape, rng).astype(np.float32), name=name, trainable="moving" not in name)
        for name, shape in shapes.items()
    }


# Networks, written once for Keras 3 and Keras 2


def image_net(api: Any = keras) -> Any:
    """A residual, branching conv net with BatchNorm and Dropout; feature maps at strides 2, 4, 8 and 16."""
    layers = api.layers

    def unit(x: Any, filters: int, stride: int, name: str) -> Any:
        x = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_bn", epsilon=1e-3)(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def residual(x: Any, name: str) -> Any:
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
        y = layers.BatchNormalization(name=f"{name}_bn")(y)
        y = layers.Conv2D(x.shape[-1], 1, name=f"{name}_project")(y)
        return layers.Add(name=f"{name}_add")([x, y])

    x = image = layers.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="inputs")
    x = unit(x, 4, 2, "stem")
    x = residual(x, "block1")
    x = unit(x, 6, 2, "down2")
    x = residual(x, "block2")
    x = layers.Concatenate(name="branch")([unit(x, 4, 2, "left"), unit(x, 4, 2, "right")])
    x = unit(x, FEATURES, 2, "top")
    x = layers.Dropout(0.3, name="drop")(x)
    return api.Model(image, layers.GlobalAveragePooling2D(name="pool")(x), name="image_net")


def keras_model(*, rescaling: bool = False) -> keras.Model:
    """The image net as a Keras 3 model in memory, with seeded weights; `rescaling` makes it take pixels 0..255."""
    keras.utils.set_random_seed(0)
    net = image_net()
    seed_weights(net.weights)
    if not rescaling:
        return net
    pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    return keras.Model(pixels, net(keras.layers.Rescaling(1 / 255.0)(pixels)))


# One writer a kind


def write_keras3_export(folder: Path) -> Path:
    """Keras 3 `model.export()`: not callable, `serve` and `serving_default` only."""
    keras_model().export(folder, verbose=False)
    return folder


def write_keras3_hub(folder: Path) -> Path:
    """Hub style by Keras 3: `__call__` with training True and False, variable lists, a regularization loss."""
    net = keras_model()
    return write_hub(folder, net, [v.value for v in net.variables], [v.value for v in net.trainable_variables])


def write_hub(folder: Path, call: Callable[..., Any], variables: list[Any], trainable: list[Any]) -> Path:
    """A hub-format SavedModel around `call(x, training=...)` on images."""
    root = tf.__internal__.tracking.AutoTrackable()

    @tf.function
    def forward(inputs: Any, training: bool = False) -> Any:
        return call(inputs, training=training)

    @tf.function(input_signature=[])
    def penalty() -> Any:
        return 1e-3 * tf.nn.l2_loss(trainable[0])

    for training in (False, True):
        forward.get_concrete_function(IMAGE, training=training)
    root.__call__ = forward
    root.variables = variables
    root.trainable_variables = trainable
    root.regularization_losses = [penalty]
    serve = tf.function(lambda inputs: {"features": forward(inputs, training=False)}, input_signature=[IMAGE])
    tf.saved_model.save(root, str(folder), signatures=serve)
    return folder


def write_keras2(folder: Path) -> Path:
    """A Keras 2 model saved by tf_keras: nested PartitionedCalls, `__call__` with `training`."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    net = image_net(tf_keras)
    seed_weights(net.weights)
    net.save(str(folder), save_format="tf")
    return folder


class Nested(tf.Module):
    """Functions within functions, each reading its own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = _weights(
            first_kernel=(3, 3, 3, 4), second_kernel=(3, 3, 4, 6), third_kernel=(6, FEATURES), third_bias=(FEATURES,)
        )

    @tf.function
    def convolve(self, x: Any, name: str) -> Any:
        return tf.nn.relu(tf.nn.conv2d(x, self.weights[name], 2, "SAME"))

    @tf.function
    def body(self, x: Any) -> Any:
        return self.convolve(self.convolve(x, "first_kernel"), "second_kernel")

    @tf.function(input_signature=[IMAGE])
    def __call__(self, inputs: Any) -> Any:
        pooled = tf.reduce_mean(self.body(inputs * 2.0 - 1.0), [1, 2])
        return tf.matmul(pooled, self.weights["third_kernel"]) + self.weights["third_bias"]


def write_nested(folder: Path) -> Path:
    """Nested functions, no `training` argument, an affine at the input."""
    module = Nested()
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return folder


class Plain(tf.Module):
    """Two convolutions with an unfused BatchNorm in between; keyword-free `__call__`."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = _weights(
            kernel_1=(3, 3, 3, 4), gamma=(4,), beta=(4,), moving_mean=(4,), moving_variance=(4,), kernel_2=(4, FEATURES)
        )

    @tf.function(input_signature=[IMAGE])
    def __call__(self, inputs: Any) -> Any:
        w = self.weights
        x = tf.nn.conv2d(inputs, w["kernel_1"], 2, "SAME")
        scale = tf.math.rsqrt(w["moving_variance"] + 1e-3) * w["gamma"]
        x = tf.nn.relu(x * scale + (w["beta"] - w["moving_mean"] * scale))
        return tf.matmul(tf.reduce_mean(x, [1, 2]), w["kernel_2"])


def write_no_training(folder: Path) -> Path:
    """A module without a `training` argument and without signatures."""
    tf.saved_model.save(Plain(), str(folder))
    return folder


def write_signature_only(folder: Path) -> Path:
    """No `__call__`, no variable list: one signature, dict out."""
    module, root = Plain(), tf.Module()
    root.kept = module.weights

    @tf.function
    def serve(image: Any) -> Mapping[str, Any]:
        features = module(image)
        return {"features": features, "twice": 2.0 * features}

    tf.saved_model.save(root, str(folder), signatures=serve.get_concrete_function(image=IMAGE))
    return folder


def write_tf1_hub(folder: Path) -> Path:
    """TF1 hub format: reference variables, empty tags, `tfhub_module.pb`, signature "default"."""
    v1 = tf.compat.v1
    rng = np.random.default_rng(3)

    def weight(name: str, *shape: int, trainable: bool = True) -> Any:
        value = _seeded(name, shape, rng).astype(np.float32)
        return v1.get_variable(name, initializer=value, trainable=trainable, use_resource=False)

    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, (None, IMAGE_SIZE, IMAGE_SIZE, 3), name="image")
        x = tf.nn.conv2d(image, weight("stem/kernel", 3, 3, 3, 4), 2, "SAME")
        gamma, beta = weight("bn/gamma", 4), weight("bn/beta", 4)
        mean, var = (weight(f"bn/moving_{n}", 4, trainable=False) for n in ("mean", "variance"))
        x = tf.nn.relu(v1.nn.fused_batch_norm(x, gamma, beta, mean, var, is_training=False)[0])
        x = tf.nn.relu(tf.nn.conv2d(x, weight("second/kernel", 3, 3, 4, 6), 2, "SAME"))
        features = tf.identity(tf.matmul(tf.reduce_mean(x, [1, 2]), weight("dense/kernel", 6, FEATURES)), "features")
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"images": image}, {"default": features})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, tags=[], signature_def_map={"default": signature})
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format version 3, what tensorflow_hub looks for
    return folder


class Encoder(tf.Module):
    """A two-block transformer: dict of ids, mask and types in; dict with a list in it out."""

    def __init__(self) -> None:
        super().__init__()
        square, wide = (HIDDEN, HIDDEN), (HIDDEN, 2 * HIDDEN)
        shapes: dict[str, tuple[int, ...]] = {
            "word_embedding": (20, HIDDEN),
            "type_embedding": (2, HIDDEN),
            "position_embedding": (POSITIONS, HIDDEN),
            "pooler_kernel": square,
        }
        for block in ("block_0", "block_1"):
            shapes |= {f"{block}/{n}_kernel": square for n in ("query", "key", "value", "output")}
            shapes |= {f"{block}/wide_kernel": wide, f"{block}/wide_bias": wide[1:]}
            shapes |= {f"{block}/narrow_kernel": wide[::-1], f"{block}/gamma": (HIDDEN,), f"{block}/beta": (HIDDEN,)}
        self.weights = _weights(**shapes)

    def _block(self, x: Any, bias: Any, name: str) -> Any:
        w = {key.split("/")[1]: v for key, v in self.weights.items() if key.startswith(name + "/")}
        query, key, value = (tf.einsum("bth,hd->btd", x, w[f"{n}_kernel"]) for n in ("query", "key", "value"))
        weights = tf.nn.softmax(tf.einsum("btd,bsd->bts", query, key) * HIDDEN**-0.5 + bias)
        x += tf.einsum("btd,dh->bth", tf.einsum("bts,bsd->btd", weights, value), w["output_kernel"])
        mean, var = tf.nn.moments(x, [-1], keepdims=True)
        x = tf.nn.batch_normalization(x, mean, var, w["beta"], w["gamma"], 1e-6)  # a layer norm, as TF writes it
        wide = tf.nn.gelu(tf.einsum("bth,hd->btd", x, w["wide_kernel"]) + w["wide_bias"])
        return x + tf.einsum("btd,dh->bth", wide, w["narrow_kernel"])

    def encode(self, ids: Any, mask: Any, types: Any) -> Mapping[str, Any]:
        w = self.weights
        x = tf.gather(w["word_embedding"], ids) + tf.gather(w["type_embedding"], types)
        x += w["position_embedding"][: tf.shape(ids)[1]]
        bias = (1.0 - tf.cast(mask, tf.float32))[:, None, :] * -1e4
        blocks = []
        for name in ("block_0", "block_1"):
            x = self._block(x, bias, name)
            blocks.append(x)
        pooled = tf.tanh(tf.matmul(x[:, 0], w["pooler_kernel"]))
        return {"default": pooled, "pooled_output": pooled, "sequence_output": x, "encoder_outputs": blocks}


def write_text_encoder(folder: Path, *, all_blocks: bool = False, pieces: Path | None = None) -> Path:
    """BERT-like: dict in, dict out; with `all_blocks` every block's output too, which stays live to the end.

    With `pieces`, a file of word pieces, it takes texts of any length up to POSITIONS and brings that vocabulary.
    """
    module, root = Encoder(), tf.__internal__.tracking.AutoTrackable()

    @tf.function
    def forward(inputs: Mapping[str, Any], training: bool = False) -> Mapping[str, Any]:
        out = dict(module.encode(inputs["input_word_ids"], inputs["input_mask"], inputs["input_type_ids"]))
        if training:
            out["pooled_output"] = tf.nn.dropout(out["pooled_output"], 0.1)
        return out if all_blocks else {k: v for k, v in out.items() if k != "encoder_outputs"}

    steps = TOKENS if pieces is None else None
    spec = {k: tf.TensorSpec((None, steps), tf.int32, name=k) for k in sorted(inputs("text_encoder"))}
    for training in (False, True):
        forward.get_concrete_function(spec, training=training)
    root.__call__ = forward
    root.variables = list(module.weights.values())
    root.trainable_variables = list(module.weights.values())
    root.regularization_losses = []
    if pieces is not None:
        root.vocab_file, root.do_lower_case = tf.saved_model.Asset(str(pieces)), tf.Variable(True, trainable=False)
    tf.saved_model.save(root, str(folder))
    return folder


def write_bert(folder: Path) -> Path:
    """The text encoder for texts of any length, with a vocabulary of 20 word pieces by TF Hub's convention."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "vocab.txt")
        file.write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
        return write_text_encoder(folder, pieces=file)


def write_text_encoder_blocks(folder: Path) -> Path:
    """The text encoder with every block's output among its outputs, as BERT on the hub has them."""
    return write_text_encoder(folder, all_blocks=True)


class Vocabulary(tf.Module):
    """Strings in: a table read from an asset, an embedding bag, a dense layer."""

    def __init__(self, file: str) -> None:
        super().__init__()
        source = tf.lookup.TextFileInitializer(
            file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.asset = tf.saved_model.Asset(file)
        self.table = tf.lookup.StaticVocabularyTable(source, num_oov_buckets=2)
        self.weights = _weights(embedding=(len(VOCABULARY) + 2, HIDDEN), kernel=(HIDDEN, FEATURES))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="inputs")])
    def __call__(self, inputs: Any) -> Any:
        words = tf.strings.split(tf.strings.lower(inputs), " ").to_tensor("")
        present = tf.cast(tf.not_equal(words, ""), tf.float32)[..., None]
        embedded = tf.gather(self.weights["embedding"], self.table.lookup(words)) * present
        bag = tf.reduce_sum(embedded, 1) / (tf.reduce_sum(present, 1) + 1e-6)
        return tf.nn.relu(tf.matmul(bag, self.weights["kernel"]))


def write_vocabulary(folder: Path) -> Path:
    """A text module whose vocabulary is an asset of the SavedModel."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = folder.parent / f"{folder.name}-words.txt"
    words.write_text("\n".join(VOCABULARY) + "\n")
    module = Vocabulary(str(words))
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    words.unlink()  # the SavedModel must stand on its own
    return folder


def write_word_table(folder: Path) -> Path:
    """A table of word vectors that takes numbers of words and brings them, padding first; the mean of a text."""
    from tlkit.formats import hub_module

    table = _weights(table=(len(VOCABULARY) + 1, FEATURES))["table"]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "vocab.txt")
        file.write_text("".join(f"{word}\n" for word in ("[PAD]", *VOCABULARY)), encoding="utf-8")

        def mean(ids: Any, _training: bool) -> Any:
            present = tf.cast(ids != 0, tf.float32)[..., None]
            return tf.reduce_sum(tf.gather(table, ids) * present, 1) / tf.maximum(tf.reduce_sum(present, 1), 1.0)

        spec = tf.TensorSpec((None, None), tf.int32, name="ids")
        attachments = {"vocab_file": tf.saved_model.Asset(str(file))}
        return hub_module.write_module(mean, [table], [table], spec, folder, card={}, attachments=attachments)


class Loop(tf.Module):
    """Weights inside a while loop: nothing to cut at."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = _weights(kernel=(3, FEATURES), cell=(FEATURES, FEATURES))

    @tf.function(input_signature=[IMAGE])
    def __call__(self, inputs: Any) -> Any:
        state = tf.matmul(tf.reduce_mean(inputs, [1, 2]), self.weights["kernel"])
        for _ in tf.range(tf.cast(tf.math.round(tf.reduce_max(inputs)), tf.int32) + 2):
            state = tf.tanh(tf.matmul(state, self.weights["cell"]))
        return state


def write_control_flow(folder: Path) -> Path:
    """A module with control flow that weights go through."""
    tf.saved_model.save(Loop(), str(folder))
    return folder


def write_classifier(folder: Path) -> Path:
    """A Keras 3 `export()` of a classifier that takes pixels 0..255 and gives probabilities."""
    net = keras_model(rescaling=True)
    dense = keras.layers.Dense(CLASSES, activation="softmax", name="predictions")
    model = keras.Model(net.input, dense(net.output))
    seed_weights(dense.weights, 1)
    model.export(folder, verbose=False)
    return folder


def write_waveform(folder: Path) -> Path:
    """A module of sounds of any length in the hub's format, whose card says its sample rate; no frame is padded."""
    from tlkit.formats import hub_module

    wave = keras.Input((None,), name="waveform")
    x = keras.layers.Reshape((-1, 1))(wave)
    for filters, size, stride in ((24, 64, 32), (FEATURES, 4, 2)):
        x = keras.layers.Conv1D(filters, size, strides=stride, use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(wave, keras.layers.GlobalAveragePooling1D()(x))
    seed_weights(model.weights)
    return hub_module.write_keras_model(model, folder, card={"sample_rate": SAMPLE_RATE})


def write_frames(folder: Path) -> Path:
    """Sounds at 16 kHz of any length -> a vector each 32 ms, (batch, frames, FEATURES)."""
    from tlkit.formats import hub_module

    wave = keras.Input((None,), name="waveform")
    x = keras.layers.Reshape((-1, 1))(wave)
    for filters, size, stride in ((24, 128, 64), (FEATURES, 16, 8)):
        x = keras.layers.ReLU()(keras.layers.Conv1D(filters, size, strides=stride, padding="same")(x))
    model = keras.Model(wave, x)
    seed_weights(model.weights)
    return hub_module.write_keras_model(model, folder, card={"sample_rate": SAMPLE_RATE})


def carded(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """The writer of an image module that scales nothing, with a card that says its range of pixels."""

    def written(folder: Path) -> Path:
        from tlkit.formats import hub_module

        card = write(folder) / hub_module.CARD_FILE
        card.parent.mkdir(exist_ok=True)
        card.write_text('{"input_range": [0.0, 1.0]}')
        return folder

    return written


WRITERS: Mapping[str, Callable[[Path], Path]] = {
    "keras3_export": carded(write_keras3_export),
    "keras3_hub": carded(write_keras3_hub),
    "keras2": carded(write_keras2),
    "nested": write_nested,
    "no_training": carded(write_no_training),
    "signature_only": carded(write_signature_only),
    "tf1_hub": write_tf1_hub,
    "text_encoder": write_text_encoder,
    "text_encoder_blocks": write_text_encoder_blocks,
    "bert": write_bert,
    "vocabulary": write_vocabulary,
    "word_table": write_word_table,
    "control_flow": carded(write_control_flow),
    "classifier": write_classifier,
    "waveform": write_waveform,
}


def inputs(kind: str, batch: int = 2, seed: int = 0) -> Any:
    """What a module of this kind is called with, as numpy arrays."""
    rng = np.random.default_rng(seed)
    if kind.startswith("text_encoder") or kind == "bert":
        lengths = rng.integers(2, TOKENS, (batch, 1))
        return {
            "input_word_ids": rng.integers(0, 20, (batch, TOKENS)).astype(np.int32),
            "input_mask": (np.arange(TOKENS) < lengths).astype(np.int32),
            "input_type_ids": rng.integers(0, 2, (batch, TOKENS)).astype(np.int32),
        }
    if kind == "word_table":
        return rng.integers(0, len(VOCABULARY) + 1, (batch, TOKENS)).astype(np.int32)
    if kind == "vocabulary":
        return np.array([" ".join(rng.choice(VOCABULARY, rng.integers(1, 6))) + " whale" for _ in range(batch)])
    if kind == "waveform":
        return rng.uniform(-1, 1, (batch, SAMPLE_RATE // 4)).astype(np.float32)
    pixels = rng.random((batch, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.float32)
    return pixels * 255 if kind == "classifier" else pixels


def load(kind: str, folder: Path) -> Any:
    """The fixture module as TensorFlow restores it."""
    return tf.saved_model.load(str(folder), tags=[] if kind == "tf1_hub" else None)


def inference_function(loaded: Any) -> Any:
    """The concrete function that a restored module answers with in inference mode."""
    if not callable(loaded):
        return next(iter(loaded.signatures.values()))
    functions = loaded.__call__.concrete_functions
    for function in functions:
        args, kwargs = function.structured_input_signature
        if kwargs.get("training") is False or any(a is False for a in args):
            return function
    return functions[0]
