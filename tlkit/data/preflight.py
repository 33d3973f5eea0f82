"""One look at every example before training starts, in parallel: what is broken is known by name and reason.

An epoch that stops at example 40,000 costs more than reading everything once, and most decoders do not say which file
they failed on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tlkit.core.errors import InputError
from tlkit.core.examples import Quarantined
from tlkit.data.pixels import Depth

_CHUNK = 512  # checks handed to the threads at once: keeps a million files from becoming a million futures
_EVERY_S = 30.0  # seconds between lines in a log file


@dataclass(frozen=True)
class Checked:
    """What the look at one example gave: the sha256 of its content, or the reason to leave it out.

    `ignored` marks what never was an example (a Thumbs.db); nobody needs to hear of it. `depth` says of an image how
    many bits its pixels have.
    """

    digest: str = ""
    reason: str = ""
    ignored: bool = False
    depth: Depth | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Findings:
    """Positions of the sound examples with their digests, and what is left out."""

    sound: tuple[int, ...]
    digests: tuple[str, ...]
    quarantine: tuple[Quarantined, ...]


def preflight(
    names: Sequence[str], check: Callable[[int], Checked], *, noun: str, strict: bool = False, progress: bool = True
) -> Findings:
    """Check every example once, in threads, in any order; the result does not depend on it.

    Args:
        names: A name for each example, for the quarantine list.
        check: `check(i)` looks at example i and never raises.
        noun: What the examples are, in the plural, for messages: "images".
        strict: Raise instead of leaving examples out.
        progress: Show a bar on a terminal, lines elsewhere.

    Raises:
        InputError: With `strict`, if anything would be left out.
    """
    started = time.perf_counter()
    with _told(len(names), noun, progress) as tell, ThreadPoolExecutor(max_workers=cpus()) as pool:
        results: list[Checked] = []
        for start in range(0, len(names), _CHUNK):
            for result in pool.map(check, range(start, min(start + _CHUNK, len(names)))):
                results.append(result)
                tell(len(results))
    findings = _findings(names, results)
    if strict and findings.quarantine:
        raise InputError(strict_message(findings.quarantine, len(names), noun))
    if progress:
        print(_summary(findings, noun, time.perf_counter() - started), file=sys.stderr)
    return findings


def cpus() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def listed(quarantine: Sequence[Quarantined], limit: int = 3) -> str:
    """The first few of a quarantine list in a sentence's form.

    Example:
        >>> listed([Quarantined("a.jpg", "empty"), Quarantined("b.jpg", "truncated")], limit=1)
        "'a.jpg' (empty) and 1 more"
    """
    reasons = ", ".join(f"{quarantined.name!r} ({quarantined.reason})" for quarantined in quarantine[:limit])
    return reasons if len(quarantine) <= limit else f"{reasons} and {len(quarantine) - limit} more"


def strict_message(quarantine: Sequence[Quarantined], total: int, noun: str) -> str:
    """The sentence with which `strict=True` refuses."""
    return (
        f"{len(quarantine)} of {total} {noun} cannot be used: {listed(quarantine)}. "
        "Repair or remove them, or pass strict=False to go on without them."
    )


def _findings(names: Sequence[str], results: Sequence[Checked]) -> Findings:
    sound = tuple(i for i, result in enumerate(results) if not (result.reason or result.ignored))
    bad = (Quarantined(names[i], result.reason) for i, result in enumerate(results) if result.reason)
    return Findings(sound, tuple(results[i].digest for i in sound), tuple(bad))


def _summary(findings: Findings, noun: str, seconds: float) -> str:
    left_out = f"; left out {len(findings.quarantine)}: {listed(findings.quarantine)}" if findings.quarantine else ""
    return f"tlkit: checked {noun} in {seconds:.1f} s: {len(findings.sound)} sound{left_out}"


@contextlib.contextmanager
def _told(total: int, noun: str, progress: bool) -> Iterator[Callable[[int], None]]:
    if not progress:
        yield lambda count: None
    elif sys.stderr.isatty():
        with _bar(total, noun) as tell:
            yield tell
    else:
        yield _lines(total, noun)


@contextlib.contextmanager
def _bar(total: int, noun: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        job = bar.add_task(f"checking {noun}", total=total)
        yield lambda count: bar.update(job, completed=count)


def _lines(total: int, noun: str) -> Callable[[int], None]:
    last = [time.perf_counter()]

    def tell(count: int) -> None:
        if time.perf_counter() - last[0] >= _EVERY_S:
            last[0] = time.perf_counter()
            print(f"tlkit: checking {noun}: {count} of {total}", file=sys.stderr)

    return tell
