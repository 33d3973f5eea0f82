"""What is asked and what is answered: pairs and dialogues, from JSON Lines, tables and chatterbot's YAML files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Pipeline, Splits
from tlkit.core.remote import local
from tlkit.data.decoding import read_noted
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Division, Unchecked, checked_splits
from tlkit.data.splitting import joined_by, plainly
from tlkit.data.table_formats import read_any
from tlkit.data.text_source import TEXT, Options, check_text, sha256_of

DIALOGUE = "dialogue"  # the modality
MESSAGES = {"messages": TEXT, "answer": TEXT}  # what came before as JSON, and what is said then
KIND = "kind"  # the column that says what an example is
ANSWER, GENERAL = 0, 1
STEP = "turns"  # of the pipeline; its "system" is what all prompts begin with
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Turn:
    """What an assistant says after some messages; without any it is general text.

    Attributes:
        name: Of the example.
        messages: What came before, (role, content).
        answer: What is said.
        owner: What it is a part of, which is not divided.
    """

    name: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    owner: str

    @property
    def json(self) -> str:
        """The messages as plain data."""
        return json.dumps([{"role": role, "content": content} for role, content in self.messages], ensure_ascii=False)


@dataclass(frozen=True, eq=False)
class TurnsReader:
    """Reads turns: what came before, and the answer."""

    turns: tuple[Turn, ...]

    def __call__(self, i: int) -> dict[str, np.ndarray]:
        """Turn i as objects of shape ()."""
        turn = self.turns[i]
        return {"messages": np.array(turn.json, dtype=object), "answer": np.array(turn.answer, dtype=object)}


def turns_of_pairs(
    path: Path, prompt: str, answer: str, system: str | None, encoding: str | None
) -> tuple[list[Turn], Sequence[str]]:
    """Turns of a table with a column of prompts and one of answers, and notes on how it was read."""
    rows = read_any(path, encoding)
    before = () if system is None else (("system", system),)
    pairs = zip(rows.texts(prompt, "prompt"), rows.texts(answer, "answer"), strict=True)
    turns = [
        Turn(f"row {number}", (*before, ("user", question)), reply, f"row {number}")
        for number, (question, reply) in enumerate(pairs, start=rows.first)
    ]
    return turns, rows.notes


def turns_of_file(path: Path, system: str | None, encoding: str | None) -> tuple[list[Turn], Sequence[str]]:
    """Turns of a file of dialogues, JSON Lines or chatterbot's YAML, each with what came before it; and notes."""
    if path.suffix.lower() in (".yml", ".yaml"):
        parse = _yaml
    elif path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        parse = _json_lines
    else:
        raise InputError(f"Dialogues are .jsonl or .yml files; `from_pairs` reads tables. Received: {str(path)!r}.")
    text, notes = read_noted(path, encoding, "file")
    turns: list[Turn] = []
    for where, messages in parse(path, text):
        before = () if system is None or (messages and messages[0][0] == "system") else (("system", system),)
        turns += _turns(where, (*before, *messages))
    return turns, notes


def _turns(where: str, messages: tuple[tuple[str, str], ...]) -> Iterator[Turn]:
    """A turn for each message of the assistant's."""
    places = [i for i, (role, _) in enumerate(messages) if role == "assistant"]
    for count, i in enumerate(places):
        name = where if len(places) == 1 else f"{where}, answer {count + 1}"
        yield Turn(name, messages[:i], messages[i][1], where)


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path.stem} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"Line {number} of {str(path)!r} is no JSON: {error}.") from error
        yield where, _messages(row, f"Line {number} of {str(path)!r}")


