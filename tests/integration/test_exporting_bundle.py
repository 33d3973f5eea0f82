"""The whole export of a small run: what is written, what it gives, what falls short, what a kill leaves."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from changing import decoded
from exporting_runs import FILES, LABELS, SIZE, classifier, exported, plain_model, run_of, stripes
from PIL import Image

import tlkit
from tlkit import tasks
from tlkit.core.errors import GateError, InputError
from tlkit.core.examples import Splits
from tlkit.core.run import Run
from tlkit.exporting import Gates, export, predict, saved_model
from tlkit.formats import tflite_metadata

TFLITE = {name: file for name, file in FILES.items() if file.endswith(".tflite")}


def model_outputs(run: Run, images: np.ndarray) -> np.ndarray:
    return decoded(run.task, run.model(images.astype("float32"), training=False))


def operations(model: bytes) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in tree.operatorCodes]
    return [names[codes[op.opcodeIndex]] for op in tree.subgraphs[0].operators]


@pytest.mark.numeric
def test_every_file_passes_its_gate():
    folder, exports = exported()
    assert [e.format for e in exports] == list(FILES)
    assert all(e.passed for e in exports)
    assert {p.name for p in folder.iterdir()} == {*FILES.values(), "labels.txt"}
    assert all(e.latency_ms > 0 and e.score > 0.8 for e in exports)
    size = {e.format: e.bytes for e in exports}
    assert size["float32"] == (folder / "model.tflite").stat().st_size
    assert size["int8"] < size["float16"] < size["float32"] < size["saved_model"]


def test_labels_stand_on_lines_of_their_own():
    folder, _ = exported()
    assert (folder / "labels.txt").read_text().split("\n") == ["flat", "rising", "two lines", "fällend ✓", ""]


@pytest.mark.numeric
def test_the_saved_model_takes_images_of_any_size_and_number():
    folder, _ = exported()
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    assert set(loaded.signatures) == {"serving_default", "classify", "embedding"}
    serve = loaded.signatures["serving_default"]
    images, _ = stripes(5, seed=7)
    np.testing.assert_allclose(
        serve(image=tf.constant(images))["probabilities"], model_outputs(classifier(), images), atol=1e-5
    )
    large, _ = stripes(2, seed=8, size=75)
    as_trained = np.stack(
        [np.asarray(Image.fromarray(x).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for x in large]
    )
    np.testing.assert_allclose(
        serve(image=tf.constant(large))["probabilities"], model_outputs(classifier(), as_trained), atol=2e-2
    )
    assert serve(image=tf.zeros((0, 9, 9, 3), tf.uint8))["probabilities"].shape == (0, 4)


def test_classify_gives_label_strings_best_first():
    folder, _ = exported()
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    images, _ = stripes(3, seed=9)
    outputs = loaded.signatures["classify"](image=tf.constant(images))
    expected = model_outputs(classifier(), images)
    np.testing.assert_allclose(outputs["scores"], -np.sort(-expected, axis=1), atol=1e-5)
    assert [row[0].decode() for row in outputs["classes"].numpy()] == [LABELS[i] for i in expected.argmax(axis=1)]


@pytest.mark.numeric
def test_embedding_gives_what_the_backbone_computes():
    folder, _ = exported()
    images, _ = stripes(2, seed=9)
    run = classifier()
    backbone = keras.Model(run.model.input, run.model.get_layer("backbone").output)
    outputs = tf.saved_model.load(str(folder / "saved_model")).signatures["embedding"](image=tf.constant(images))
    np.testing.assert_allclose(outputs["features"], backbone(images.astype("float32")), atol=1e-4)


@pytest.mark.parametrize("name", TFLITE)
def test_one_affine_stands_before_the_first_convolution(name):
    folder, _ = exported()
    names = [op for op in operations((folder / TFLITE[name]).read_bytes()) if op not in ("DEQUANTIZE", "QUANTIZE")]
    assert names[: names.index("CONV_2D")] == ["MUL", "ADD"] or names[0] == "CONV_2D"


@pytest.mark.parametrize("name", TFLITE)
def test_files_take_pixels_as_they_are(name):
    from ai_edge_litert.interpreter import Interpreter

    folder, _ = exported()
    detail = Interpreter(str(folder / TFLITE[name])).get_signature_runner().get_input_details()["image"]
    assert detail["shape"].tolist() == [1, SIZE, SIZE, 3]
    if name == "int8":
        assert (detail["dtype"], detail["quantization"]) == (np.uint8, (1.0, 0))
    else:
        assert detail["dtype"] == np.float32


def test_the_card_inside_keeps_labels_exactly():
    folder, _ = exported()
    card = tflite_metadata.read_card((folder / "model_int8.tflite").read_bytes())
    assert card["labels"] == list(LABELS)
    assert (card["modality"], card["format"]) == ("image", "int8")
    assert card["made_by"][0] == "tlkit.tasks.classify"


def test_metadata_can_be_attached_again():
    folder, _ = exported()
    model = (folder / "model.tflite").read_bytes()
    again = tflite_metadata.attach(
        model,
        tflite_metadata.Metadata(
            "x",
            "",
            {"image": tflite_metadata.image_input("image")},
            {"probabilities": tflite_metadata.score_output("p")},
        ),
    )
    assert tflite_metadata.read_card(again) == {}
    assert len(again) < len(model) + 500


def test_predict_runs_the_tflite_file(tmp_path: Path):
    folder, _ = exported()
    images, _ = stripes(1, seed=5, size=80)
    Image.fromarray(images[0]).save(tmp_path / "large.png")
    Image.fromarray(images[0, :SIZE, :SIZE]).save(tmp_path / "exact.png")
    large, exact = predict(folder, [tmp_path / "large.png", tmp_path / "exact.png"], top=2)
    expected = model_outputs(classifier(), images[:, :SIZE, :SIZE])[0]
    assert exact.note == ""
    assert [name for name, _ in exact.scores] == [LABELS[i] for i in np.argsort(-expected)[:2]]
    np.testing.assert_allclose([score for _, score in exact.scores], -np.sort(-expected)[:2], atol=1e-4)
    assert large.note.startswith("resized from 80x80 to 32x32 as in training; a client that resizes without")


def test_predict_says_what_it_cannot_do(tmp_path: Path):
    folder, _ = exported()
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(InputError, match=r"page\.jpg' cannot be read as an image: it holds HTML"):
        predict(folder, [tmp_path / "page.jpg"])
    with pytest.raises(InputError, match=r"none\.png' cannot be read"):
        predict(folder, [tmp_path / "none.png"])
    with pytest.raises(InputError, match="holds no exported file"):
        predict(tmp_path, ["x.png"])
    with pytest.raises(InputError, match=r"There is no run folder or exported file '.*/nowhere'"):
        predict(tmp_path / "nowhere", ["x.png"])
    (tmp_path / "other.tflite").write_bytes(b"somebody else's")
    with pytest.raises(InputError, match="was not exported by tlkit"):
        predict(tmp_path / "other.tflite", [])
    with pytest.raises(InputError, match="top=0"):
        predict(folder, [], top=0)


def test_what_falls_short_is_kept_aside_and_the_rest_is_written(tmp_path: Path):
    (tmp_path / "model.tflite").write_text("of an earlier export")
    with pytest.raises(GateError, match=r"model\.tflite .*FAILED") as raised:
        export(classifier(), tmp_path, ("float32", "float16"), Gates(float32_difference=0.0))
    assert f"All are in {tmp_path}." in str(raised.value)
    assert {p.name for p in tmp_path.iterdir()} == {"model.tflite.failed", "model_float16.tflite", "labels.txt"}
    assert [(e.file, e.passed) for e in raised.value.exports] == [
        ("model.tflite.failed", False),
        ("model_float16.tflite", True),
    ]
    assert "exceeds 0; kept aside as model.tflite.failed." in str(raised.value)
    assert raised.value.exit_code == 1


def test_an_operation_without_tflite_builtin_is_named(tmp_path: Path):
    def decode(raw):
        return {"probabilities": tf.math.igammac(tf.ones_like(raw), tf.nn.softmax(raw))}

    task = tasks.classify(LABELS)
    task = dataclasses.replace(task, answers=(dataclasses.replace(task.answers[0], decode=decode),))
    with pytest.raises(GateError, match=r"needs the Igammac operation, .*formats=\('saved_model',\)") as raised:
        export(dataclasses.replace(classifier(), task=task), tmp_path, ("float32",))
    assert [(e.passed, e.bytes) for e in raised.value.exports] == [(False, 0)]
    assert {p.name for p in tmp_path.iterdir()} == {"labels.txt"}


def per_split(of_directions: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(of_directions(stripes(count, seed)[1]).astype(np.float32) for seed, count in enumerate((256, 8, 100)))


def test_several_labels_an_example_export(tmp_path: Path):
    keras.utils.set_random_seed(0)
    task = tasks.classify(["a", "b"], multi_label=True)
    targets = per_split(lambda directions: np.stack([directions == 0, directions >= 2], axis=1))
    (file,) = export(run_of(task, plain_model(task), targets), tmp_path, "int8")
    assert file.passed
    assert file.score > 0.8


def test_values_export_and_predict_in_their_own_order(tmp_path: Path):
    keras.utils.set_random_seed(0)
    task = tasks.regress(["angle", "its half"], mean=[150, 75], std=[110, 55])
    run = run_of(task, plain_model(task), per_split(lambda d: np.stack([d * 100, d * 50], axis=1)))
    (file,) = export(run, tmp_path, ("float16",))
    assert file.passed
    assert file.score > 0.5
    images, _ = stripes(1, seed=3)
    Image.fromarray(images[0]).save(tmp_path / "x.png")
    scores = predict(tmp_path, [tmp_path / "x.png"])[0].scores
    assert [name for name, _ in scores] == ["angle", "its half"]
    np.testing.assert_allclose([value for _, value in scores], model_outputs(run, images)[0], atol=2)


def test_a_model_of_mixed_precision_exports_in_float32(tmp_path: Path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        task = tasks.classify(LABELS)
        run = run_of(task, plain_model(task), epochs=1)
    finally:
        keras.config.set_dtype_policy(before)
    (file,) = export(run, tmp_path, ("float32",))
    assert file.largest_difference < 1e-5
    assert run.model.get_layer("backbone").layers[-1].layers[1].compute_dtype == "float16"


def test_a_backbone_under_several_heads_exports_the_features_of_each():
    task = tasks.classify(LABELS)
    first = classifier().model
    image = keras.Input((SIZE, SIZE, 3), name="image")
    second = keras.Model(image, task.head(first.get_layer("backbone")(image)))
    core = saved_model.trace(dataclasses.replace(classifier(), model=second))
    images, _ = stripes(2, seed=4)
    _, features = core({"image": tf.constant(images, tf.float32)})
    np.testing.assert_allclose(features["features"], first.get_layer("backbone")(images.astype("float32")), atol=1e-5)


def test_arguments_are_checked_before_any_work(tmp_path: Path):
    run = classifier()
    with pytest.raises(InputError, match="say where to write"):
        export(run)
    with pytest.raises(InputError, match="float64"):
        export(run, tmp_path, ("float64",))
    with pytest.raises(InputError, match="has no examples to check an export with"):
        none = run.data.test.subset([])
        export(dataclasses.replace(run, data=Splits(none, none, none)), tmp_path)
    assert not list(tmp_path.iterdir())


KILLED = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from exporting_runs import classifier
from tlkit.exporting import export
export(classifier(), Path({folder!r}), say=lambda what: print(what, flush=True))
print("done", flush=True)
"""


def test_a_kill_leaves_the_export_before_it_whole(tmp_path: Path):
    before = {"model.tflite": "old model", "labels.txt": "old labels", "saved_model": "old folder"}
    for name in ("model.tflite", "labels.txt"):
        (tmp_path / name).write_text(before[name])
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_text(before["saved_model"])
    paths = [str(Path(tlkit.__file__).parents[1]), str(Path(__file__).parents[1])]
    code = KILLED.format(paths=paths, folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("writing the SavedModel" in line for line in process.stdout)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "model.tflite").read_text() == before["model.tflite"]
    assert (tmp_path / "labels.txt").read_text() == before["labels.txt"]
    assert (tmp_path / "saved_model" / "saved_model.pb").read_text() == before["saved_model"]
    left = {p.name for p in tmp_path.iterdir()} - {*before, ".tlkit-lock"}  # the lock went with its process
    assert all(name.startswith(".tlkit-partial-export-") for name in left)
