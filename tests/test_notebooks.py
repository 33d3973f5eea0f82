"""The notebooks run top to bottom in a fresh kernel, as they do in Colab."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tlkit import zoo
from tlkit.errors import DownloadError, OfflineError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LONGEST = 12  # cells


@pytest.fixture(scope="module", autouse=True)
def zoo_module():
    try:
        zoo.folder("efficientnet-lite0")
    except (DownloadError, OfflineError) as error:
        pytest.skip(f"the zoo's module is not here and cannot be fetched: {error}")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_top_to_bottom(path, tmp_path):
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(o.get("text", "") for cell in book.cells for o in cell.get("outputs", ()))
    assert "accuracy" in printed and "model_int8.tflite" in printed
    pictures = [o for o in book.cells[-1].outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shape(path):
    book = nbformat.read(path, as_version=4)
    assert len(book.cells) <= LONGEST
    assert book.cells[0].cell_type == "markdown"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not [line for cell in code for line in cell.source.splitlines() if line.lstrip().startswith("def ")]
    assert not [cell for cell in code if cell.outputs or cell.execution_count], "clear the outputs before committing"
