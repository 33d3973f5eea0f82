"""explain: on images, words, sounds, masks and boxes, with the checks that the literature asks for."""

from __future__ import annotations

import dataclasses
import json

import fitting
import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tlkit
from tlkit.cli import commands
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.progress import quiet
from tlkit.explaining import explaining, methods
from tlkit.explaining.explaining import METHODS, explain_files
from tlkit.explaining.parts import PLACES, parts_of
from tlkit.exporting.predicting import read_files
from tlkit.formats import hub_module
from tlkit.model.partition import weights_hash

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]
SIZE = fitting.SIZE


def corner(label: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """Noise with a square, red or blue, in one of the four corners; and the corner."""
    image = rng.integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    row, column = rng.integers(0, 2, 2) * (SIZE // 2)
    image[row + 2 : row + 14, column + 2 : column + 14] = ((250, 10, 10), (10, 10, 250))[label]
    return image, (int(row), int(column))


def cornered(count: int, seed: int) -> tuple[Examples, list[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    images, corners = zip(*(corner(i % 2, rng) for i in range(count)), strict=True)
    targets = ArrayColumn(np.arange(count, dtype=np.int32) % 2)
    ids = tuple(f"{seed}-{i}" for i in range(count))
    return Examples(ids, ArrayColumn(np.stack(images)), targets, modality="image"), list(corners)


@pytest.fixture(scope="module")
def images(module_folder, tmp_path_factory):
    """A run that tells red squares from blue ones, and the corners of its test's."""
    (train, _), (val, _), (test, corners) = cornered(48, 0), cornered(16, 1), cornered(16, 2)
    data = Splits(train, val, test, ("red", "blue"))
    phases = [tlkit.Phase(epochs=30, lr=3e-2), tlkit.Phase(epochs=6, lr=2e-3, unfrozen=0.5)]
    run = tlkit.finetune(
        str(module_folder("keras3_hub")), tlkit.tasks.classify(data.labels), data, phases, batch_size=8,
        out=tmp_path_factory.mktemp("run"), input_range=(0.0, 1.0), progress=quiet,
    )  # fmt: skip
    return run, corners


@pytest.mark.parametrize("method", METHODS)
def test_what_is_found_has_the_image_s_size_and_names_what_the_model_says(images, method):
    run, _ = images
    before = weights_hash(run.model.variables)
    explanations = tlkit.explain(run, run.data.test.subset(range(2)), method=method, steps=16)
    raw = np.asarray(run.model(run.data.test.inputs.take(np.arange(2)), training=False))
    assert [explanation.label for explanation in explanations] == [run.task.labels[k] for k in raw.argmax(1)]
    np.testing.assert_allclose([explanation.output for explanation in explanations], raw.max(1), rtol=1e-4, atol=1e-5)
    assert all(
        explanation.heat.shape == (SIZE, SIZE) and explanation.png()[:4] == b"\x89PNG" for explanation in explanations
    )
    assert weights_hash(run.model.variables) == before


def test_the_pointing_game_on_corners(images):
    """Where the square is hidden, the output falls most: the peak lies in the square's quarter (chance is 1/4)."""
    run, corners = images
    explanations = tlkit.explain(run, run.data.test, method="occlusion")
    right = [
        (int(explanation.peak[1] * 2), int(explanation.peak[0] * 2)) == (row // (SIZE // 2), column // (SIZE // 2))
        for explanation, (row, column) in zip(explanations, corners, strict=True)
    ]
    assert run.scores["accuracy"] >= 0.8 and np.mean(right) >= 0.6


def test_integrated_gradients_add_up(images):
    run, _ = images
    few, many = (
        tlkit.explain(run, run.data.test.subset(range(4)), method="integrated_gradients", steps=n) for n in (8, 256)
    )
    assert np.mean([explanation.missing for explanation in many]) < min(
        0.02, np.mean([explanation.missing for explanation in few])
    )


def correlated(heat: np.ndarray, other: np.ndarray) -> float:
    """Their correlation, of heats that are not the same everywhere."""
    return float(np.corrcoef(heat.ravel(), other.ravel())[0, 1])


def heats(run, method) -> list[np.ndarray]:
    """Of six images, what speaks for either label."""
    part = run.data.test.subset(range(6))
    return [e.heat for label in run.task.labels for e in tlkit.explain(run, part, method=method, label=label, steps=16)]


@pytest.mark.parametrize("method", METHODS)
def test_explanations_need_the_trained_weights(images, method):
    """Adebayo et al. 2018, arXiv:1810.03292: with weights drawn anew, the heat is another one."""
    run, _ = images
    trained, pairs = heats(run, method), []
    saved = [np.array(v) for v in run.model.variables]
    for seed in range(3):  # of some, nothing speaks for a label by Grad-CAM: those say nothing of the others
        rng = np.random.default_rng(seed)
        for variable, value in zip(run.model.variables, saved, strict=True):
            if value.ndim > 1:
                variable.assign(rng.permutation(value.ravel()).reshape(value.shape))
        pairs += [(a, b) for a, b in zip(trained, heats(run, method), strict=True) if a.std() and b.std()]
    for variable, value in zip(run.model.variables, saved, strict=True):
        variable.assign(value)
    assert len(pairs) >= 6 and np.mean([abs(correlated(*pair)) for pair in pairs]) < 0.6, len(pairs)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(trained, heats(run, method), strict=True))


def test_grad_cam_at_every_depth_of_the_module(images):
    run, _ = images
    places = [
        tlkit.explain(run, run.data.test.subset([0]), depth=depth)[0].place for depth in (0.2, 0.5, 1.0)
    ]  # of a SavedModel
    assert len(set(places)) == 3


def test_grad_cam_looks_where_there_are_places_enough_to_tell(images):
    run, _ = images
    inputs = run.data.test.inputs.take(np.arange(1))
    default, last = (parts_of(run, depth, 4) for depth in (None, 1.0))
    rows = [parts.front(inputs)[-1].shape[1] for parts in (default, last)]
    assert rows[0] >= PLACES > rows[1] > 1
    assert default.depth < last.depth


def test_the_report_shows_why_below_the_mistakes(images):
    run, _ = images
    names = [{"id": run.data.test.ids[i], "index": i, "predicted": "red", "true": "blue"} for i in (0, 3)]
    details = {**run.evaluation.details, "mistakes": names}
    told = dataclasses.replace(run, evaluation=dataclasses.replace(run.evaluation, details=details))
    shown = tlkit.explain_mistakes(told)
    record = json.loads((run.folder / "run.json").read_text())
    assert set(record["explained"]) == {run.data.test.ids[0], run.data.test.ids[3]}
    page = (run.folder / "report.html").read_text()
    assert page.count('alt="why ') == 2 and shown.record["explained"]
    none = dataclasses.replace(run.evaluation, details={**run.evaluation.details, "mistakes": []})
    with pytest.raises(InputError, match="no mistakes whose examples are at hand"):
        tlkit.explain_mistakes(dataclasses.replace(run, evaluation=none))


def test_predict_writes_pictures(images, tmp_path, capsys):
    run, _ = images
    tlkit.export(run, formats=["float32"], progress=quiet)
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        Image.fromarray(run.data.test.inputs[0]).save(tmp_path / folder / "a.png")
    files = [str(tmp_path / folder / "a.png") for folder in ("one", "other")]
    words = ["predict", str(run.folder), *files, "--explain", str(tmp_path / "why")]
    assert commands.main([*words, "--method", "occlusion"]) == 0
    picture, other = sorted((tmp_path / "why").iterdir())
    assert picture.name.startswith("a.png-1-") and Image.open(picture).size == (480, 480)
    assert other.name == f"{picture.stem}_2.png", "files of one name in two folders have a picture each"
    capsys.readouterr()
    assert commands.main([*words, "--method", "gradcam"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "`method` must be one of grad_cam" in printed.err
    assert commands.main([*words[:4], "--method", "occlusion"]) == 2
    assert "`--method` says how --explain looks" in capsys.readouterr().err


# -- words


def of_two_words(handle, words, folder, **options):
    """A run on texts that one of two words decides."""
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(['the', 'a', 'very', 'in'], 4))} {words[i % 2]}" for i in range(60)]
    data = tlkit.data.text.from_arrays(texts, [("first", "second")[i % 2] for i in range(60)])
    return tlkit.finetune(
        tlkit.HubLayer(handle, name="backbone"), tlkit.tasks.classify(data.labels), data,
        [tlkit.Phase(epochs=12, lr=5e-2)], out=folder, batch_size=16, progress=quiet, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def words(module_folder, tmp_path_factory):
    return of_two_words(module_folder("word_table"), ("cat", "dog"), tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def pieces(module_folder, tmp_path_factory):
    return of_two_words(module_folder("bert"), ("good", "bad"), tmp_path_factory.mktemp("pieces"), length=12)


@pytest.mark.parametrize("method", METHODS)
def test_the_word_that_decides_counts_most(words, method):
    explanations = tlkit.explain(words, words.data.test, method=method)
    assert words.scores["accuracy"] > 0.9
    assert (
        np.mean([explanation.words[int(explanation.heat.argmax())] in ("cat", "dog") for explanation in explanations])
        > 0.8
    )
    assert "<mark" in explanations[0].html() and explanations[0].png()[:4] == b"\x89PNG"


@pytest.mark.parametrize("method", METHODS)
def test_of_word_pieces_each_word_has_a_number(pieces, method):
    explanations = tlkit.explain(pieces, pieces.data.test.subset(range(3)), method=method)
    for explanation in explanations:
        assert set(explanation.words) <= {"the", "a", "very", "in", "good", "bad"} and len(explanation.words) == 5
        assert explanation.heat.shape == (5,) and np.isfinite(explanation.heat).all()
        assert explanation.heat.any() or method == "grad_cam"  # which shows nothing where nothing speaks for the label


@pytest.mark.parametrize("method", METHODS)
def test_each_method_gives_each_word_of_a_file_its_number(words, method, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat, the cat")
    ((_, example),) = read_files(words, [tmp_path / "a.txt"])
    (explanation,) = tlkit.explain(words, example, method=method)
    assert {"the", "cat"} <= set(explanation.words) and explanation.heat.shape == (len(explanation.words),)
    assert np.isfinite(explanation.heat).all() and explanation.label in words.task.labels
    (picture,) = explain_files(words, [tmp_path / "a.txt"], tmp_path / "why", method=method)
    assert picture.name == f"a.txt-1-{explanation.label}.png" and Image.open(picture).size[0] == 480


@pytest.mark.parametrize("method", METHODS)
def test_words_that_the_module_does_not_know_count_for_nothing(words, method, tmp_path):
    texts = {"a.txt": ("a purple cat", ["a", "purple", "cat"]), "b.txt": ("Purple rain!", ["Purple", "rain"])}
    for name, (text, expected) in texts.items():
        (tmp_path / name).write_text(text)
        ((_, example),) = read_files(words, [tmp_path / name])
        (explanation,) = tlkit.explain(words, example, method=method)
        assert list(explanation.words) == expected and explanation.html() and explanation.png()[:4] == b"\x89PNG"
        assert not explanation.heat[[word.lower() in ("purple", "rain") for word in explanation.words]].any()
        numbers = dataclasses.replace(example, columns={})
        (of_numbers,) = tlkit.explain(words, numbers, method=method)
        assert list(of_numbers.words) == (["a", "[UNK]", "cat"] if name == "a.txt" else [])
    assert explanation.peak == of_numbers.peak == () and of_numbers.plain()["shares"] == []


def strided(folder, *, at_once=False):
    """A table of words and a convolution that takes every second step; `at_once` the table has no others either."""
    table, kernel = (tf.Variable(np.random.default_rng(i).normal(size=size).astype(np.float32))
                     for i, size in enumerate([(len(modules.VOCABULARY) + 1, 8), (3, 8, 8)]))  # fmt: skip
    file = folder.with_suffix(".txt")
    file.write_text("".join(f"{word}\n" for word in ("[PAD]", *modules.VOCABULARY)))

    def call(ids, _training):
        steps = tf.nn.relu(tf.gather(table, ids[:, ::2] if at_once else ids))
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv1d(steps, kernel, 2, "SAME")), 1)

    spec = tf.TensorSpec((None, None), tf.int32, name="ids")
    attachments = {"vocab_file": tf.saved_model.Asset(str(file))}
    hub_module.write_module(call, [table, kernel], [table, kernel], spec, folder, card={}, attachments=attachments)
    ids = np.array([[0, 1, 3, 5, 2, 4, 6, 1, 0, 0]], np.int32)
    examples = Examples(("a",), ArrayColumn(ids), ArrayColumn(np.zeros(1, np.int32)), modality="words")
    return untrained(tlkit.tasks.classify(("a", "b")), tlkit.HubLayer(folder, name="backbone"), examples), examples


@pytest.mark.parametrize("depth", [None, 1.0])
def test_grad_cam_of_a_text_looks_where_there_is_a_step_for_each_word(tmp_path, depth):
    run, examples = strided(tmp_path / "module")
    (explanation,) = tlkit.explain(run, examples, label="a", depth=depth)
    inputs = examples.inputs.take(np.arange(1))
    parts = parts_of(run, depth, 3, steps=10)
    assert explanation.place == parts.place and parts.front(inputs)[-1].shape[1] == 10
    assert parts_of(run, None, 3).front(inputs)[-1].shape[1] == 5, "the module's last row has half the steps"
    heat = methods.grad_cam(parts, inputs, lambda raw: raw[:, 0])
    np.testing.assert_array_equal(explanation.heat, heat[1:8])
    assert len(explanation.words) == 7


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
def test_a_module_without_a_step_for_each_word_is_refused(tmp_path, method):
    run, examples = strided(tmp_path / "module", at_once=True)
    with pytest.raises(InputError, match='no row of steps as long as the text to look at: take method="occlusion"'):
        tlkit.explain(run, examples, method=method)
    (explanation,) = tlkit.explain(run, examples, method="occlusion")
    assert explanation.heat.shape == (7,)


# -- masks, boxes, sounds: of models that were not trained


def untrained(task, module, examples):
    return tlkit.Run(tlkit.build(module, task), task, Splits(examples, examples, examples, task.labels))


def of_maps(task, module_folder):
    """An untrained model with a head on maps, and an image."""
    part, _ = cornered(1, 0)
    layer = tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0))
    return untrained(task, layer, part), part


@pytest.mark.parametrize("method", METHODS)
def test_the_pixels_of_a_class(module_folder, method):
    run, part = of_maps(tlkit.tasks.segment(("back", "square"), strides=(4, 16)), module_folder)
    explanations = tlkit.explain(run, part, method=method, steps=2)
    assert {explanation.label for explanation in explanations} <= {"back", "square"}
    assert all(
        explanation.heat.shape == (SIZE, SIZE) and np.isfinite(explanation.heat).all() for explanation in explanations
    )


def test_each_object_has_its_own(module_folder):
    run, part = of_maps(tlkit.tasks.detect(("red", "blue"), strides=(4, 8)), module_folder)
    explanations = tlkit.explain(run, part, method="integrated_gradients", steps=2, objects=2)
    assert len(explanations) == 2 and len({explanation.box for explanation in explanations}) == 2
    scores = np.asarray(run.task.decode(run.model(part.inputs.take(np.arange(1)), training=False))["scores"])[0]
    np.testing.assert_allclose(
        [1 / (1 + np.exp(-explanation.output)) for explanation in explanations], np.sort(scores)[::-1][:2], rtol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_each_point_has_its_own(module_folder, method):
    run, part = of_maps(tlkit.tasks.keypoints(("nose", "tail"), strides=(4, 16)), module_folder)
    explanations = tlkit.explain(run, part, method=method, steps=2)
    heat = np.asarray(run.model(part.inputs.take(np.arange(1)), training=False))[0]
    outputs = {explanation.label: explanation.output for explanation in explanations}
    assert outputs == pytest.approx({"nose": heat[..., 0].max(), "tail": heat[..., 1].max()}, abs=1e-4)
    assert all(explanation.heat.shape == (SIZE, SIZE) for explanation in explanations)


@pytest.mark.parametrize("method", METHODS)
def test_a_sound_is_explained_on_its_spectrogram(module_folder, method):
    wave = np.sin(np.arange(4000) / 5).astype(np.float32)[None]
    part = Examples(("a",), ArrayColumn(wave), ArrayColumn(np.zeros(1, np.int32)), modality="audio")
    layer = tlkit.HubLayer(module_folder("waveform"), name="backbone")
    (explanation,) = tlkit.explain(
        untrained(tlkit.tasks.classify(("a", "b")), layer, part), part, method=method, steps=2
    )
    assert explanation.shown.shape[2] == 3 and explanation.png()[:4] == b"\x89PNG"
    assert explanation.heat.shape == ((4000,) if method == "integrated_gradients" else explanation.shown.shape[:2])


def of_bands(folder, order):
    """A module of sounds whose map of loudness has its axes (0 examples, 1 time, 2 bands) in an order."""
    kernel = tf.Variable(np.ones((1, 1, 1, 1), np.float32))

    def call(waves, _training):
        spectra = tf.abs(tf.signal.stft(waves, 256, 128))[..., 1:, None]
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(tf.transpose(spectra, order), kernel, 1, "SAME")), (1, 2))

    spec, card = tf.TensorSpec((None, None), tf.float32, name="waveform"), {"sample_rate": 16_000}
    hub_module.write_module(call, [kernel], [kernel], spec, folder, card=card)
    return tlkit.HubLayer(folder, name="backbone")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)])
