"""Does a module that saw photographs help to segment a brain? Dice by share of the training slices, as JSON.

    python benchmarks/medical.py --seeds 3 --out benchmarks/results/medical.json

`datasets.medical.brain` (slices of one averaged brain; blocks of slices held out by the seed) at 256 pixels. By share
of the training slices: `zoo:efficientnet-lite0` as the recipe has it, feature maps at strides 2 to 32, 12 frozen epochs
and 6 with the top quarter; a U-Net from scratch (7 blocks of two convolutions, 16 to 128 channels) in plain Keras, Adam
at 1e-3 with the same loss, whose weights of the best validation Dice of 40 epochs are taken; and scikit-image's
thresholds (multi-Otsu on each slice), which learn nothing. Every arm sees the same slices. `gain` is tlkit minus the
U-Net, paired over the seeds. The U-Net takes most of the time (`--arms` leaves it out); what `--out` holds is
not computed again. One averaged brain: no figure says anything about patients.
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


def parts(seed, share):
    """The divided slices, of those to train such a share."""
    from dataclasses import replace

    from tlkit import datasets

    whole = datasets.medical.brain(image_size=SIZE, seed=seed)
    order = np.random.default_rng(seed).permutation(len(whole.train))
    places = np.sort(order[: max(4, round(share * len(whole.train)))])
    return replace(whole, train=whole.train.subset(places))


ARMS = {"tlkit": adapted, "scratch": scratch, "thresholds": lambda splits, _: thresholds(splits)}


def summary(rows):
    """Mean Dice by share and arm, and of the seeds that have both arms the gain with its interval."""
    table = {}
    for share in SHARES:
        scores = {arm: {row["seed"]: row["dice"] for row in rows if (row["share"], row["arm"]) == (share, arm)}
                  for arm in ("tlkit", "scratch")}  # fmt: skip
        table[str(share)] = {
            arm: {"seeds": len(of_seeds), "grey_and_white": np.mean(list(of_seeds.values()), axis=0).tolist()}
            for arm, of_seeds in scores.items()
            if of_seeds
        }
        both = sorted(scores["tlkit"].keys() & scores["scratch"].keys())
        gains = [float(np.mean(scores["tlkit"][seed]) - np.mean(scores["scratch"][seed])) for seed in both]
        if gains:
            table[str(share)] |= {
                "gain": float(np.mean(gains)),
                "gain_interval": interval(gains) if gains[1:] else None,
            }
    return table


def main(seeds, arms, out):
    rows = json.loads(out.read_text())["rows"] if out and out.exists() else []
    measured = {(row["seed"], row["share"], row["arm"]) for row in rows}
    for arm in arms:
        for share in SHARES if arm != "thresholds" else SHARES[-1:]:
            for seed in range(seeds):
                if (seed, share, arm) in measured:
                    continue
                splits = parts(seed, share)
                row = {"seed": seed, "share": share, "arm": arm, "slices": len(splits.train)}
                rows.append(row | timed(lambda arm=arm, splits=splits, seed=seed: ARMS[arm](splits, seed)))
                print(json.dumps(rows[-1]), flush=True)
                if out:
                    result = {"machine": MACHINE, "bar": BAR, "rows": rows, "by_share": summary(rows)}
                    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.arms, arguments.out)
