"""The zoo's segmenters: they say what their files say, and `tasks.segment` goes on from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zoo_checks
from PIL import Image

import tlkit
from tlkit.core.progress import quiet
from tlkit.zoo import pupil_unet, selfie_segmentation
from tlkit.zoo.torchfile import read_tensors

tf = pytest.importorskip("tensorflow")

SIZES = {"selfie-segmentation": 256, "pupil-unet": 148}
STRIDES = {"selfie-segmentation": (2, 4, 8, 16), "pupil-unet": (1, 2, 4)}
LABELS = ("skin", "iris", "pupil")
PHASES = (tlkit.Phase(epochs=8, lr=1e-2), tlkit.Phase(epochs=2, lr=1e-3, unfrozen=0.25))


@pytest.fixture(scope="module", params=sorted(SIZES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name):
    return str(zoo_checks.folder(name))


@pytest.fixture(scope="module")
def opened(folder):
    return tf.saved_model.load(folder)


def eyes(size, count, seed=0):
    """Images in [0, 255] of an iris with a dark pupil on skin, and masks of LABELS."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:size, :size] / size
    images, masks = [], []
    for _ in range(count):
        far = np.hypot(y - rng.uniform(0.4, 0.6), x - rng.uniform(0.4, 0.6))
        pupil = rng.uniform(0.1, 0.2)
        mask = (far < 2 * pupil).astype(np.uint8) + (far < pupil)
        tones = np.array([[170, 130, 120], [60, 75, 100], [5, 5, 5]])[mask]
        images.append(np.clip(tones + rng.normal(0, 5, tones.shape), 0, 255).astype(np.uint8))
        masks.append(mask)
    return np.stack(images), np.stack(masks)


def test_it_keeps_the_promises_of_the_zoo(name, opened):
    images, _ = eyes(SIZES[name], 1)
    zoo_checks.check_interface(name, opened, tf.constant(images / 255, tf.float32))


def test_the_selfie_module_gives_what_its_file_gives(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    photo = Path(pytest.importorskip("skimage").__file__).parent / "data" / "astronaut.png"
    image = np.asarray(Image.open(photo).convert("RGB").resize((256, 256)), np.float32)[None] / 255
    files = zoo_checks.files(selfie_segmentation.PACKAGE, tmp_path)
    interpreter = Interpreter(model_path=str(files[selfie_segmentation.WEIGHTS]))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    mask = tf.saved_model.load(str(zoo_checks.folder("selfie-segmentation")))(tf.constant(image)).numpy()
    np.testing.assert_allclose(mask, wanted, atol=1e-4)
    assert mask[0, 100:200, 100:130].mean() > 0.9  # her suit
    assert mask[0, :40, :40].mean() < 0.1  # the wall behind her


def test_the_pupil_module_gives_what_its_net_gives_in_numpy(tmp_path):
    files = zoo_checks.files(pupil_unet.PACKAGE, tmp_path)
    weights = read_tensors(files[pupil_unet.WEIGHTS])
    images, masks = eyes(148, 1)
    grey = images.astype(np.float32) / 255 @ pupil_unet.LUMA
    mask = tf.saved_model.load(str(zoo_checks.folder("pupil-unet")))(tf.constant(images / 255, tf.float32)).numpy()
    np.testing.assert_allclose(mask[0, ..., 0], unet(weights, grey[0]), atol=1e-4)
    said, true = mask[0, ..., 0] > 0.5, masks[0] == 2
    assert (said & true).sum() / (said | true).sum() > 0.7


def unet(weights, grey):
    """The net as its package describes it, channels first."""

    def convolved(x, name):
        kernel = weights[f"{name}.weight"]
        reach = kernel.shape[-1] // 2
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))
        bias = weights.get(f"{name}.bias", np.zeros(len(kernel)))[:, None, None]
        return np.einsum("chwij,ocij->ohw", windows, kernel, optimize=True) + bias

    def twice(x, name):
        for number in (0, 3):
            x = convolved(x, f"{name}.double_conv.{number}")
            mean, variance, gain, bias = (
                weights[f"{name}.double_conv.{number + 1}.{part}"][:, None, None]
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gain + bias, 0)
        return x

    def halved(x):
        return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).max(axis=(2, 4))

    def doubled(x, name):
        y = np.einsum("chw,coij->ohiwj", x, weights[f"{name}.weight"], optimize=True)
        return y.reshape(len(y), 2 * x.shape[1], 2 * x.shape[2]) + weights[f"{name}.bias"][:, None, None]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    fine = twice(grey[None], "inc")
    middle = twice(halved(fine), "down1.1")
    x = twice(halved(middle), "down2.1")
    x = x * sigmoid(convolved(np.stack([x.mean(axis=0), x.max(axis=0)]), "att.conv"))
    x = twice(np.concatenate([doubled(x, "up1"), middle]), "conv1")
    x = twice(np.concatenate([doubled(x, "up2"), fine]), "conv2")
    return sigmoid(convolved(x, "outc"))[0]


@pytest.fixture(scope="module")
def run(name, folder, tmp_path_factory, module_cache):
    """Fine-tuned on eyes, the end of the module with the head, and exported."""
    images, masks = eyes(SIZES[name], 30)
    data = tlkit.data.masks.from_arrays(images, masks, labels=LABELS)
    task = tlkit.tasks.segment(data.labels, strides=STRIDES[name], width=16)
    out = tmp_path_factory.mktemp("segmenters")
    run = tlkit.finetune(folder, task, data, PHASES, out=out, batch_size=4, progress=quiet)
    return tlkit.export(run, formats=("float32", "int8"), progress=quiet)


@pytest.mark.slow
def test_a_segmenter_learns_other_labels(run):
    assert run.scores["miou"] > 0.9
    assert run.phases[0].proof["frozen_variables"] > run.phases[1].proof["frozen_variables"]
    assert {row.format for row in run.exports if row.passed} == {"float32", "int8"}
