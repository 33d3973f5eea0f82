"""A label at each pixel of an image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers import drawing
from tlkit.answers.mean_overlap import MASK, MeanOverlap
from tlkit.answers.scores import masked_mean, scores
from tlkit.core.section import Facts, Section
from tlkit.core.task import Answer, Decoded, Lines
from tlkit.data.augment import VOID

OVERLAP = """
<div class="scroll tall"><table>
<thead><tr><th>Label</th><th>Pixels</th><th>IoU</th><th>95 %</th><th>Dice</th><th>Boundary F1</th></tr></thead>
<tbody>
{% for row in view %}
<tr><td class="name">{{ row.label }}</td><td>{{ row.pixels|number }}</td>
<td><span class="meter"><i style="width:{{ (100 * row.iou)|round(1) }}%"></i></span><span
class="figure">{{ row.iou|percent }}</span></td>
<td>{{ row.iou_low|percent }} to {{ row.iou_high|percent }}</td><td>{{ row.dice|percent }}</td>
<td>{{ row.boundary_f1|percent }}</td></tr>
{% endfor %}
</tbody></table></div>
"""
WORST = """
{% from "macros.html.j2" import explained, why %}
<p class="lead">The images with the lowest overlap: the image, what is right, and what the model
says.{{ explained(view.images) }}
{% for label, colour in view.legend %}<span style="white-space:nowrap"><svg width="10" height="10" role="img"
aria-label="colour of {{ label }}"><rect width="10" height="10" fill="{{ colour }}"/></svg> {{ label }}</span>
{% endfor %}</p>
<ul class="mistakes" data-modality="image">
{% for one in view.images %}
<li>{{ one.picture|safe }}<img src="{{ one.true }}" alt="right mask of {{ one.id }}" loading="lazy"><img
src="{{ one.predicted }}" alt="predicted mask of {{ one.id }}" loading="lazy">{{ why(one.why) }}<div><span class="file"
title="{{ one.id }}">{{ one.id }}, mIoU {{ "%.3f"|format(one.miou) }}</span></div></li>
{% endfor %}
</ul>
"""
TRAINING = """
<p class="lead">Some training images with their masks, as they were read; what is white counts for nothing.
{% for label, colour in view.legend %}<span style="white-space:nowrap"><svg width="10" height="10" role="img"
aria-label="colour of {{ label }}"><rect width="10" height="10" fill="{{ colour }}"/></svg> {{ label }}</span>
{% endfor %}</p>
<ul class="mistakes" data-modality="image">
{% for one in view.images %}
<li>{{ one.picture|safe }}<img src="{{ one.mask }}" alt="true mask of {{ one.id }}" loading="lazy"><div><span
class="file" title="{{ one.id }}">{{ one.id }}</span></div></li>
{% endfor %}
</ul>
"""


def masks(labels: Sequence[str]) -> Answer:
    """Shares of the labels at each pixel, float32 (b, height, width, k), of logits of that shape.

    Args:
        labels: Name of each label.
    """
    return dataclasses.replace(
        scores(labels, name=MASK),
        say=functools.partial(_said, tuple(labels)),
        draw=functools.partial(_on_the_image, tuple(labels)),
        merit=_merit,
        tally=functools.partial(MeanOverlap, len(labels)),
        signatures={},
        sections=(
            Section("overlap", "Overlap of each label", lambda facts: facts.detail("overlap"), OVERLAP, "Overlap"),
            Section("masks", "Masks", _view, WORST),
            Section("training", "Training images", functools.partial(_training, tuple(labels)), TRAINING, "Training"),
        ),
    )


def _merit(targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Share of an image's known pixels that are right."""
    return masked_mean(decoded[MASK].argmax(-1) == targets, targets != VOID)


def _said(labels: tuple[str, ...], decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """Share of the image that each label covers, the largest first."""
    counts = np.bincount(decoded[MASK].argmax(-1).reshape(-1), minlength=len(labels))
    return sorted(zip(labels, (counts / counts.sum()).tolist(), strict=True), key=lambda line: -line[1])


def _on_the_image(labels: tuple[str, ...], decoded: Decoded, example: Mapping[str, Any]) -> np.ndarray:
    return drawing.with_mask(drawing.canvas(example), decoded[MASK].argmax(-1), labels)


def _training(labels: tuple[str, ...], facts: Facts) -> Any:
    images = drawing.contact_sheet(
        facts, lambda spec: len(spec.shape) == 2, lambda mask: {"mask": drawing.mask_url(mask, len(labels))}
    )
    return images and {"images": images, "legend": drawing.legend(labels, drawing.palette(len(labels)))}


def _view(facts: Facts) -> Any:
    detail = facts.detail("masks")
    return detail and {**detail, "images": [drawing.with_example(facts, row) for row in detail["images"]]}
