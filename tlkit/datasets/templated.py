"""Questions made from the Brown corpus by templates, where no data set of real questions can be had.

They show that a module learns to point at passages. They are no measure of reading: nobody asked them, and a question
repeats the words beside its answer, so scores on them are far above those on people's questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.data.sourcing import Division
from tlkit.data.splitting import SHARES, name_key
from tlkit.data.squad import from_questions, questions_of
from tlkit.data.text_source import Options
from tlkit.datasets import brown

__all__ = ["questions", "squad"]


def __dir__() -> list[str]:
    return sorted(__all__)


COUNT = 2_400
MOST = 9_000  # the corpus gives some more
_CONTEXT_WORDS = 80  # a context ends with the sentence that brings it to so many
_ASKED_WORDS = (3, 12)  # of a predicate
_EVERY = 3  # of so many passages, one is asked what the one before it answers
_DOCUMENT = re.compile(r"c[a-r]\d\d")
_DETERMINERS = {"at", "dt", "pp$"}
_INSIDE = {"jj", "jjr", "jjs", "jjt", "cd", "od", "ap", "nn$", "nns$", "np$", "nps$"}
_NOUNS = {"nn", "nns", "np", "nps"}
_VERBS = {"vbd", "vbz", "hvd", "hvz", "bedz", "bed", "bez", "ber", "md", "dod"}
_ACTIONS = {"vbd", "vbz"}
_ENDS = {",", ".", ";", ":", "?", "!", "--", "``", "''", "(", ")"}
_BEFORE = re.compile(r" ([,.;:?!)]|'')")
_BEHIND = re.compile(r"(\(|``) ")

Words = Sequence[tuple[str, str]]  # (word, its part of speech)


def questions(*, count: int = COUNT, split: Sequence[float] = SHARES, seed: int = 0) -> Splits:
    """Templated questions on passages of about 90 words of the Brown corpus, a sixth of them without an answer.

    Of "The mayor signed the bill in May." come "Who or what signed the bill in May?" and "The mayor signed whom or
    what?"; a third of the passages are also asked what the passage before them answers. The same every time.

    Args:
        count: How many questions, in [10, 9000], spread over the corpus.
        split: Shares of training, validation and test; all questions on a context stay together.
        seed: Another seed gives another division.

    Raises:
        InputError: If `count` is out of its range.
        DownloadError: If the corpus cannot be had; OfflineError where downloads are off.

    Source: Francis and Kucera 1964, revised 1979, "Brown Corpus Manual", Brown University.
    """
    all_questions = questions_of(squad(count), "the templated data")
    options = Options(Division(split, seed, None))
    return from_questions([question.id for question in all_questions], all_questions, fixed=[], options=options)


def squad(count: int = COUNT) -> dict[str, Any]:
    """The same questions as plain data in the format of SQuAD 2.0, an article for each document.

    Args:
        count: As `questions` has it.
    """
    if not 10 <= count <= MOST:
        raise InputError(f"`count` must lie in [10, {MOST}]. Received: count={count!r}.")
    documents = [path for path in brown.folder().iterdir() if _DOCUMENT.fullmatch(path.name)]
    documents.sort(key=lambda path: name_key(path.name, 0))  # so that few questions come from many genres too
    articles: list[dict[str, Any]] = []
    left = count
    while left:
        articles.append(_article(documents[len(articles)], left))
        left -= sum(len(paragraph["qas"]) for paragraph in articles[-1]["paragraphs"])
    return {"version": "tlkit templated 1", "data": articles}


@dataclass(frozen=True)
class Asked:
    """A question, the words that answer it, and those beside them that it repeats."""

    question: str
    answer: str
    beside: str


@dataclass(frozen=True)
class Passage:
    """Some sentences of a document, named by it and the line of the last, and what can be asked about them."""

    name: str
    context: str
    asked: tuple[Asked, ...]


def _article(path: Path, most: int) -> dict[str, Any]:
    """At most so many questions on a document."""
    passages = [passage for passage in _passages(path) if passage.asked]
    paragraphs: list[dict[str, Any]] = []
    for number, passage in enumerate(passages):
        foreign = passages[number - 1].asked[0] if number % _EVERY == 1 else None
        qas = _qas(passage, foreign)[:most]
        most -= len(qas)
        paragraphs += [{"context": passage.context, "qas": qas}] if qas else []
    return {"title": path.name, "paragraphs": paragraphs}


def _passages(path: Path) -> Iterator[Passage]:
    sentences: list[Words] = []
    for line, sentence in brown.tagged(path):
        sentences.append(sentence)
        if sum(map(len, sentences)) >= _CONTEXT_WORDS:
            context = " ".join(map(_spelled, sentences))
            passage_questions = tuple(
                question for sentence in sentences for question in _asked(sentence) if _once(question, context)
            )
            yield Passage(f"{path.name}/{line}", context, passage_questions)
            sentences = []


def _once(question: Asked, context: str) -> bool:
    """Whether the context holds answer and question together, and at one place only."""
    return context.count(question.beside) == 1 and question.answer in question.beside


def _asked(sentence: Words) -> Iterator[Asked]:
    """Questions on a sentence that begins with a noun phrase and a verb: for the phrase, and for the verb's object."""
    verb = _phrase(sentence, 0)
    if not verb or verb >= len(sentence) or _kind(sentence[verb]) not in _VERBS:
        return
    end = _clause(sentence, verb)
    if end - verb >= _ASKED_WORDS[0]:
        predicate = _spelled(sentence[verb:end])
        yield Asked(f"Who or what {predicate}?", _spelled(sentence[:verb]), _spelled(sentence[:end]))
    behind = _phrase(sentence, verb + 1)
    if behind and _kind(sentence[verb]) in _ACTIONS:
        subject = _spelled(sentence[: verb + 1])
        yield Asked(f"{subject} whom or what?", _spelled(sentence[verb + 1 : behind]), _spelled(sentence[:behind]))


