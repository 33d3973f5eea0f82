"""A language model's whole way: dialogues, training on answers, scores before and after, files, what they answer."""

import dataclasses
import json
import shutil
import subprocess
import sys

import browser
import keras
import numpy as np
import page_checks
import pytest
import readme_checks
import tensorflow as tf
import tiny_language
from fitting import goes_on_to_the_same_weights

import tlkit
from tlkit.core.run import Phase
from tlkit.core.task import Signature
from tlkit.data import text
from tlkit.exporting import checked_formats
from tlkit.formats import tflite, tflite_tree
from tlkit.generating import rows, search
from tlkit.layer.hub_layer import HubLayer
from tlkit.layer.last_state import LastState
from tlkit.tasks import generation_functions

PHASES = (Phase(3, 3e-3, unfrozen=0.34), Phase(20, 1e-2, unfrozen=1.0))
FORMATS = ("saved_model", "float32", "float16", "dynamic")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("generation")


@pytest.fixture(scope="module")
def handle(place):
    return str(tiny_language.module(place))


@pytest.fixture(scope="module")
def data(place):
    file = tiny_language.dialogues(place / "pairs.jsonl")
    return text.from_dialogues(file, general=tiny_language.GENERAL, progress=False)


@pytest.fixture(scope="module")
def run(place, handle, data):
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("TLKIT_CACHE", str(place / "cache"))
    task = tlkit.tasks.generate(most=12, samples=2, texts=("exact",))
    done = tlkit.finetune(handle, task, data, PHASES, out=place / "run", batch_size=8)
    done = tlkit.export(done, formats=(*FORMATS, "weight_only"))
    yield done
    monkeypatch.undo()


def test_training_on_answers_lowers_their_perplexity(run):
    scores = run.scores
    assert scores["perplexity"] < 0.2 * scores["perplexity_before"]
    assert scores["perplexity_low"] <= scores["perplexity"] <= scores["perplexity_high"]
    assert {"general_perplexity", "general_perplexity_before", "token_accuracy", "exact", "exact_before"} <= set(scores)
    first, second = run.phases
    assert first.had["front"].startswith("computed once") and first.proof["frozen_variables"] > 0
    assert first.history["val_loss"][-1] < first.history["val_loss"][0] and second.had["unfrozen"] == 1.0


def test_every_file_answers_as_the_model_does(run):
    assert [format.name for format in checked_formats(None, run.task)] == list(FORMATS)
    assert [row.format for row in run.exports] == [*FORMATS, "weight_only"]
    assert all(row.passed for row in run.exports)
    assert all(row.agreement == 1 for row in run.exports[:2])
    rows = {row.format: row for row in run.exports}
    assert rows["weight_only"].largest_difference < rows["dynamic"].largest_difference
    assert rows["weight_only"].bytes < rows["float16"].bytes


def test_the_table_of_tokens_lies_in_each_file_once(run):
    """The head has the table that tokens are looked up in."""
    for row in run.exports[1:]:
        tree = tflite_tree.opened((run.folder / row.file).read_bytes())
        tables = {t.buffer for graph in tree.subgraphs for t in graph.tensors if np.array_equal(t.shape, (258, 32))}
        assert len([n for n in tables if tree.buffers[n].data is not None]) == 1, row.file


def test_a_saved_run_opens_and_says_the_same(run):
    opened = tlkit.load(run.folder)
    again = tlkit.evaluate(opened.model, opened.task, opened.data.test)
    assert again.scores["perplexity"] == pytest.approx(run.scores["perplexity"], rel=1e-4)
    assert [row["written"] for row in again.details["samples"]] == [
        row["written"] for row in run.evaluation.details["samples"]
    ]


