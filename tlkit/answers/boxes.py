"""Boxes: any number of labelled objects per image, out of feature maps."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.answers import drawing
from tlkit.answers.average_precision import AveragePrecision
from tlkit.answers.overlaps import iou, sides_first
from tlkit.core.section import Facts, Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines
from tlkit.formats import tflite_metadata

PROPOSED = 32  # regions that a second stage looks at again
CANDIDATES, MOST = 100, 25  # places whose boxes are compared with each other, and boxes that come out
SAID = 0.3  # score from which a box is somebody's answer
LEAST = 0.01  # score below which none is kept
SAME = 0.8  # overlap from which two boxes are the same to people
JUMP = 0.01  # difference of score, or of a side in shares of the image, that rounding does not explain
HAIR = 0.02  # of overlap, that rounding of two boxes explains
TIES = 0.02  # share of the boxes that suppression may decide by a hair
MOST_CURVES = 19  # labels whose precision over recall the report draws
SHIFTED = 256  # labels up to which boxes, moved apart by label, keep their overlaps to a thousandth in float32
ROUNDS = 8  # of the suppression: as long a chain of boxes, each of which covers the next, is undone rightly

OVERVIEW = """
<div class="scroll tall"><table>
<thead><tr><th>Label</th><th>Objects</th><th>AP</th><th>AP at .5</th><th>AP at .75</th></tr></thead><tbody>
{% for row in view.rows %}
<tr><td class="name">{{ row.label }}</td><td>{{ row.objects|number }}</td>
<td><span class="meter"><i style="width:{{ (100 * (row.map or 0))|round(1) }}%"></i></span><span
class="figure">{{ row.map|percent }}</span></td><td>{{ row.map50|percent }}</td><td>{{ row.map75|percent }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if view.get("sizes") %}
<div class="scroll"><table>
<thead><tr><th>Size of the objects</th><th>Objects</th><th>AP</th></tr></thead><tbody>
{% for row in view.sizes %}
<tr><td class="name">{{ row.size }}, {{ "larger" if row.upto is none else "sides of up to %d pixels"|format(row.upto) }}
</td><td>{{ row.objects|number }}</td><td>{{ row.map|percent }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endif %}
<p class="lead">Of the boxes that score {{ view.said }} or more, {{ view.errors.right|number }} are right,
{{ view.errors.localisation|number }} are in the wrong place, {{ view.errors.class|number }} have the wrong label,
{{ view.errors.both|number }} both, {{ view.errors.duplicate|number }} are there twice and
{{ view.errors.background|number }} are on nothing; {{ view.errors.missed|number }} objects are missed.</p>
"""
CURVES = """
<p class="lead">Precision over recall at half overlap, of all labels and of each{% if view.left %} of the first
{{ view.shown }} of {{ view.shown + view.left }}{% endif %}; dashed is at an overlap of .75. The further a line keeps
to the top before it falls, the better.</p>
<ul class="mistakes">
{% for one in view.rows %}
<li><svg viewBox="-4 -4 108 108" role="img" aria-label="precision over recall of {{ one.label }}">
<path d="M0,100 H100 M0,50 H100 M0,0 H100" fill="none" stroke="currentColor" stroke-opacity=".2"/>
<polyline points="{{ one.p75 }}" fill="none" stroke="#e4572e" stroke-width="1.2" stroke-dasharray="3 2"/>
<polyline points="{{ one.p50 }}" fill="none" stroke="#e4572e" stroke-width="2"/>
</svg><div><span class="row">{{ one.label }}</span></div></li>
{% endfor %}
</ul>
"""
WORST = """
{% from "macros.html.j2" import explained, why %}
<p class="lead">The images with the lowest F1: true boxes are dashed, what the model says is
solid.{{ explained(view) }}</p>
<ul class="mistakes" data-modality="image">
{% for one in view %}
<li><div class="drawn">{{ one.picture|safe }}<svg viewBox="0 0 100 100" preserveAspectRatio="none"
role="img" aria-label="boxes of {{ one.id }}">
{% for box in one.boxes %}
<rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box.width }}" height="{{ box.height }}" fill="none"
stroke="{{ '#ffffff' if box.true else '#e4572e' }}" stroke-width="2"{% if box.true %} stroke-dasharray="4 3"{% endif %}
vector-effect="non-scaling-stroke"/>
{% endfor %}
</svg></div>{{ why(one.why) }}
<div><span class="row said">{{ one.said }}</span><span class="row">{{ one.true }}</span><span class="file"
title="{{ one.id }}">{{ one.id }}, F1 {{ "%.2f"|format(one.f1) }}</span></div></li>
{% endfor %}
</ul>
"""
TRAINING = """
<p class="lead">Some training images with their boxes, as they were read.
{% for label, colour in view.legend %}<span style="white-space:nowrap"><svg width="10" height="10" role="img"
aria-label="colour of {{ label }}"><rect width="10" height="10" fill="{{ colour }}"/></svg> {{ label }}</span>
{% endfor %}</p>
<ul class="mistakes" data-modality="image">
{% for one in view.images %}
<li><div class="drawn">{{ one.picture|safe }}<svg viewBox="0 0 100 100" preserveAspectRatio="none"
role="img" aria-label="true boxes of {{ one.id }}">
{% for box in one.boxes %}
<rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box.width }}" height="{{ box.height }}" fill="none"
stroke="{{ box.colour }}" stroke-width="2" vector-effect="non-scaling-stroke"/>
{% endfor %}
</svg></div><div><span class="file" title="{{ one.id }}">{{ one.id }}, {{ one.boxes|length|plural("object") }}</span>
</div></li>
{% endfor %}
</ul>
"""


def boxes(labels: Sequence[str], overlap: float = 0.6) -> Answer:
    """The best boxes per image, best first, as TFLite's detection models give them.

    Raw outputs are, for each stride, "labels_STRIDE", logits (b, height, width, k), and "reach_STRIDE", (b, height,
    width, 4): logarithms of the distances from the place's middle to the left, top, right and bottom side, in places.
    Those of a second stage are "regions" (b, n, 5), sides in shares and a score, "region_labels", logits (b, n, k), and
    "region_boxes" (b, n, 4), sides in shares; they are decoded in place of the first stage's.

    Decoded are "boxes", float32 (b, 25, 4), top, left, bottom and right in shares of the sides; "classes" (b, 25),
    numbers of labels; "scores" (b, 25), 0 in rows that fill up; and "count" (b,), of the rows that do not.

    Args:
        labels: Name of each label.
        overlap: Intersection over union from which of two boxes of one label the better one is kept.
    """
    names = tuple(str(label) for label in labels)
    return Answer(
        name="objects",
        tensors=("boxes", "classes", "scores", "count"),
        labels=names,
        decode=functools.partial(_decoded, overlap),
        agree=functools.partial(_agreement, overlap),
        say=functools.partial(_said, names),
        draw=functools.partial(_on_the_image, names),
        tally=functools.partial(AveragePrecision, len(names)),
        ranked=True,
        signatures={"detect": functools.partial(_in_pixels, names)},
        in_float32=True,
        describe=tflite_metadata.detection_outputs,
        sections=(
            Section("objects", "Objects of each label", lambda facts: facts.detail("objects"), OVERVIEW, "Objects"),
            Section("precision_recall", "Precision and recall", _curves, CURVES, "Precision"),
            Section("boxes", "Boxes", _worst, WORST),
            Section("training", "Training images", functools.partial(_training, names), TRAINING, "Training"),
        ),
    )


# -- geometry, as Keras operations on raw outputs


def strides_of(raw: Mapping[str, Any]) -> list[int]:
    """Strides of the maps, the finest first."""
    return sorted(int(name.rpartition("_")[2]) for name in raw if name.startswith("labels_"))


def places(raw: Mapping[str, Any]) -> np.ndarray:
    """float32 (places, 6) of all maps, the finest first: x and y of the middle, width and height of a place, in shares
    of the sides; its stride, and which map it is of.
    """
    rows = []
    for number, stride in enumerate(strides_of(raw)):
        height, width = raw[f"labels_{stride}"].shape[1:3]
        y, x = np.mgrid[:height, :width].reshape(2, -1)
        ones = np.ones(len(x))
        rows.append(
            np.stack(
                [(x + 0.5) / width, (y + 0.5) / height, ones / width, ones / height, ones * stride, ones * number], 1
            )
        )
    return np.concatenate(rows).astype(np.float32)


def joined(raw: Mapping[str, Any], name: str) -> Any:
    """(b, places, n) of all maps, the finest first."""
    import keras

    maps = [raw[f"{name}_{stride}"] for stride in strides_of(raw)]
    flat = [keras.ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for x in maps]
    return keras.ops.concatenate(flat, axis=1)


def corners(raw: Mapping[str, Any]) -> Any:
    """(b, places, 4) left, top, right, bottom in shares of the sides."""
    from keras import ops

    grid = places(raw)
    reach = ops.exp(ops.minimum(joined(raw, "reach"), 8.0)) * np.tile(grid[:, 2:4], 2)
    middle = np.tile(grid[:, :2], 2)
    return ops.convert_to_tensor(middle) + reach * np.array([-1, -1, 1, 1], np.float32)


def _decoded(overlap: float, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    from keras import ops

    shares, sides = _of_regions(raw) if "regions" in raw else (ops.sigmoid(joined(raw, "labels")), corners(raw))
    best, label = (column[..., 0] for column in ops.top_k(shares, 1))  # argmax is no TFLite builtin
    count = min(CANDIDATES, best.shape[1])
    scores, chosen = ops.top_k(best, k=count)
    edges = ops.clip(ops.take_along_axis(sides, chosen[..., None], axis=1), 0.0, 1.0)
    classes = ops.take_along_axis(ops.cast(label, "float32"), chosen, axis=1)
    if edges.shape[0] == 1 and shares.shape[-1] <= SHIFTED:
        edges, classes, scores = _suppressed(edges, classes, scores, overlap)
    else:
        surviving = scores * survivors(edges, classes, overlap) * ops.cast(scores >= LEAST, "float32")
        scores, order = ops.top_k(surviving, k=min(MOST, count))
        edges = ops.take_along_axis(edges, order[..., None], axis=1)
        classes = ops.take_along_axis(classes, order, axis=1)
    left, top, right, bottom = (edges[..., i] for i in range(4))
    return {
        "boxes": ops.stack([top, left, bottom, right], axis=-1),
        "classes": classes,
        "scores": scores,
        "count": ops.sum(ops.cast(scores > 0, "float32"), axis=1),
    }


def _of_regions(raw: Mapping[str, Any]) -> tuple[Any, Any]:
    """Shares (b, regions, k) and sides (b, regions, 4) of a second stage, whose scores are the mean of both stages'.

    The mean of their logarithms, so that a region needs both.
    """
    from keras import ops

    shares = ops.sqrt(raw["regions"][..., 4:] * ops.sigmoid(raw["region_labels"]))
    return shares, raw["region_boxes"]


def _suppressed(edges: Any, classes: Any, scores: Any, overlap: float) -> tuple[Any, Any, Any]:
    """The boxes of one image that survive, with their classes and scores, by what is one operation of TFLite's.

    Boxes of different labels are moved apart, as it knows no labels.
    """
    import tensorflow as tf

    count = min(MOST, edges.shape[1])
    rows, survived = tf.raw_ops.NonMaxSuppressionV4(  # tf.image's function adds a branch, which is a graph of its own
        boxes=edges[0] + 2 * classes[0][:, None], scores=scores[0], max_output_size=count, iou_threshold=overlap,
        score_threshold=LEAST, pad_to_max_output_size=True,
    )  # fmt: skip
    valid = tf.cast(tf.range(count) < survived, tf.float32)
    return (
        tf.gather(edges[0], rows)[None],
        tf.gather(classes[0], rows)[None],
        (tf.gather(scores[0], rows) * valid)[None],
    )


def survivors(edges: Any, classes: Any, overlap: float) -> Any:
    """1 for a box that no better one of its label that survives covers, else 0; rows come best first.

    What a loop over the boxes would give, in rounds: each round is right for boxes with one more before them.
    """
    from keras import ops

    count = edges.shape[1]
    alike = ops.cast(ops.equal(classes[:, :, None], classes[:, None, :]), "float32")
    near = ops.cast(iou(edges[:, :, None], edges[:, None, :]) > overlap, "float32")
    rank = np.arange(count, dtype=np.float32)
    covers = alike * near * ops.cast(ops.convert_to_tensor(rank[None, :]) < rank[:, None], "float32")
    alive = ops.ones_like(classes)
    for _ in range(ROUNDS):
        alive = 1.0 - ops.max(covers * alive[:, None, :], axis=-1)
    return alive


# -- comparing, judging, saying


def _agreement(overlap: float, expected: Decoded, actual: Decoded) -> Agreement:
    """Boxes are compared as sets: each that one side says needs one of its label, in its place, that the other says.

    Suppression turns a hair into other boxes: of two candidates with nearly one score the other survives, or a box that
    a better one nearly covers is dropped, and what it covered comes out. Jumps that `_by_a_hair` follows to such an
    overlap are ties, and so are others where at most one box in fifty jumps or is missing: ties lower the agreement,
    and are no difference.
    """
    sides = _compared(expected, actual), _compared(actual, expected)
    jumps = [present & (~has | (apart > JUMP)) for present, apart, has, _ in sides]
    by_a_hair = np.concatenate(_by_a_hair(overlap, expected, actual, *jumps), axis=1)
    present, apart, has, margin = (np.concatenate(pair, axis=1) for pair in zip(*sides, strict=True))
    jumped = np.concatenate(jumps, axis=1)
    few = (jumped & ~by_a_hair).sum() <= max(1, TIES * present.sum())
    ties = jumped if few else by_a_hair
    apart, margin = np.where(ties, 0.0, apart), np.where(ties & ~has, 0.0, margin)
    return Agreement(np.where(present & has, apart, 0.0).max(axis=1), has, np.where(present, margin, -np.inf))


def _by_a_hair(
    overlap: float, expected: Decoded, actual: Decoded, jumps: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which jumps of the two sides, (b, boxes) each, begin with an overlap that lies on the threshold.

    A surer box that both sides say overlaps the first of them by nearly the threshold: one side drops it, the other
    keeps it. Each further one is covered by one of those on the other side.
    """
    near = iou(sides_first(expected)[:, :, None], sides_first(actual)[:, None, :])
    alike = expected["classes"][:, :, None] == actual["classes"][:, None, :]
    lead = expected["scores"][:, :, None] - actual["scores"][:, None, :]
    covers = alike & (near >= overlap - HAIR)
    edge = alike & (np.abs(near - overlap) <= HAIR)
    left = jumps & (edge & (lead < 0) & ~others[:, None, :]).any(axis=2)
    right = others & (edge & (lead > 0) & ~jumps[:, :, None]).any(axis=1)
    for _ in range(ROUNDS):
        left |= jumps & (covers & (lead < 0) & right[:, None, :]).any(axis=2)
        right |= others & (covers & (lead > 0) & left[:, :, None]).any(axis=1)
    return left, right


