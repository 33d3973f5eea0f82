"""The report's record, words, charts and page, without a browser."""

import dataclasses
import doctest
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import synthetic
from changing import judged, reread

from tlkit import report, tasks
from tlkit.core.examples import Splits
from tlkit.core.run import Phase, Run
from tlkit.core.section import Facts, Section
from tlkit.modalities import image_shown
from tlkit.report import charts, examples, headline, records, words
from tlkit.report.sections import GENERAL, blocks, curves, search
from tlkit.runs import folder as run_folder

ODD = ('<script>alert("x")</script>', "naïve & 'quoted'", "猫", "x" * 200, "{{ 7 * 7 }}")


@pytest.fixture(scope="module")
def run():
    return synthetic.run()


def page_of(run, folder):
    return report.write(run, folder / "report.html").read_text(encoding="utf-8")


def sections(page):
    return re.findall(r'<section id="(\w+)">', page)


def reopened(run, **fields):
    """The run as `load` makes it: its record read from run.json, phases and scores forgotten."""
    record = json.loads(json.dumps(report.run_json(run)))
    few = Splits(run.data.train.subset([0]), run.data.test.subset([]), run.data.test.subset(range(5)), run.data.labels)
    return Run(model=run.model, task=run.task, data=few, record=record, **fields)


def test_importing_the_report_needs_no_keras():
    code = "import sys; from tlkit import report; print({'keras', 'jinja2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("module", [words, charts])
def test_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


# -- record


def test_run_json_is_strict_and_flat_where_scripts_look(run):
    record = json.loads(json.dumps(report.run_json(run), allow_nan=False))
    assert record["schema"] == 1
    assert record["scores"]["accuracy_low"] < record["scores"]["accuracy"] < record["scores"]["accuracy_high"]
    assert set(record["seconds"]) >= {"import", "data", "phases", "evaluate", "export"}
    assert [row["format"] for row in record["exports"]] == ["saved_model", "float32", "float16", "dynamic", "int8"]
    assert record["phases"][1]["phase"]["unfrozen"] == 0.25
    assert record["module"]["handle"] == "zoo:efficientnet-lite0"
    assert record["data"]["fingerprint"] == run.data.fingerprint
    assert record["data"]["test"] == len(run.data.test)
    assert sum(row["train"] for row in record["data"]["balance"]) == len(run.data.train)
    assert "example_scores" not in record["details"]
    assert tasks.restore((record["task"]["recipe"], record["task"]["arguments"])).labels == run.task.labels


def test_what_is_not_finite_becomes_null():
    odd = {"a": float("nan"), "b": (np.float32("inf"), np.int64(3)), "c": np.array([1.5, np.nan]), "d": np.bool_(True)}
    assert records.plain_json(odd) == {"a": None, "b": [None, 3], "c": [1.5, None], "d": True}


def test_blocks_say_which_phase_trained_them(run):
    shown = blocks.view(Facts(report.run_json(run)))["rows"]
    assert [(row["name"], row["phases"]) for row in shown] == [
        ("block_0", []), ("block_1", []), ("block_2", [2]), ("block_3", [2])
    ]  # fmt: skip
    assert shown[1]["shape"] == "28 × 28 × 40"


def test_a_reopened_run_keeps_its_record(run):
    old, new = report.run_json(run), report.run_json(reopened(run))
    assert new == json.loads(json.dumps(old))


def test_a_format_exported_again_replaces_its_row(run):
    again = dataclasses.replace(synthetic.exports()[4], passed=True, failure=None, file="model_int8.tflite")
    record = report.run_json(reopened(run, exports=(again,), seconds={"export": 3.0}))
    assert [row["format"] for row in record["exports"]] == ["saved_model", "float32", "float16", "dynamic", "int8"]
    assert record["exports"][-1]["passed"]
    assert record["seconds"]["export"] == 3.0
    assert record["seconds"]["phases"] == run.seconds["phases"]


def test_a_run_before_any_work_has_a_record_and_a_page(tmp_path, run):
    bare = Run(model=run.model, task=run.task, data=run.data)
    assert report.run_json(bare)["scores"] == {}
    assert sections(page_of(bare, tmp_path)) == ["balance", "left_out", "reproduce"]


