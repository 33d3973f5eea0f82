"""What an attack is, and what counts as an answer to it."""

import contextlib
import io
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST_SENTENCE = 700  # characters; more is a page, not a sentence


@dataclass(frozen=True)
class Outcome:
    """What came of an attack: what was raised, what the command line printed and returned, or the value."""

    value: Any = None
    error: str = ""  # the message of what was raised
    sentence: bool = False  # it was one of tlkit's own errors
    trace: str = ""
    code: int | None = None  # exit code, where the command line ran
    printed: str = ""


@dataclass(frozen=True)
class Case:
    """One bad input: `act` makes it in an empty folder and uses it; `wrong` says what is wrong with the outcome."""

    area: str
    name: str
    act: Callable[[Path], Any]
    wrong: Callable[[Outcome], str]
    timeout_s: float = 60.0
    growth_mb: float = 1500.0


@dataclass(frozen=True)
class CommandLine:
    """Words for `tlkit`, run inside the process of the case."""

    words: tuple[str, ...]
    result: Callable[[], Any] = field(default=lambda: None)  # read after the command


def command(*words: object) -> CommandLine:
    """A command line."""
    return CommandLine(tuple(str(word) for word in words))


def outcome_of(case: Case, folder: Path) -> Outcome:
    """Run a case here; whatever it raises is part of the outcome."""
    from tlkit.core.errors import TlkitError

    os.chdir(folder)
    try:
        value = case.act(folder)
        if isinstance(value, CommandLine):
            return _commanded(value)
        return Outcome(value=value)
    except TlkitError as error:
        return Outcome(error=str(error), sentence=True)
    except BaseException as error:  # a SystemExit is as wrong here as anything else
        return Outcome(error=f"{type(error).__name__}: {error}"[:2000], trace=traceback.format_exc()[-3000:])


def _commanded(line: CommandLine) -> Outcome:
    from tlkit.cli import commands

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = commands.main(list(line.words))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException as error:
            return Outcome(
                error=f"{type(error).__name__}: {error}"[:2000], trace=traceback.format_exc()[-3000:], code=1
            )
    return Outcome(value=line.result(), code=code, printed=printed.getvalue())


# Answers that are right


def refused(*words: str) -> Callable[[Outcome], str]:
    """A sentence of tlkit's (from Python), or exit code 2 without a traceback (in a shell), with these words."""

    def wrong(outcome: Outcome) -> str:
        if outcome.trace:
            return f"traceback: {outcome.error[:200]}"
        text = outcome.error or outcome.printed
        if outcome.code is None and not outcome.sentence:
            return f"silent: went through and gave {str(outcome.value)[:120]}"
        if outcome.code not in (None, 2):
            return f"silent: exit code {outcome.code}: {outcome.printed[-200:]}"
        if "Traceback (most recent" in text:
            return "traceback: printed"
        if outcome.code is None and len(text) > LONGEST_SENTENCE:
            return f"page: {len(text)} characters"
        missing = [word for word in words if word.lower() not in text.lower()]
        return f"misleading: no {missing[0]!r} in {text[:300]!r}" if missing else ""

    return wrong


def left_out(name: str) -> Callable[[Outcome], str]:
    """Splits that were made without the example of this name, which is on the quarantine list."""

    def wrong(outcome: Outcome) -> str:
        if outcome.trace:
            return f"traceback: {outcome.error[:200]}"
        if outcome.sentence:
            return f"refused: {outcome.error[:200]}"
        names = [entry.name for entry in outcome.value.quarantine]
        return "" if any(name in entry for entry in names) else f"silent: {name} is not among {names[:5]}"

    return wrong


def gives(right: Callable[[Any], bool], what: str) -> Callable[[Outcome], str]:
    """It was used, and the value is as it should be."""

    def wrong(outcome: Outcome) -> str:
        if outcome.trace:
            return f"traceback: {outcome.error[:200]}"
        if outcome.sentence:
            return f"false alarm: {outcome.error[:200]}"
        if outcome.code not in (None, 0):
            return f"false alarm: exit code {outcome.code}: {outcome.printed[-300:]}"
        return "" if right(outcome.value) else f"silent: not {what}"

    return wrong


def either(*answers: Callable[[Outcome], str]) -> Callable[[Outcome], str]:
    """One of several answers is right."""

    def wrong(outcome: Outcome) -> str:
        complaints = [answer(outcome) for answer in answers]
        return "" if "" in complaints else complaints[0]

    return wrong
