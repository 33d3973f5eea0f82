"""Suppression of double boxes in exported files: plain operations against TFLite's builtin, as JSON.

    python benchmarks/suppression.py --out benchmarks/results/suppression.json

Decoding alone is converted, of one image of 256 pixels at strides 8, 16 and 32 (1344 places): as `answers.boxes` has
it of one image (NON_MAX_SUPPRESSION_V4), and of several. Raw outputs are drawn: clusters of boxes that cover each
other, as a trained net gives them. Milliseconds are CPU time of one thread, the median over blocks of 20 calls, in
turns.
"""

import argparse
import importlib
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import MACHINE

BLOCK = 20  # calls that are timed together
SIDES = {8: 32, 16: 16, 32: 8}


def drawn(rng, labels):
    """Raw outputs of an image with 6 objects, each of which many places speak for."""
    raw, middles = {}, rng.uniform(0.2, 0.8, (6, 2))
    of = rng.integers(0, labels, 6)
    for stride, side in SIDES.items():
        y, x = (np.mgrid[:side, :side] + 0.5) / side
        logits, reach = rng.normal(-6, 1, (side, side, labels)), np.zeros((side, side, 4))
        for (cx, cy), label in zip(middles, of, strict=True):
            near = np.hypot(x - cx, y - cy) < 0.12
            logits[near, label] += 6 + rng.normal(0, 1, near.sum())
            for k, far in enumerate((x - cx + 0.15, y - cy + 0.15, cx + 0.15 - x, cy + 0.15 - y)):
                reach[near, k] = np.log(np.maximum(far[near] * side + rng.normal(0, 0.1, near.sum()), 0.1))
        raw |= {f"labels_{stride}": logits[None], f"reach_{stride}": reach[None]}
    return {name: value.astype(np.float32) for name, value in raw.items()}


def ways_of(labels):
    """Decoding with TFLite's builtin, and with plain operations, as batches of several images have it."""
    boxes = importlib.import_module("tlkit.answers.boxes")  # the shelf has a function of this name
    decode = boxes.boxes([str(i) for i in range(labels)]).decode

    def plain(raw):
        limit, boxes.SHIFTED = boxes.SHIFTED, 0
        try:
            return decode(raw)
        finally:
            boxes.SHIFTED = limit

    return {"plain": plain, "builtin": decode}


def converted(decode, raw):
    """Content of a TFLite file of builtins that decodes."""
    import tensorflow as tf

    specs = {name: tf.TensorSpec(value.shape, tf.float32, name=name) for name, value in raw.items()}
    module = tf.Module()
    module.decode = tf.function(lambda **given: decode(given), autograph=False)
    traced = module.decode.get_concrete_function(**specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def compared(labels, images, repeats):
    from ai_edge_litert.interpreter import Interpreter

    rng, ways = np.random.default_rng(0), ways_of(labels)
    raws = [drawn(rng, labels) for _ in range(images)]
    files = {way: converted(decode, raws[0]) for way, decode in ways.items()}
    runners = {
        way: Interpreter(model_content=content, num_threads=1).get_signature_runner() for way, content in files.items()
    }
    times, same, apart = {way: [] for way in ways}, 0, 0.0
    for turn in range(repeats):
        raw = raws[turn % images]
        answers = {}
        for way, runner in runners.items():
            start = time.process_time()
            for _ in range(BLOCK):
                answers[way] = runner(**raw)
            times[way].append((time.process_time() - start) / BLOCK)
        counts = [int(answers[way]["count"][0]) for way in ways]
        gaps = [np.abs(answers["plain"][n][0, : min(counts)] - answers["builtin"][n][0, : min(counts)]).max(initial=0)
                for n in ("boxes", "classes", "scores")]  # fmt: skip
        same += counts[0] == counts[1] and max(gaps) < 1e-4
        apart = max(apart, *gaps)
    return {
        "labels": labels, "ms": {way: round(1e3 * float(np.median(seconds)), 4) for way, seconds in times.items()},
        "bytes": {way: len(content) for way, content in files.items()}, "images_alike": same / repeats,
        "boxes_kept": counts, "largest_gap": float(apart),
    }  # fmt: skip


def main(images, repeats, out):
    record = {"machine": MACHINE, "rows": [compared(labels, images, repeats) for labels in (6, 80)]}
    print(json.dumps(record, indent=1))
    if out:
        Path(out).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out")
    main(**vars(parser.parse_args()))
