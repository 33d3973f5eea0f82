"""Steps in parts: the same weights as whole batches to rounding, and whole where parts would be another step."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from fitting import LABELS, built, data, same, stopped_after, values

import tlkit
from tlkit import graph as graphs
from tlkit import methods, tasks
from tlkit.core import batches
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import text
from tlkit.features import engines
from tlkit.modalities.prepare import prepare
from tlkit.training import microbatches
from tlkit.training.microbatches import Parts

pytestmark = pytest.mark.usefixtures("module_cache")
TUNED = (Phase(epochs=1, lr=3e-3, unfrozen=0.5, clip_norm=0.5, l2_sp=0.1),)


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def trained(folder, task, phases=TUNED, splits=None, **options):
    model, task = built(folder, task=task)
    splits = splits or data()
    return tlkit.fit(model, task, splits, phases, batch_size=8, **options)


def steps(run) -> str:
    return run.phases[-1].had["steps"]


def assert_close(run, other, tolerance=2e-5):
    for a, b in zip(values(run.model), values(other.model), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
    for phase, theirs in zip(run.phases, other.phases, strict=True):
        for name in phase.history:
            np.testing.assert_allclose(phase.history[name], theirs.history[name], atol=1e-4)


def test_parts_add_up_to_the_same_step_whatever_weighs_the_examples(folder):
    splits = data()
    weights = np.linspace(0.2, 3.0, len(splits.train)).astype(np.float32)
    splits = dataclasses.replace(splits, train=dataclasses.replace(splits.train, weights=weights))
    task = tasks.classify(LABELS, hidden=(8,), dropout=0.0, l2=1e-2, class_weights={"dark": 3.0})
    whole, parts = (trained(folder, task, splits=splits, micro_batch=size) for size in (8, 3))
    assert steps(whole) == "whole batches" and steps(parts) == "3 examples at a time"
    assert_close(whole, parts)


def test_the_memory_that_a_batch_takes_decides_by_itself(folder, monkeypatch):
    task = tasks.classify(LABELS, dropout=0.0)
    whole = trained(folder, task)
    assert steps(whole) == "whole batches"
    monkeypatch.setattr(microbatches, "BOUND", 5e3)
    parts = trained(folder, task)
    assert steps(parts).endswith("as a whole batch would take 0.0 GB")
    assert_close(whole, parts)


def test_a_word_s_label_weighs_the_same_in_parts(module_folder, tmp_path):
    sentences = [("the", "good", "film"), ("anna", "in", "rome"), ("bad",)] * 8
    blocks = [
        "".join(f"{word} {'P' if word in ('anna', 'rome') else 'O'}\n" for word in sentence) for sentence in sentences
    ]
    (tmp_path / "words.txt").write_text("\n".join(blocks))
    splits = text.from_conll(tmp_path / "words.txt", progress=False)

    def run(size):
        layer = tlkit.HubLayer(module_folder("bert"), name="backbone")
        keras.utils.set_random_seed(0)
        task = tasks.tag(splits.labels, dropout=0.0)
        phases = (Phase(1, 1e-2, unfrozen=0.5),)
        return tlkit.fit(tlkit.build(layer, task), task, prepare(splits, layer), phases, batch_size=8, micro_batch=size)

    assert_close(run(None), run(3))


class Rivals(keras.losses.Loss):
    """Compares the examples of a batch, which its class does not tell."""

    def call(self, y_true, y_pred):
        return keras.ops.var(y_pred, axis=0)[:1] + keras.ops.mean(y_pred, axis=1)


def of_rivals(task):
    return dataclasses.replace(task, objective=dataclasses.replace(task.objective, loss=Rivals))


WHOLE = {
    "statistics of each batch": (lambda: tasks.classify(LABELS, dropout=0.0, normalize=True), TUNED),
    'batch_stats="adapt"': (lambda: tasks.classify(LABELS), (dataclasses.replace(TUNED[0], batch_stats="adapt"),)),
    "its loss (rivals": (lambda: of_rivals(tasks.classify(LABELS, dropout=0.0)), TUNED),
}


@pytest.mark.parametrize("reason", WHOLE)
def test_what_compares_the_examples_of_a_batch_stays_whole(folder, reason):
    task, phases = WHOLE[reason]
    whole, asked = (trained(folder, task(), phases, micro_batch=size) for size in (None, 3))
    assert steps(asked).startswith("whole batches: ") and reason in steps(asked)
    assert same(values(whole.model), values(asked.model))


@pytest.mark.parametrize("method", [methods.coral, methods.mmd, methods.dann, methods.mcc])
def test_domain_adaptation_stays_whole(method):
    task = method(tasks.classify(LABELS, hidden=(4,)))
    assert task.objective.loss().of_whole_batches


def test_a_batch_that_stays_whole_though_it_is_large_is_said(folder, monkeypatch):
    monkeypatch.setattr(microbatches, "BOUND", 5e3)
    lines: list[str] = []
    progress = dataclasses.replace(quiet, line=lines.append)
    trained(folder, tasks.classify(LABELS, normalize=True), (Phase(1, 1e-3, unfrozen=0.5),), progress=progress)
    assert any("cannot be divided" in line and "batch_size" in line for line in lines)


def test_a_batch_of_one_example_can_be_shared_and_is_the_least(folder, monkeypatch):
    """One example has no parts of which the loss could be the mean."""
    model, task = built(folder)
    train, phase = data().train, Phase(1, 1e-3)
    parts = microbatches.parts_of(model, model, task, phase, train, 1, None, replicas=2)
    assert parts == microbatches.Parts(None, why="whole batches")
    monkeypatch.setattr(microbatches, "BOUND", 1.0)
    assert not microbatches.parts_of(model, model, task, phase, train, 1, None).wanted


def test_a_stopped_fit_in_parts_goes_on_to_the_same_bits(folder, tmp_path):
    task = tasks.classify(LABELS, hidden=(8,), dropout=0.3)
    options = {"micro_batch": 3, "phases": (Phase(3, 3e-3, unfrozen=0.5),)}
    unbroken = trained(folder, task, **options)
    stopped_after(1, lambda: trained(folder, task, checkpoints=tmp_path, **options))
    assert same(values(trained(folder, task, checkpoints=tmp_path, **options).model), values(unbroken.model))
    with pytest.raises(InputError, match="other settings"):
        trained(folder, task, checkpoints=tmp_path, **{**options, "micro_batch": 2})


@pytest.mark.parametrize("size", [0, -1, 2.5, "all"])
def test_what_is_no_count_of_examples_is_refused(folder, size):
    with pytest.raises(InputError, match="micro_batch"):
        trained(folder, tasks.classify(LABELS), micro_batch=size)


def test_the_best_division_is_even_and_wider_where_sequences_are_short():
    assert [part.stop - part.start for part in Parts(5).of(32, None)] == [4, 5, 4, 5, 4, 5, 5]
    assert len(Parts(4, steps=512).of(32, 512)) == 8 and len(Parts(4, steps=512).of(32, 64)) == 1
    assert Parts(None).of(7, None) == [slice(0, 7)]


def test_the_tensors_of_a_graph_are_counted_for_one_example():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    layer = tlkit.HubLayer(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))
    convolved, pooled = 8 * 8 * 4 * 4, 4 * 4
    bytes_needed = graphs.activation_bytes(layer.graph)
    assert bytes_needed >= 2 * convolved + pooled  # the convolution, its bias, the mean; and what is handed through
    assert bytes_needed < 4 * convolved + 8 * 8 * 3 * 8 + 10 * pooled


def test_a_frozen_encoder_sees_few_long_texts_at_a_time(module_folder, monkeypatch):
    layer = tlkit.HubLayer(module_folder("bert"), name="backbone")
    splits = prepare(text.from_arrays(["good film"] * 9 + ["bad the film"] * 9, [0, 1] * 9), layer)
    from tlkit.model.partition import front_of

    seen: list[int] = []
    opener = engines.opener(front_of(layer, None, splits.train.inputs.spec, of_any_length=True), 12)
    (x,) = batches.read_batches(splits.train, [np.arange(7)])
    whole = opener(engines.TENSORFLOW).run(x)[0]
    monkeypatch.setattr(batches, "STEPS_AT_ONCE", 3 * x["input_mask"].shape[1])
    counted = dataclasses.replace(
        opener, tensorflow=lambda batch: seen.append(len(batch["input_mask"])) or opener.tensorflow(batch)
    )
    np.testing.assert_allclose(counted(engines.TENSORFLOW).run(x)[0], whole, atol=1e-6)
    assert seen == [3, 3, 1]
    assert isinstance(splits.train.inputs.spec["input_mask"], ArraySpec)
