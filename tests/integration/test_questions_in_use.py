"""Questions through a BERT-like module: windows over contexts, spans found, pairs of strings in."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import tlkit
from tlkit import tasks
from tlkit.answers.passages import best_span
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import text
from tlkit.exporting import predict
from tlkit.modalities.prepare import prepare
from tlkit.report.terminal import prediction_lines
from tlkit.tasks.answer_scores import exact_match

pytestmark = pytest.mark.usefixtures("module_cache")
FILLER = ("the", "a", "very", "film", "films", "plot", "long", "short", "in")
CONTEXT = "the long plot anna in a film"
PHASES = (Phase(epochs=1, lr=3e-2), Phase(epochs=8, lr=1e-2, unfrozen=1.0))


def squad(count: int, seed: int = 0) -> dict:
    """Who is in a text of 2 to 23 words: anna or rome, or nobody in every fourth."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for i in range(count):
        words = rng.choice(FILLER, rng.integers(1, 22)).tolist()
        name = ("anna", "rome", "anna rome", None)[i % 4]
        if name:
            words.insert(int(rng.integers(len(words) + 1)), name)
        context = f"{i}: {' '.join(words)}"
        answers = [{"text": name, "answer_start": context.index(name)}] if name else []
        qas = [{"id": f"q{i}", "question": "good or bad?", "answers": answers, "is_impossible": name is None}]
        paragraphs.append({"context": context, "qas": qas})
    return {"version": "2", "data": [{"title": "names", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Splits:
    file = tmp_path_factory.mktemp("squad") / "names.json"
    file.write_text(json.dumps(squad(160)))
    return text.from_squad(file, progress=False)


@pytest.fixture(scope="module")
def run(module_folder, data, tmp_path_factory):
    return tlkit.finetune(
        tlkit.HubLayer(module_folder("bert"), name="backbone"), tasks.span(), data, PHASES,
        out=tmp_path_factory.mktemp("run"), batch_size=8, length=24, progress=quiet,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(run):
    return tlkit.export(run, formats=("saved_model", "float32"), progress=quiet)


def test_windows_of_questions_are_learned(run, data):
    windows = run.data.test
    assert len(windows) > len(data.test) and any(name.endswith("@1") for name in windows.ids)
    assert windows.target_array.shape == (len(windows), 4)
    assert run.scores["f1"] > 0.9 and run.scores["exact_match"] > 0.85
    assert run.scores["exact_match_low"] <= run.scores["exact_match"] <= run.scores["f1"] <= run.scores["f1_high"]
    assert run.scores["no_answer_accuracy"] > 0.7
    assert len(run.evaluation.details["example_scores"]) == len(data.test)


def test_padding_changes_no_loss(run):
    from tlkit.core.batches import read_batches

    examples = run.data.test.subset(np.argsort(run.data.test.lengths)[:2].tolist())
    (x,) = read_batches(examples, [np.arange(2)])
    wide = {k: np.pad(v, ((0, 0), (0, 24 - v.shape[1]))) for k, v in x.items()}
    loss = run.task.objective.loss()
    short, padded = (float(loss(examples.target_array, run.model(batch))) for batch in (x, wide))
    assert x["input_mask"].shape[1] < 24 and short == pytest.approx(padded, abs=1e-5)
    assert tlkit.evaluate(run.model, run.task, examples).outputs.shape == (2, 24, 2)


def test_exports_agree_and_take_pairs_of_strings(exported):
    import tensorflow as tf

    assert [row.passed for row in exported.exports] == [True] * 2
    assert all(row.score > 0.8 for row in exported.exports)
    served = tf.saved_model.load(str(exported.folder / "saved_model")).signatures["serving_default"]
    sent = {"question": tf.constant(["good or bad?"]), "context": tf.constant([CONTEXT])}
    positions = served(**sent)["positions"].numpy()
    tokens = ["[CLS]", "good", "or", "bad", "?", "[SEP]", *CONTEXT.split()]
    answer = best_span(positions[0], 6, 13)
    assert [tokens[i] for i in range(answer.first, answer.last + 1)] == ["anna"] and answer.preference > 0


def test_a_run_opens_again(run):
    again = tlkit.load(run.folder)
    assert again.data.test.columns["text"].texts == run.data.test.columns["text"].texts
    assert again.data.test.columns["text"][0].startswith("good or bad?\n")
    assert again.task.answers[0].name == "positions" and again.task.made_by[1] == run.task.made_by[1]
    held = again.data.test.subset(range(8))
    outputs, expected = (tlkit.evaluate(opened.model, opened.task, held).outputs for opened in (again, run))
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert tlkit.evaluate(again.model, again.task, again.data.test).scores == run.scores


def said(exported, file, content: str, top: int = 5):
    file.write_text(content, encoding="utf-8")
    (prediction,) = predict(exported.folder, [file], top=top)
    return prediction


def test_predict_answers_the_question_on_the_first_line(exported, tmp_path):
    prediction = said(exported, tmp_path / "one.txt", f"good or\tbad?\r\n{CONTEXT}\n")
    (words, share), (other, rest_share) = prediction.scores
    assert (words, other) == ("anna", "no answer") and share > 0.5 and share + rest_share == pytest.approx(1)
    assert prediction.note == "" and prediction_lines([prediction])[1] == f"  {share:7.3f}  anna"
    assert said(exported, tmp_path / "one.txt", "good or bad?\nthe long plot in a film").scores[0][0] == "no answer"


def test_predict_reads_a_long_context_in_windows_as_training_does(exported, tmp_path):
    words = [*FILLER * 3, "rome", *FILLER * 3]
    prediction = said(exported, tmp_path / "long.txt", "good or bad?\n" + "\n".join(words), top=1)
    assert [answer for answer, _ in prediction.scores] == ["rome"]
    assert prediction.note == "read in 9 windows of 24 word pieces"
    assert said(exported, tmp_path / "long.txt", "good or bad?\n" + " ".join(FILLER * 6)).scores[0][0] == "no answer"


@pytest.mark.parametrize("content", ["the long plot", "good or bad?\n \n"])
def test_predict_needs_a_question_and_a_context(exported, tmp_path, content):
    with pytest.raises(InputError, match="must hold a question on its first line and the context of it below"):
        said(exported, tmp_path / "one.txt", content)


def test_predict_agrees_with_the_scores(exported, run, tmp_path):
    questions = [name for name in run.data.test.ids if "@" not in name]
    files = []
    for name in questions:
        i = run.data.test.ids.index(name)
        files.append(tmp_path / f"{name}.txt")
        files[-1].write_text(f"good or bad?\n{run.data.test.columns['passage'][i]['text']}", encoding="utf-8")
    replies = [prediction.scores[0][0] for prediction in predict(exported.folder, files)]
    answers = [run.data.test.columns["passage"][run.data.test.ids.index(name)]["answers"] for name in questions]
    right = [
        exact_match("" if reply == "no answer" else reply, accepted)
        for reply, accepted in zip(replies, answers, strict=True)
    ]
    assert np.mean(right) == pytest.approx(run.scores["exact_match"])


def test_the_report_shows_questions_and_answers_in_words(run):
    page = (run.folder / "report.html").read_text()
    assert "Answer F1" in page and "pieces 0" not in page
    for mistake in run.evaluation.details["mistakes"]:
        assert mistake["true"] in ("anna", "rome", "anna rome", "no answer") and mistake["predicted"] in page


def test_short_windows_are_many_and_odd_targets_are_refused(data, module_folder):
    layer = tlkit.HubLayer(module_folder("bert"))
    short = prepare(data, layer, length=12)
    assert short.train.inputs.spec["input_mask"].shape == (12,) and len(short.train) > len(data.train)
    with pytest.raises(InputError, match="must be int32"):
        tasks.span().objective.check(
            Splits(*(dataclasses.replace(short.train, targets=ArrayColumn(short.train.target_array[:, :3])),) * 3)
        )
