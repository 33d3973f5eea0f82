"""Questions out of SQuAD-format files, and windows over their contexts."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary import small

from tlkit.answers.passages import words_of
from tlkit.core.errors import InputError
from tlkit.data import text, windows
from tlkit.data.squad import read_questions
from tlkit.datasets import templated
from tlkit.tokenizing.wordpiece import SPECIAL, WordPiece

PIECES = WordPiece((*SPECIAL, *"abcdefgh?", *(f"##{letter}" for letter in "abcdefgh")))


def qa(name: str, question: str, answer: str | None, start: int = 0, **more) -> dict:
    answers = [] if answer is None else [{"text": answer, "answer_start": start}]
    return {"id": name, "question": question, "answers": answers, **more}


def write(path, *paragraphs: tuple[str, list[dict]]):
    content = {"data": [{"title": "t", "paragraphs": [{"context": c, "qas": qas} for c, qas in paragraphs]}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read(examples, i: int) -> tuple[str, str]:
    x = examples.inputs[i]
    return x["question"].item(), x["context"].item()


def test_questions_and_their_answers(tmp_path):
    file = write(
        tmp_path / "one.json",
        ("Ünder the sea.", [qa("q1", "Where\n is  it?", "Ünder"), qa("q2", "Who?", None, is_impossible=True)]),
    )
    splits = text.from_squad(file, split=(1, 0, 0), progress=False)
    assert splits.train.ids == ("q1", "q2") and splits.labels == ()
    assert read(splits.train, 0) == ("Where is it?", "Ünder the sea.")
    assert splits.train.target_array.tolist() == [[0, 5], [-1, -1]]
    assert len(set(splits.train.groups)) == 1


def test_of_several_answers_the_first_is_learned_and_all_are_kept(tmp_path):
    several = qa("q", "a?", "b", 2) | {"answers": [{"text": "b", "answer_start": 2}, {"text": "a", "answer_start": 0}]}
    file = write(tmp_path / "one.json", ("a b", [several, qa("n", "b?", None, is_impossible=True)]))
    assert read_questions(file)[0].span == (2, 3)
    examples = text.from_squad(file, split=(1, 0, 0), progress=False).train
    assert examples.target_array.tolist() == [[2, 3], [-1, -1]]
    asked = examples.columns["passage"]
    assert [(asked[i]["text"], asked[i]["answers"].tolist()) for i in range(2)] == [("a b", ["b", "a"]), ("a b", [])]


def test_answers_that_are_no_list_are_said(tmp_path):
    odd = {"id": "q", "question": "a?", "answers": {"text": ["a"], "answer_start": [0]}}
    with pytest.raises(InputError, match=r"Question 0 of .* has no `answers`"):
        read_questions(write(tmp_path / "one.json", ("a b", [odd])))


def test_what_is_wrong_with_a_question_leaves_it_out_by_name(tmp_path):
    qas = [
        qa("fine", "a?", "b c", 2),
        qa("elsewhere", "a?", "b c", 3),
        qa("before", "a?", "a", -1),
        qa("behind", "a?", "d", 99),
        qa("blank", "a?", " ", 1),
        qa("none", "a?", None),
        qa("empty", " ", "a"),
        qa("twice", "a?", "a"),
        qa("twice", "b?", "a"),
        qa("window@1", "a?", "a"),
    ]
    splits = text.from_squad(write(tmp_path / "x.json", ("a b c", qas)), split=(1, 0, 0), progress=False)
    assert splits.train.ids == ("fine",)
    reasons = {q.name: q.reason for q in splits.quarantine}
    assert reasons["elsewhere"] == "its answer 'b c' is not what its context holds at character 3: ' c'"
    assert "at character -1" in reasons["before"] and "at character 99: ''" in reasons["behind"]
    assert "' ' is not" in reasons["blank"]
    assert reasons["none"] == "it has no answer, and is not marked `is_impossible`"
    assert reasons["empty"].startswith("its question is empty")
    assert reasons["twice"] == "2 questions have this id"
    assert reasons["window@1"].startswith("its id ends as those of windows do")
    with pytest.raises(InputError, match="elsewhere"):
        text.from_squad(tmp_path / "x.json", strict=True, progress=False)


def test_a_context_lies_on_one_side_and_files_are_parts(tmp_path):
    many = [(f"a b {i}", [qa(f"{i}-{k}", "a?", "a") for k in range(1 + i % 3)]) for i in range(30)]
    first, second = write(tmp_path / "1.json", *many[:15]), write(tmp_path / "2.json", *many[15:])
    splits = text.from_squad([first, second], progress=False)
    parts = [set(examples.groups) for examples in (splits.train, splits.val, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30 and all(parts)
    divided = text.from_squad(first, test=second, split=(0.8, 0.2, 0), progress=False)
    assert {name.partition("-")[0] for name in divided.test.ids} == {str(i) for i in range(15, 30)}
    assert len(divided.train) + len(divided.val) == sum(len(qas) for _, qas in many[:15])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", r"x.json' has no `data`, so it is no SQuAD data"),
        ('{"data": []}', "holds no question"),
        ('{"data": [{}]}', r"Article 0 of the file '.*' has no `paragraphs`"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "Paragraph 0 of article 0 of the file .* has no `context`"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "q"}]}]}]}', "Question 0 of .* has no `question`"),
        (
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "q", "question": "a", "answers": [{}]}]}]}]}',
            "Answer 0 of question 0 of .* has no `text`",
        ),
    ],
)
def test_what_is_no_squad_file_is_said(content, message, tmp_path):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=message):
        text.from_squad(tmp_path / "x.json", progress=False)
    with pytest.raises(InputError, match=r"missing.json' cannot be read"):
        text.from_squad(tmp_path / "missing.json", progress=False)
    with pytest.raises(InputError, match="`train` names no file"):
        text.from_squad([], progress=False)


# -- windows


def splits_of(tmp_path, *paragraphs):
    return text.from_squad(write(tmp_path / "w.json", *paragraphs), split=(1, 0, 0), progress=False)


def test_a_long_context_takes_several_windows(tmp_path):
    splits = splits_of(
        tmp_path, ("a b c d e f g h", [qa("q", "a?", "d e", 6), qa("n", "b?", None, is_impossible=True)])
    )
    cut = text.tokenized(splits, PIECES, 9, stride=2)
    assert cut.train.ids == ("q", "q@1", "q@2", "n", "n@1", "n@2")
    assert cut.train.target_array.tolist() == [[0, 0, 4, 8], [5, 6, 4, 8], [0, 0, 4, 8], *([[0, 0, 4, 8]] * 3)]
    spelled = [[PIECES.vocabulary[n] for n in cut.train.inputs[i]["input_word_ids"]] for i in range(3)]
    assert spelled[0] == ["[CLS]", "a", "?", "[SEP]", "a", "b", "c", "d", "[SEP]"]
    assert spelled[1] == ["[CLS]", "a", "?", "[SEP]", "c", "d", "e", "f", "[SEP]"]
    assert cut.train.inputs[0]["input_type_ids"].tolist() == [0] * 4 + [1] * 5
    assert cut.train.columns["text"][1] == "a?\nc d e f"
    assert cut.notes == ("2 questions need, of 2, more than 9 pieces with the context: 6 windows show them all.",)
    assert len(set(cut.train.digests)) == 6 and cut.train.groups[0] == cut.train.groups[5]


def test_windows_say_what_they_show(tmp_path):
    splits = splits_of(tmp_path, ("a b  c d\ne f g h", [qa("q", "a?", "d\ne", 7)]))
    cut = text.tokenized(splits, PIECES, 9, stride=2).train
    asked = cut.columns["passage"]
    assert [words_of(asked[i], 4, 7) for i in range(3)] == ["a b c d", "c d e f", "e f g h"]
    assert [asked[i]["answers"].tolist() for i in range(3)] == [["d\ne"]] * 3
    first, last = cut.target_array[1, :2]
    assert words_of(asked[1], first, last) == "d e"
    chosen = cut.subset([2, 0]).columns["passage"]
    assert [words_of(chosen[i], 4, 4) for i in range(2)] == ["e", "a"]


def test_targets_are_the_pieces_of_the_answer(tmp_path):
    splits = splits_of(tmp_path, ("abc, def gh", [qa("q", "a?", "def", 5), qa("part", "a?", "bc", 1)]))
    cut = text.tokenized(splits, PIECES)
    assert cut.train.inputs.spec["input_mask"].shape == (16,) and cut.train.lengths.tolist() == [14, 14]
    assert cut.train.target_array.tolist() == [[8, 10, 4, 13], [5, 6, 4, 13]]


def test_the_same_strings_give_the_same_windows(tmp_path):
    wordpiece = WordPiece(small())
    context = "The únaffable (hellos) of 北京我; e\u0301tude — world! " * 4
    splits = splits_of(tmp_path, (context, [qa("q", "Hello unaffable? " * 9, "hellos", context.index("hellos"))]))
    cut = text.tokenized(splits, wordpiece, 40)
    assert len(cut.train) > 3
    for i, both in enumerate(cut.train.columns["text"].texts):
        question, passage = both.split("\n")
        expected = wordpiece.inputs(question, 40, passage)
        for name, row in cut.train.inputs[i].items():
            np.testing.assert_array_equal(row, expected[name])
        first, last, start, end = cut.train.target_array[i]
        if first:
            letters = [wordpiece.vocabulary[n] for n in expected["input_word_ids"][first : last + 1]]
            assert "".join(letters).replace("##", "") == "hellos" and start <= first <= last < end


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 6), max_size=40), st.integers(1, 20), st.integers(1, 20))
def test_windows_leave_nothing_out(words, room, stride):
    begins = np.array([place == 0 for size in words for place in range(size)], dtype=bool)
    spans = windows.bounds(begins, room, stride)
    assert {i for first, end in spans for i in range(first, end)} == set(range(len(begins)))
    assert all(0 < end - first <= room for first, end in spans) or not len(begins)
    assert all(a[0] < b[0] <= a[0] + stride for a, b in pairwise(spans))
    if room >= 6 and stride >= 6:
        assert all(begins[first] and (end == len(begins) or begins[end]) for first, end in spans if end)


def test_what_windows_cannot_be_is_said(tmp_path):
    splits = splits_of(tmp_path, ("a b", [qa("q", "a?", "a")]))
    with pytest.raises(InputError, match=r"`stride` must be 1 piece or more. Received: stride=0"):
        text.tokenized(splits, PIECES, 16, stride=0)
    with pytest.raises(InputError, match=r"`length` must be at least 5 pieces. Received: length=4"):
        text.tokenized(splits, PIECES, 4)
    with pytest.raises(InputError, match="`stride` is for questions"):
        text.tokenized(text.from_arrays(["a", "b"] * 4, [0, 1] * 4), PIECES, 16, stride=4)


# -- templates


SENTENCE = "The/at mayor/nn signed/vbd the/at bill/nn in/in May/np ./."


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    for document in range(4):
        other = [f"One/cd clerk/nn sang/vbd {'x' * i}{document}/np of/in it/ppo ./." for i in range(1, 60)]
        lines = [SENTENCE, *[f"{line} {'and/cc so/rb on/rp ' * 4}" for line in other]]
        (tmp_path / f"ca0{document}").write_text("\n".join(lines), encoding="latin-1")
    monkeypatch.setattr("tlkit.datasets.brown.folder", lambda: tmp_path)


def test_templates_ask_for_both_sides_of_a_verb(corpus):
    content = templated.squad(40)
    assert content == templated.squad(40)
    qas = [
        question for article in content["data"] for paragraph in article["paragraphs"] for question in paragraph["qas"]
    ]
    assert len(qas) == 40 and len({question["id"] for question in qas}) == 40
    questions = {question["question"]: question["answers"][0]["text"] for question in qas if question["answers"]}
    assert questions["Who or what signed the bill in May?"] == "The mayor"
    assert questions["The mayor signed whom or what?"] == "the bill"
    assert any(question["is_impossible"] for question in qas)


def test_every_templated_answer_stands_in_its_context(corpus):
    splits = templated.questions(count=60)
    assert splits.quarantine == () and sum(map(len, (splits.train, splits.val, splits.test))) == 60
    with pytest.raises(InputError, match=r"`count` must lie in \[10, 9000\]. Received: count=1"):
        templated.questions(count=1)