def _compared(side: Decoded, other: Decoded) -> tuple[np.ndarray, ...]:
    """Of each box, (b, boxes): whether it is said, how far its partner is, whether it has one, and how sure it is."""
    near = iou(sides_first(side)[:, :, None], sides_first(other)[:, None, :])
    alike = (side["classes"][:, :, None] == other["classes"][:, None, :]) & (other["scores"][:, None, :] > 0)
    quality = np.where(alike, near, 0.0)
    partner = quality.argmax(axis=2)
    apart = np.abs(side["scores"] - np.take_along_axis(other["scores"], partner, 1))
    moved = np.abs(sides_first(side) - np.take_along_axis(sides_first(other), partner[..., None], 1)).max(axis=2)
    has = (quality.max(axis=2) >= SAME) & (apart < SAID)
    return side["scores"] >= SAID, np.maximum(apart, moved), has, side["scores"] - SAID


def _said(labels: tuple[str, ...], decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """Label and place (left, top, right, bottom in shares) of each box that is said, best first."""
    rows = zip(decoded["classes"], sides_first(decoded), decoded["scores"], strict=True)
    return [
        (f"{labels[int(label)]} at {' '.join(f'{side:.3f}' for side in box)}", float(score))
        for label, box, score in rows
        if score >= SAID
    ]


def _in_pixels(
    labels: tuple[str, ...], decoded: Mapping[str, Any], sent: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """What is said with boxes in pixels of the sent images, and labels as strings; None where no images are sent."""
    import tensorflow as tf

    images = [tensor for tensor in sent.values() if tensor.shape.rank == 4]
    if len(images) != 1:
        return None
    sides = tf.cast(tf.tile(tf.shape(images[0])[1:3], [2]), tf.float32)
    names = tf.gather(tf.constant(labels), tf.cast(decoded["classes"], tf.int32))
    return {
        "boxes": decoded["boxes"] * sides, "classes": names, "scores": decoded["scores"], "count": decoded["count"],
    }  # fmt: skip


def _on_the_image(labels: tuple[str, ...], decoded: Decoded, example: Mapping[str, Any]) -> np.ndarray:
    """The boxes that are said, the best drawn last."""
    rows = np.flatnonzero(decoded["scores"] >= SAID)[::-1]
    numbers, chosen = decoded["classes"][rows].astype(int).tolist(), drawing.colours(len(labels))
    texts = [f"{labels[n]} {score:.2f}" for n, score in zip(numbers, decoded["scores"][rows], strict=True)]
    return drawing.with_boxes(drawing.canvas(example), sides_first(decoded)[rows], texts, [chosen[n] for n in numbers])


def _training(labels: tuple[str, ...], facts: Facts) -> Any:
    chosen = drawing.legend(labels, drawing.colours(len(labels)))

    def entry(rows: np.ndarray) -> dict[str, Any]:
        return {"boxes": [{**on_page(row[1:]), "colour": chosen[int(row[0])][1]} for row in rows if row[0] >= 0]}

    images = drawing.contact_sheet(facts, lambda spec: len(spec.shape) == 2 and spec.shape[1] == 5, entry)
    return images and {"images": images, "legend": chosen}


def on_page(box: np.ndarray) -> dict[str, float]:
    """A box (4,) of left, top, right and bottom in shares, as a page draws it: in per cent of the sides."""
    left, top, right, bottom = (100 * float(side) for side in box)
    return {"x": left, "y": top, "width": max(0.0, right - left), "height": max(0.0, bottom - top)}


def _curves(facts: Facts) -> Any:
    rows = facts.detail("precision_recall")
    if not rows:
        return None
    drawn = [
        {"label": row["label"], **{key: _line(row[key]) for key in ("p50", "p75")}} for row in rows[: 1 + MOST_CURVES]
    ]
    return {"rows": drawn, "shown": len(drawn) - 1, "left": len(rows) - len(drawn)}


def _line(precisions: Sequence[float]) -> str:
    """Points of a line in a square of 100, recall to the right."""
    last = len(precisions) - 1
    return " ".join(f"{100 * i / last:.0f},{100 - 100 * value:.1f}" for i, value in enumerate(precisions))


def _worst(facts: Facts) -> Any:
    images = facts.detail("boxes")
    return images and [drawing.with_example(facts, image) for image in images]
