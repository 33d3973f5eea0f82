"""What a notebook and a terminal show of records: a few lines, however much they hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import synthetic

from tlkit.core.columns import ArrayColumn, ReadColumn, TextColumn
from tlkit.core.examples import ArraySpec, Examples, Pipeline
from tlkit.core.run import Exported

MANY = 5000


def many() -> Examples:
    ids = tuple(f"{i:064x}" for i in range(MANY))
    long = ("long " * 99,) * MANY
    return Examples(
        ids,
        ReadColumn(lambda i: i, ArraySpec((8,), "float32"), ids),
        ArrayColumn(np.zeros(MANY, np.int32)),
        columns={"text": TextColumn(long)},
    )


def records():
    from tlkit.search.index import Index, Maker

    run = synthetic.run()
    maker = Maker("zoo:x", "0" * 64, "0" * 64, None, None, Pipeline().then("words"))
    index = Index(np.zeros((MANY, 64), np.float32), many().ids, many().columns["text"].texts, maker)
    splits = dataclasses.replace(run.data, train=many(), notes=("a note",) * 99)
    loose = dataclasses.replace(run, data=splits)
    yield from (many(), many().subset(range(99)), splits, run, loose, run.task, index, run.evaluation)
    yield from (*run.phases, many().inputs, many().columns["text"], many().targets, many().subset([0, 1]).inputs)


def test_every_record_is_shown_in_a_few_lines():
    for record in records():
        text = repr(record)
        assert text.startswith(type(record).__name__) and len(text) < 1600 and text.count("\n") < 5, text[:2000]


def test_what_matters_is_there():
    run = synthetic.run()
    assert repr(many()).startswith(f"Examples({MANY} examples, ids=(") and "int32 (5000,)" in repr(many())
    assert f"train={len(run.data.train)}" in repr(run.data) and "'bird'" in repr(run.data)
    assert "accuracy: " in repr(run) and repr(run.task.name) in repr(run)


def test_a_run_in_a_notebook_has_its_scores_and_files_and_nothing_is_run():
    run, evil = synthetic.run(), "<script>alert(1)</script>"
    row = Exported("float32", evil, 2_500_000, 1.0, 0.0, 1.0, 0.9, 0.0, passed=False, failure=evil)
    html = dataclasses.replace(run, exports=(row,), task=dataclasses.replace(run.task, name=evil))._repr_html_()
    assert "<script>" not in html and html.count("&lt;script&gt;") == 3
    opened = dataclasses.replace(run, exports=(), record={**run.record, "exports": [dataclasses.asdict(row)]})
    assert "2.50 MB" in opened._repr_html_() and "<script>" not in opened._repr_html_()
    assert "2.50 MB" in html and f"accuracy {run.scores['accuracy']:.3f} [" in html


@pytest.mark.parametrize("value", [{}, (), None, ""])
def test_empty_fields_are_left_out(value):
    row = dataclasses.make_dataclass("Row", ["name", "other"], repr=False)("a", value)
    from tlkit.core.brief import brief

    assert brief(row) == "Row(name='a')"
