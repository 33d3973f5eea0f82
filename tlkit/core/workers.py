"""Workers that train one model together, and pools of processes that share out what can be done one by one."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError, TrainingError
from tlkit.core.trouble import explained

CONFIG = "TF_CONFIG"


SENTENCE, SIZE = 500, 7000  # letters of a failure that other workers are told, and bytes at most


def _told(failure: Exception | None) -> bytes:
    """A failure as JSON of one size: sentence, number of the system's error, whether it is one of training."""
    sentence = "" if failure is None else explained(failure)[:SENTENCE]
    number = failure.errno if isinstance(failure, OSError) else None
    return json.dumps([sentence, number, isinstance(failure, TrainingError)]).ljust(SIZE).encode("ascii")


def _alone(tensors: Sequence[Any]) -> list[Any]:
    return list(tensors)


@dataclass(frozen=True, eq=False)
class Workers:
    """This process among those that train together.

    Attributes:
        index: Which of them this is; 0 is the chief, which alone writes files.
        count: How many there are; 1 trains alone.
        devices: TensorFlow's names of the devices of this worker, each of which takes a part of every batch.
        add: Tensors -> their sums over all workers; each worker calls it at the same place with the same shapes.
    """

    index: int = 0
    count: int = 1
    devices: tuple[str, ...] = ("",)
    add: Callable[[Sequence[Any]], list[Any]] = _alone

    @property
    def chief(self) -> bool:
        """Whether this worker writes files."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Devices of all workers together."""
        return self.count * len(self.devices)

    @property
    def by_itself(self) -> Workers:
        """This worker's devices, as if there were no others."""
        return Workers(devices=self.devices)

    def part(self, size: int) -> slice:
        """This worker's part of a batch of `size` examples; it may be empty.

        Example:
            >>> [Workers(index, 2).part(7) for index in range(2)]
            [slice(0, 3, None), slice(3, 7, None)]
        """
        first = self.index * len(self.devices)
        return slice(self._bound(first, size), self._bound(first + len(self.devices), size))

    def device_parts(self, size: int) -> list[slice]:
        """The part of each of this worker's devices in what `part(size)` gives, in their order."""
        first, start = self.index * len(self.devices), self.part(size).start
        bounds = [self._bound(first + number, size) - start for number in range(len(self.devices) + 1)]
        return [slice(*pair) for pair in itertools.pairwise(bounds)]

    def _bound(self, replica: int, size: int) -> int:
        return size * replica // self.replicas

    def wait(self) -> None:
        """Until all workers are here."""
        if self.count > 1:
            self.add([np.zeros(1, np.float32)])

    def from_chief(self, value: float) -> float:
        """The chief's number, to float32's precision."""
        if self.count == 1:
            return value
        return float(self.add([np.asarray([value if self.chief else 0.0], np.float32)])[0][0])

    def bytes_of_all(self, content: bytes) -> list[bytes]:
        """What each worker has here, by index; all have the same number of bytes."""
        if self.count == 1:
            return [content]
        table = np.zeros((self.count, len(content)), np.float32)
        table[self.index] = np.frombuffer(content, np.uint8)
        (summed,) = self.add([table])
        return [row.astype(np.uint8).tobytes() for row in np.asarray(summed)]

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """What one worker raises inside, all raise, so that none waits for it; behind it all are done.

        Raises:
            InputError: Of another worker's failure; an OSError of the system's, TrainingError of training.
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        (failed,) = self.add([np.float32(failure is not None)])
        if not float(failed):
            return
        told = [json.loads(content) for content in self.bytes_of_all(_told(failure))]
        if failure is not None:
            raise failure
        index = next(number for number, (sentence, _, _) in enumerate(told) if sentence)
        sentence, number, in_training = told[index]
        sentence = f"Worker {index}: {sentence}"
        raise OSError(number, sentence) if number else (TrainingError if in_training else InputError)(sentence)

    def unlike_chief(self, digest: str) -> list[int]:
        """Indices of the workers whose hash here is another one than the chief's."""
        digests = self.bytes_of_all(bytes.fromhex(digest))
        return [index for index, theirs in enumerate(digests) if theirs != digests[0]]


ALONE = Workers()


def workers_named() -> int:
    """How many workers TF_CONFIG names; 0 where it is not set.

    Raises:
        InputError: If TF_CONFIG is damaged.
    """
    text = os.environ.get(CONFIG, "")
    if not text:
        return 0
    try:
        jobs = json.loads(text).get("cluster", {})
        return sum(len(jobs.get(job, ())) for job in ("chief", "worker"))
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f'{CONFIG} must be JSON as TensorFlow has it: {{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": '
            f'{{"type": "worker", "index": 0}}}}. Received: {text!r:.80}.'
        ) from None


@dataclass(frozen=True, eq=False)
class Pool:
    """Processes, of this host or others, that work through the calls of a function.

    Attributes:
        count: How many there are.
        each: (function, arguments of each call) -> (number of a call, its result), in the order in which they end. The
            function is sent once; arguments are asked for as processes are free.
        here: A function -> one that can be sent to the processes, and runs on this host.
    """

    count: int
    each: Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[tuple[int, Any]]]
    here: Callable[[Callable[..., Any]], Callable[..., Any]]


_POOL: contextvars.ContextVar[Pool | None] = contextvars.ContextVar("pool", default=None)


def pool() -> Pool | None:
    """The pool of whoever calls this, or None."""
    return _POOL.get()


def each(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, elsewhere: bool = True
) -> Iterator[tuple[int, Any]]:
    """(number of a call, its result), by the processes of the pool if there is one, else by this one.

    Args:
        function: What is called; a pool sends it once to each process.
        calls: Arguments of each call.
        elsewhere: Whether a pool may be asked.
    """
    processes = pool() if elsewhere else None
    if processes is not None:
        yield from processes.each(function, calls)
    else:
        yield from ((number, function(*arguments)) for number, arguments in enumerate(calls))


@contextlib.contextmanager
def pooled(processes: Pool) -> Iterator[None]:
    """Inside, features, trials, rankings and checks are shared out among the processes of a pool."""
    token = _POOL.set(processes)
    try:
        yield
    finally:
        _POOL.reset(token)
