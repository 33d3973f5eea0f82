import os
from pathlib import Path

import pytest

from tlkit.exporting import placing


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_file_that_passes_takes_the_place(tmp_path: Path):
    target = tmp_path / "model.tflite"
    target.write_text("old")
    target.with_name("model.tflite.failed").write_text("old failure")
    (tmp_path / "new").write_text("new")
    assert placing.place(tmp_path / "new", target, passed=True) == target
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_a_file_that_fails_never_keeps_the_name(tmp_path: Path):
    target = tmp_path / "model.tflite"
    target.write_text("old")
    (tmp_path / "new").write_text("new")
    placing.place(tmp_path / "new", target, passed=False)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.tflite.failed", "new")]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool):
    if not exchange:
        monkeypatch.setattr(placing, "_exchange", lambda a, b: False)
    target = folder(tmp_path / "saved_model", "old")
    with placing.staging(tmp_path) as stage:
        placing.place(folder(stage / "saved_model", "new"), target, passed=True)
        assert (target / "file").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["saved_model"]


def test_what_killed_exports_left_goes_and_running_ones_stay(tmp_path: Path):
    dead = 2**22 - 3  # above any process here: the kernel's limit is 2**22
    for process in (dead, os.getpid()):
        folder(tmp_path / f".tlkit-partial-export-{process}-x", "part")
    with placing.staging(tmp_path):
        left = [p.name for p in tmp_path.iterdir()]
    assert f".tlkit-partial-export-{os.getpid()}-x" in left
    assert not any(str(dead) in name for name in left)


def test_the_stage_goes_with_an_error(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), placing.staging(tmp_path / "new") as stage:
        folder(stage / "part", "x")
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []


def test_sizes(tmp_path: Path):
    source = folder(tmp_path / "a", "12345")
    assert placing.size(source) == placing.size(source / "file") == 5
