"""Detection: geometry, assignment, loss, suppression against a loop, and average precision against COCO's own code."""

from __future__ import annotations

import contextlib
import dataclasses
import io

import keras
import numpy as np
import pytest

from tlkit import data, tasks
from tlkit.answers.boxes import CANDIDATES, MOST, SAID, corners, places
from tlkit.answers.overlaps import iou, matches, sides_first
from tlkit.core.columns import ArrayColumn, RaggedColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.section import Facts
from tlkit.exporting import formats
from tlkit.exporting.comparing import compare
from tlkit.exporting.gates import Gates, failure
from tlkit.report.records import plain_json
from tlkit.report.template import environment
from tlkit.tasks import detection_losses
from tlkit.tasks.detection_scores import errors

LABELS = ("cat", "dog")
SIDE = 64
NOTHING = np.zeros((0, 5), np.float32)


def raw(count=1, k=2, sizes=((8, 8), (4, 4)), seed=0):
    """Raw outputs of maps at strides 8 and 16."""
    rng = np.random.default_rng(seed)
    maps = {}
    for stride, size in zip((8, 16), sizes, strict=True):
        maps[f"labels_{stride}"] = rng.normal(-3, 2, (count, *size, k)).astype(np.float32)
        maps[f"reach_{stride}"] = rng.normal(0.5, 0.3, (count, *size, 4)).astype(np.float32)
    return maps


def examples(rows, ignored=None):
    ids = tuple(f"{i}.jpg" for i in range(len(rows)))
    inputs = ArrayColumn(np.zeros((len(rows), SIDE, SIDE, 3), np.uint8))
    columns = {} if ignored is None else {"ignored": RaggedColumn(ignored, fill=-1)}
    return Examples(ids, inputs, RaggedColumn(rows, fill=-1), modality="image", columns=columns)


def test_places_lie_in_the_middle_of_their_cells():
    grid = places(raw())
    assert grid.shape == (8 * 8 + 4 * 4, 6)
    np.testing.assert_allclose(grid[0], [1 / 16, 1 / 16, 1 / 8, 1 / 8, 8, 0])
    np.testing.assert_allclose(grid[-1], [7 / 8, 7 / 8, 1 / 4, 1 / 4, 16, 1])


def test_a_box_is_as_far_as_its_place_reaches():
    outputs = raw()
    outputs["reach_8"][0, 2, 3] = np.log([1.0, 2.0, 3.0, 0.5])
    box = np.asarray(corners(outputs))[0, 2 * 8 + 3]
    np.testing.assert_allclose(box, [(3.5 - 1) / 8, (2.5 - 2) / 8, (3.5 + 3) / 8, (2.5 + 0.5) / 8], atol=1e-6)


def test_overlap_by_hand_and_alike_in_keras():
    first = np.array([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2]])
    other = np.array([[0.25, 0.0, 0.75, 0.5], [0.5, 0.5, 0.4, 0.9]])  # the last has no area
    np.testing.assert_allclose(iou(first, other), [1 / 3, 0.0])
    np.testing.assert_allclose(
        np.asarray(iou(keras.ops.convert_to_tensor(first), keras.ops.convert_to_tensor(other))), [1 / 3, 0.0]
    )


def greedy(box, scores, classes, overlap):
    """Suppression as it is taught: the best box first, and each only if no kept one of its label covers it."""
    survivors = []
    for i in np.argsort(-scores, kind="stable"):
        if all(classes[i] != classes[j] or iou(box[i], box[j]) <= overlap for j in survivors):
            survivors.append(i)
    return survivors


