"""Alignments against what is worked out by hand, and against jiwer."""

import random

import jiwer
import pytest

from tlkit.core.edits import DELETED, EQUAL, INSERTED, SUBSTITUTED, Edit, align, distance


def test_an_alignment_by_hand():
    assert align(["a", "b", "c"], ["a", "x", "c", "d"]) == [
        Edit(EQUAL, "a", "a"), Edit(SUBSTITUTED, "b", "x"), Edit(EQUAL, "c", "c"), Edit(INSERTED, None, "d"),
    ]  # fmt: skip
    assert align([], ["a"]) == [Edit(INSERTED, None, "a")] and align(["a"], []) == [Edit(DELETED, "a", None)]
    assert align([], []) == [] and distance("", "") == 0


@pytest.mark.parametrize("seed", range(20))
def test_as_many_edits_of_each_kind_as_jiwer_finds(seed):
    rng = random.Random(seed)
    true, heard = (rng.choices("abcd", k=rng.randint(1, 12)) for _ in range(2))
    edits, other = align(true, heard), jiwer.process_words(" ".join(true), " ".join(heard))
    kinds = [edit.kind for edit in edits]
    assert distance(true, heard) == len(kinds) - kinds.count(EQUAL)
    assert distance(true, heard) == other.substitutions + other.deletions + other.insertions
    assert [e.true for e in edits if e.true] == true and [e.said for e in edits if e.said] == heard
    assert all((e.true == e.said) == (e.kind == EQUAL) for e in edits)