def test_grad_cam_of_a_sound_says_when_and_not_at_which_frequency(tmp_path, order):
    """Which frequencies a module's map has, and which of its axes they are, is not known."""
    wave = np.where(np.arange(8000) < 5000, 0, np.sin(np.arange(8000))).astype(np.float32)[None]
    part = Examples(("a",), ArrayColumn(wave), ArrayColumn(np.zeros(1, np.int32)), modality="audio")
    run = untrained(tlkit.tasks.classify(("a", "b")), of_bands(tmp_path / "module", order), part)
    run.model.trainable_variables[-2].assign([[1.0, -1.0]])
    (explanation,) = tlkit.explain(run, part, label="a")
    heat, start = explanation.heat, int(explanation.heat.shape[1] * 5 / 8)
    assert (heat == heat[0]).all() and heat.shape == explanation.shown.shape[:2]
    assert heat[0, start + 8 :].min() > 20 * heat[0, : start - 8].max()


# -- boxes, masks and points in the report; examples without an object; values


def squared(kind):
    """Splits of images with a square each, as a task of annotated images has them, and that task."""
    examples, corners = cornered(24, 0)
    images, names = np.stack([examples.inputs[i] for i in range(24)]), ("red", "blue")
    if kind == "boxes":
        boxes = [np.array([[x + 2, y + 2, 12, 12]], np.float32) for y, x in corners]
        labels = [[names[i % 2]] for i in range(24)]
        data = tlkit.data.boxes.from_arrays(images, boxes, labels, order="xywh", unit="pixels", labels=names)
        return data, tlkit.tasks.detect(data.labels, strides=(4, 8), width=8)
    if kind == "masks":
        masks = np.zeros((24, SIZE, SIZE), np.uint8)
        for i, (y, x) in enumerate(corners):
            masks[i, y + 2 : y + 14, x + 2 : x + 14] = 1 + i % 2
        data = tlkit.data.masks.from_arrays(images, masks, labels=("ground", *names))
        return data, tlkit.tasks.segment(data.labels, strides=(4, 16), width=8)
    points = np.array([[[x / SIZE, y / SIZE, 2]] for y, x in corners], np.float32)
    parts = [
        dataclasses.replace(examples.subset(rows), targets=ArrayColumn(points[rows.start : rows.stop]))
        for rows in (range(16), range(16, 20), range(20, 24))
    ]
    return Splits(*parts, ("corner",)), tlkit.tasks.keypoints(("corner",), strides=(4, 16))