def _messages(row: Any, where: str) -> tuple[tuple[str, str], ...]:
    """Messages of a row: {"messages": [...]}, or {"prompt", "answer"}."""
    if isinstance(row, Mapping) and {"prompt", "answer"} <= set(row):
        pair = (("user", row["prompt"]), ("assistant", row["answer"]))
        row = {"messages": [{"role": role, "content": content} for role, content in pair]}
    listed = row.get("messages") if isinstance(row, Mapping) else None
    if not isinstance(listed, list) or not listed:
        raise InputError(f'{where} must hold {{"prompt", "answer"}} or {{"messages": [{{"role", "content"}}, ...]}}.')
    messages = []
    for message in listed:
        role, content = (message.get(key) for key in ("role", "content")) if isinstance(message, Mapping) else (0, 0)
        if role not in ROLES or not isinstance(content, str):
            raise InputError(f"{where} has a message without a role of {', '.join(ROLES)} and a text as content.")
        messages.append((role, content.strip()))
    if not any(role == "assistant" for role, _ in messages):
        raise InputError(f"{where} has no message of the assistant's, so there is nothing to learn.")
    return tuple(messages)


def _yaml(path: Path, text: str) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """chatterbot's corpora: `conversations`, lists of what is said in turn."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    try:
        listed = yaml.safe_load(text)["conversations"]
        conversations = [[str(line).strip() for line in conversation] for conversation in listed]
    except (yaml.YAMLError, TypeError, LookupError) as error:
        raise InputError(f'{str(path)!r} has no list of lists "conversations", as chatterbot\'s files have.') from error
    for number, lines in enumerate(conversations, start=1):
        if len(lines) >= 2:
            yield f"{path.stem} {number}", tuple((ROLES[1 + i % 2], text) for i, text in enumerate(lines))


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The file, or the dialogues of a folder, sorted.

    Raises:
        InputError: If there is none.
    """
    place = local(path)
    if not place.is_dir():
        return [place]
    files = sorted(p for p in place.iterdir() if p.suffix.lower() in (".yml", ".yaml", ".jsonl", ".ndjson"))
    if not files:
        raise InputError(f"{str(place)!r} holds no .jsonl or .yml file.")
    return files


def divided(turns: Sequence[Turn], general: Sequence[str], mix: float, options: Options) -> Splits:
    """Splits of turns of which no question and no answer lies in two parts, with general text beside them.

    Args:
        turns: With an answer each.
        general: Texts by which forgetting is measured; a third of them may be trained on.
        mix: Share of general texts among the training examples, in [0, 1).
        options: How they are divided.
    """
    asked = [turn for turn in turns if turn.messages]
    if not asked:
        raise InputError("There is no answer to learn: the data hold no prompt with an answer.")
    if not 0 <= mix < 1:
        raise InputError(f"`mix` must lie in [0, 1). Received: mix={mix!r}.")
    if mix and not general:
        raise InputError("`mix` needs `general` texts to mix in.")
    distinct = list({(turn.messages, turn.answer): turn for turn in asked}.values())
    splits = _checked(distinct, dataclasses.replace(options.division, groups=_groups(distinct)), options)
    notes, repeated, unasked = [], len(asked) - len(distinct), len(turns) - len(asked)
    if repeated:
        notes += [f"{repeated:,} of {len(asked):,} answers repeat another with its prompt, and are left out."]
    if unasked:
        notes += [f"{unasked:,} messages of the assistant's begin a dialogue: they answer nothing, and are left out."]
    splits = noted(splits, notes)
    return _with_system(_with_general(splits, general, mix) if general else splits, distinct)


def _with_system(splits: Splits, turns: Sequence[Turn]) -> Splits:
    """The splits with the system message that all dialogues begin with in their pipeline, so that it is told in use."""
    told = {turn.messages[0][1] if turn.messages[0][0] == "system" else None for turn in turns}
    if len(told) > 1 or None in told:
        return splits
    pipeline = Pipeline().then(STEP, version=1, system=told.pop())
    parts = (splits.train, splits.val, splits.test)
    train, val, test = (dataclasses.replace(part, pipeline=pipeline) for part in parts)
    return dataclasses.replace(splits, train=train, val=val, test=test)


