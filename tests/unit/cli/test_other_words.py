"""What the command line says to words that it does not know, and to answers that are empty."""

from __future__ import annotations

import pytest

from tlkit.cli import commands
from tlkit.exporting.predicting import Prediction
from tlkit.report.terminal import prediction_lines


@pytest.mark.parametrize(("word", "instead"), [("evaluate", "tlkit.evaluate(run.model"), ("train", "tlkit run RECIPE")])
def test_words_of_other_tools_are_told_what_does_it_here(word, instead, capsys):
    assert commands.main([word, "runs/flowers"]) == 2
    message = capsys.readouterr().err
    assert f"There is no command '{word}'; " in message and instead in message


def test_words_for_elsewhere_are_no_commands():
    assert not set(commands.ELSEWHERE) & set(commands.COMMANDS)


def test_an_answer_without_a_line_says_so():
    predictions = [Prediction("empty.png", (), ""), Prediction("dog.png", (("dog", 0.9),), "")]
    assert prediction_lines(predictions) == [
        "empty.png", "  (nothing that is sure enough)", "dog.png", "    0.900  dog",
    ]  # fmt: skip
