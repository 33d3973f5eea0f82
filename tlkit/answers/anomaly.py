"""How unlike good examples an image is: a map of it, and one score."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.answers import drawing
from tlkit.core.section import Facts, Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines

ANOMALY_MAP, PRED_SCORE = "anomaly_map", "pred_score"
ANOMALOUS, NORMAL = "anomalous", "normal"
REACH = 2.0  # thresholds at which colours end, so that red begins at one

KINDS = """
<div class="scroll tall"><table>
<thead><tr><th>Kind</th><th>Images</th><th>Image AUROC</th>{% if view.judged %}<th>Found</th>{% endif %}</tr></thead>
<tbody>
{% for row in view.rows %}
<tr><td class="name">{{ row.kind }}</td><td>{{ row.images|number }}</td>
<td><span class="meter"><i style="width:{{ (100 * (row.image_auroc or 0))|round(1) }}%"></i></span><span
class="figure">{{ "%.3f"|format(row.image_auroc) }}</span></td>
{% if view.judged %}<td>{{ row.found|percent }}</td>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
<p class="lead">Image AUROC is the chance that a bad image of this kind scores higher than a good one.
{% if view.judged %}Found is the share of them above the threshold, which {{ view.false_alarms|percent }} of the good
test images exceed too.{% endif %}</p>
"""
CHOICE = """
<div class="scroll"><table>
<thead><tr><th>Detector</th><th>Image AUROC</th><th>Pixel AUROC</th><th></th></tr></thead><tbody>
{% for row in view %}
<tr><td class="name">{{ row.detector }}</td><td>{{ "%.3f"|format(row.image_auroc) }}</td>
<td>{{ "%.3f"|format(row.pixel_auroc) }}</td><td>{% if row.chosen %}chosen{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="lead">On held-out good images and copies of them with synthetic faults, by which the detector was chosen.
These figures say nothing about real faults.</p>
"""
WORST = """
<p class="lead">The bad images with the lowest scores and the good ones with the highest: the image, where it is
marked as faulty, and the anomaly map{% if view.judged %}, whose red begins at the threshold{% endif %}.</p>
<ul class="mistakes" data-modality="image">
{% for one in view.images %}
<li>{{ one.picture|safe }}{% if one.mask %}<img src="{{ one.mask }}" alt="marked faults of {{ one.id }}"
loading="lazy">{% endif %}<img src="{{ one.map }}" alt="anomaly map of {{ one.id }}"
loading="lazy"><div><span class="file" title="{{ one.id }}">{{ one.id }}</span>
<b>{{ one.kind }}</b>, score {{ "%.3f"|format(one.score) }}</div></li>
{% endfor %}
</ul>
"""


def anomaly(threshold: float | None = None) -> Answer:
    """A map of how unlike good examples each pixel is, "anomaly_map" (b, height, width), and its highest, "pred_score".

    Raw outputs are the map (b, height, width, 1) in the detector's own unit. With a threshold both are shares of it, so
    that whatever scores above 1 is anomalous.

    Args:
        threshold: Of the raw map; None where none was set yet.
    """
    return Answer(
        name="anomaly",
        tensors=(ANOMALY_MAP, PRED_SCORE),
        decode=functools.partial(_decoded, threshold),
        agree=functools.partial(_agreement, threshold is not None),
        say=functools.partial(_said, threshold is not None),
        draw=functools.partial(_on_the_image, threshold is not None),
        merit=None if threshold is None else _merit,
        sections=(
            Section("faults", "Kinds of faults", lambda facts: facts.detail("faults"), KINDS, "Kinds"),
            Section("detector", "Choice of the detector", lambda facts: facts.detail("tried"), CHOICE, "Detector"),
            Section("anomalies", "Anomaly maps", _view, WORST, "Maps"),
        ),
    )


def _decoded(threshold: float | None, raw: Any) -> Mapping[str, Any]:
    from keras import ops

    heat = raw[..., 0] if threshold is None else raw[..., 0] / threshold
    return {ANOMALY_MAP: heat, PRED_SCORE: ops.max(heat, axis=(1, 2))}


def _agreement(judged: bool, expected: Decoded, actual: Decoded) -> Agreement:
    """Differences are shares of the threshold; of the highest score where there is none."""
    score, actual_score = expected[PRED_SCORE], actual[PRED_SCORE]
    apart = np.abs(expected[ANOMALY_MAP] - actual[ANOMALY_MAP]).max(axis=(1, 2))
    if not judged:
        return Agreement(apart / max(float(score.max(initial=0.0)), 1e-9), np.ones(len(score), bool), np.abs(score))
    return Agreement(apart, (score > 1) == (actual_score > 1), np.abs(score - 1))


def _merit(targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """1 where the threshold takes an image for what it is."""
    bad = targets.reshape(len(targets), -1).any(axis=1)
    return np.asarray((decoded[PRED_SCORE] > 1) == bad, np.float64)


def _said(judged: bool, decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """Whether the image is anomalous, and where most."""
    heat, score = decoded[ANOMALY_MAP], float(decoded[PRED_SCORE])
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    x, y = (column + 0.5) / heat.shape[1], (row + 0.5) / heat.shape[0]
    label = (ANOMALOUS if score > 1 else NORMAL) if judged else "anomaly score"
    return [(f"{label}, most at {x:.2f} {y:.2f}", score)]


def _on_the_image(judged: bool, decoded: Decoded, example: Mapping[str, Any]) -> np.ndarray:
    """The image under its map, red at the threshold."""
    reach = REACH if judged else max(float(decoded[PRED_SCORE]), 1e-9)
    return drawing.with_heat(drawing.canvas(example), decoded[ANOMALY_MAP], reach)


def _view(facts: Facts) -> Any:
    detail = facts.detail("anomalies")
    return detail and {**detail, "images": [{**row, "picture": facts.show(row["id"])} for row in detail["images"]]}
