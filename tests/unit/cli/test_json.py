"""What the commands print as JSON."""

import json

import pytest

from tlkit import exporting
from tlkit.cli import commands
from tlkit.exporting.predicting import Prediction


def test_a_score_that_is_no_number_is_null(monkeypatch, capsys):
    answers = [Prediction("a.txt", (("cat", float("nan")), ("dog", 0.5)), "cut")]
    monkeypatch.setattr(exporting, "predict", lambda *args, **options: answers)

    commands._predict(["run", "a.txt"], {"--json"})

    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"file": "a.txt", "scores": [["cat", None], ["dog", 0.5]], "note": "cut", "drawn": []}


RECIPE = """
import tlkit
from tlkit.core.progress import shown

def main(steps: int = 2) -> int:
    print("a recipe of one's own may print")
    shown().line("data    4 examples")
    with shown().bar("train", steps) as advance:
        advance(steps)
    return steps
"""
WORDS = {
    "run": ["run", "mine.py"],
    "recipes": ["recipes"],
    "new": ["new", "image_classification", "--to", "copies"],
    "zoo": ["zoo"],
    "cache": ["cache"],
    "cache clear": ["cache", "clear"],
    "doctor": ["doctor"],
    "an error": ["run", "nosuch"],
    "inspect": ["inspect", "nosuch"],
    "tune": ["tune", "mine.py"],
    "predict": ["predict", "nosuch", "a.png"],
    "export": ["export", "nosuch"],
    "demo": ["demo", "--module", "zoo:nosuch", "--out", "demo"],
}


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=name, marks=[pytest.mark.long] * (name == "doctor")) for name, words in WORDS.items()],
)
def test_stdout_is_one_document(words, tmp_path, monkeypatch, capsys):
    """Of each command with --json; progress, and what a recipe prints, are on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.py").write_text(RECIPE)
    commands.main([*words, "--json"])
    written = capsys.readouterr()
    document = json.loads(written.out)
    if words[0] == "run" and "error" not in document:
        assert document == {"result": 2}
        assert "may print" in written.err and "data    4 examples" in written.err


def test_without_json_a_recipe_prints_to_stdout(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(RECIPE)
    commands.main(["run", str(tmp_path / "mine.py")])
    assert "data    4 examples" in capsys.readouterr().out
