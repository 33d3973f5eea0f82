"""The alternative of tuning.py: KerasTuner on the same net in Keras, whose `fit` runs the whole of it in every epoch.

python tuning_worker.py arrays.npz result.json --frozen 2 --unfrozen 1 --parameters 12345
"""

import argparse
import json
import os
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tlkit.core.packages import fetch
from tlkit.zoo import efficientnet_lite0 as zoo
from tlkit.zoo.torchfile import read_tensors

EPOCHS = (10, 5)


def dataset(images, labels, shuffle):
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    if shuffle:
        data = data.shuffle(len(images), seed=0)
    return data.batch(32).map(lambda x, y: (zoo.scaled(tf.cast(x, tf.float32) / 255.0), y)).prefetch(2)


def backbone(tensors):
    net = zoo.network()
    zoo.load_weights(net, tensors)
    net.trainable = False
    return net


def thaw(net, parameters):
    """Let the layers next to the head train, until they have as many parameters as tlkit's top quarter."""
    net.trainable, count = True, 0
    for layer in net.layers:
        layer.trainable = False
    for layer in reversed(net.layers):
        if count >= parameters:
            break
        layer.trainable = True
        count += sum(int(np.prod(v.shape)) for v in layer.trainable_weights)


class Plan(keras_tuner.HyperModel):
    def __init__(self, tensors, classes, parameters):
        super().__init__()
        self.tensors, self.classes, self.parameters = tensors, classes, parameters

    def build(self, hp):
        self.net, pixels = backbone(self.tensors), keras.Input((224, 224, 3))
        model = keras.Model(pixels, keras.layers.Dense(self.classes)(self.net(pixels, training=False)))
        self.compile(model, hp.Float("lr", 1e-4, 1e-1, sampling="log"))
        return model

    def compile(self, model, lr):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(lr), loss, metrics=["accuracy"])

    def fit(self, hp, model, *args, callbacks=None, **kwargs):
        history = model.fit(*args, epochs=EPOCHS[0], callbacks=callbacks, **kwargs)
        if not self.parameters:
            return history
        thaw(self.net, self.parameters)
        self.compile(model, hp.Float("lr2", 1e-5, 1e-3, sampling="log"))
        return model.fit(*args, epochs=EPOCHS[1], callbacks=callbacks, **kwargs)


def searched(plan, arrays, trials, seed):
    """(CPU seconds of each trial, the best validation loss, its test accuracy)."""
    train, val = (dataset(arrays[f"{part}_x"], arrays[f"{part}_y"], part == "train") for part in ("train", "val"))
    spent, started = [], time.process_time()

    class Clock(keras_tuner.RandomSearch):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            nonlocal started
            spent.append(time.process_time() - started)
            started = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        tuner = Clock(plan, "val_loss", max_trials=trials, directory=folder, seed=seed)
        tuner.search(train, validation_data=val, verbose=0)
        best = tuner.get_best_models(1)[0]
        value = tuner.oracle.get_best_trials(1)[0].score
    scores = best.predict(dataset(arrays["test_x"], arrays["test_y"], False), verbose=0)
    return spent, float(value), float((scores.argmax(1) == arrays["test_y"]).mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("arrays")
    parser.add_argument("result")
    parser.add_argument("--frozen", type=int, default=2)
    parser.add_argument("--unfrozen", type=int, default=1)
    parser.add_argument("--parameters", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    arrays = dict(np.load(args.arrays))
    with tempfile.TemporaryDirectory() as folder:
        from pathlib import Path

        tensors = read_tensors(fetch(zoo.PACKAGE, Path(folder))[zoo.WEIGHTS])
    classes, figures = len(arrays["labels"]), {}
    keras.utils.set_random_seed(args.seed)
    for kind, trials in (("frozen", args.frozen), ("unfrozen", args.unfrozen)):
        plan = Plan(tensors, classes, args.parameters if kind == "unfrozen" else 0)
        spent, loss, accuracy = searched(plan, arrays, trials, args.seed)
        figures[kind] = {"cpu_seconds": spent, "val_loss": loss, "test_accuracy": accuracy}
        with open(args.result, "w") as file:
            json.dump(figures, file)


if __name__ == "__main__":
    main()
