"""Small encoders and decoders of made-up weights, as functions over variables, for tests of cuts."""

import numpy as np
import tensorflow as tf

WIDTH, WORDS = 4, 9
WAVES = tf.TensorSpec((None, None, WIDTH), tf.float32)
IDS = tf.TensorSpec((None, None), tf.int32)


class Weights:
    """Square kernels by name, made when they are first asked for."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.by_name = {"table": tf.Variable(self.rng.normal(size=(WORDS, WIDTH)).astype("f4"), name="table")}

    def __getitem__(self, name):
        if name not in self.by_name:
            value = self.rng.normal(size=(WIDTH, WIDTH)).astype("f4") / 2
            self.by_name[name] = tf.Variable(value, name=name)
        return self.by_name[name]


def dense(weights, name, x):
    return tf.einsum("btd,de->bte", x, weights[name])


def attended(weights, name, x, memory, mask=0.0):
    scores = tf.matmul(dense(weights, f"{name}/q", x), dense(weights, f"{name}/k", memory), transpose_b=True) + mask
    return dense(weights, f"{name}/o", tf.matmul(tf.nn.softmax(scores), dense(weights, f"{name}/v", memory)))


def normalized(x):
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-5)


def causal(tokens):
    return tf.cast(tf.range(tokens)[None] > tf.range(tokens)[:, None], tf.float32) * -1e9


def encoder(weights, waves, blocks):
    x = dense(weights, "stem", waves)
    for n in range(blocks):
        x += attended(weights, f"encoder{n}", normalized(x), normalized(x))
        x += dense(weights, f"encoder{n}/down", tf.nn.relu(dense(weights, f"encoder{n}/up", normalized(x))))
    return normalized(x)


def decoder(weights, ids, memory, blocks, sized_by="ids"):
    x = tf.gather(weights["table"], ids)
    mask = causal(tf.shape(ids if sized_by == "ids" else x)[1])
    for n in range(blocks):
        x += attended(weights, f"decoder{n}", normalized(x), normalized(x), mask)
        if memory is not None:
            x += attended(weights, f"decoder{n}/cross", normalized(x), memory)
        x += dense(weights, f"decoder{n}/down", tf.nn.relu(dense(weights, f"decoder{n}/up", normalized(x))))
    return normalized(x)
