"""What the commands print as JSON."""

import json

from tlkit import exporting
from tlkit.cli import commands
from tlkit.exporting.predicting import Prediction


def test_a_score_that_is_no_number_is_null(monkeypatch, capsys):
    answers = [Prediction("a.txt", (("cat", float("nan")), ("dog", 0.5)), "cut")]
    monkeypatch.setattr(exporting, "predict", lambda *args, **options: answers)

    commands._predict(["run", "a.txt"], {"--json"})

    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"file": "a.txt", "scores": [["cat", None], ["dog", 0.5]], "note": "cut", "drawn": []}
