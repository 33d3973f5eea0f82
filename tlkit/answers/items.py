"""The k items of a catalogue that are likeliest next, with their shares."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.section import Facts, Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines

ITEMS, SCORES = "items", "scores"

TEMPLATE = """
<p class="lead">{{ view.protocol }}</p>
<div class="scroll"><table>
<thead><tr><th>The latest items of the history</th><th>Came next</th><th>Recommended</th></tr></thead><tbody>
{% for row in view.rows %}
<tr><td class="name">{{ row.history }}</td><td class="name">{{ row.next }}</td><td class="name">{{ row.said }}</td></tr>
{% endfor %}
</tbody></table></div>
"""


def items(titles: Sequence[str], k: int = 10) -> Answer:
    """ "items", float32 (b, k) places in the catalogue, the best first, and "scores", their shares by the softmax.

    Raw outputs are logits (b, items).

    Args:
        titles: Of the items, in the catalogue's order.
        k: How many are given.
    """
    names = tuple(str(title) for title in titles)
    return Answer(
        name=ITEMS,
        tensors=(ITEMS, SCORES),
        labels=names,
        decode=functools.partial(_decoded, k),
        agree=_agreement,
        say=functools.partial(_said, names),
        merit=_merit,
        ranked=True,
        sections=(Section("recommended", "What is recommended", _view, TEMPLATE),),
    )


def _decoded(k: int, raw: Any) -> Mapping[str, Any]:
    import keras

    shares, places = keras.ops.top_k(keras.ops.softmax(raw, axis=-1), k)
    return {ITEMS: keras.ops.cast(places, "float32"), SCORES: shares}


def _agreement(expected: Decoded, actual: Decoded) -> Agreement:
    """Equal where both name the same item; the model is as sure as its share is apart from its neighbours'."""
    gaps = -np.diff(expected[SCORES], axis=-1)
    edge = np.full((len(gaps), 1), np.inf)
    margin = np.minimum(np.concatenate([edge, gaps], 1), np.concatenate([gaps, edge], 1))
    apart = np.abs(expected[SCORES] - actual[SCORES])
    return Agreement(apart.max(axis=1), expected[ITEMS] == actual[ITEMS], margin)


def _said(names: tuple[str, ...], decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    return [(names[int(i)], float(s)) for i, s in zip(decoded[ITEMS], decoded[SCORES], strict=True)]


def _merit(targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Discounted gain of the item that came next, 0 where it is not among them."""
    hits = decoded[ITEMS] == np.asarray(targets).reshape(-1, 1)
    return np.asarray((hits / np.log2(np.arange(hits.shape[1]) + 2)).sum(axis=1))


def _view(facts: Facts) -> Any:
    return facts.detail("recommended")
