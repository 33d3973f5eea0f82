"""Full fine-tuning of the same net, rebuilt natively in Keras 3, with Keras' own fit.

python native_worker.py arrays.npz MODULE_FOLDER result.json --epochs 2 --seed 0
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tlkit.zoo import efficientnet_lite0


class Watch(keras.callbacks.Callback):
    """Seconds of each epoch, validation included."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)


def dataset(images, labels, shuffle):
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    if shuffle:
        data = data.shuffle(len(images), seed=0)
    return data.batch(32).map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y)).prefetch(2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arrays")
    parser.add_argument("module")
    parser.add_argument("result")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    arrays = np.load(args.arrays)
    keras.utils.set_random_seed(args.seed)
    net = efficientnet_lite0.network()  # its speed does not depend on its weights
    inputs = keras.Input((224, 224, 3))
    features = net(efficientnet_lite0.scaled(inputs), training=False)  # BatchNorm as tlkit has it
    model = keras.Model(inputs, keras.layers.Dense(int(arrays["train_y"].max()) + 1)(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, metrics=["accuracy"])
    watch = Watch()
    model.fit(
        dataset(arrays["train_x"], arrays["train_y"], True),
        validation_data=dataset(arrays["val_x"], arrays["val_y"], False),
        epochs=args.epochs,
        verbose=0,
        callbacks=[watch],
    )
    with open(args.result, "w") as file:
        json.dump({"epoch_seconds": watch.seconds, "seconds": {}}, file)


if __name__ == "__main__":
    main()
