"""A causal model as steps over the functions of a file, and the loop that a deployment of it is.

Functions go by their names. `decode` takes and gives the keys and values of all tokens before, and `prefill_32` fills
them for 32 tokens at a time, as LiteRT-LM has it. `next` knows nothing of what was before: it is asked again with all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.task import Function
from tlkit.generating.rows import NONE, tokens_of
from tlkit.generating.search import GREEDY, Rule, Steps, likelihoods, written

PREFILL, DECODE, NEXT = "prefill_", "decode", "next"
DEFAULT = "serving_default"  # what clients of a SavedModel call: the likeliest answer to a prompt
CACHE = "kv_cache_"

Caches = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Cached:
    """Steps by `decode`, which is given the keys and values of what was before."""

    functions: Mapping[str, Function]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of the caches, by name."""
        return {name: shape for name, shape in shapes_of(self.functions[DECODE]).items() if name.startswith(CACHE)}

    def begin(self, prompt: Sequence[int]) -> tuple[np.ndarray, Any]:
        """Fill the caches with all tokens but the last, in pieces, and decode that."""
        caches: dict[str, np.ndarray] = {name: np.zeros(shape, np.float32) for name, shape in self.shapes.items()}
        sizes = sorted(int(name[len(PREFILL) :]) for name in self.functions if name.startswith(PREFILL))
        before, start = list(prompt[:-1]), 0
        while sizes and start < len(before):
            size = next((size for size in sizes if size >= len(before) - start), sizes[-1])
            caches = self._filled(size, before[start : start + size], start, caches)
            start += size
        return self.follow(prompt[-1], (len(before), caches))

    def _filled(self, size: int, piece: Sequence[int], start: int, caches: Caches) -> dict[str, np.ndarray]:
        tokens = np.zeros((1, size), np.int32)  # what fills it up is overwritten before anybody may look at it
        tokens[0, : len(piece)] = piece
        places = np.arange(start, start + size, dtype=np.int32)
        return self.functions[f"{PREFILL}{size}"]({"tokens": tokens, "input_pos": places, **caches})

    def follow(self, token: int, state: Any) -> tuple[np.ndarray, Any]:
        """Scores behind one more token."""
        place, caches = state
        inputs = {"tokens": np.array([[token]], np.int32), "input_pos": np.array([place], np.int32), **caches}
        outputs = dict(self.functions[DECODE](inputs))
        scores = outputs.pop("logits")
        return scores[0, -1], (place + 1, outputs)


@dataclass(frozen=True, eq=False)
class Repeated:
    """Steps by `next`, which is given all tokens each time."""

    function: Function

    def begin(self, prompt: Sequence[int]) -> tuple[np.ndarray, Any]:
        """Scores behind the prompt."""
        return self._scores(tuple(prompt))

    def follow(self, token: int, state: Any) -> tuple[np.ndarray, Any]:
        """Scores behind one more token."""
        return self._scores((*state, token))

    def _scores(self, tokens: tuple[int, ...]) -> tuple[np.ndarray, Any]:
        (width,) = shapes_of(self.function)["tokens"][1:]
        row = np.zeros((1, width if width and width > 0 else len(tokens)), np.int32)
        row[0, : len(tokens)] = tokens
        inputs = {"tokens": row, "input_pos": np.array([len(tokens) - 1], np.int32)}
        return self.function(inputs)["logits"][0, -1], tokens


def shapes_of(function: Function) -> Mapping[str, tuple[Any, ...]]:
    """Shape of each input of a function of a file, the batch axis included."""
    shapes: Mapping[str, tuple[Any, ...]] | None = getattr(function, "shapes", None)
    if shapes is None:
        raise InputError("This format does not say the shapes of its functions (`shapes`), so it cannot generate.")
    return shapes


def steps_over(functions: Mapping[str, Function]) -> Steps:
    """The functions of a file as steps."""
    if DECODE in functions:
        return Cached(functions)
    if NEXT in functions:
        return Repeated(functions[NEXT])
    raise InputError(f"A file that generates has a function {DECODE!r} or {NEXT!r}. Received: {sorted(functions)}.")


def run(
    functions: Mapping[str, Function], inputs: Mapping[str, np.ndarray], *, rule: Rule, stop: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    """What a file answers to a prompt, and how likely it finds the right answer.

    The likeliest answer is that of `serving_default` where there is one; others are chosen step by step.

    Args:
        functions: Of the file, by name.
        inputs: "prompt" int32 (1, p) and "answer" int32 (1, a), NONE behind their tokens; an answer that is not known
            is empty.
        rule: How tokens are chosen.
        stop: Tokens that end an answer, besides the rule's.

    Returns:
        "tokens" float32 (1, most), NONE behind the last; "leads" float32 (1, most), as `Written` has them, 1 behind
        what ended the answer, and of what `serving_default` wrote; "likelihood" float32 (1, a), log-probabilities of
        the right answer's tokens, 0 where there are none; "known" float32 (1, a), 1 where there are.
    """
    steps = steps_over(functions)
    prompt, answer = tokens_of(inputs["prompt"][0]), tokens_of(inputs["answer"][0])
    begun = steps.begin(prompt)
    tokens, leads = np.full((1, rule.most), NONE, np.float32), np.ones((1, rule.most), np.float32)
    if rule.name == GREEDY and DEFAULT in functions:
        tokens[:] = functions[DEFAULT]({"tokens": np.array([prompt], np.int32)})["tokens"]
    else:
        reply = written(_Begun(steps, begun), prompt, dataclasses.replace(rule, stop=(*rule.stop, *stop)))
        tokens[0, : len(reply.tokens)] = reply.tokens
        leads[0, : len(reply.leads)] = reply.leads[: rule.most]
    likelihood = np.zeros((1, inputs["answer"].shape[1]), np.float32)
    known = np.zeros_like(likelihood)
    likelihood[0, : len(answer)] = likelihoods(steps, begun, answer)
    known[0, : len(answer)] = 1
    return {"tokens": tokens, "leads": leads, "likelihood": likelihood, "known": known}


@dataclass(frozen=True, eq=False)
class _Begun:
    """Steps whose prompt was read already: it is judged and written on from the same place."""

    steps: Steps
    begun: tuple[np.ndarray, Any]

    def begin(self, prompt: Sequence[int]) -> tuple[np.ndarray, Any]:
        return self.begun

    def follow(self, token: int, state: Any) -> tuple[np.ndarray, Any]:
        return self.steps.follow(token, state)
