"""Named points in an image, out of a heat map each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers import drawing
from tlkit.core.section import Facts, Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines

POINTS, SCORES = "points", "scores"

OVERVIEW = """
{% from "macros.html.j2" import explained, why %}
<div class="scroll tall"><table>
<thead><tr><th>Point</th><th>Labelled</th><th>Found</th><th>Mean distance</th></tr></thead><tbody>
{% for row in view.rows %}
<tr><td class="name">{{ row.label }}</td><td>{{ row.labelled|number }}</td>
<td><span class="meter"><i style="width:{{ (100 * (row.pck or 0))|round(1) }}%"></i></span><span
class="figure">{{ row.pck|percent }}</span></td><td>{{ row.distance|percent }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="lead">Found is within {{ view.within|percent(0) }} of the image's sides, of which distances are shares. The
images with the largest distances: rings are right, dots are what the model says.{{ explained(view.worst) }}</p>
<ul class="mistakes" data-modality="image">
{% for one in view.worst %}
<li><div class="drawn">{{ one.picture|safe }}<svg viewBox="0 0 100 100" preserveAspectRatio="none"
role="img" aria-label="points of {{ one.id }}">
{% for point in one.points %}
<line x1="{{ point.said[0] }}" y1="{{ point.said[1] }}" x2="{{ point.true[0] }}" y2="{{ point.true[1] }}"
stroke="#e4572e" stroke-width="1" vector-effect="non-scaling-stroke"/>
<circle cx="{{ point.true[0] }}" cy="{{ point.true[1] }}" r="3" fill="none" stroke="#ffffff" stroke-width="2"
vector-effect="non-scaling-stroke"/><circle cx="{{ point.said[0] }}" cy="{{ point.said[1] }}" r="2" fill="#e4572e"/>
{% endfor %}
</svg></div>{{ why(one.why) }}<div><span class="file" title="{{ one.id }}">{{ one.id }}</span></div></li>
{% endfor %}
</ul>
"""
TRAINING = """
<p class="lead">Some training images with their points, as they were read.
{% for label, colour in view.legend %}<span style="white-space:nowrap"><svg width="10" height="10" role="img"
aria-label="colour of {{ label }}"><rect width="10" height="10" fill="{{ colour }}"/></svg> {{ label }}</span>
{% endfor %}</p>
<ul class="mistakes" data-modality="image">
{% for one in view.images %}
<li><div class="drawn">{{ one.picture|safe }}<svg viewBox="0 0 100 100" preserveAspectRatio="none"
role="img" aria-label="true points of {{ one.id }}">
{% for point in one.points %}
<circle cx="{{ point.x }}" cy="{{ point.y }}" r="2.5" fill="{{ point.colour }}" stroke="#ffffff" stroke-width="1"
vector-effect="non-scaling-stroke"/>
{% endfor %}
</svg></div><div><span class="file" title="{{ one.id }}">{{ one.id }}</span></div></li>
{% endfor %}
</ul>
"""


def points(names: Sequence[str], within: float = 0.05) -> Answer:
    """The place of each point: "points", float32 (b, k, 2), x and y in shares of the sides, and "scores" (b, k).

    Raw outputs are heat maps, logits (b, height, width, k). A point lies at the mean place under its softmax, and its
    score is the share within a place or so of the map's highest.

    Args:
        names: Of the points.
        within: Distance in shares of the sides within which two places are the same to people.
    """
    labels = tuple(str(name) for name in names)
    return Answer(
        name=POINTS,
        tensors=(POINTS, SCORES),
        labels=labels,
        decode=_decoded,
        agree=functools.partial(_agreement, within),
        say=functools.partial(_said, labels),
        draw=functools.partial(_on_the_image, labels),
        merit=functools.partial(_merit, within),
        in_float32=True,
        sections=(
            Section("keypoints", "Points", _view, OVERVIEW),
            Section("training", "Training images", functools.partial(_training, labels), TRAINING, "Training"),
        ),
    )


def places(height: int, width: int) -> np.ndarray:
    """float32 (height * width, 2): x and y of the middle of each place of a map, in shares of the sides."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    return np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=1).astype(np.float32)


def shares(raw: Any) -> Any:
    """Softmax of each heat map, (b, places, k); Keras operations."""
    from keras import ops

    _, height, width, count = raw.shape
    return ops.softmax(ops.reshape(raw, (-1, height * width, count)), axis=1)


def located(heat: Any, height: int, width: int) -> Any:
    """The mean place (b, k, 2) under shares (b, places, k); Keras operations.

    Source: Sun et al. 2018, arXiv:1711.08229 (integral regression).
    """
    from keras import ops

    return ops.matmul(ops.transpose(heat, (0, 2, 1)), ops.convert_to_tensor(places(height, width)))


def _decoded(raw: Any) -> Mapping[str, Any]:
    from keras import ops

    heat = shares(raw)
    highest = ops.max(heat, axis=1)
    return {POINTS: located(heat, *raw.shape[1:3]), SCORES: ops.minimum(4.0 * highest, 1.0)}


def _agreement(within: float, expected: Decoded, actual: Decoded) -> Agreement:
    apart = np.linalg.norm(expected[POINTS] - actual[POINTS], axis=-1)
    return Agreement(apart.max(axis=1, initial=0.0), apart < within, np.full(apart.shape, np.inf))


def _merit(within: float, targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Share of an image's labelled points that are found; 1 where none is labelled."""
    labelled = targets[..., 2] > 0
    hits = (np.linalg.norm(decoded[POINTS] - targets[..., :2], axis=-1) < within) & labelled
    return np.where(labelled.any(axis=1), hits.sum(axis=1) / np.maximum(labelled.sum(axis=1), 1), 1.0)


def _said(labels: tuple[str, ...], decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """Each point with its place, x and y in shares of the sides."""
    rows = zip(labels, decoded[POINTS], decoded[SCORES], strict=True)
    return [(f"{label} at {x:.3f} {y:.3f}", float(score)) for label, (x, y), score in rows]


def _on_the_image(labels: tuple[str, ...], decoded: Decoded, example: Mapping[str, Any]) -> np.ndarray:
    texts = [f"{label} {score:.2f}" for label, score in zip(labels, decoded[SCORES], strict=True)]
    return drawing.with_points(drawing.canvas(example), decoded[POINTS], texts)


def _training(labels: tuple[str, ...], facts: Facts) -> Any:
    chosen = drawing.legend(labels, drawing.colours(len(labels)))

    def entry(rows: np.ndarray) -> dict[str, Any]:
        points = zip(rows, chosen, strict=True)
        return {
            "points": [
                {"x": 100 * float(x), "y": 100 * float(y), "colour": colour}
                for (x, y, seen), (_, colour) in points
                if seen
            ]
        }

    images = drawing.contact_sheet(facts, lambda spec: spec.shape == (len(labels), 3), entry)
    return images and {"images": images, "legend": chosen}


def _view(facts: Facts) -> Any:
    detail = facts.detail("keypoints")
    return detail and {**detail, "worst": [drawing.with_example(facts, row) for row in detail["worst"]]}