@pytest.mark.parametrize("count", [1, 2])  # of one image the builtin suppresses, of several plain operations
@pytest.mark.parametrize("seed", range(5))
def test_suppression_gives_what_a_loop_gives(seed, count):
    outputs = raw(seed=seed)
    decoded = tasks.detect(LABELS, strides=(8, 16), overlap=0.5).decode(
        {name: np.repeat(array, count, 0) for name, array in outputs.items()}
    )
    shares = 1 / (1 + np.exp(-np.concatenate([outputs[f"labels_{s}"].reshape(-1, 2) for s in (8, 16)])))
    best, classes = shares.max(axis=1), shares.argmax(axis=1)
    order = np.argsort(-best, kind="stable")[:CANDIDATES]
    sides = np.clip(np.asarray(corners(outputs))[0], 0, 1)
    survivors = [order[i] for i in greedy(sides[order], best[order], classes[order], 0.5) if best[order[i]] >= 0.01]
    survivors = survivors[:MOST]
    assert float(decoded["count"][0]) == len(survivors)
    np.testing.assert_allclose(np.asarray(decoded["scores"])[0, : len(survivors)], best[survivors], atol=1e-6)
    expected = np.clip(sides[survivors], 0, 1)[:, [1, 0, 3, 2]]
    np.testing.assert_allclose(np.asarray(decoded["boxes"])[0, : len(survivors)], expected, atol=1e-6)


# -- the loss


def assigned(rows, sizes=((32, 32), (16, 16))):
    """Of images of 256 pixels."""
    assigned_rows, answers = detection_losses.assigned(np.asarray(rows, np.float32), places(raw(sizes=sizes)))
    return np.asarray(assigned_rows), np.asarray(answers)


def test_every_box_has_a_place_that_lies_near_its_middle():
    rng = np.random.default_rng(0)
    middle, size = rng.uniform(0.1, 0.9, (6, 5, 2)), rng.uniform(0.01, 0.9, (6, 5, 2))
    low, high = np.clip(middle - size / 2, 0, 1), np.clip(middle + size / 2, 0, 1)
    rows = np.concatenate([rng.integers(0, 2, (6, 5, 1)), low, high], axis=-1)
    assigned_rows, answers = assigned(rows)
    for image in range(6):
        for row in rows[image].astype(np.float32):
            places_of = answers[image].astype(bool) & (np.abs(assigned_rows[image] - row).max(axis=-1) < 1e-6)
            assert places_of.any()


def test_boxes_around_one_another_or_of_one_place_have_a_place_each():
    middle, tiny = (12 * 8 + 4) / 256, 2 / 256
    around = [[label, *(np.array([-1, -1, 1, 1]) * side / 512 + middle)] for label, side in enumerate((20, 24, 40))]
    beside = [[label, *(np.array([-1, -1, 1, 1]) * tiny + 0.5 + label / 2560)] for label in range(3)]
    for boxes in (around, beside):
        assigned_rows, answers = assigned([boxes])
        assert {0.0, 1.0, 2.0} == set(assigned_rows[0, answers[0] > 0, 0])


def test_large_boxes_are_the_coarse_maps_and_fillers_nobodys():
    large, small, filler = [0, 0.0, 0.0, 1.0, 1.0], [1, 0.05, 0.05, 0.2, 0.2], [-1] * 5
    _, answers = assigned([[filler, filler, filler]])
    assert not answers.any()
    assigned_rows, answers = assigned([[small, large, filler]])
    fine, coarse = np.split(assigned_rows[0, :, 0], [32 * 32]), np.split(answers[0] > 0, [32 * 32])
    assert set(fine[0][coarse[0]]) == {1.0} and set(fine[1][coarse[1]]) == {0.0}