def _phrase(sentence: Words, start: int) -> int:
    """Where the noun phrase ends that begins at `start`; 0 where none does."""
    place = start + (start < len(sentence) and _kind(sentence[start]) in _DETERMINERS)
    while place < len(sentence) and _kind(sentence[place]) in _INSIDE:
        place += 1
    nouns = place
    while place < len(sentence) and _kind(sentence[place]) in _NOUNS:
        place += 1
    return place if place > nouns else 0


def _clause(sentence: Words, start: int) -> int:
    ends = (i for i in range(start, len(sentence)) if sentence[i][0] in _ENDS)
    return min(next(ends, len(sentence)), start + _ASKED_WORDS[1])


def _kind(word: tuple[str, str]) -> str:
    return word[1].partition("-")[0]


def _spelled(sentence: Words) -> str:
    """The words as they are printed, punctuation joined to them."""
    joined = _BEHIND.sub(r"\1", _BEFORE.sub(r"\1", " ".join(word for word, _ in sentence)))
    return joined.replace("``", '"').replace("''", '"')


def _qas(passage: Passage, foreign: Asked | None) -> list[dict[str, Any]]:
    qas = [
        {"id": f"{passage.name}/{i}", "question": question.question, "is_impossible": False,
         "answers": [{"text": question.answer, "answer_start": _place(passage.context, question)}]}
        for i, question in enumerate(passage.asked)
    ]  # fmt: skip
    if foreign is not None and foreign.beside not in passage.context:
        qas.append({"id": f"{passage.name}/none", "question": foreign.question, "is_impossible": True, "answers": []})
    return qas


def _place(context: str, question: Asked) -> int:
    inside = 0 if question.beside.startswith(question.answer) else len(question.beside) - len(question.answer)
    return context.index(question.beside) + inside
