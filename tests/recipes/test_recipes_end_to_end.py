"""Recipes from their own examples to the exported files: the loss falls, the score passes a bar, the files agree."""

from __future__ import annotations

import csv
import importlib.util
import json
import wave
from pathlib import Path

import numpy as np
import painted
import pytest
import scans
from PIL import Image

import tlkit
from tlkit.core.errors import DownloadError, OfflineError

pytestmark = pytest.mark.long

HERE = Path(__file__).parents[2] / "recipes"
FILES = ("saved_model", "float32")
GOLDEN = json.loads((Path(__file__).parent / "scores.json").read_text())  # measured before flags became records
NEAR = 0.05  # other processors sum in another order: two of 45 examples may change sides


def recipe(name):
    """`main` of a recipe; the test is skipped where what it needs is not in the cache and cannot be fetched."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def main(**options):
        try:
            return tlkit.flags.call(module.main, **options)
        except (DownloadError, OfflineError) as error:
            pytest.skip(f"needs the network once: {error}")

    return main


def adapted(run, folder):
    """What run.json says of a run whose loss fell and whose files agree."""
    record = json.loads((folder / "run.json").read_text())
    learning = [phase for phase in run.phases if phase is run.phases[0] or phase.phase.unfrozen]  # a head wanders later
    losses = [phase.history["loss"] for phase in learning]  # of one phase each: the scale is another in the next
    assert all(curve[-1] < curve[0] for curve in losses if len(curve) > 1)
    assert {row["format"] for row in record["exports"]} == set(FILES) and all(
        row["passed"] for row in record["exports"]
    )
    return record["scores"]


def reviews(folder, count):
    """A table of so many movie reviews."""
    whole = tlkit.datasets.reviews.sentences("movies", split=(1, 0, 0)).train
    few = whole.subset(range(0, len(whole), len(whole) // count))
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([str(few.inputs[i]), ("negative", "positive")[few.target_array[i]]] for i in range(len(few)))
    return folder / "reviews.csv"


def coloured(folder):
    """Folders of 20 noisy images of 32 x 32 pixels, one colour each."""
    for label, colour in (("blue", (40, 40, 200)), ("green", (40, 200, 40)), ("red", (200, 40, 40))):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i).normal(colour, 60, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


@pytest.mark.parametrize("modules", ["small", pytest.param("zoo", marks=pytest.mark.slow)])
def test_choose_module(modules, tmp_path, module_folder):
    arguments = {}
    if modules == "small":
        handles = [str(module_folder(kind)) for kind in ("keras3_hub", "keras2")]
        arguments = {"modules": handles, "data": coloured(tmp_path / "data"), "input_range": (0.0, 1.0)}
    ranking = recipe("choose_module")(out=tmp_path, convert=False, **arguments)
    first, second = ranking["rows"]
    assert (tmp_path / "ranking.png").stat().st_size > 5_000
    assert json.loads((tmp_path / "ranking.json").read_text())["rows"] == ranking["rows"]
    assert first["logme"] >= second["logme"]


@pytest.mark.slow
def test_domain_adaptation(tmp_path):
    run = recipe("domain_adaptation")(out=tmp_path, epochs=(4, 0), formats=FILES)
    scores = adapted(run, tmp_path)
    assert (
        scores["source_only"] + 0.05 < scores["adapted"] < scores["target_trained"] and scores["target_trained"] > 0.9
    )
    assert len(run.data.test) and (tmp_path / "source_only" / "run.json").exists()
    assert {name: scores[name] for name in GOLDEN["domain_adaptation"]["scores"]} == pytest.approx(
        GOLDEN["domain_adaptation"]["scores"], abs=NEAR
    )


@pytest.mark.slow
def test_instance_weighting(tmp_path):
    scores = adapted(recipe("instance_weighting")(out=tmp_path, formats=FILES), tmp_path)
    assert scores["accuracy"] > 0.4  # ten classes
    again = tlkit.load(tmp_path)
    assert again.scores["accuracy"] == pytest.approx(scores["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kmm", "density_ratio"])
def test_weights_without_labels_of_the_target(tmp_path, method):
    assert adapted(recipe("instance_weighting")(out=tmp_path, method=method, formats=FILES), tmp_path)["accuracy"] > 0.4


@pytest.mark.slow
def test_multi_task(tmp_path):
    scores = adapted(recipe("multi_task")(out=tmp_path, unfrozen=0.0, formats=FILES), tmp_path)
    assert scores["kind_accuracy"] > 0.5 and scores["style_accuracy"] > 0.65
    assert {"kind", "style"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_distillation(tmp_path):
    run = recipe("distillation")(out=tmp_path, labelled=300, formats=FILES)
    scores = adapted(run, tmp_path)
    assert scores["alone"] + 0.02 < scores["distilled"] < scores["teacher"]
    assert scores["teacher"] > 0.7


@pytest.mark.slow
def test_text_classification(tmp_path):
    run = recipe("text_classification")(data=reviews(tmp_path, 400), out=tmp_path / "run", formats=FILES)
    assert adapted(run, tmp_path / "run")["auc"] > 0.7


@pytest.mark.slow
def test_tabular_classification_with_texts(tmp_path):
    with reviews(tmp_path, 200).open(encoding="utf-8") as file:
        rows = [{**row, "words": len(row["text"].split())} for row in csv.DictReader(file)]
    with (tmp_path / "columns.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["text", "words", "label"])
        table.writeheader()
        table.writerows(rows)
    run = recipe("tabular_classification")(
        data=tmp_path / "columns.csv", texts=("text",), out=tmp_path / "run", batch_size=32, unfrozen=0.1, formats=FILES
    )
    scores = adapted(run, tmp_path / "run")
    assert scores["auc"] > 0.65 and scores["auc"] > scores["auc_trees"]  # which count the words
    assert tlkit.predict(run, [tmp_path / "columns.csv"], top=1)[0].scores[0][0] in ("negative", "positive")


def test_question_answering(tmp_path):
    run = recipe("question_answering")(out=tmp_path, epochs=(1, 1), formats=FILES)
    assert adapted(run, tmp_path)["f1"] > 0.3


@pytest.mark.slow
def test_token_tagging(tmp_path):
    run = recipe("token_tagging")(out=tmp_path, epochs=(1, 1), formats=FILES)
    assert adapted(run, tmp_path)["f1"] > 0.3


@pytest.mark.slow
def test_semantic_search(tmp_path):
    record = recipe("semantic_search")(data=reviews(tmp_path, 300), out=tmp_path, query=("a boring film",), k=3)
    assert len(record["answers"][0]["hits"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "score", "bar"),
    [("audio_classification", "accuracy", 0.9), ("music_tagging", "mean_average_precision", 0.3)],
)
def test_sounds(tmp_path, name, score, bar):
    assert adapted(recipe(name)(out=tmp_path, formats=FILES), tmp_path)[score] > bar


@pytest.mark.slow
def test_speaker_verification(tmp_path):
    assert adapted(recipe("speaker_verification")(out=tmp_path, formats=FILES), tmp_path)["eer"] < 0.08


@pytest.mark.slow
def test_anomaly_detection(tmp_path):
    run = recipe("anomaly_detection")(detector="padim", strides=(8,), out=tmp_path, formats=FILES)
    scores = adapted(run, tmp_path)
    assert scores["image_auroc"] >= 0.93 and scores["pixel_auroc"] >= 0.95 and scores["false_alarms"] <= 0.3


@pytest.mark.slow
def test_speech_recognition(tmp_path):
    run = recipe("speech_recognition")(out=tmp_path, epochs=2, longest=64, formats=FILES)
    scores = adapted(run, tmp_path)
    assert scores["wer"] < scores["wer_before"] and scores["cer"] < scores["cer_before"]


@pytest.mark.slow
def test_keypoint_detection(tmp_path):
    run = recipe("keypoint_detection")(
        data=pointed(tmp_path / "data"), out=tmp_path / "run", image_size=(64, 64), within=0.15, epochs=(12, 2),
        formats=FILES,
    )  # fmt: skip
    assert adapted(run, tmp_path / "run")["pck"] > 0.6 and run.task.labels == ("left_end", "right_end")


def pointed(folder, count=60):
    """Images of a bar each, red at one end and blue at the other, and COCO's annotations of both ends."""
    (folder / "images").mkdir(parents=True)
    rng, annotations = np.random.default_rng(0), []
    for i in range(count):
        pixels = rng.integers(95, 125, (96, 96, 3)).astype(np.uint8)
        x, y = (int(value) for value in rng.integers(4, 40, 2))
        pixels[y : y + 16, x : x + 48] = 200
        pixels[y : y + 16, x : x + 16], pixels[y : y + 16, x + 32 : x + 48] = (220, 40, 40), (40, 60, 220)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "bbox": [x, y, 48, 16], "iscrowd": 0,
             "keypoints": [x + 8, y + 8, 2, x + 40, y + 8, 2]}
        )  # fmt: skip
    content = {
        "images": [{"id": i, "file_name": f"images/{i}.png", "width": 96, "height": 96} for i in range(count)],
        "categories": [{"id": 1, "name": "bar", "keypoints": ["left_end", "right_end"]}],
        "annotations": annotations,
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def golden_data(name, folder):
    """What the golden scores of a recipe were measured on; None is the recipe's own examples."""
    if name == "text_classification":
        return reviews(folder, 400)
    if name == "image_classification":
        return tlkit.datasets.samples.folder(style="noto")
    if name == "audio_classification":
        return tones(folder / "tones")
    return None


def tones(folder):
    """Folders "low" and "high" of 20 noisy tones of a second each."""
    for label, pitch in (("low", 220.0), ("high", 1760.0)):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            noise = np.random.default_rng(i).normal(0, 0.3, 16_000)
            samples = np.sin(2 * np.pi * (pitch + 10 * i) * np.arange(16_000) / 16_000) + noise
            with wave.open(str(folder / label / f"{i}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes((samples * 8000).astype("<i2").tobytes())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "domain_adaptation"])
def test_the_same_command_gives_the_same_scores(tmp_path, name):
    words = {key: tuple(v) if isinstance(v, list) else v for key, v in GOLDEN[name]["flags"].items()}
    data = golden_data(name, tmp_path)
    run = recipe(name)(out=tmp_path / "run", formats=("float32",), **words, **({} if data is None else {"data": data}))
    scores = {score: run.scores[score] for score in GOLDEN[name]["scores"]}
    assert scores == pytest.approx(GOLDEN[name]["scores"], abs=NEAR)


@pytest.mark.slow
def test_smallest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = recipe("smallest")()
    assert run.scores["accuracy"] > 0.5 and (tmp_path / "runs" / "smallest" / "model.tflite").exists()


def test_forecasting(tmp_path):
    sales = tlkit.datasets.made_series.sales(6, shops=1, months=85, seed=1)
    values = sales.test.columns["history"][-1]
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        months = [f"{2015 + i // 12}-{1 + i % 12:02d}" for i in range(len(values))]
        csv.writer(file).writerows([["time", "value"], *zip(months, values.tolist(), strict=True)])
    run = recipe("forecasting")(data=tmp_path / "table.csv", horizon=6, out=tmp_path / "run", formats=FILES)
    scores = adapted(run, tmp_path / "run")
    assert scores["mase"] < scores["mase_naive"] and scores["wql"] < scores["wql_naive"]
    assert 0.5 <= scores["coverage_80"] <= 1


def test_series_classification(tmp_path):
    gestures = tlkit.datasets.made_series.gestures(45, 40, split=(1, 0, 0)).train
    for i in range(len(gestures)):
        file = tmp_path / "data" / ("circle", "shake", "swipe")[int(gestures.target_array[i])] / f"{i}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([["x", "y", "z"], *gestures.inputs[i].tolist()])
    run = recipe("series_classification")(data=tmp_path / "data", out=tmp_path / "run", epochs=20, formats=FILES)
    assert adapted(run, tmp_path / "run")["accuracy"] >= 0.8


def test_object_detection(tmp_path, module_cache):
    run = recipe("object_detection")(
        data=painted.bars(tmp_path / "data"), module=str(painted.bars_module(tmp_path / "module")),
        out=tmp_path / "run", image_size=(64, 64), strides=(4, 8, 16), width=24, epochs=(24, 8), lr=(1e-2, 3e-3),
        batch_size=8, formats=FILES,
    )  # fmt: skip
    assert adapted(run, tmp_path / "run")["map50"] > 0.5


def test_image_segmentation(tmp_path, module_cache):
    run = recipe("image_segmentation")(
        data=painted.fields(tmp_path / "data"), module=str(painted.fields_module(tmp_path / "module")),
        out=tmp_path / "run", labels=painted.FIELDS,
        image_size=(32, 32), strides=(2, 4, 8), width=16, epochs=(12, 4), lr=(1e-2, 1e-3), batch_size=8, formats=FILES,
    )  # fmt: skip
    assert adapted(run, tmp_path / "run")["miou"] > 0.7


def scan(i):
    """A bright tumour in a grey head, in Hounsfield-like numbers, and its mask; int16 and uint8 (48, 48)."""
    rng, (y, x) = np.random.default_rng(i), np.mgrid[:48, :48]
    top, left = rng.integers(12, 36, 2)
    tumour = np.hypot(y - top, x - left) < rng.integers(6, 10)
    values = rng.normal(0, 20, (48, 48)) + 40 + 300 * tumour
    return values.astype(np.int16), tumour.astype(np.uint8)


def scans_of_dicom(folder):
    """As a hospital writes them: under names without an ending, behind a window."""
    pytest.importorskip("pydicom", reason="DICOM needs pydicom, of the extra `medical`")
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(40):
        values, mask = scan(i)
        window = {"WindowCenter": 150, "WindowWidth": 400}
        (folder / "images" / f"IM{i:06d}").write_bytes(scans.written(values, **window))
        (folder / "masks" / f"IM{i:06d}").write_bytes(scans.written(mask))
    return folder


def scans_of_nifti(folder):
    """Ten patients of four slices."""
    nibabel = pytest.importorskip("nibabel", reason="NIfTI needs nibabel, of the extra `medical`")
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for patient in range(10):
        slices = [scan(4 * patient + i) for i in range(4)]
        for kind, volume in zip(("images", "masks"), zip(*slices, strict=True), strict=True):
            image = nibabel.Nifti1Image(np.stack(volume, axis=-1), np.eye(4))
            nibabel.save(image, folder / kind / f"patient{patient}.nii.gz")
    return folder


@pytest.mark.parametrize("kind", [scans_of_dicom, scans_of_nifti])
def test_medical_images_and_their_masks(kind, tmp_path, module_cache):
    folder, out = kind(tmp_path / "scans"), tmp_path / "run"
    run = recipe("medical_segmentation")(
        data=folder, labels=("air", "tumour"), module=str(painted.bars_module(tmp_path / "module")), out=out,
        image_size=(48, 48), strides=(2, 4, 8), width=16, epochs=(8, 2), lr=(1e-2, 1e-3), batch_size=8, formats=FILES,
    )  # fmt: skip
    scores = adapted(run, out)
    assert scores["miou"] > 0.7 and not run.data.quarantine
    names = {name.partition("#")[0] for name in run.data.test.ids}
    if kind is scans_of_dicom:
        assert all(name.startswith("IM0") for name in names)
        (prediction,) = tlkit.predict(out, [folder / "images" / sorted(names)[0]])
        assert {text for text, _ in prediction.scores} == {"air", "tumour"}
    else:  # patients are on one side
        assert set(run.data.train.groups).isdisjoint(run.data.test.groups)
