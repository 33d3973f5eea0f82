"""Methods that weight examples, from pictures, texts, sounds and arrays to weights, fits and exported votes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from changing import reread
from fitting import LABELS, SIZE, examples

import tlkit
from tlkit import methods, tasks
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.run import Phase
from tlkit.data import audio, text
from tlkit.runs import folder as run_folder
from tlkit.runs import invocation

QUICK = Phase(epochs=6, lr=3e-2)
WEIGHERS = {
    "kmm": methods.kmm,
    "classifier": methods.density_ratio,
    "ulsif": lambda *domains: methods.density_ratio(*domains, kind="ulsif"),
}

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]


@pytest.fixture(scope="module")
def layer(module_folder):
    return tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0))


def darker(original: Examples) -> Examples:
    return reread(original, lambda i: original.inputs[i] // 2, digests=tuple(f"dark {d}" for d in original.ids))


def source() -> Splits:
    return Splits(examples(42, 1), examples(15, 2), examples(15, 3), LABELS)


def target(flip: bool = False) -> Splits:
    parts = [darker(examples(n, seed)) for n, seed in ((30, 4), (15, 5), (15, 6))]
    if flip:
        parts[:2] = [dataclasses.replace(part, targets=(part.target_array + 1) % 3) for part in parts[:2]]
    return Splits(*parts, LABELS)


def arrays(count: int, seed: int, slope: float = 1.0, *, values: bool = False) -> Splits:
    """Rows whose first column decides; `slope` turns the rule of another domain."""
    rng = np.random.default_rng(seed)
    parts = []
    for name in ("train", "val", "test"):
        x = rng.normal(size=(count, 4)).astype(np.float32)
        told = slope * x[:, 0] + x[:, 1]
        y = told[:, None].astype(np.float32) if values else (told > 0).astype(np.int32)
        ids = tuple(f"{name}{seed}-{i}" for i in range(count))
        parts.append(Examples(ids, ReadColumn(x.__getitem__, ArraySpec((4,), "float32"), ids), ArrayColumn(y)))
    return Splits(*parts, () if values else ("no", "yes"))


@pytest.mark.parametrize("name", WEIGHERS)
def test_pictures_are_weighted_by_features_and_the_targets_labels_never_read(layer, name):
    honest, poisoned = (WEIGHERS[name](source(), target(flip), layer).train.weights for flip in (False, True))
    np.testing.assert_array_equal(honest, poisoned)
    assert honest.mean() == pytest.approx(1, abs=1e-5) and np.ptp(honest) > 0


def texts(word: str, seed: int) -> Splits:
    """Sentences of two classes, in a domain where `word` is common."""
    rng = np.random.default_rng(seed)
    sides = ("cat", "dog")
    sentences = [f"the {sides[i % 2]} {word if rng.random() < 0.8 else 'sat'} {i}" for i in range(60)]
    return text.from_arrays(sentences, [sides[i % 2] for i in range(60)], seed=seed)


def sounds(loudness: float, seed: int) -> Splits:
    """Noise of two pitches, as loud as its domain is."""
    rng, time = np.random.default_rng(seed), np.arange(4_000) / 16_000
    waves = [
        (loudness * np.sin(2 * np.pi * (300, 3_000)[i % 2] * time) + rng.normal(0, 0.02, 4_000)).astype(np.float32)
        for i in range(60)
    ]
    labels = ("low", "high")
    return audio.from_arrays(waves, [labels[i % 2] for i in range(60)], sample_rate=16_000, seconds=0.25, labels=labels)


@pytest.mark.parametrize(
    ("kind", "domains"),
    [("word_table", (texts("sat", 1), texts("mat", 2))), ("waveform", (sounds(0.2, 1), sounds(0.7, 2)))],
)
def test_texts_and_sounds_go_alike(module_folder, kind, domains):
    of_source, other = domains
    layer = tlkit.HubLayer(module_folder(kind), name="backbone")
    for weigh in WEIGHERS.values():
        weights = weigh(of_source, other, layer).train.weights
        assert weights.mean() == pytest.approx(1, abs=1e-5) and np.ptp(weights) > 0
    run = methods.tradaboost(of_source, other, tasks.classify(of_source.labels), layer, rounds=4)
    assert tlkit.evaluate(run.model, run.task, run.data.test).scores["accuracy"] > 0.8


def test_weights_reach_the_fit(layer):
    splits = methods.balance(methods.kmm(source(), target(), layer))
    task = tasks.classify(LABELS)
    model = tlkit.build(layer, task, image_size=(SIZE, SIZE))
    run = tlkit.fit(model, task, splits, [QUICK], batch_size=8)
    assert run.data.train.weights is splits.train.weights
    assert np.isfinite(run.phases[0].history["loss"]).all() and len(splits.notes) == 2


def test_pictures_of_any_size_come_at_that_of_the_module(layer):
    large = [
        reread(
            splits.train,
            lambda i, train=splits.train: np.repeat(np.repeat(train.inputs[i], 2, axis=0), 2, axis=1),
            ArraySpec((2 * SIZE, 2 * SIZE, 3), "uint8"),
        )
        for splits in (source(), target())
    ]
    parts = [Splits(train, train.subset([0]), train.subset([1]), LABELS) for train in large]
    done = methods.kmm(*parts, layer)
    assert done.train.inputs.spec.shape == (2 * SIZE, 2 * SIZE, 3) and np.ptp(done.train.weights) > 0


@pytest.mark.parametrize("name", WEIGHERS)
def test_plain_arrays_need_no_module(name):
    done = WEIGHERS[name](arrays(60, 1), arrays(40, 2))
    assert done.train.weights.shape == (60,) and len(done.test) == 40


def boosted(rows: int = 6, **arguments):
    """Half of the source contradicts the target's rule, and few examples of the target say which."""
    of_source, other = arrays(80, 1, slope=-1.0), arrays(60, 2)
    few = dataclasses.replace(other, train=other.train.subset(range(rows)))
    return methods.tradaboost(of_source, few, tasks.classify(("no", "yes")), **arguments)