@pytest.mark.parametrize("kind", ["boxes", "masks", "points"])
def test_the_report_shows_why_below_the_worst_images(module_folder, tmp_path, kind):
    data, task = squared(kind)
    run = tlkit.finetune(
        str(module_folder("keras3_hub")), task, data, [tlkit.Phase(epochs=1, lr=1e-3)], batch_size=8, out=tmp_path,
        input_range=(0.0, 1.0), progress=quiet,
    )  # fmt: skip
    shown = tlkit.explain_mistakes(run, most=2)
    page = (run.folder / "report.html").read_text()
    assert 1 <= len(shown.record["explained"]) <= 2 and page.count('alt="why ') == len(shown.record["explained"])
    assert page.count("Below each, where red speaks for") == 1


def whiteness():
    """A run that says "white" of the pixels of an image that are, one image without any, and one half white."""
    task = tlkit.tasks.segment(("black", "white"), strides=(4, 16))
    image = keras.Input((SIZE, SIZE, 3), name="image")
    bright = keras.layers.Rescaling(1 / 255)(image[..., :1])
    images = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    images[1, :, : SIZE // 2] = 255
    targets = ArrayColumn(np.zeros((2, SIZE, SIZE), np.uint8))
    part = Examples(("dark", "half"), ArrayColumn(images), targets, modality="image")
    model = keras.Model(image, keras.layers.Concatenate()([0.5 - bright, bright - 0.5]))
    return tlkit.Run(model, task, Splits(part, part, part, task.labels)), part


def test_examples_without_what_is_asked_for_are_left_out_and_named():
    run, part = whiteness()
    options = {"method": "occlusion", "label": "white"}
    with pytest.warns(UserWarning, match=r"finds no white in 1 of 2 examples, such as 'dark': they are left out"):
        (explanation,) = tlkit.explain(run, part, **options)
    assert explanation.id == "half" and explanation.peak[0] < 0.5
    with pytest.raises(InputError, match="nothing to explain: the model finds no white in 1 of 1 examples"):
        tlkit.explain(run, part.subset([0]), **options)


def test_files_without_an_object_are_named_and_the_others_are_explained(images, tmp_path, monkeypatch):
    run, _ = images
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        Image.fromarray(run.data.test.inputs[i]).save(file)
    nothing, usual = (
        np.asarray(run.model(run.data.test.inputs.take(np.arange(1)), training=False)),
        explaining.explained,
    )
    monkeypatch.setattr(
        explaining, "explained", lambda run, raw, *rest: [] if np.allclose(raw, nothing) else usual(run, raw, *rest)
    )
    told = []
    paths = explain_files(run, files, tmp_path / "why", method="occlusion", bad=told.append)
    assert [path.name[:5] for path in paths] == ["1.png", "2.png"]
    assert told == [f"The model finds no object in 1 of 3 examples, such as {str(files[0])!r}: they are left out."]
    with pytest.raises(InputError, match="nothing to explain"):
        explain_files(run, files[:1], tmp_path / "why", method="occlusion", bad=told.append)


def test_each_value_of_a_regression_has_its_own(module_folder):
    task = tlkit.tasks.regress(["width", "height"], mean=[0.0, 0.0], std=[1.0, 1.0])
    part, _ = cornered(1, 0)
    layer = tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0))
    run = untrained(task, layer, part)
    explanations = tlkit.explain(run, part, method="integrated_gradients", steps=2)
    raw = np.asarray(run.model(part.inputs.take(np.arange(1)), training=False))[0]
    assert [explanation.label for explanation in explanations] == ["width", "height"]
    np.testing.assert_allclose([explanation.output for explanation in explanations], raw, rtol=1e-4, atol=1e-5)
    (height,) = tlkit.explain(run, part, method="integrated_gradients", steps=2, label="height")
    assert height.label == "height" and height.output == explanations[1].output


