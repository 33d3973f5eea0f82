"""The k items of a catalogue that are likeliest next, with their shares."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.section import Facts, Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines

ITEMS, SCORES = "items", "scores"

WAYS = {
    "": "the model", "_factors": "matrix factorisation", "_neighbours": "neighbours of items",
    "_popularity": "popularity",
}  # fmt: skip
COLD_WAYS = {"": "the model", "_popularity": "by chance, as popularity knows nothing of new items"}

TEMPLATE = """
{% for table in view.tables %}
<p class="lead">{{ table.protocol }}</p>
<div class="scroll"><table>
<thead><tr><th>{{ table.noun }}</th><th>Recall@{{ view.k }}</th><th>NDCG@{{ view.k }}</th><th>Coverage</th></tr>
</thead><tbody>
{% for row in table.rows %}
<tr><td class="name">{{ row.way }}</td>{% for value in row.figures %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endfor %}
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
    """Titles and shares; an item of the history, which has none, is given where nothing else is left."""
    return [(names[int(i)], float(s)) for i, s in zip(decoded[ITEMS], decoded[SCORES], strict=True) if s > 0]


def _merit(targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Discounted gain of the item that came next, 0 where it is not among them."""
    hits = decoded[ITEMS] == np.asarray(targets).reshape(-1, 1)
    return np.asarray((hits / np.log2(np.arange(hits.shape[1]) + 2)).sum(axis=1))


def _view(facts: Facts) -> Any:
    detail, scores = facts.detail("recommended"), facts.record["scores"]
    if detail is None:
        return None
    k = int(detail.get("k", 10))  # runs of before do not say it
    tables = [{"noun": "Known items", "protocol": detail["protocol"], "rows": _ways(scores, k, "", WAYS)}]
    if "cold_protocol" in detail:
        rows = _ways(scores, k, "cold_", COLD_WAYS)
        tables.append({"noun": "New items", "protocol": detail["cold_protocol"], "rows": rows})
    return {"k": k, "tables": tables, "rows": detail["rows"]}


def _ways(scores: Mapping[str, float], k: int, prefix: str, ways: Mapping[str, str]) -> list[dict[str, Any]]:
    """Recall, NDCG and coverage of the model and of what stands beside it."""
    names = (f"{prefix}recall_at_{k}", f"{prefix}ndcg_at_{k}", f"{prefix}coverage")
    return [
        {"way": way, "figures": [f"{scores[name + ending]:.3f}" if name + ending in scores else "-" for name in names]}
        for ending, way in ways.items()
        if names[0] + ending in scores
    ]
