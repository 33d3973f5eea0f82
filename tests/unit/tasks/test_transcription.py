"""Error rates of transcripts against jiwer and by hand; units, their loss and its sentences."""

import itertools

import jiwer
import numpy as np
import pytest

from tlkit import tasks
from tlkit.answers.transcripts import border_of, stitched, written
from tlkit.core.columns import RaggedColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.tasks.transcription_scores import evaluate_transcripts

TRUE = ["Press one to record.", "Your call is important", "Goodbye.", "It's 10 o'clock"]
SAID = ["press 1 to record", "your call call is in port", "", "it is ten o'clock"]


def spoken_examples(texts, targets=None):
    ids = tuple(map(str, range(len(texts))))
    rows = np.ones((len(texts), 2), np.int32) if targets is None else targets
    return Examples(ids, np.zeros((len(texts), 3), np.float32), rows, "speech", columns={"text": TextColumn(texts)})


def test_rates_are_those_of_jiwer_on_one_spelling():
    evaluation = evaluate_transcripts(spoken_examples(TRUE), SAID)
    true = ["press one to record", "your call is important", "goodbye", "it is ten oclock"]
    heard = ["press one to record", "your call call is in port", "", "it is ten oclock"]
    words = jiwer.process_words(true, heard)
    assert evaluation.scores["wer"] == pytest.approx(words.wer)
    assert evaluation.scores["cer"] == pytest.approx(jiwer.cer(true, heard))
    parts = [evaluation.scores[kind] for kind in ("substituted", "deleted", "inserted")]
    assert sum(parts) == pytest.approx(evaluation.scores["wer"])
    assert (
        evaluation.scores["exact"] == 0.5
        and evaluation.scores["wer_low"] <= evaluation.scores["wer"] <= evaluation.scores["wer_high"]
    )
    assert evaluation.details["example_scores"] == [0.0, -0.75, -1.0, 0.0]
    assert [row["id"] for row in evaluation.details["transcripts"]["worst"]] == ["2", "1"]
    assert {"true": "goodbye", "said": None, "count": 1} in evaluation.details["transcripts"]["confused"]


def test_what_nobody_said_counts_though_nothing_was_said():
    assert evaluate_transcripts(spoken_examples([""]), ["thank you"]).scores["wer"] == 2.0


def test_units_are_written_as_words_or_characters():
    assert written(("no", "yes"), np.array([0.0, 2, 0, 1, 0])) == "yes no"
    assert written((" ", "a", "b"), np.array([2, 1, 3])) == "a b"


def probability(logits, target):
    """Sum over all ways in which frames say a target, one by one."""
    shares = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    total = 0.0
    for path in itertools.product(range(logits.shape[-1]), repeat=len(logits)):
        if [unit for unit, _ in itertools.groupby(path) if unit] == list(target):
            total += float(np.prod([row[unit] for row, unit in zip(shares, path, strict=True)]))
    return total


def test_the_loss_is_that_of_all_ways_to_say_a_text():
    logits = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)
    targets = np.array([[1, 2], [1, 0], [2, 2]], np.int32)
    losses = tasks.ctc(["a", "b"]).objective.loss().call(targets, logits)
    expected = [-np.log(probability(row, target[target > 0])) / 4 for row, target in zip(logits, targets, strict=True)]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_repeats_and_blanks_are_left_out():
    best = np.array([[0, 1, 1, 0, 1, 2, 2, 0]])
    raw = 9.0 * np.eye(3, dtype=np.float32)[best]
    decoded = tasks.ctc(["a", "b"]).decode(raw)
    np.testing.assert_array_equal(decoded["units"], [[0, 1, 0, 0, 1, 2, 0, 0]])
    assert tasks.ctc(["a", "b"]).answers[0].say({k: np.asarray(v)[0] for k, v in decoded.items()}, {})[0][0] == "aab"