def test_tradaboost_unlearns_what_misleads():
    run = boosted(rows=60)
    sizes = [row["effective_size"] for row in run.record["rounds"]]
    assert sizes[-1] < sizes[0]
    assert run.scores["accuracy"] > 0.8  # by chance 0.5, as half of the source contradicts the target


def test_tradaboost_is_deterministic():
    np.testing.assert_array_equal(*(boosted().evaluation.outputs for _ in range(2)))


def test_values_vote_by_their_median(tmp_path):
    of_source, other = arrays(80, 1, slope=0.8, values=True), arrays(60, 2, values=True)
    task = tasks.regress(["height"], std=[1.4])
    run = methods.tradaboost(of_source, other, task)
    assert run.scores["r2"] > 0.9
    reopened(run, tmp_path)


def reopened(run, folder):
    """Saved, opened by Keras alone, exported: the same outputs."""
    import keras

    saved = run_folder.save(
        dataclasses.replace(run, record=invocation.describe(run, seed=0, batch_size=32) | run.record), folder
    )
    again = tlkit.load(folder)
    outputs = [tlkit.evaluate(r.model, r.task, run.data.test).outputs for r in (run, again)]
    np.testing.assert_array_equal(*outputs)
    if run.record.get("module") is None:
        keras.saving.load_model(folder / "model.keras")
    assert all(file.passed for file in tlkit.export(saved, formats=("saved_model", "float32")).exports)


def test_a_vote_over_a_module_is_saved_and_exported(layer, tmp_path):
    few = dataclasses.replace(target(), train=target().train.subset(range(6)))
    run = methods.tradaboost(source(), few, tasks.classify(LABELS), layer, rounds=4)
    assert tuple(run.model.output.shape) == (None, 3) and run.model.get_layer("backbone") is layer
    np.testing.assert_allclose(run.evaluation.outputs.sum(axis=1), 1, atol=1e-5)
    reopened(run, tmp_path)


def turned(count: int, seed: int, **domain) -> Examples:
    """Two classes around (1, 1) and (-1, -1); in the other domain stretched, turned and far away."""
    rng = np.random.default_rng(seed)
    targets = (np.arange(count) % 2).astype(np.int32)
    x = (2.0 * targets - 1)[:, None] * [1.0, 1.0] + rng.normal(0, (0.2, 0.6), (count, 2))
    if domain:
        x = x @ np.array([[3.0, 0.5], [-0.4, 0.3]]) + [5.0, -2.0]
    names = tuple(f"{seed}-{i}" for i in range(count))
    return Examples(
        names, ReadColumn(x.astype(np.float32).__getitem__, ArraySpec((2,), "float32"), names), ArrayColumn(targets)
    )


def domains(flip: bool = False) -> tuple[Splits, Splits]:
    of_source, other = (Splits(*(turned(n, 3 * k + i, **d) for i, n in enumerate((200, 20, 100))), ("a", "b"))
                  for k, d in enumerate(({}, {"other": True})))  # fmt: skip
    train = dataclasses.replace(other.train, targets=1 - other.train.target_array) if flip else other.train
    return of_source, dataclasses.replace(other, train=train)


@pytest.mark.parametrize(("by", "dimensions"), [("coral", 50), ("subspace", 2)])
def test_a_head_on_aligned_features_fits_the_target(by, dimensions, tmp_path):
    of_source, other = domains()
    task = tasks.classify(["a", "b"])
    run = methods.aligned(of_source, other, task, by=by, dimensions=dimensions, ridge=1e-3)
    unmoved = methods.aligned(of_source, dataclasses.replace(other, train=of_source.train), task, by=by, ridge=1e-3)
    assert unmoved.scores["accuracy"] < 0.7 and run.scores["accuracy"] > 0.85
    reopened(run, tmp_path)


def test_alignment_reads_no_label_of_the_target():
    outputs = [methods.aligned(*domains(flip), tasks.classify(["a", "b"])).evaluation.outputs for flip in (False, True)]
    np.testing.assert_array_equal(*outputs)


def test_what_alignment_cannot_do_is_refused():
    of_source, other = domains()
    with pytest.raises(InputError, match='`by` must be "coral" or "subspace"'):
        methods.aligned(of_source, other, tasks.classify(["a", "b"]), by="pca")
    with pytest.raises(InputError, match="without `hidden`"):
        methods.aligned(of_source, other, tasks.classify(["a", "b"], hidden=(8,)))
    with pytest.raises(InputError, match="Received: regress"):
        methods.aligned(of_source, other, tasks.regress(["x"]))
