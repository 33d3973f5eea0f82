"""README.md of an export: the hub reads its top, and its lines run on the files beside it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import readme_checks
from exporting_runs import BACKGROUND, LABELS, classifier, exported
from serving_stand_in import serving

from tlkit.core.task import Evaluation
from tlkit.exporting.predicting import read_files
from tlkit.exporting.readme import write_readme
from tlkit.report import run_json

SHOWN = ["flat", "rising", "two lines", "fällend ✓"]
CLIENTS = Path(__file__).parents[1] / "clients"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier's files with their README; its scores are said to be these."""
    files, exports = exported()
    place = tmp_path_factory.mktemp("readme") / "stripes"
    shutil.copytree(files, place)
    scores = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "nll": 0.3}
    run = dataclasses.replace(classifier(), exports=exports, evaluation=Evaluation(scores, {}))
    assert write_readme(run, run_json(run), place) == place / "README.md"
    return place


def test_its_top_is_what_the_hub_reads(folder):
    front = readme_checks.metadata(folder)
    assert front["license"] == "unknown" and front["library_name"] == "tlkit"
    assert front["tags"] == ["tlkit", "litert", "classify", "image"] and front["metrics"] == ["accuracy", "nll"]
    ((result,),) = [model["results"] for model in front["model-index"]]
    assert result["dataset"]["type"] == classifier().data.fingerprint
    accuracy, nll = result["metrics"]
    assert accuracy["value"] == 0.9 and "0.8 to 0.95" in accuracy["name"] and nll["value"] == 0.3


def test_it_says_what_nothing_is_known_of(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "these 4 labels: flat, rising, two lines, fällend ✓" in text  # the label's line break breaks no line
    assert "licence of the module: it is not written down" in text and "model_int8.tflite` (`image` as uint8)" in text


def test_what_the_python_lines_import_is_what_it_says_to_install(folder):
    assert "\n`pip install ai-edge-litert numpy pillow`\n" in (folder / "README.md").read_text("utf-8")


def test_the_lines_for_litert_say_what_the_model_says(folder):
    (code, *_) = readme_checks.blocks(folder, "python", "Python")
    printed, names = readme_checks.said(folder, code)
    expected = classifier().model(names["inputs"]["image"], training=False)
    assert names["outputs"]["probabilities"][0].argmax() == int(np.argmax(expected[0]))
    assert names["labels"] == SHOWN and printed.startswith("probabilities (1, 4) float32")


def test_the_lines_read_a_photo_as_predict_does(folder, tmp_path):
    """The camera held sideways, pixels clear, and not of the model's size."""
    file = tmp_path / "example.png"
    readme_checks.turned_and_transparent(file)
    ((_, example),) = read_files(classifier(), [file])
    (code, *_) = readme_checks.blocks(folder, "python", "Python")
    _, names = readme_checks.said(folder, code)
    np.testing.assert_array_equal(names["inputs"]["image"], example.inputs.take(np.arange(1)))


def test_the_lines_of_a_phone_draw_on_the_background_of_training(folder):
    (kotlin, *_), (swift, *_) = (readme_checks.blocks(folder, language) for language in ("kotlin", "swift"))
    assert "drawColor(Color.rgb({}, {}, {}))".format(*BACKGROUND) in kotlin
    assert "red: {} / 255, green: {} / 255, blue: {} / 255".format(*BACKGROUND) in swift


def test_the_lines_for_the_saved_model_run(folder):
    (code,) = readme_checks.blocks(folder, "python", "Python, the SavedModel")
    printed, names = readme_checks.said(folder, code)
    assert printed == "probabilities (1, 4) float32\n"
    assert float(names["outputs"]["probabilities"].numpy().sum()) == pytest.approx(1, abs=1e-5)


def test_the_lines_for_tensorflow_serving_are_answered(folder):
    name = folder.name
    (code,) = readme_checks.blocks(folder, "python", "TensorFlow Serving")
    with serving(folder / "saved_model", name) as address:
        printed, names = readme_checks.said(folder, code.replace("http://localhost:8501", address))
        alone = _asked(address, name, {"instances": [{"image": names["sent"]["image"][0]}] * 2})
        labelled = _asked(address, name, {"signature_name": "classify", "instances": names["sent"]["image"]})
        with pytest.raises(urllib.error.HTTPError) as refused:
            _asked(address, name, {"signature_name": "other", "instances": []})
    assert refused.value.code == 400
    expected = [json.loads(printed)[0]] * 2
    np.testing.assert_allclose(alone["predictions"], expected, atol=1e-6)  # sums of another batch size: not bit for bit
    assert set(labelled["predictions"][0]) == {"classes", "scores"}
    assert set(labelled["predictions"][0]["classes"]) == set(LABELS)


def _asked(address: str, name: str, request: dict) -> dict:
    sent = urllib.request.Request(f"{address}/v1/models/{name}:predict", json.dumps(request).encode())
    with urllib.request.urlopen(sent, timeout=60) as answer:
        return dict(json.load(answer))


def test_the_lines_in_c_compile(folder, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (code,) = readme_checks.blocks(folder, "c")
    library = tmp_path / "tensorflow" / "lite" / "c"
    library.mkdir(parents=True)
    shutil.copy(CLIENTS / "c_api.h", library)
    (library / "c_api_experimental.h").touch()
    (tmp_path / "main.c").write_text(code)
    command = [compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-std=c11", f"-I{tmp_path}", "main.c"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)


def test_without_a_file_that_passed_there_is_none(folder, tmp_path):
    shutil.copy(folder / "README.md", tmp_path)
    run = dataclasses.replace(classifier(), exports=())
    assert write_readme(run, run_json(run), tmp_path) is None and not (tmp_path / "README.md").exists()
