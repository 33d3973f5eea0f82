"""Folders of painted images with boxes or masks, and the modules that learn them in seconds."""

from __future__ import annotations

import json

import keras
import numpy as np
from PIL import Image

from tlkit.formats import hub_module

BARS_SIZE, BARS = 64, ("tall", "wide")
FIELDS_SIZE, FIELDS = 32, ("ground", "field", "house")
RED, BLUE = (220, 60, 40), (40, 80, 220)


def bars(folder, count=90):
    """Images with none to two bars each, tall red ones and wide blue ones, and COCO's annotations.json."""
    rng, annotations = np.random.default_rng(0), []
    (folder / "images").mkdir(parents=True)
    for i in range(count):
        pixels = rng.integers(95, 125, (BARS_SIZE, BARS_SIZE, 3)).astype(np.uint8)
        for label in rng.permutation(2)[: rng.integers(0, 3)]:
            width, height = ((16, 32), (32, 16))[label]
            x, y = (int(rng.integers(0, BARS_SIZE - side + 1)) for side in (width, height))
            pixels[y : y + height, x : x + width] = (RED, BLUE)[label]
            annotations.append(
                {"id": len(annotations), "image_id": i, "category_id": int(label), "bbox": [x, y, width, height],
                 "area": width * height, "iscrowd": 0}
            )  # fmt: skip
        Image.fromarray(pixels).save(folder / "images" / f"{i:02d}.png")
    content = {
        "images": [
            {"id": i, "file_name": f"{i:02d}.png", "width": BARS_SIZE, "height": BARS_SIZE} for i in range(count)
        ],
        "categories": [{"id": i, "name": label} for i, label in enumerate(BARS)],
        "annotations": annotations,
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def bars_module(folder):
    """Convolutions with maps at strides 2, 4, 8 and 16."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((BARS_SIZE, BARS_SIZE, 3))
    x = image
    for width in (12, 16, 24, 32):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    return hub_module.write_keras_model(model, folder, card={"input_range": [0.0, 1.0]})


def fields(folder, count=48):
    """images/ and masks/: a field on the ground, and a house in the half of them; a void line around the field."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        mask = np.zeros((FIELDS_SIZE, FIELDS_SIZE), np.uint8)
        top, left = rng.integers(2, 12, 2)
        mask[top : top + 14, left : left + 16] = 255
        mask[top + 1 : top + 13, left + 1 : left + 15] = 1
        if i % 2:
            mask[24:31, 20:30] = 2
        colours = np.array([(110, 110, 110), RED, BLUE])[np.where(mask == 255, 0, mask)]
        pixels = colours + rng.normal(0, 12, colours.shape)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "images" / f"{i:02d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i:02d}.png")
    return folder


def fields_module(folder):
    """Convolutions with maps at strides 2, 4 and 8, as somebody would publish them for images of another size."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((48, 48, 3))
    x = image
    for width in (12, 16, 24):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    return hub_module.write_keras_model(model, folder, card={"input_range": [0.0, 1.0]})
