"""`tlkit run` again: the same command goes on or shows its result, another is an error, --fresh starts over."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fitting import LABELS, image
from PIL import Image

from tlkit import cli, training


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
    assert cli.main(words) == 0
    first = (out / "run.json").read_text()

    with monkeypatch.context() as patch:
        patch.setattr(training, "_run_phase", None)  # training would fail
        assert cli.main(words) == 0
        assert "holds this run already; --fresh starts over" in capsys.readouterr().err
        assert (out / "run.json").read_text() == first

        assert cli.main([*words, "--seed", "1"]) == 2
        assert "holds the run of another command" in capsys.readouterr().err
        (out / "run.json").unlink()  # as if the first had been killed before it wrote its record
        assert cli.main([*words, "--seed", "1"]) == 2
        assert "holds a run with other settings, data or another module" in capsys.readouterr().err

    assert cli.main(["--fresh", *words, "--seed", "1"]) == 0
    assert json.loads((out / "run.json").read_text())["seed"] == 1
    assert json.loads(first)["seed"] == 0
