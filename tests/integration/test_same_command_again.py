"""`tlkit run` again: the same command goes on or shows its result, another is an error, --fresh starts over."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from fitting import LABELS, SIZE, data, image, stopped_after
from PIL import Image

import tlkit
from tlkit.cli import commands
from tlkit.core.errors import InputError
from tlkit.core.files import LOCK
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.runs import folder
from tlkit.training import fit

HOLDS = (
    "import sys, time; from tlkit.core import files\nwith files.held(sys.argv[1]): print(flush=True); time.sleep(60)"
)


@pytest.fixture(scope="module")
def words(tmp_path_factory, module_folder):
    """The command, without its --out."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, name in enumerate(LABELS):
        (root / name).mkdir()
        for i in range(12):
            Image.fromarray(image(label, rng)).save(root / name / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield ["run", "image_classification", "--data", str(root), "--module", str(module_folder("keras3_hub")),
               "--batch-size", "8", "--epochs", "1", "1", "--formats", "saved_model"]  # fmt: skip


def test_the_same_command_another_and_fresh(words, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    words = [*words, "--out", str(out)]
    assert commands.main(words) == 0
    first = (out / "run.json").read_text()

    with monkeypatch.context() as patch:
        patch.setattr(fit, "_run_phase", None)  # training would fail
        (out / LOCK).write_text("1\n")  # as if a kill had left it
        assert commands.main(words) == 0
        assert "holds this run already; --fresh starts over" in capsys.readouterr().err
        assert (out / "run.json").read_text() == first
        assert not (out / LOCK).exists()

        assert commands.main([*words, "--seed", "1"]) == 2
        assert "holds the run of another command" in capsys.readouterr().err
        (out / "run.json").unlink()  # as if the first had been killed before it wrote its record
        assert commands.main([*words, "--seed", "1"]) == 2
        assert "holds a run with other settings, data or another module" in capsys.readouterr().err

    assert commands.main(["--fresh", *words, "--seed", "1"]) == 0
    assert json.loads((out / "run.json").read_text())["seed"] == 1
    assert json.loads(first)["seed"] == 0


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (["--formats", "nonsense"], "`formats` must be some of"),
        (["--max-drop", "-1"], "`max_drop` of Gates must lie in"),
        (["--max-drop", "nan"], "`max_drop` of Gates must lie in"),
        (["--epochs", "0", "0"], "Nothing would be trained"),
        (["--epochs", "-1", "1"], "`epochs` of a Phase must be"),
        (["--lr", "inf", "inf"], "`lr` of a Phase must be positive and finite"),
        (["--lr", "nan", "1e-3"], "`lr` of a Phase must be positive and finite"),
        (["--unfrozen", "1.5"], "`unfrozen` of a Phase must lie in"),
        (["--batch-size", "0"], "`batch_size` must be 1 or more"),
        (["--micro-batch", "0"], "`micro_batch` must be a number of examples, 1 or more"),
        (["--out", "/proc/nothing/here"], "/proc/nothing/here cannot be written to"),
        (["--out", "x" * 300], "the name is too long"),
    ],
    ids=str,
)
def test_mistakes_are_told_before_the_data_are_read(mistake, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert commands.main(["run", "image_classification", "--data", "nowhere", *mistake]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["photos", "photos/runs/x", "link/x", "photos/../photos", "module", "module/x"])
def test_a_run_is_not_written_into_its_data_or_its_module(out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/cat", "photos/dog", "module"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "module" / "saved_model.pb").touch()
    (tmp_path / "link").symlink_to("photos")
    before = sorted(tmp_path.rglob("*"))
    words = ["run", "image_classification", "--data", "photos", "--module", "module", "--out"]
    assert commands.main([*words, out]) == 2
    assert "The run would be written into the folder of the" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    assert commands.main([*words, "photos2"]) == 2
    assert "would be written" not in capsys.readouterr().err  # the folders are empty, which is another mistake


def test_no_way_to_treat_long_texts_is_told_before_the_texts_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert commands.main(["run", "text_classification", "--data", "nowhere", "--long", "both"]) == 2
    assert "`long` must be one of cut, windows" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_corrected_command_goes_on_where_nothing_is_finished(tmp_path):
    exports = [{"format": "int8", "passed": False}]
    record = {"schema": 1, "arguments": ["run", "x", "--max-drop", "0"], "exports": exports}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert folder.finished(tmp_path, ["run", "x", "--max-drop", "0.1"]) is None
    assert (
        folder.finished(tmp_path, ["run", "x", "--max-drop", "0"]) is None
    )  # what failed is done again, and told again
    exports[0]["passed"] = True
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert folder.finished(tmp_path, ["run", "x", "--max-drop", "0"])["folder"] == str(tmp_path)
    with pytest.raises(InputError, match=r"another command \(tlkit run x --max-drop 0\).*tlkit export"):
        folder.finished(tmp_path, ["run", "x", "--max-drop", "0.1"])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\x80\x04}", b'{"schema": 1, "exports": 3}'])
def test_a_damaged_record_is_told_with_its_fix(content, tmp_path, capsys):
    (tmp_path / "run.json").write_bytes(content)
    for words in (["run", "image_classification", "--data", "x", "--out", str(tmp_path)],
                  ["run", str(tmp_path / "run.json")]):  # fmt: skip
        assert commands.main(words) == 2
        told = capsys.readouterr().err
        assert "run.json" in told and "--fresh" in told and told.count("\n") == 1


def test_a_resumed_run_exports_the_same_bytes(tmp_path, module_folder, module_cache):
    phases = (Phase(epochs=2, lr=3e-3), Phase(epochs=1, lr=1e-4, unfrozen=1.0))

    def exported(out):
        run = tlkit.finetune(
            module_folder("keras3_hub"), tlkit.tasks.classify(LABELS, hidden=(8,)), data(), phases, out=out,
            image_size=(SIZE, SIZE), batch_size=8, progress=quiet,
        )  # fmt: skip
        tlkit.export(run, formats=("saved_model", "float32"), progress=quiet)
        files = [out / "model.tflite", *(out / "saved_model").rglob("*")]
        return {file.relative_to(out).as_posix(): file.read_bytes() for file in files if file.is_file()}

    whole = exported(tmp_path / "whole")
    stopped_after(2, lambda: exported(tmp_path / "broken"))
    for _ in range(3):  # a process that has made other layers before
        keras.Sequential([keras.layers.Dense(2), keras.layers.Conv2D(1, 1)])
        keras.Model(x := keras.Input((3,)), keras.layers.Dense(2)(x))
    again = exported(tmp_path / "broken")
    assert {"model.tflite", "saved_model/saved_model.pb", "saved_model/fingerprint.pb"} <= set(whole)
    assert [name for name in whole | again if whole.get(name) != again.get(name)] == []


def test_two_processes_do_not_share_a_folder(tmp_path, capsys):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        words = ["run", "image_classification", "--data", "x", "--out", str(tmp_path)]
        try:
            assert commands.main(words) == 2
            assert f"is in use: process {process.pid} is writing to it" in capsys.readouterr().err
            with pytest.raises(InputError, match="is in use"):
                tlkit.finetune("zoo:none", tlkit.tasks.classify(LABELS), data(), out=tmp_path)
        finally:
            process.kill()
    assert commands.main(words) == 2
    assert "x" in capsys.readouterr().err and list(tmp_path.glob(".*")) == []
