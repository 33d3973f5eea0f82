"""Files in the format of SQuAD -> questions, each with the context that holds its answer, or that it has none."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.columns import DictColumn, RaggedColumn, ReadColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.remote import local
from tlkit.data.decoding import read
from tlkit.data.labelling import from_sets
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Unchecked, checked_splits
from tlkit.data.text_source import QUESTIONS, TEXT, TEXT_MODALITY, Options, check_text, near_duplicates, sha256_of
from tlkit.data.windows import PASSAGE

NOWHERE = -1  # target of a question without an answer
_ANSWER = {"text": str, "answer_start": int}
_VERSION = 1  # of what turns a file into questions
_LIKE_A_WINDOW = re.compile(r"@\d+$")  # ids of windows end so


@dataclass(frozen=True)
class Question:
    """A question, its context, and its answers there.

    Attributes:
        id: Its name in the file.
        question: The question, white space between its words made single blanks.
        context: The text that it is about.
        answers: The words of each answer as the file has them; the first one is learned.
        start: Where in the context the first answer starts, in characters.
        impossible: Whether the file says that the context holds no answer.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...] = ()
    start: int = 0
    impossible: bool = False

    @property
    def trouble(self) -> str:
        """Why the question cannot be learned from, or ""."""
        if self.impossible:
            return ""
        if not self.answers:
            return "it has no answer, and is not marked `is_impossible`"
        answer = self.answers[0]
        excerpt = self.context[max(0, self.start) : max(0, self.start) + len(answer)]
        if not answer.strip() or self.start < 0 or excerpt != answer:
            return f"its answer {answer!r:.60} is not what its context holds at character {self.start}: {excerpt!r:.60}"
        return ""

    @property
    def span(self) -> tuple[int, int]:
        """First character of the first answer and the one behind its last; both NOWHERE where there is none."""
        return (self.start, self.start + len(self.answers[0])) if self.answers else (NOWHERE, NOWHERE)


@dataclass(frozen=True, eq=False)
class QuestionsReader:
    """What reads questions with contexts."""

    questions: tuple[Question, ...]

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        """`question` and `context` of example i: object arrays of shape () that hold a str."""
        asked = self.questions[i]
        return {"question": np.array(asked.question, dtype=object), "context": np.array(asked.context, dtype=object)}


def read_questions(path: str | os.PathLike[str], encoding: str | None = None) -> list[Question]:
    """The questions of a file of SQuAD 1.1 or 2.0: JSON, `data`, `paragraphs`, `context` and `qas`.

    Of several answers the first is learned, as in BERT's own training, and any is right when it comes to scores. What
    is wrong with one question is found out later, so that it can be left out.

    Raises:
        InputError: If the file cannot be read, or has another structure.
    """
    file = local(path)
    text = read(file, encoding)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"The file {str(file)!r} cannot be read as JSON: {error}.") from error
    questions = questions_of(content, f"the file {str(file)!r}")
    if not questions:
        raise InputError(f"The file {str(file)!r} holds no question: write some into `data[].paragraphs[].qas`.")
    return questions


def questions_of(content: Any, where: str) -> list[Question]:
    """The questions of what such a file holds; `where` names it in messages.

    Raises:
        InputError: If it has another structure.
    """
    return list(_questions(content, where))


def from_questions(
    ids: Sequence[str], questions: Sequence[Question], *, fixed: Sequence[int], options: Options
) -> Splits:
    """Splits of questions, divided by their contexts; the broken ones are left out by name."""
    times = Counter(ids)

    def check(i: int) -> Checked:
        trouble = _id_trouble(ids[i], times)
        return Checked(reason=trouble) if trouble else _checked(questions[i], options)

    contexts = [sha256_of(question.context)[:16] if _encodable(question.context) else "" for question in questions]
    unchecked = Unchecked(
        ids, from_sets([["none" if question.impossible else "some"] for question in questions]),
        QuestionsReader(tuple(questions)), check, QUESTIONS, TEXT_MODALITY,
        Pipeline().then("questions", version=_VERSION), "questions", fixed,
        targets=np.array([question.span for question in questions], dtype=np.int32).reshape(-1, 2),
        columns={
            PASSAGE: DictColumn(
                {
                    "text": TextColumn([question.context for question in questions]),
                    "answers": RaggedColumn([np.array(question.answers, dtype=str) for question in questions]),
                }
            )
        },
    )  # fmt: skip
    splits = checked_splits(unchecked, dataclasses.replace(options.division, groups=contexts))
    return dataclasses.replace(splits, labels=(), notes=(*splits.notes, *near_duplicates(_contexts(splits))))


def _questions(content: Any, where: str) -> Iterator[Question]:
    for a, article in enumerate(_list(content, "data", where)):
        for p, paragraph in enumerate(_list(article, "paragraphs", f"article {a} of {where}")):
            paragraph_place = f"paragraph {p} of article {a} of {where}"
            context = _field(paragraph, "context", str, paragraph_place)
            for q, record in enumerate(_list(paragraph, "qas", paragraph_place)):
                yield _question(record, context, f"question {q} of {paragraph_place}")


def _question(record: Any, context: str, where: str) -> Question:
    name = str(_field(record, "id", str | int, where))
    words = " ".join(_field(record, "question", str, where).split())
    impossible = bool(record.get("is_impossible"))
    answer_records = _list(record, "answers", where) if record.get("answers") and not impossible else []
    answers = [
        tuple(_field(answer_record, key, kind, f"answer {a} of {where}") for key, kind in _ANSWER.items())
        for a, answer_record in enumerate(answer_records)
    ]
    start = answers[0][1] if answers else 0
    return Question(name, words, context, tuple(text for text, _ in answers), start, impossible)


def _list(record: Any, name: str, where: str) -> list[Any]:
    entries: list[Any] = _field(record, name, list, where)
    return entries


def _field(record: Any, name: str, kind: Any, where: str) -> Any:
    value = record.get(name) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(
            f"{where[0].upper()}{where[1:]} has no `{name}`, so it is no SQuAD data: `data` has articles with "
            "`paragraphs`, these have a `context` and `qas`, and each of those has an `id`, a `question` and `answers` "
            "with `text` and `answer_start`."
        )
    return value


def _id_trouble(name: str, times: Mapping[str, int]) -> str:
    if times[name] > 1:
        return f"{times[name]} questions have this id"
    return "its id ends as those of windows do (@ and a number)" if _LIKE_A_WINDOW.search(name) else ""


def _checked(question: Question, options: Options) -> Checked:
    checks = [check_text(text, options) for text in (question.question, question.context)]
    for name, checked in zip(("question", "context"), checks, strict=True):
        if checked.reason:
            return Checked(reason=f"its {name} is {checked.reason}")
    return (
        Checked(reason=question.trouble)
        if question.trouble
        else Checked(digest=sha256_of(f"{question.question}\n{question.context}"))
    )


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character < "\ue000" for character in text)


def _contexts(splits: Splits) -> Splits:
    """Splits of the contexts alone, each once, under the id of its first question."""
    train, val, test = map(_contexts_of, (splits.train, splits.val, splits.test))
    return dataclasses.replace(splits, train=train, val=val, test=test)


def _contexts_of(examples: Examples) -> Examples:
    first = {group: i for i, group in reversed(list(enumerate(examples.groups)))}
    first_examples = examples.subset(sorted(first.values()))
    contexts = ReadColumn(lambda i: first_examples.inputs[i]["context"], TEXT, first_examples.groups)
    return dataclasses.replace(first_examples, inputs=contexts)
