"""The commands of what writes texts, on a user's own small tables: the keys of their scores, and that they learn.

Of language models a small one of made-up weights stands in for SmolLM2, whose training takes minutes.
"""

from __future__ import annotations

import csv
import itertools
import json
import re

import pytest
import tiny_language
import zoo_checks

from tlkit.cli import commands

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.long


def ran(command, folder):
    """Scores that run.json has after `tlkit run`, whose files agree with the model."""
    assert commands.main(["run", *command.split(), "--formats", "saved_model", "float32"]) == 0
    record = json.loads((folder / "run.json").read_text())
    assert [(row["format"], row["passed"]) for row in record["exports"]] == [("saved_model", True), ("float32", True)]
    for name in record["scores"]:
        low, high = (record["scores"].get(f"{name}_{end}") for end in ("low", "high"))
        assert low is None or low <= record["scores"][name] <= high, name
    return record["scores"]


def written(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def said(capsys, *words):
    """What `tlkit predict` says of a file."""
    capsys.readouterr()
    assert commands.main(["predict", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_language_model(tmp_path, monkeypatch, capsys):
    """Of lines with a prompt and an answer or with messages, beside text of the user's on which forgetting shows."""
    monkeypatch.chdir(tmp_path)
    pairs = [json.loads(line) for line in tiny_language.dialogues(tmp_path / "pairs.jsonl").read_text().splitlines()]
    roles = [[("user", pair["prompt"]), ("assistant", pair["answer"])] for pair in pairs]
    chats = [{"messages": [{"role": role, "content": text} for role, text in messages]} for messages in roles]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, [*pairs[::2], *chats[1::2]])))
    (tmp_path / "general.txt").write_text("\n".join(tiny_language.GENERAL))
    module = tiny_language.module(tmp_path / "tiny")
    scores = ran(
        f"language_model --data pairs.jsonl --module {module} --general general.txt --out chat --epochs 25 --lr 1e-2 "
        "--unfrozen 1 --batch-size 8 --most 12 --texts exact chrf",
        tmp_path / "chat",
    )
    assert scores["perplexity"] < 2 and scores["perplexity_before"] > 50
    assert scores["general_perplexity_before"] > 50 and scores["general_perplexity"] > 5 * scores["perplexity"]
    assert scores["token_accuracy"] > 0.7 > scores["token_accuracy_before"]
    assert scores["chrf"] > 20 > scores["chrf_before"] and {"exact", "exact_before"} <= scores.keys()
    sample = json.loads((tmp_path / "chat" / "run.json").read_text())["details"]["samples"][0]
    (tmp_path / "asked.txt").write_text(sample["asked"])
    _, written_again = said(capsys, "chat", "asked.txt").splitlines()[-1].split(maxsplit=1)
    assert written_again == sample["written"]


def test_summarization(tmp_path, monkeypatch):
    """Texts of three things each, whose summary is the first."""
    monkeypatch.chdir(tmp_path)
    things = list(itertools.permutations(tiny_language.THINGS, 3))[::5]
    rows = [(f"the {a}, the {b}, the {c}", f"about {a}") for a, b, c in things]
    written(tmp_path / "papers.csv", ["text", "summary"], rows)
    module = tiny_language.module(tmp_path / "tiny")
    scores = ran(
        f"summarization --data papers.csv --module {module} --out run --epochs 25 --lr 1e-2 --unfrozen 1 "
        "--batch-size 16 --most 12 --samples 12",
        tmp_path / "run",
    )
    assert scores["rouge_l"] > 0.45 and scores["rouge_l_before"] < 0.1
    assert scores["perplexity"] < scores["perplexity_before"] / 5


def test_translation(tmp_path, monkeypatch, capsys):
    """A Transformer of the recipe's own, and its run as the module of a second one."""
    monkeypatch.chdir(tmp_path)
    colours = {"red": "rojo", "green": "verde", "blue": "azul", "black": "negro"}
    things = {"dog": "perro", "cat": "gato", "hat": "gorro", "sun": "sol"}
    every = list(itertools.product(colours, things, colours, things))
    rows = [(f"{a} {n} and {b} {m}", f"{things[n]} {colours[a]} y {things[m]} {colours[b]}") for a, n, b, m in every]
    written(tmp_path / "pairs.csv", ["source", "target"], rows)
    scores = ran(
        "translation --data pairs.csv --out run --epochs 25 --lr 5e-3 --batch-size 16 --vocabulary 300 --width 32 "
        "--blocks 1 --longest 16 --scored 16",
        tmp_path / "run",
    )
    assert scores["chrf"] > 60 > scores["chrf_of_source"] + 20 and scores["bleu"] > scores["bleu_before"] + 20
    (tmp_path / "lines.txt").write_text("red dog and blue cat\n")
    assert {*colours.values(), *things.values()} & set(re.findall(r"\w+", said(capsys, "run", "lines.txt")))
    written(tmp_path / "few.csv", ["source", "target"], rows[::4])
    again = ran("translation --data few.csv --module run --out adapted --epochs 1 --lr 1e-3", tmp_path / "adapted")
    assert again["chrf_before"] > 60  # what the first run learned


@pytest.mark.slow
def test_pronunciation(tmp_path, monkeypatch, capsys):
    """zoo:g2p-en adapted to made-up words that end in a vowel more."""
    zoo_checks.folder("g2p-en")
    monkeypatch.chdir(tmp_path)
    sounds = {letter: letter.upper() for letter in "bdklmnpt"}
    vowels = {"a": "AE1", "e": "EH1", "i": "IH1", "o": "AA1"}
    words = itertools.product(sounds, vowels, sounds)
    rows = [(f"{a}{v}{b}", f"{sounds[a]} {vowels[v]} {sounds[b]} AH0") for a, v, b in words]
    written(tmp_path / "words.csv", ["word", "phonemes"], rows)
    scores = ran(
        "pronunciation --data words.csv --out run --epochs 4 --lr 3e-3 --batch-size 16 --scored 30", tmp_path / "run"
    )
    assert scores["per"] < scores["per_before"] / 2 and scores["exact"] > scores["exact_before"]
    (tmp_path / "words.txt").write_text("Bat\n")
    assert re.search(r"\bB( [A-Z]+[0-2]?)+", said(capsys, "run", "words.txt"))