# -- what cannot be explained


@pytest.mark.parametrize("modality", ["plain", "audio"])
def test_a_row_of_numbers_is_a_sound_only_where_it_is_said_to_be(module_folder, modality):
    wave = np.sin(np.arange(4000) / 5).astype(np.float32)[None]
    part = Examples(("a",), ArrayColumn(wave), ArrayColumn(np.zeros(1, np.int32)), modality=modality)
    layer = tlkit.HubLayer(module_folder("waveform"), name="backbone")
    run = untrained(tlkit.tasks.classify(("a", "b")), layer, part)
    if modality == "plain":
        with pytest.raises(InputError, match=r"of shape \(4000,\) and modality 'plain' are no images, sounds"):
            tlkit.explain(run, part, method="occlusion")
    else:
        assert tlkit.explain(run, part, method="occlusion")[0].shown is not None


def test_cosines_to_speakers_of_training_are_no_answer(module_folder):
    wave = np.sin(np.arange(4000) / 5).astype(np.float32)[None]
    part = Examples(("a",), ArrayColumn(wave), ArrayColumn(np.zeros(1, np.int32)), modality="audio")
    layer = tlkit.HubLayer(module_folder("waveform"), name="backbone")
    run = untrained(tlkit.tasks.verify(3, 8), layer, part)
    with pytest.raises(InputError, match=r"outputs of 'verify' are neither labels, .* give `of=`"):
        tlkit.explain(run, part, method="occlusion")
    assert tlkit.explain(run, part, method="occlusion", of=lambda raw: raw[:, 0])[0].label == "output"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "guess"}, "`method` must be one of"),
        ({"label": "green"}, "has no label 'green'"),
        ({"depth": 2}, "`depth` must lie in"),
        ({"steps": 0}, "must be 1 or more"),
    ],
)
def test_what_is_asked_wrongly_is_said(images, options, sentence):
    with pytest.raises(InputError, match=sentence):
        tlkit.explain(images[0], images[0].data.test.subset([0]), **options)


def test_an_output_of_your_own(images):
    run, _ = images
    (explanation,) = tlkit.explain(run, run.data.test.subset([0]), of=lambda raw: raw[:, 0] - raw[:, 1])
    raw = np.asarray(run.model(run.data.test.inputs.take(np.arange(1)), training=False))[0]
    assert explanation.output == pytest.approx(float(raw[0] - raw[1]), abs=1e-5) and explanation.label == "output"