def test_its_layers_are_known_to_a_process_that_opens_a_run():
    names = ("AnswerStates", "LastState", "TokenScores")
    code = "import tlkit.runs.folder, keras\n" + "".join(
        f"assert keras.saving.get_registered_object('tlkit>{name}')\n" for name in names
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_predict_answers_a_text_without_tensorflow_s_model(run, place):
    (place / "asked.txt").write_text("red sky")
    (place / "messages.json").write_text(json.dumps([{"role": "user", "content": "red sky"}], indent=1))
    files = [str(place / name) for name in ("asked.txt", "messages.json")]
    code = (
        "import sys, json\nfrom tlkit.exporting import predict\n"
        f"plain, alike = predict({str(run.folder)!r}, {files})\n"
        f"(of_bytes,) = predict({str(run.folder)!r}, {files[:1]}, format='dynamic')\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'TensorFlow was imported'\n"
        "print(json.dumps([prediction.scores[0] for prediction in (plain, alike, of_bytes)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain, alike, of_bytes = json.loads(done.stdout)
    assert plain == alike and "is" in plain[0] and of_bytes[0]


def test_padding_does_not_change_the_state_that_is_chosen(handle):
    """Of the layer alone, and behind a module, of texts in rows of several widths."""
    states = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("f4")
    ids = np.array([[7, 8, 9, 0, 0], [7, 0, 4, 5, 0]])
    chosen = LastState(0)([states, ids])
    np.testing.assert_array_equal(chosen, [states[0, 2], states[1, 3]])
    layer = HubLayer(handle)
    pad = layer.tokenizer.pad
    rows_of = [np.array([[72, 105, 33, *[pad] * width]], np.int32) for width in (0, 1, 9)]
    last = [np.asarray(LastState(pad)([layer(row)["default"], row])) for row in rows_of]
    np.testing.assert_allclose(last[1], last[0], atol=1e-5)
    np.testing.assert_allclose(last[2], last[0], atol=1e-5)


@pytest.mark.parametrize("rule", [{"rule": "sample", "temperature": 0.7, "seed": 3}, {"rule": "beam", "beams": 3}])
def test_answers_are_drawn_and_searched_for_through_a_task(handle, data, tmp_path, monkeypatch, rule):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    task = tlkit.tasks.generate(most=6, samples=2, texts=("exact",), **rule)
    done = tlkit.finetune(handle, task, data, PHASES, out=tmp_path / "run", batch_size=8)
    done = tlkit.export(done, formats=("float32",))
    assert done.exports[0].passed and len(done.evaluation.details["samples"]) == 2
    (tmp_path / "asked.txt").write_text("red sky")
    again = [tlkit.predict(done.folder, [tmp_path / "asked.txt"])[0].scores[0] for _ in range(2)]
    assert again[0] == again[1] and again[0][0]


def test_a_killed_fit_of_a_language_model_goes_on_to_the_same_weights(handle, data, tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    phases = (Phase(1, 1e-3, unfrozen=0.34), Phase(2, 1e-3, unfrozen=1.0))
    task, few = tlkit.tasks.generate(most=4, samples=2), tlkit.Splits(data.train.subset(range(8)), data.val, data.test)
    goes_on_to_the_same_weights(
        lambda name: tlkit.finetune(handle, task, few, phases, out=tmp_path / name, batch_size=4)
    )


def test_the_report_shows_answers_before_and_after(run):
    page = (run.folder / "report.html").read_text()
    assert "Answers before and after" in page and "<th>before</th>" in page


def test_the_saved_model_answers_in_one_call(run, answers):
    loaded = tf.saved_model.load(str(run.folder / "saved_model"))
    assert set(loaded.signatures) == {"serving_default", "generate", "prefill_32", "decode"}
    layer = HubLayer(run.record["module"]["handle"])
    for prompt, tokens in answers:
        outputs = loaded.signatures["serving_default"](tokens=tf.constant([prompt], tf.int32))
        assert rows.tokens_of(outputs["tokens"][0].numpy()) == tokens
        assert outputs["text"][0].numpy().decode() == layer.tokenizer.decode(tokens).strip()


@pytest.mark.parametrize("rule", ["greedy", "sample"])
def test_a_saved_model_whose_default_answers_something_else_fails(run, tmp_path, monkeypatch, rule):
    """It is what clients call, and gives the likeliest answer whatever the rule of the task is."""
    right = generation_functions._answering

    def changed(*arguments):
        answering = right(*arguments)
        return Signature(lambda given: {"tokens": tf.roll(answering.call(given)["tokens"], 1, -1)}, answering.inputs)

    end = run.data.test.pipeline.get("dialogue")["end"]
    task = tlkit.tasks.generate(most=12, samples=2, rule=rule, seed=3, end=end)
    again = dataclasses.replace(run, task=task)
    assert tlkit.export(again, tmp_path / "right", formats=("saved_model",)).exports[0].passed
    monkeypatch.setattr(generation_functions, "_answering", changed)
    with pytest.raises(tlkit.GateError) as error:
        tlkit.export(again, tmp_path / "wrong", formats=("saved_model",))
    assert not error.value.exports[0].passed and error.value.exports[0].agreement < 1


@pytest.mark.parametrize("period", [1, 3, 5, 16])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("spare", [0, 12])
def test_the_saved_model_ends_an_answer_that_repeats_itself(monkeypatch, period, known, spare):
    """A model that counts, over and over, with keys and values at hand and without; with room behind the third time."""
    size = next(size for size in search.STRETCHES if size % period == 0)
    rule, capacity = search.Rule(most=3 * size + spare), 64

    def decode(inputs):
        token = inputs["tokens"][0, inputs["input_pos"][0]] if not known else inputs["tokens"][0, 0]
        return {"logits": tf.one_hot([[(token + 1) % period]], 20), **{n: inputs[n] for n in inputs if "kv" in n}}

    monkeypatch.setattr(generation_functions, "_empty", lambda *_: {"kv": tf.zeros((1,))})
    answering = generation_functions._answering(
        {"next": Signature(decode, {}), "decode": Signature(decode, {})}, "known" if known else None, rule, capacity
    )
    tokens = tf.function(answering.call)({"tokens": tf.constant([[0]])})["tokens"][0].numpy()
    assert rows.tokens_of(tokens) == [(1 + i) % period for i in range(size)]


def test_the_cut_model_equals_the_whole(handle, data, place, monkeypatch):
    """Answers' states are gathered behind the cut, from the same rows that the module reads."""
    monkeypatch.setenv("TLKIT_CACHE", str(place / "other"))
    from tlkit.modalities.prepare import prepare
    from tlkit.model.partition import arrange

    for kind in ("frozen", "lora", "untied"):
        keras.utils.set_random_seed(0)
        layer = HubLayer(handle, name="backbone")
        ready = prepare(data, layer)
        task = tlkit.tasks.generate(kind)
        model = tlkit.build(layer, task, data=ready)
        x = ready.train.inputs.take(np.arange(5))
        for unfrozen in (0.0, 0.34):
            arranged = arrange(model, Phase(1, 1e-3, unfrozen=unfrozen))
            assert arranged.sides == (0,) and len(arranged.fronts) == 1
            features = arranged.fronts[0].run(x)
            np.testing.assert_allclose(arranged.trained([*features, tf.constant(x)]), model(x), atol=1e-5)
    trained = {"frozen": 0, "lora": 2, "untied": 1}
    assert len(model.get_layer("head_scores").trainable_variables) == trained[kind]


def test_a_module_whose_keys_are_not_known_is_asked_again_with_all(place, data, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(place / "third"))
    handle = str(tiny_language.module(place / "unknown", known=False))
    run = tlkit.finetune(
        handle, tlkit.tasks.generate(most=4, samples=0), data, (Phase(1, 3e-3, unfrozen=0.34),), out=place / "slow"
    )
    run = tlkit.export(run, formats=("float32",))
    assert run.exports[0].passed and run.exports[0].agreement == 1


@pytest.mark.parametrize("system", ["", "Go"])
def test_litert_lm_opens_the_file_and_answers_the_same(run, place, tmp_path, system):
    """A client that is not ours: the runtime that apps on phones use; what was told in training is told there too."""
    litert_lm = pytest.importorskip("litert_lm", reason="the wheel litert-lm-api is not there, or does not load")
    folder = tmp_path / "lm"
    if system:
        pipeline = run.data.test.pipeline.then("turns", version=1, system=system)
        run = dataclasses.replace(
            run,
            data=dataclasses.replace(run.data, test=dataclasses.replace(run.data.test, pipeline=pipeline)),
        )
    done = tlkit.export(run, folder, formats=("float32", "tlkit.exporting.litertlm.float32"))
    assert all(row.passed for row in done.exports)
    asked = place / "lm.txt"
    asked.write_text("red sky")
    (prediction,) = tlkit.predict(folder, [asked])
    assert (prediction.scores != tlkit.predict(run.folder, [asked])[0].scores) == bool(system)
    try:
        engine = litert_lm.Engine(str(folder / "model.litertlm"))
    except OSError as error:
        pytest.skip(f"litert-lm-api does not load: {error}")
    likeliest = litert_lm.interfaces.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
    with engine, engine.create_conversation(sampler_config=likeliest) as conversation:
        answer = conversation.send_message("red sky")
    assert str(answer).strip().startswith(prediction.scores[0][0])  # ours ends after `most` tokens


@pytest.fixture(scope="module")
def answers(run):
    """Prompts of the test, and the answers that the float32 file gives to them by tlkit's own loop."""
    opened = tflite.open_tflite(run.folder / "model.tflite", 1)
    examples = run.task.deployment.examples(run.data.test)
    rows_of = [{name: value[None] for name, value in examples.inputs[i].items()} for i in range(3)]
    replies = [rows.tokens_of(run.task.deployment.run(opened.signatures, row)["tokens"][0]) for row in rows_of]
    return [(rows.tokens_of(row["prompt"][0]), tokens) for row, tokens in zip(rows_of, replies, strict=True)]


def test_the_loop_of_the_readme_in_python_answers_as_tlkit_does(run, answers):
    text = (run.folder / "README.md").read_text()
    assert "- As advice on health, law or money, or as a source of facts" in text
    assert "perplexity" in readme_checks.metadata(run.folder)["metrics"] and "tlkit.predict` goes through" not in text
    (code,) = readme_checks.blocks(run.folder, "python", "Python")[:1]
    printed, names = readme_checks.said(run.folder, code)
    asked = run.folder.parent / "question.txt"
    asked.write_text(names["question"])
    (prediction,) = tlkit.predict(run.folder, [asked])
    assert printed.strip() == prediction.scores[0][0]
    model = names["Interpreter"](str(run.folder / "model.tflite"))
    for prompt, tokens in answers:
        assert tokens and names["answer"](model, prompt) == tokens
    for period in range(1, 17):
        said = [i % period for i in range(60)]
        assert [names["loop_of"](said[:n]) for n in range(61)] == [search.loop_of(said[:n], 3) for n in range(61)]


@pytest.mark.slow
def test_the_loop_of_the_readme_in_javascript_answers_the_same_in_a_browser(run, answers, tmp_path):
    if browser.CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("there is no Chromium, or no npm to fetch LiteRT.js with")
    (code,) = readme_checks.blocks(run.folder, "js", "JavaScript")
    with page_checks.looped(tmp_path, run.folder / "model.tflite", code) as page:
        for prompt, tokens in answers:
            written = page_checks.promised(page, f"loop.answer(loop.model, {prompt})")
            assert written == tokens