def test_the_loss_of_an_image_does_not_depend_on_its_batch_and_falls_with_the_right_answer():
    loss = detection_losses.FocalAndGIoU(reduction=None)
    rows = np.array(
        [[[0, 0.2, 0.2, 0.6, 0.7], [-1] * 5], [[1, 0.5, 0.1, 0.9, 0.4], [0, 0.0, 0.6, 0.3, 0.9]]], np.float32
    )
    both = raw(2)
    together = np.asarray(loss(rows, both))
    alone = [np.asarray(loss(rows[i : i + 1], {n: array[i : i + 1] for n, array in both.items()}))[0] for i in range(2)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assigned_rows, answers = detection_losses.assigned(rows, places(both))
    better = {name: np.array(value) for name, value in both.items()}
    for i, place in np.argwhere(np.asarray(answers)[:, :64] > 0):
        y, x = divmod(int(place), 8)
        label, left, top, right, bottom = np.asarray(assigned_rows)[i, place]
        sides = np.array([(x + 0.5) / 8 - left, (y + 0.5) / 8 - top, right - (x + 0.5) / 8, bottom - (y + 0.5) / 8]) * 8
        better["labels_8"][i, y, x] = -6
        better["labels_8"][i, y, x, int(label)] = 6
        better["reach_8"][i, y, x] = np.log(np.maximum(sides, 1e-3))
    assert (np.asarray(loss(rows, better)) < together).all()


def test_the_loss_is_made_again_from_its_config():
    again = keras.losses.deserialize(keras.losses.serialize(detection_losses.FocalAndGIoU()))
    rows, outputs = np.array([[[0, 0.2, 0.2, 0.6, 0.7]]], np.float32), raw()
    assert float(again(rows, outputs)) == float(detection_losses.FocalAndGIoU()(rows, outputs))


# -- scores


def scene(count=40, seed=0):
    """(rows, ignored, decoded) of images with objects, boxes near most of them, and boxes on nothing."""
    rng = np.random.default_rng(seed)
    rows, ignored, decoded = [], [], {"boxes": [], "classes": [], "scores": []}
    for _ in range(count):
        low = rng.uniform(0, 0.6, (int(rng.integers(0, 5)), 2))
        true = np.concatenate([rng.integers(0, 2, (len(low), 1)), low, low + rng.uniform(0.1, 0.4, low.shape)], 1)
        drawn_boxes = true[rng.random(len(true)) < 0.8].copy()
        drawn_boxes[:, 1:] += rng.normal(0, 0.03, (len(drawn_boxes), 4))
        flipped = rng.random(len(drawn_boxes)) < 0.2
        drawn_boxes[flipped, 0] = 1 - drawn_boxes[flipped, 0]
        noise = rng.uniform(0, 0.5, (6 - len(drawn_boxes), 2))
        drawn_boxes = np.concatenate(
            [drawn_boxes, np.concatenate([rng.integers(0, 2, (len(noise), 1)), noise, noise + 0.3], 1)]
        )
        scores = np.sort(rng.uniform(0.05, 1, len(drawn_boxes)))[::-1]
        rows.append(true.astype(np.float32))
        ignored.append(true[:1].astype(np.float32) + np.float32([0, 0.3, 0.3, 0.3, 0.3]) if len(true) > 2 else NOTHING)
        decoded["boxes"].append(drawn_boxes[:, [2, 1, 4, 3]])
        decoded["classes"].append(drawn_boxes[:, 0])
        decoded["scores"].append(scores)
    return rows, ignored, {name: np.array(array, np.float32) for name, array in decoded.items()}


def judged(rows, decoded, ignored=None, pieces=1):
    scorer, every = tasks.detect(LABELS).scorer(), examples(rows, ignored)
    for part in np.array_split(np.arange(len(rows)), pieces):
        scorer.update(every.subset(part.tolist()), {name: array[part] for name, array in decoded.items()})
    return scorer.result()


def referee(rows, decoded, ignored):
    """map, map50, map75, and by size, as COCO's own code has them."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    annotations, results = [], []
    for image, image_rows in enumerate(rows):
        for crowd, box_rows in ((0, image_rows), (1, ignored[image])):
            for label, left, top, right, bottom in (
                SIDE * box_rows[:, [0, 1, 2, 3, 4]].astype(float) / [[SIDE, 1, 1, 1, 1]]
            ):
                box = [left, top, right - left, bottom - top]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": int(label), "bbox": box,
                     "area": box[2] * box[3], "iscrowd": crowd}
                )  # fmt: skip
        entries = zip(*(decoded[name][image] for name in ("boxes", "classes", "scores")), strict=True)
        for sides, label, score in entries:
            top, left, bottom, right = SIDE * sides.astype(float)
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": image, "category_id": int(label), "bbox": box, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i, "width": SIDE, "height": SIDE} for i in range(len(rows))],
            "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
            "annotations": annotations,
        }
        truth.createIndex()
        run = evaluation.COCOeval(truth, truth.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return dict(zip(("map", "map50", "map75", "map_small", "map_medium", "map_large"), run.stats, strict=False))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_ignored", [False, True])
def test_average_precision_is_that_of_cocos_own_code(seed, with_ignored):
    rows, ignored, decoded = scene(seed=seed)
    ignored = ignored if with_ignored else [NOTHING] * len(rows)
    scores = judged(rows, decoded, ignored).scores
    for name, expected in referee(rows, decoded, ignored).items():
        if expected >= 0:  # -1 where there is none of that size
            assert scores[name] == pytest.approx(expected, abs=2e-3), name


def test_scores_do_not_depend_on_the_batches_and_lie_in_their_intervals():
    rows, _, decoded = scene()
    whole, parts = judged(rows, decoded), judged(rows, decoded, pieces=4)
    assert whole.scores == parts.scores and whole.details == parts.details
    for name in ("map", "map50", "map75"):
        assert whole.scores[f"{name}_low"] <= whole.scores[name] <= whole.scores[f"{name}_high"]
    shown = whole.details["boxes"]
    assert [entry["f1"] for entry in shown] == sorted(entry["f1"] for entry in shown)


def test_precision_over_recall_has_the_mean_precision_under_it():
    rows, _, decoded = scene()
    evaluation = judged(rows, decoded)
    every, *each = evaluation.details["precision_recall"]
    assert [curve["label"] for curve in [every, *each]] == ["all labels", *LABELS]
    for key, score in (("p50", "map50"), ("p75", "map75")):
        assert np.mean(every[key]) == pytest.approx(evaluation.scores[score], abs=1e-3)
        assert (np.diff(every[key]) <= 1e-9).all() and len(every[key]) == 101
    for curve, row in zip(each, evaluation.details["objects"]["rows"], strict=True):
        assert np.mean(curve["p50"]) == pytest.approx(row["map50"], abs=1e-3)
    sections = {section.key: section.view for section in tasks.detect(LABELS).answers[0].sections}
    facts = Facts({"details": evaluation.details})
    view = sections["precision_recall"](facts)
    assert view["left"] == 0 and view["rows"][0]["p50"].startswith("0,") and sections["objects"](facts)["sizes"]


def test_the_report_has_a_label_that_no_test_image_shows():
    rows, _, decoded = scene()
    cats = [image_rows[image_rows[:, 0] == 0] for image_rows in rows]
    section = next(s for s in tasks.detect(LABELS).answers[0].sections if s.key == "objects")
    facts = Facts({"details": plain_json(judged(cats, decoded).details)})
    view = section.view(facts)
    assert view["rows"][1]["objects"] == 0 and view["rows"][1]["map"] is None
    assert "dog" in environment().from_string(section.template).render(view=view)


def test_objects_are_counted_by_their_size():
    sides = np.array([10, 40, 60]) / SIDE
    rows = [np.array([[0, 0.0, 0.0, side, side]], np.float32) for side in sides]
    nothing = {"boxes": np.zeros((3, 1, 4)), "classes": np.zeros((3, 1)), "scores": np.zeros((3, 1))}
    sizes = judged(rows, nothing).details["objects"]["sizes"]
    assert sizes == [
        {"size": "small", "upto": 32, "objects": 1, "map": 0.0},
        {"size": "medium", "upto": 96, "objects": 2, "map": 0.0},
    ]


def test_perfect_boxes_score_1_and_none_0():
    rows, _, decoded = scene()
    most = max(map(len, rows))
    perfect = {
        "boxes": np.zeros((len(rows), most, 4)),
        "classes": np.zeros((len(rows), most)),
        "scores": np.zeros((len(rows), most)),
    }
    for i, image_rows in enumerate(rows):
        perfect["boxes"][i, : len(image_rows)] = image_rows[:, [2, 1, 4, 3]]
        perfect["classes"][i, : len(image_rows)], perfect["scores"][i, : len(image_rows)] = image_rows[:, 0], 0.9
    assert judged(rows, perfect).scores["map"] == pytest.approx(1.0)
    silent = {**decoded, "scores": np.zeros_like(decoded["scores"])}
    assert judged(rows, silent).scores["map"] == 0.0


def test_images_without_objects_alone_have_no_score():
    _, _, decoded = scene(3)
    evaluation = judged([NOTHING] * 3, decoded)
    assert evaluation.scores == {} and "headline" not in evaluation.details


def test_a_batch_without_a_box_has_a_loss():
    none = np.zeros((1, 0, 5), np.float32)
    assert np.isfinite(float(detection_losses.FocalAndGIoU()(none, raw())))


def test_errors_are_told_apart():
    rows = np.array([[0, 0.1, 0.1, 0.4, 0.4], [1, 0.6, 0.6, 0.9, 0.9]])
    sides = np.array([
        [0.1, 0.1, 0.4, 0.4], [0.1, 0.1, 0.4, 0.41], [0.2, 0.2, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9],
        [0.65, 0.75, 0.95, 1.0], [0.0, 0.9, 0.05, 1.0],
    ])  # fmt: skip
    classes = np.array([0, 0, 0, 0, 0, 1])
    assert errors(rows, NOTHING, sides, classes) == {
        "right": 1, "duplicate": 1, "localisation": 1, "class": 1, "both": 1, "background": 1, "missed": 1,
    }  # fmt: skip


def test_f1_and_matches_by_hand():
    rows = np.array([[0, 0.0, 0.0, 0.5, 0.5], [0, 0.5, 0.5, 1.0, 1.0]], np.float32)
    decoded = {
        "boxes": np.array([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.45]]] * 2), "classes": np.zeros((2, 2)),
        "scores": np.array([[0.9, 0.8], [0.0, 0.0]]),
    }  # fmt: skip
    assert matches(rows, sides_first(decoded)[0], decoded["classes"][0], 0.5).tolist() == [0, -1]
    assert judged([rows, NOTHING], decoded).details["example_scores"] == [2 / 4, 1.0]


def test_an_image_of_which_the_model_finds_what_does_not_count_is_no_mistake():
    """A difficult object that is found is neither right nor wrong; a box beside it is wrong."""
    decoded = {
        "boxes": np.array([[[0.0, 0.0, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]]]), "classes": np.zeros((1, 2)),
        "scores": np.array([[0.9, 0.0]]), "count": np.ones(1),
    }  # fmt: skip
    difficult = np.array([[0, 0.0, 0.0, 0.5, 0.5]], np.float32)
    evaluation = judged([NOTHING], decoded, [difficult])
    assert evaluation.details.get("boxes", []) == [] and evaluation.details["example_scores"] == [1.0]
    wrong = {**decoded, "scores": np.array([[0.9, 0.8]])}
    (shown,) = judged([np.array([[1, 0.1, 0.1, 0.2, 0.2]], np.float32)], wrong, [difficult]).details["boxes"]
    assert shown["f1"] == 0.0


def test_a_file_is_judged_by_average_precision_where_what_is_difficult_counts_for_nothing():
    rows, ignored, decoded = scene()
    answer, every = tasks.detect(LABELS).answers[0], examples(rows, ignored)
    shifted = {**decoded, "boxes": decoded["boxes"] + 0.04}
    comparison = compare(answer, decoded, shifted, every.targets, examples=every)
    before, after = (judged(rows, outputs, ignored).scores for outputs in (decoded, shifted))
    for name in ("map", "map50", "map75"):
        assert comparison.scores[name] == pytest.approx(after[name])
        assert comparison.scores[f"{name}_change"] == pytest.approx(after[name] - before[name])
    assert (comparison.score, comparison.score_change) == (comparison.scores["map"], comparison.scores["map_change"])
    assert comparison.score_change < 0 and comparison.score_change < comparison.change_upper
    assert "its score drops by" in (failure(formats.int8, comparison, Gates(min_agreement=0), answer) or "")


def test_training_begins_with_the_sizes_of_boxes_and_the_maps_that_answer():
    rows = [np.array([[0, 0.0, 0.0, side / SIDE, side / SIDE]], np.float32) for side in (4, 30, 60, SIDE)]
    part, lines = examples(rows), []
    task = tasks.detect(LABELS, strides=(2, 4)).begin(Splits(part, part, part, LABELS), lines.append)
    assert lines == ["boxes   4, nine tenths of 8 to 63 pixels; by the map that answers: 2 at stride 2, 2 at stride 4"]
    assert task.begin is None and task.made_by == tasks.detect(LABELS, strides=(2, 4)).made_by
    tasks.detect(LABELS, strides=(8, 16)).begin(Splits(part, part, part, LABELS), lines.append)
    assert "1 of the boxes are smaller than a place of the finest map, 8 pixels" in lines[-1]


def test_of_boxes_that_are_read_from_disk_some_are_looked_at_and_that_is_said():
    count, reads, lines = 5000, [], []

    def read(index):
        reads.append(index)
        return np.array([[0, 0.0, 0.0, 0.5, 0.5]], np.float32)

    ids = tuple(map(str, range(count)))
    inputs = ArrayColumn(np.zeros((count, 4, 4, 3), np.uint8))
    part = Examples(ids, inputs, ReadColumn(read, ArraySpec((None, 5), "float32"), ids), modality="image")
    splits = Splits(part, part.subset([]), part.subset([]), LABELS)
    task = tasks.detect(LABELS, strides=(2, 4)).begin(splits, lines.append)
    assert lines[0].startswith("boxes   2,000 in 2,000 of 5,000 images, nine tenths of 2 pixels")
    task.objective.check(splits)
    assert len(reads) < count


# -- the answer


def test_boxes_agree_as_sets_whatever_their_order():
    answer, (_, _, decoded) = tasks.detect(LABELS).answers[0], scene()
    turned = {name: array[:, ::-1] for name, array in decoded.items()}
    same = answer.agree(decoded, turned)
    assert not same.difference.any() and same.equal[same.margin > -np.inf].all()
    moved = {**decoded, "boxes": decoded["boxes"] + 0.3}
    other = answer.agree(decoded, moved)
    assert not other.equal[other.margin > 0].any()
    near = answer.agree(decoded, {**decoded, "boxes": decoded["boxes"] + 0.001})
    assert near.difference.max() == pytest.approx(0.001, abs=1e-6) and near.equal[near.margin > 0].all()


def pair(overlap, scores, boxes=1):
    """Images of a square, and beside it one that it overlaps by so much."""
    side, count = 0.5, 2
    left = side * (1 - overlap) / (1 + overlap)
    row = [[0.0, 0.0, side, side], [0.0, left, side, left + side]]
    return {
        "boxes": np.tile(np.array(row, np.float32), (boxes, 1, 1)), "classes": np.zeros((boxes, count), np.float32),
        "scores": np.tile(np.array(scores, np.float32), (boxes, 1)), "count": np.full(boxes, 2.0, np.float32),
    }  # fmt: skip


def changed(model, rows, **values):
    return {name: np.where(rows[..., None] if x.ndim == 3 else rows, values[name], x) if name in values else x
            for name, x in model.items()}  # fmt: skip


@pytest.mark.parametrize("change", [{"scores": 0.0}, {"boxes": 0.9}, {"scores": 0.36}, {"classes": 1.0}])
def test_a_few_boxes_that_suppression_decides_are_ties(change):
    answer = tasks.detect(LABELS).answers[0]
    model = pair(0.5, (0.9, 0.5), boxes=100)
    few, many = np.zeros((100, 2), bool), np.zeros((100, 2), bool)
    few[:2, 1], many[:20, 1] = True, True
    agreement = answer.agree(model, changed(model, few, **change))
    assert agreement.difference.max() == 0 and agreement.equal[agreement.margin > 0].all()
    assert not agreement.equal[:2].all() or change == {"scores": 0.36}
    agreement = answer.agree(model, changed(model, many, **change))
    assert agreement.difference.max() > 0.1 or not agreement.equal[agreement.margin > 0.1].all()


def chained(second: float, sure_names: str) -> dict:
    """A square, one beside it that it overlaps by `second`, and one that the latter covers; what suppression keeps."""
    sides = np.array([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.4, 0.0], [0.0, 0.0, 0.4, 0.0]], np.float32)
    step = 0.4 * (1 - second) / (1 + second)
    for row, left in ((1, step), (2, step + 0.08)):
        sides[row, 1], sides[row, 3] = left, left + 0.4
    scores = np.array([0.9, 0.7, 0.5]) * [name in sure_names for name in "abc"]
    return {"boxes": sides[None], "classes": np.zeros((1, 3), np.float32), "scores": scores[None].astype(np.float32)}


@pytest.mark.parametrize(("second", "tie"), [(0.59, True), (0.61, True), (0.4, False), (0.8, False)])
def test_what_an_overlap_on_the_threshold_decides_is_a_tie_with_all_that_follows(second, tie):
    answer = tasks.detect(LABELS).answers[0]
    for model, file in (("ab", "ac"), ("ac", "ab")):
        agreement = answer.agree(chained(second, model), chained(second, file))
        assert not agreement.equal[agreement.margin > -np.inf].all()  # it lowers the agreement
        assert agreement.equal[agreement.margin > 0.1].all() == tie


def test_what_is_said_is_what_scores_enough():
    _, _, decoded = scene()
    answer = tasks.detect(LABELS).answers[0]
    lines = answer.say({name: array[0] for name, array in decoded.items()}, {})
    assert len(lines) == (decoded["scores"][0] >= SAID).sum()
    assert all(text.split(" at ")[0] in LABELS and score >= SAID for text, score in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": []}, "`labels` of `detect` must be different names"),
        ({"labels": ["a", "a"]}, "different names"),
        ({"strides": ()}, "`strides` of `detect` must be different"),
        ({"width": 0}, "`width` of `detect` must be 1 or more"),
        ({"depth": 0}, "`depth` of `detect` must be 1 or more"),
        ({"overlap": 1.0}, r"`overlap` of `detect` must lie in \(0, 1\)"),
        ({"head": "yolo"}, "`head` of `detect` must be one of one_stage, two_stage, module"),
        ({"tap": "first"}, "`tap` of `detect` must be one of last, narrow"),
    ],
)
def test_what_is_out_of_range_is_said(arguments, said):
    with pytest.raises(InputError, match=said):
        tasks.detect(**{"labels": LABELS, **arguments})


def test_data_that_cannot_be_learned_are_refused():
    rows, _, _ = scene(6)
    fine = Splits(examples(rows), examples(rows), examples(rows), LABELS)
    check = tasks.detect(LABELS).objective.check
    check(fine)
    with pytest.raises(InputError, match="make it of them, `detect"):
        check(dataclasses.replace(fine, labels=("a", "b")))
    with pytest.raises(InputError, match="No training image has an object"):
        check(dataclasses.replace(fine, train=examples([NOTHING, NOTHING])))
    with pytest.raises(InputError, match="of the training split has the label 7, and the task 2 labels from 0"):
        check(dataclasses.replace(fine, train=examples([np.array([[7, 0, 0, 1, 1]], np.float32)])))
    for wrong in ([0, 10, 20, 100, 200], [0, 0.6, 0.1, 0.2, 0.4]):
        with pytest.raises(InputError, match="of the test split has a box that is no left, top, right, bottom"):
            check(dataclasses.replace(fine, test=examples([np.array([wrong], np.float32)])))
    left_behind = dataclasses.replace(fine.train, augment=data.image.augmentation())
    with pytest.raises(InputError, match=r"leaves their boxes behind: take tlkit\.data\.boxes\.augmentation"):
        check(dataclasses.replace(fine, train=left_behind))
    check(dataclasses.replace(fine, train=dataclasses.replace(fine.train, augment=data.boxes.augmentation())))
    masks = dataclasses.replace(fine.val, targets=ArrayColumn(np.zeros((6, 4, 4), np.uint8)))
    with pytest.raises(InputError, match="The validation targets must be rows of 5 per image"):
        check(dataclasses.replace(fine, val=masks))
    assert fine.train.inputs.spec == ArraySpec((SIDE, SIDE, 3), "uint8")