def test_multi_label_balance_counts_labels():
    inputs = dataclasses.replace(
        synthetic.examples(np.zeros(2, np.int32), "x"), targets=np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    )
    splits = Splits(inputs, inputs, inputs, ("a", "b", "c"))
    assert [row["train"] for row in records._balance(splits)] == [1, 0, 2]


# -- page


def test_all_sections_of_a_finished_run(tmp_path, run):
    page = page_of(run, tmp_path)
    assert sections(page) == [
        "exports", "curves", "confusion", "mistakes", "per_class", "calibration", "balance", "left_out",
        "blocks", "proof", "seconds", "reproduce",
    ]  # fmt: skip
    assert len(page) < 500_000
    for text in ("zoo:efficientnet-lite0", "4 of 5", "kept aside", "frozen weights unchanged", "bird/broken.jpg"):
        assert text in page, text


def test_the_page_refers_to_nothing_outside_itself(tmp_path, run):
    page = page_of(run, tmp_path)
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page) == []
    assert re.findall(r"url\(|@import|https?://|fetch\(|XMLHttpRequest", page) == []
    assert "default-src 'none'" in page


def test_labels_are_escaped(tmp_path):
    page = page_of(synthetic.run(ODD), tmp_path)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "{{ 7 * 7 }}" in page and "naïve &amp; &#39;quoted&#39;" in page


def test_a_regression_run_has_its_own_sections(tmp_path):
    page = page_of(synthetic.regression_run(), tmp_path)
    assert sections(page) == ["curves", "mistakes", "per_value", "residuals", "blocks", "proof", "seconds", "reproduce"]
    assert "height_cm" in page and "confusion" not in sections(page)


def test_a_multi_label_run(tmp_path):
    labels = ("round", "red", "striped")
    rng = np.random.default_rng(0)
    targets = (rng.random((20, 3)) < 0.5).astype(np.float32)
    inputs = dataclasses.replace(synthetic.examples(np.zeros(20, np.int32), "x"), targets=targets)
    task = tasks.classify(labels, multi_label=True)
    evaluation = judged(task, inputs, rng.random((20, 3)))
    run = Run(model=None, task=task, data=Splits(inputs, inputs, inputs, labels), evaluation=evaluation)
    page = page_of(run, tmp_path)
    assert sections(page) == ["mistakes", "per_class", "calibration", "balance", "reproduce"]
    assert "Exact match" in page and "Average precision" in page


def test_many_classes_make_a_heat_map_of_modest_size(tmp_path):
    page = page_of(synthetic.run([f"class {i}" for i in range(100)]), tmp_path)
    assert '<svg class="heat"' in page and '<table class="matrix"' not in page
    assert len(page) < 1_000_000


def test_no_mistakes_no_section(tmp_path, run):
    perfect = judged(run.task, run.data.test, np.eye(10)[run.data.test.target_array])
    page = page_of(dataclasses.replace(run, evaluation=perfect, exports=()), tmp_path)
    assert "mistakes" not in sections(page) and "exports" not in sections(page)
    assert "Nothing was confused." in page


def test_a_loss_that_was_not_finite_breaks_the_curve_only(tmp_path, run):
    result = run.phases[0]
    broken = dataclasses.replace(result, history={**result.history, "val_loss": [1.0, float("nan")] + [0.5] * 8})
    page = page_of(dataclasses.replace(run, phases=(broken,)), tmp_path)
    assert "nan" not in page.lower().replace("nano", "")


def test_warnings_say_what_must_not_be_overlooked(run):
    worse = dataclasses.replace(run.phases[1], improved=False)
    record = report.run_json(dataclasses.replace(run, phases=(run.phases[0], worse)))
    warnings = " ".join(headline.warnings(record))
    assert "Phase 2 did not better" in warnings
    assert "model_int8.tflite.failed was kept aside" in warnings
    assert "2 files could not be used" in warnings
    assert "1 group of identical examples" in warnings


