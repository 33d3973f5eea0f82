"""Progress that reads well on a terminal, in Colab and in a log file."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TextIO

Advance = Callable[[int], None]
LOG_SECONDS = 10.0  # a log file gets one line of a long bar in this time


@dataclass(frozen=True)
class Progress:
    """Where progress goes.

    Attributes:
        line: Writes one finished line.
        bar: (title, total) -> a context that gives a function to call with the count of what is done.
    """

    line: Callable[[str], None]
    bar: Callable[[str, int], AbstractContextManager[Advance]]

    def quiet_bar(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A bar that is not shown, for work that takes no time."""
        return _no_bar(title, total)


def shown(*, to_stderr: bool = False) -> Progress:
    """Bars on a terminal, plain lines elsewhere."""
    stream = sys.stderr if to_stderr else sys.stdout

    def line(text: str) -> None:
        print(text, file=stream, flush=True)

    return Progress(line, functools.partial(_rich_bar, stream) if stream.isatty() else _log_bar(line))


@contextlib.contextmanager
def _rich_bar(stream: TextIO, title: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(file=stream), transient=True) as bars:
        task = bars.add_task(title, total=total)
        yield lambda count: bars.update(task, completed=count)


def _log_bar(line: Callable[[str], None]) -> Callable[[str, int], AbstractContextManager[Advance]]:
    @contextlib.contextmanager
    def bar(title: str, total: int) -> Iterator[Advance]:
        last = time.monotonic()

        def advance(count: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LOG_SECONDS:
                last = time.monotonic()
                line(f"{title}: {count} of {total}")

        yield advance

    return bar


@contextlib.contextmanager
def _no_bar(_title: str, _total: int) -> Iterator[Advance]:
    yield lambda count: None


quiet = Progress(lambda text: None, _no_bar)