def test_bad_arguments_and_data_are_refused():
    for arguments, sentence in (
        ({"vocabulary": []}, r"`vocabulary` of `ctc` must be different units"),
        ({"vocabulary": ["a"], "hidden": (0,)}, r"`hidden` of `ctc` must be 1 or more each"),
        ({"vocabulary": ["a"], "dropout": 1}, r"`dropout` of `ctc` must lie in \[0, 1\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            tasks.ctc(**arguments)
    check = tasks.ctc(["a"]).objective.check
    part = spoken_examples(["a"])
    with pytest.raises(InputError, match="vocabulary is not the data's"):
        check(Splits(part, part, part, ("b",)))
    high = spoken_examples(["a"], np.array([[2]], np.int32))
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        check(Splits(high, high, high))
    numbers = spoken_examples(["a"], np.array([0.5], np.float32))
    with pytest.raises(InputError, match="need the column 'text' and int32"):
        check(Splits(numbers, numbers, numbers))
    with pytest.raises(InputError, match="up to 5 units, and the module gives 4 frames"):
        tasks.ctc(["a"]).objective.loss().call(np.ones((1, 5), np.int32), np.zeros((1, 4, 2), np.float32))


def test_ragged_targets_are_taken():
    part = spoken_examples(["a", "a a"], RaggedColumn([np.array([1], np.int32), np.array([1, 1], np.int32)]))
    tasks.ctc(["a"]).objective.check(Splits(part, part, part, ("a",)))


@pytest.mark.parametrize(
    ("windows", "share", "wanted"),
    [
        (["please press one no", "ress one now to record"], 0.5, "please press one now to record"),
        (["Press one.", "one Then two", "two, or three"], 0.3, "Press one. Then two or three"),
        (["hello there", "good bye"], 0.2, "hello there good bye"),
        (["hello there"], 0.2, "hello there"),
        ([], 0.2, ""),
        (["hello , there", "- good bye"], 0.2, "hello , there - good bye"),
        (["one two three four", "three for five six seven"], 0.4, "one two three for five six seven"),
        (["my name is john", "my name is john and I live here"], 0.2, "my name is john and I live here"),
    ],
)
def test_windows_are_joined_at_the_words_that_they_share(windows, share, wanted):
    assert " ".join(stitched([text.split() for text in windows], [share] * max(0, len(windows) - 1))) == wanted


def test_a_word_that_both_windows_say_elsewhere_deletes_nothing():
    windows = [
        ["the", "weather", "is", "fine", "today", "and", "we", "are", "going", "out"],
        ["please", "take", "the", "train", "home"],
    ]
    assert stitched(windows, [0.2]) == [*windows[0], *windows[1]]
    again = [["the", "weather", "is", "fine", "today", "please", "take"], ["please", "take", "the", "train", "home"]]
    assert " ".join(stitched(again, [0.2])) == "the weather is fine today please take the train home"


def test_windows_of_frames_are_joined_by_their_time():
    answer = tasks.ctc(["a", "b", "c"]).answers[0]
    rows = [[1, 0, 2, 0], [2, 0, 3, 0], [3, 1, 0, 0]]
    decoded = [{"units": np.array(row), "scores": np.full(4, 0.9)} for row in rows]
    spans = [{"span": np.array([start, start + 4.0])} for start in (0.0, 2.0, 4.0)]  # they share two seconds
    assert answer.together(decoded, spans)[0] == ("abca", 0.9)


@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_unit_that_one_window_hears_later_than_the_other_is_written_once(late):
    """The middle of what the windows share, at 6, lies between the beginnings of one unit in either of them."""
    answer, first, second = tasks.ctc(["a", "b", "c"]).answers[0], np.zeros(16), np.zeros(16)
    first[[1, 11, 14]] = 1, 2, 3
    second[[3 + late, 6, 12]] = 2, 3, 1
    decoded = [{"units": row, "scores": np.full(16, 0.9)} for row in (first, second)]
    spans = [{"span": np.array([start, start + 8.0])} for start in (0.0, 4.0)]
    assert answer.together(decoded, spans)[0] == ("abca", 0.9)


def test_borders_stay_in_the_inner_half_and_in_order():
    assert border_of(np.array([]), 2.0, 4.0) == border_of(np.array([3.0 - 9, 3.0 + 9]), 2.0, 4.0) == 3.0
    assert 2.5 <= border_of(np.linspace(2.5, 3.5, 8), 2.0, 4.0) <= 3.5
    answer = tasks.ctc(["a"]).answers[0]
    rows = [{"units": np.array([0, 0, 1, 0, 0, 0]), "scores": np.full(6, 0.9)}] * 3
    spans = [{"span": np.array([start, start + 6.0])} for start in (0.0, 3.0, 3.2)]
    assert answer.together(rows, spans)[0][0] == "aa"