def _with_general(splits: Splits, general: Sequence[str], mix: float) -> Splits:
    """The test with general texts, and the training too where some are mixed in."""
    texts = list(dict.fromkeys(text.strip() for text in general if text.strip()))
    mixed_count = round(mix / (1 - mix) * len(splits.train))
    shown = texts[: len(texts) - min(mixed_count, len(texts) // 3)]
    mixed, notes = texts[len(shown) :], []
    if len(mixed) < mixed_count:
        count = f"{len(mixed):,} general texts are mixed in where {mixed_count:,} were asked for"
        notes = [f"{count}: the other two thirds of the {len(texts):,} measure what is forgotten."]

    def more(part: Any, general_texts: Sequence[str], first: int) -> Any:
        turns = [Turn(f"general {first + i}", (), text, f"general {first + i}") for i, text in enumerate(general_texts)]
        return together(part, _examples(turns)) if turns else part

    test, train = more(splits.test, shown, 1), more(splits.train, mixed, 1 + len(shown))
    return noted(dataclasses.replace(splits, test=test, train=train), notes)


def together(first: Any, second: Any) -> Any:
    """Two sets of turns as one."""
    turns = (*_turns_in(first), *_turns_in(second))
    return dataclasses.replace(_examples(turns), groups=(*first.groups, *second.groups) if first.groups else ())


def _turns_in(examples: Any) -> tuple[Turn, ...]:
    turns = []
    for name, group, i in zip(examples.ids, examples.groups or examples.ids, range(len(examples)), strict=True):
        row = examples.inputs[i]
        messages = tuple((m["role"], m["content"]) for m in json.loads(str(row["messages"])))
        turns.append(Turn(name, messages, str(row["answer"]), group))
    return tuple(turns)


def _examples(turns: Sequence[Turn]) -> Any:
    """Turns that were checked, as examples."""
    from tlkit.core.columns import ReadColumn
    from tlkit.core.examples import Examples

    digests = tuple(_digest(turn) for turn in turns)
    return Examples(
        ids=tuple(turn.name for turn in turns),
        inputs=ReadColumn(TurnsReader(tuple(turns)), MESSAGES, digests),
        targets=ArrayColumn(np.zeros((len(turns), 1), np.int32)),
        modality=DIALOGUE,
        pipeline=PIPELINE,
        columns=_columns(turns),
        groups=tuple(turn.owner for turn in turns),
    )


PIPELINE = Pipeline().then(STEP, version=1)


def _columns(turns: Sequence[Turn]) -> dict[str, Any]:
    kinds = np.array([ANSWER if turn.messages else GENERAL for turn in turns], np.int32)
    questions = [turn.messages[-1][1] if turn.messages else "" for turn in turns]
    return {
        KIND: ArrayColumn(kinds),
        "asked": TextColumn(questions),
        "text": TextColumn([turn.answer for turn in turns]),
    }


def _digest(turn: Turn) -> str:
    return sha256_of(f"{turn.json}\n{turn.answer}")


def _checked(turns: Sequence[Turn], division: Division, options: Options) -> Splits:
    def check(i: int) -> Checked:
        for role, text in (("answer", turns[i].answer), *turns[i].messages):
            checked = check_text(text, options)
            if not checked.digest:
                return dataclasses.replace(checked, reason=f"{role}: {checked.reason}")
        return Checked(digest=_digest(turns[i]))

    nothing = Labelled(np.zeros((len(turns), 1), np.float32), (), "values")
    unchecked = Unchecked(
        [turn.name for turn in turns], nothing, TurnsReader(tuple(turns)), check, MESSAGES, DIALOGUE, PIPELINE,
        "answers", targets=np.zeros((len(turns), 1), np.int32), columns=_columns(turns),
    )  # fmt: skip
    return dataclasses.replace(checked_splits(unchecked, division), labels=())


def _groups(turns: Sequence[Turn]) -> list[str]:
    """A name for each turn, one for all that share a dialogue, a last question or an answer, over others too."""
    question_keys = [(f"asked {plainly(turn.messages[-1][1])}",) if turn.messages else () for turn in turns]
    return joined_by(
        [
            (f"of {turn.owner}", f"said {plainly(turn.answer)}", *keys)
            for turn, keys in zip(turns, question_keys, strict=True)
        ]
    )
