"""Today's alternative, as the TF Hub tutorial has it: tf_keras and hub.KerasLayer. Runs in an environment of its own.

python keras_layer_worker.py arrays.npz MODULE_FOLDER result.json --epochs 10 5 --seed 0
"""

import argparse
import json
import os
import time

STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_hub as hub  # noqa: E402
import tf_keras  # noqa: E402

IMPORTED = time.perf_counter() - STARTED


def dataset(images, labels, shuffle, seed):
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    if shuffle:
        data = data.shuffle(len(images), seed=seed)
    return data.batch(32).map(lambda x, y: (tf.cast(x, tf.float32) / 255.0, y)).prefetch(2)


class Watch(tf_keras.callbacks.Callback):
    """Seconds of each epoch, validation included; and, off the clock, the test accuracy behind it."""

    def __init__(self, test):
        super().__init__()
        self.test, self.seconds, self.accuracy = test, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)
        if self.test is not None:
            hits = [np.argmax(self.model(x, training=False), axis=1) == y for x, y in self.test]
            self.accuracy.append(float(np.concatenate(hits).mean()))


def compiled(model, rate):
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf_keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arrays")
    parser.add_argument("module")
    parser.add_argument("result")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 5))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--watch", action="store_true", help="also measure the test accuracy after each epoch")
    args = parser.parse_args()
    arrays = np.load(args.arrays)
    tf_keras.utils.set_random_seed(args.seed)

    seconds, started = {"import": IMPORTED}, time.perf_counter()
    train = dataset(arrays["train_x"], arrays["train_y"], True, args.seed)
    val = dataset(arrays["val_x"], arrays["val_y"], False, args.seed) if "val_x" in arrays else None
    test = dataset(arrays["test_x"], arrays["test_y"], False, args.seed)
    layer = hub.KerasLayer(args.module, trainable=False)
    classes = int(arrays["train_y"].max()) + 1
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(classes)])
    model.build((None, *arrays["train_x"].shape[1:]))
    seconds["data and module"] = time.perf_counter() - started

    history, watch = {}, Watch(test if args.watch else None)
    for name, trainable, epochs, rate in (
        ("frozen", False, args.epochs[0], 1e-3),
        ("unfrozen", True, args.epochs[1], 1e-5),
    ):
        started = time.perf_counter()
        layer.trainable = trainable
        compiled(model, rate)
        fitted = model.fit(train, validation_data=val, epochs=epochs, verbose=0, callbacks=[watch])
        history[name] = {k: [float(v) for v in values] for k, values in fitted.history.items()}
        seconds[name] = time.perf_counter() - started
    started = time.perf_counter()
    accuracy = float(model.evaluate(test, verbose=0)[1])
    seconds["evaluate"] = time.perf_counter() - started
    with open(args.result, "w") as file:
        record = {"accuracy": accuracy, "seconds": seconds, "history": history}
        json.dump({**record, "epoch_seconds": watch.seconds, "epoch_accuracy": watch.accuracy}, file)


if __name__ == "__main__":
    main()