def test_sections_of_answers_stand_behind_the_general_ones(run, tmp_path):
    view = {"name": "<b>", "worst": run.data.test.ids[3], "gone": "no example"}
    template = "<p>{{ view.name }}</p>{{ view.shown|safe }}"
    shown = (
        Section("own", "Of one's own", lambda facts: {**view, "shown": facts.show(view["worst"])}, template),
        Section("gone", "Gone", lambda facts: facts.show("no example") or None, template),
        Section("none", "None", lambda facts: facts.detail("nothing"), template),
    )
    page = report.write(run, tmp_path / "report.html", shown).read_text(encoding="utf-8")
    assert sections(page) == [*sections(page_of(run, tmp_path)), "own"]
    assert '<p>&lt;b&gt;</p><img src="data:image/jpeg' in page and '<li><a href="#own">Of one&#39;s own</a>' in page


@pytest.mark.filterwarnings("default:The section")
def test_a_section_that_fails_says_so_in_its_place(run, tmp_path):
    template, view = "<p>{{ view.name }}</p>", {"name": "here"}
    broken = (
        Section("halves", "Halves", lambda facts: {"name": 1 // 0}, template),
        Section("unnamed", "Unnamed", lambda facts: {"noun": "<i>"}, template),
        Section("whole", "Whole", lambda facts: view, template),
    )
    with pytest.warns(UserWarning, match="The section '(Halves|Unnamed)' of the report failed") as warned:
        page = report.write(run, tmp_path / "report.html", broken).read_text(encoding="utf-8")
    assert len(warned) == 2
    assert sections(page)[-3:] == ["halves", "unnamed", "whole"] and "<p>here</p>" in page
    assert "<p>This section failed: ZeroDivisionError: integer division or modulo by zero</p>" in page
    assert "<p>This section failed: UndefinedError: " in page


def test_the_record_is_written_before_the_report(run, tmp_path, monkeypatch):
    def failing(*arguments):
        raise MemoryError("no room for a report")

    monkeypatch.setattr(run_folder, "write_report", failing)
    with pytest.raises(MemoryError, match="no room for a report"):
        run_folder.save_record(dataclasses.replace(run, folder=tmp_path))
    assert run_folder.read_record(tmp_path / "run.json")["scores"]["accuracy"] == run.scores["accuracy"]


def searched(run, *, lower=True, importance=None, **changes):
    """The run as the outcome of a search over a rate on a logarithmic axis, whole epochs and an odd choice."""
    space = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "epochs": {"low": 1, "high": 9, "log": False}}
    space["head"] = ["linear", "<b>wide</b>"]
    rows = [
        {"number": i, "state": "complete", "figure": figure, "epochs": 3, "seconds": 0.5,
         "values": {"lr": 10.0 ** -(2 + i / 2), "epochs": 1 + i, "head": space["head"][i % 2]}}
        for i, figure in enumerate((0.9, 0.5, 0.7, 40.0))
    ]  # fmt: skip
    rows += [{"number": 4, "state": "given up", "figure": 0.95, "epochs": 2, "seconds": 0.1, "values": {}}]
    record = {"monitor": "val_loss", "lower_is_better": lower, "space": space, "best": 1, "trials": rows}
    record |= {"importance": {"lr": 0.75, "epochs": 0.25} if importance is None else importance, **changes}
    return dataclasses.replace(run, record={**run.record, "search": record})


def test_a_search_is_drawn(run, tmp_path):
    page = page_of(searched(run), tmp_path)
    assert "search" in sections(page) and "4 trials came to an end, 1 were given up" in page
    assert "&lt;b&gt;wide&lt;/b&gt;" in page and "<b>wide" not in page
    view = search.view(Facts(report.run_json(searched(run))))
    assert [trial["number"] for trial in view["ranked"]] == [1, 2, 0, 3]
    assert [name for name, _ in view["importance"]] == ["lr", "epochs"]
    best = view["parallel"]["lines"][-1]
    assert best["number"] == 2 and best["d"].endswith(f"{search.WIDTH - search.LEFT:.1f} {search.BOTTOM:.1f}")
    assert view["chart"].y_ticks[-1].label != "40"  # one that diverged does not flatten the others


def test_the_best_so_far_never_gets_worse(run):
    view = search.view(Facts(report.run_json(searched(run))))
    heights = [float(pair.split(" ")[1]) for pair in view["chart"].lines[1].d[1:].split("L")]
    assert heights == sorted(heights) and heights[0] < heights[1] == heights[-1]


def test_a_search_without_a_result_is_left_out(run):
    rows = [{"number": 0, "state": "failed", "figure": None, "epochs": 0, "seconds": None, "values": {}}]
    assert search.view(Facts(report.run_json(searched(run, trials=rows, best=0)))) is None


def test_every_file_of_a_section_is_in_the_page():
    from pathlib import Path

    from tlkit.report import sections as room

    written = {path.name.split(".")[0] for path in Path(room.__file__).parent.glob("[a-z]*.*")}
    assert written == {section.key for section in GENERAL}


# -- pictures


def test_pictures_are_found_by_id_when_only_some_examples_are_kept(run):
    few = run.data.test.subset([3, 1])
    reference = {"index": 1, "id": run.data.test.ids[1]}
    picture = examples.shown(run.data.test, reference)["html"]
    assert picture.startswith('<img src="data:image/jpeg;base64,') and examples.shown(few, reference)["html"] == picture
    assert not examples.shown(few, {"index": 0, "id": run.data.test.ids[0]})["html"]
    assert not examples.shown(None, reference)["html"]


def test_what_is_no_picture_or_is_gone_is_left_out(run):
    assert image_shown.data_url(np.zeros(16000, np.float32)) is None
    assert image_shown.data_url({"ids": np.zeros(4)}) is None
    assert image_shown.data_url(np.zeros((8, 8, 1), np.uint8)).startswith("data:image/jpeg;base64,")

    def gone(i):
        raise FileNotFoundError("gone")

    vanished = reread(run.data.test, gone)
    assert not examples.shown(vanished, {"index": 0, "id": vanished.ids[0]})["html"]
    named = dataclasses.replace(vanished, modality="elsewhere.SERIES")
    assert not examples.shown(named, {"index": 0, "id": vanished.ids[0]})["html"]


# -- charts


def test_ticks_are_round_and_cover():
    rng = np.random.default_rng(0)
    for low, spread in zip(rng.normal(size=50) * 10, 10 ** rng.uniform(-6, 6, 50), strict=True):
        ticks = charts.ticks(low, low + spread)
        assert ticks[0] <= low + 1e-9 * spread and ticks[-1] >= low + spread - 1e-9 * spread
        assert 2 <= len(ticks) <= 8
    assert len(charts.ticks(0.5, 0.5)) >= 2 and len(charts.ticks(0, 0)) >= 2


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e-9, 1.0, 1e9, 1e30])
@pytest.mark.parametrize("level", [0.0, 7.0, 1e6])
def test_values_of_any_size_are_drawn(size, level):
    points = [(size * (level + x), size * (level + y)) for x, y in ((0.13, 0.87), (0.5, 0.2), (0.8, 0.9))]
    x, y = charts.scales(points)
    assert (x(points[0][0]), x(points[2][0])) == (x.start, x.end)
    assert y.end <= y(points[2][1]) < y(points[0][1]) < y(points[1][1]) <= y.start
    assert 2 <= len(charts.axis(y.low, y.high, y)) <= 8
    assert 2 <= len(charts.axis(points[0][0], points[2][0], x)) <= 8


def test_a_path_breaks_where_a_value_is_missing():
    x, y = charts.scales([(0, 0), (3, 1)])
    d, dots = charts.path([(0, 0), (1, 1), None, (3, 1)], x, y)
    assert d.count("M") == 1 and dots == ((x(3), y(1)),)


def test_curves_go_through_all_phases(run):
    record = report.run_json(run)
    view = curves.view(Facts(record))
    assert [chart.title for chart in view["charts"]] == ["loss", "accuracy"]
    assert view["kept"] == {"phase": 2, "epoch": 14}
    assert [band.label for band in view["charts"][0].bands] == ["phase 1", "phase 2"]
    empty = dataclasses.replace(synthetic.phase_result(Phase(0, 1e-3), 1, 1), history={}, improved=False)
    assert curves.view(Facts(report.run_json(dataclasses.replace(run, phases=(empty,))))) is None
