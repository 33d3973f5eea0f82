"""Does a module that saw photographs help to segment a brain? Dice by share of the training slices, as JSON.

    python benchmarks/medical.py --seeds 3 --out benchmarks/results/medical.json

`datasets.medical.brain` (slices of one averaged brain; blocks of slices held out by the seed) at 256 pixels. By share
of the training slices: `zoo:efficientnet-lite0` as the recipe has it, feature maps at strides 2 to 32, 12 frozen epochs
and 6 with the top quarter; a U-Net from scratch (7 blocks of two convolutions, 16 to 128 channels) in plain Keras, Adam
at 1e-3 with the same loss, whose weights of the best validation Dice of 40 epochs are taken; and scikit-image's
thresholds (multi-Otsu on each slice), which learn nothing. Every arm sees the same slices. `gain` is tlkit minus the
U-Net, paired over the seeds. One averaged brain: no figure says anything about patients.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE, interval

SIZE = (256, 256)
STRIDES = (2, 4, 8, 16, 32)
SHARES = (0.1, 0.3, 1.0)
BAR = 0.92  # Dice of grey and of white matter, with all slices


def arrays(examples):
    """(images in [0, 1], masks) of all."""
    places = np.arange(len(examples))
    return examples.inputs.take(places).astype(np.float32) / 255, examples.targets.take(places).astype(np.int64)


def dice(truth, said):
    """Of grey and of white matter, over all pixels."""
    return [
        2 * float(((truth == label) & (said == label)).sum()) / float((truth == label).sum() + (said == label).sum())
        for label in (1, 2)
    ]


def adapted(splits, seed):
    import tlkit
    from tlkit.core.progress import quiet

    task = tlkit.tasks.segment(splits.labels, strides=STRIDES)
    phases = tlkit.plans.two_phase(epochs=(12, 6), lr=(4e-3, 1e-3), unfrozen=0.25)
    with tempfile.TemporaryDirectory() as folder:
        run = tlkit.finetune(
            "zoo:efficientnet-lite0", task, splits, phases, out=folder, seed=seed, batch_size=8, image_size=SIZE,
            progress=quiet,
        )  # fmt: skip
        return [row["dice"] for row in run.evaluation.details["overlap"]][1:]


def unet(labels):
    from keras import Input, Model, layers

    def block(x, channels):
        for _ in range(2):
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return x

    inputs = Input((*SIZE, 3))
    x, sides = inputs, []
    for channels in (16, 32, 64):
        x = block(x, channels)
        sides.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, 128)
    for channels, side in zip((64, 32, 16), reversed(sides), strict=True):
        x = block(layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), side]), channels)
    return Model(inputs, layers.Conv2D(labels, 1)(x))


def scratch(splits, seed):
    import keras

    from tlkit.tasks.segmentation_losses import CrossEntropyAndDice

    keras.utils.set_random_seed(seed)
    (x, y), (x_val, y_val), (x_test, y_test) = (arrays(part) for part in (splits.train, splits.val, splits.test))
    model = unet(len(splits.labels))
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=CrossEntropyAndDice(len(splits.labels), 1.0, None))
    best, weights = -1.0, None
    for _ in range(10):
        model.fit(x, y, batch_size=8, epochs=4, verbose=0)
        score = np.mean(dice(y_val, model.predict(x_val, batch_size=8, verbose=0).argmax(-1)))
        if score > best:
            best, weights = score, model.get_weights()
    model.set_weights(weights)
    return dice(y_test, model.predict(x_test, batch_size=8, verbose=0).argmax(-1))


def thresholds(splits):
    """Black, grey and white, by two thresholds on each slice: grey matter is grey, and white is white."""
    from skimage.filters import threshold_multiotsu

    images, truth = arrays(splits.test)
    grey = images[..., 0]
    return dice(truth, np.stack([np.digitize(image, threshold_multiotsu(image, classes=3)) for image in grey]))


def timed(work):
    start = time.process_time()
    result = work()
    return {"dice": [round(score, 4) for score in result], "cpu_seconds": round(time.process_time() - start, 1)}


def one_seed(seed):
    from dataclasses import replace

    from tlkit import datasets

    whole = datasets.medical.brain(image_size=SIZE, seed=seed)
    rows = {"seed": seed, "slices": len(whole.train), "thresholds": timed(lambda: thresholds(whole))}
    order = np.random.default_rng(seed).permutation(len(whole.train))
    for share in SHARES:
        places = np.sort(order[: max(4, round(share * len(whole.train)))])
        splits = replace(whole, train=whole.train.subset(places))
        rows[str(share)] = {
            "slices": len(places),
            "tlkit": timed(lambda part=splits: adapted(part, seed)),
            "scratch": timed(lambda part=splits: scratch(part, seed)),
        }
        print(json.dumps({"seed": seed, "share": share, **rows[str(share)]}), flush=True)
    return rows


def summary(rows):
    table = {}
    for share in map(str, SHARES):
        arms = {arm: np.array([row[share][arm]["dice"] for row in rows]) for arm in ("tlkit", "scratch")}
        gains = (arms["tlkit"] - arms["scratch"]).mean(axis=1)
        table[share] = {
            **{
                arm: {"grey": float(values[:, 0].mean()), "white": float(values[:, 1].mean())}
                for arm, values in arms.items()
            },
            "gain": float(gains.mean()),
            "gain_interval": interval(gains.tolist()),
        }
    return table


def main(seeds, out):
    rows = [one_seed(seed) for seed in range(seeds)]
    table = summary(rows)
    best = table["1.0"]["tlkit"]
    result = {
        "machine": MACHINE, "seeds": rows, "by_share": table, "bar": BAR,
        "thresholds": np.mean([row["thresholds"]["dice"] for row in rows], axis=0).tolist(),
        "met": min(best.values()) >= BAR,
    }  # fmt: skip
    print(json.dumps(result["by_share"], indent=1))
    if out:
        Path(out).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.out)
