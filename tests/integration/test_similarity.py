"""Pairs of texts through one module: scores, labels and rankings, from the data to the export."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tlkit
from tlkit import tasks
from tlkit.core.errors import InputError
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.data import pairs
from tlkit.modalities.prepare import prepare

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]
FILLER = ("the", "a", "very", "film", "films", "plot", "long", "short", "!")
PHASES = (Phase(epochs=2, lr=1e-2), Phase(epochs=4, lr=1e-2, unfrozen=1.0))
LONGER = (Phase(epochs=2, lr=1e-2), Phase(epochs=12, lr=1e-2, unfrozen=1.0))


def text(kind: int, rng: np.random.Generator) -> str:
    """Some words, and one that says which kind it is."""
    words = rng.choice(FILLER, rng.integers(1, 8)).tolist()
    words.insert(int(rng.integers(len(words) + 1)), ("good", "bad", "anna", "rome")[kind])
    return " ".join(words)


def made(count: int, seed: int = 0, kinds: int = 2) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Pairs of texts, every other one of which are of one kind (1)."""
    rng = np.random.default_rng(seed)
    same = np.arange(count) % 2
    first = rng.integers(0, kinds, count)
    second = np.where(same, first, (first + rng.integers(1, kinds, count)) % kinds)
    return [(text(a, rng), text(b, rng)) for a, b in zip(first, second, strict=True)], same


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("bert")


@pytest.fixture(scope="module")
def labelled():
    return pairs.from_arrays(*made(160), labels=("different", "same"))


def fitted(folder, data, task, phases=PHASES, **options):
    import keras

    layer = tlkit.HubLayer(folder, name="backbone")
    keras.utils.set_random_seed(0)
    model = tlkit.build(layer, task)
    return tlkit.fit(model, task, prepare(data, layer), phases, batch_size=16, progress=quiet, **options)


# -- data


def test_pairs_come_from_tables_with_scores_or_labels(tmp_path):
    table = tmp_path / "pairs.csv"
    rows = "".join(f"text {i},other {i},{i / 2},{'no' if i % 2 else 'yes'}\n" for i in range(10))
    table.write_text(f"a,b,score,label\n{rows}x,,1,no\n", encoding="utf-8")
    scored = pairs.from_table(table, first="a", second="b", score="score")
    assert scored.train.target_array.dtype == np.float32 and scored.train.target_array.shape[1] == 1
    assert [(q.name, q.reason) for q in scored.quarantine] == [("row 12", "its second text: empty")]
    named = pairs.from_table(table, first="a", second="b", label="label")
    assert named.labels == ("no", "yes") and named.train.target_array.dtype == np.int32
    with pytest.raises(InputError, match="one of `score` and `label`"):
        pairs.from_table(table, first="a", second="b")
    with pytest.raises(InputError, match="Pair 1 must be two texts"):
        pairs.from_arrays([("a", "b"), "ab"], [0.0, 1.0])
    with pytest.raises(InputError, match="2 pairs and 1 targets"):
        pairs.from_arrays([("a", "b"), ("c", "d")], [0.0])


def test_a_text_in_training_and_test_is_noted_and_groups_separate_it():
    same = [(f"text {i // 4}", f"{i}") for i in range(40)]
    assert "hold a text that training has too" in pairs.from_arrays(same, np.linspace(0, 1, 40)).notes[-1]
    grouped = pairs.from_arrays(same, np.linspace(0, 1, 40), groups=[str(i // 4) for i in range(40)])
    assert grouped.notes == ()


def test_both_sides_are_cut_alike_and_keep_their_order(folder):
    data = pairs.from_arrays([("good film", "a very bad plot"), ("rome", "anna")] * 5, [0.5, 1.0] * 5)
    layer = tlkit.HubLayer(folder)
    taken = prepare(data, layer)
    assert {spec.shape for spec in taken.train.inputs.spec.values()} == {(8,)}
    for examples, part in ((taken.train, data.train), (taken.test, data.test)):
        for i in range(len(part)):
            expected = layer.tokenizer.inputs(str(part.inputs[i][1]), 8)["input_word_ids"]
            assert examples.inputs[i]["second_input_word_ids"].tolist() == expected.tolist()
        assert examples.lengths.tolist() == [
            max(layer.tokenizer.count(str(t)) for t in part.inputs[i]) for i in range(len(part))
        ]
        assert examples.columns["text"][0] == " | ".join(part.inputs[0])


# -- training


def test_a_pair_is_compared_by_what_the_module_gives_for_each_side(folder, labelled):
    layer, task = tlkit.HubLayer(folder, name="backbone"), tasks.similarity("contrastive")
    model, data = tlkit.build(layer, task), prepare(labelled, layer)
    outputs = tlkit.evaluate(model, task, data.test).outputs
    for i in range(3):
        x = data.test.inputs[i]
        u, v = (
            layer({k.removeprefix(f"{side}_"): value[None] for k, value in x.items() if k.startswith(side)}).numpy()[0]
            for side in pairs.SIDES
        )
        assert outputs[i, 0] == pytest.approx(u @ v / np.linalg.norm(u) / np.linalg.norm(v), abs=1e-5)


def test_labels_are_learned_by_contrast_and_frozen_vectors_are_computed_once(folder, labelled):
    run = fitted(folder, labelled, tasks.similarity("contrastive"))
    frozen, whole = run.phases
    assert frozen.had["cut"] == "output of pairs" and frozen.had["unfrozen"] == 0 and whole.had["unfrozen"] == 1
    layer = run.model.get_layer("backbone")
    evaluation = tlkit.evaluate(run.model, run.task, prepare(labelled, layer).test)
    assert (
        evaluation.scores["auc"] > 0.9
        and evaluation.scores["auc_low"] <= evaluation.scores["auc"] <= evaluation.scores["auc_high"]
    )


def test_cached_and_streamed_fits_agree(folder, labelled):
    cached, streamed = (
        fitted(folder, labelled, tasks.similarity("contrastive"), PHASES[:1], cache=cache)
        for cache in ("require", "off")
    )
    for a, b in zip(cached.model.weights, streamed.model.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4)


def test_scores_are_regressed_and_come_back_in_their_own_range(folder):
    texts, same = made(160, 1)
    data = pairs.from_arrays(texts, np.where(same, 4.5, 0.5))
    run = fitted(folder, data, tasks.similarity("cosine", low=0, high=5), LONGER)
    evaluation = tlkit.evaluate(run.model, run.task, prepare(data, run.model.get_layer("backbone")).test)
    assert evaluation.scores["pearson"] > 0.95
    assert evaluation.scores["spearman"] > 0.8  # of two values in equal shares no ranking reaches more than .87
    assert evaluation.outputs.shape[1:] == (1,) and evaluation.outputs.max() > 3


def test_ranking_needs_pairs_of_the_same_only(folder):
    whole = pairs.from_arrays(*made(240, 2, kinds=4))
    same = np.flatnonzero(whole.train.target_array == 1)
    data = dataclasses.replace(whole, train=whole.train.subset(same))
    task = tasks.similarity("ranking")
    task.objective.check(data)
    run = fitted(folder, data, task, LONGER)
    evaluation = tlkit.evaluate(run.model, run.task, prepare(data, run.model.get_layer("backbone")).test)
    assert evaluation.scores["auc"] > 0.75
    with pytest.raises(InputError, match="has no pair labelled 0"):
        tasks.similarity("contrastive").objective.check(data)


def test_a_run_is_saved_opened_and_exported(folder, labelled, tmp_path):
    layer, task = tlkit.HubLayer(folder, name="backbone"), tasks.similarity("contrastive")
    run = tlkit.finetune(layer, task, labelled, PHASES, out=tmp_path / "run", batch_size=16, progress=quiet)
    assert run.scores["auc"] > 0.8
    done = tlkit.export(tmp_path / "run", formats=("saved_model", "float32"), progress=quiet)
    assert [row.passed for row in done.exports] == [True, True]


def test_strings_go_through_a_module_of_strings(module_folder):
    words = ["the cat", "a dog", "cat sat", "dog ran"]
    data = pairs.from_arrays([(a, b) for a in words for b in words], np.eye(4).reshape(-1), split=(0.5, 0.25, 0.25))
    run = fitted(module_folder("vocabulary"), data, tasks.similarity("cosine"), PHASES[:1])
    assert np.isfinite(run.phases[0].history["loss"]).all()


# -- what cannot be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "triplet"}, "`loss` must be one of"),
        ({"low": 1.0}, "`high` must be finite and above"),
        ({"projection": -1}, "`projection` must"),
        ({"margin": 0.0}, "`margin` must"),
        ({"scale": 0.0}, "`scale` must"),
    ],
)
def test_options_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        tasks.similarity(**arguments)


def test_targets_of_another_kind_are_refused(labelled):
    with pytest.raises(InputError, match="must be float scores"):
        tasks.similarity("cosine").objective.check(labelled)
    scored = pairs.from_arrays(made(20)[0], np.linspace(0, 5, 20))
    with pytest.raises(InputError, match=r"must lie in \[low, high\] = \[0, 1\]"):
        tasks.similarity("cosine").objective.check(scored)
    with pytest.raises(InputError, match="must be whole numbers"):
        tasks.similarity("contrastive").objective.check(scored)


@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3)], ids=["steps", "maps"])
def test_members_of_a_pair_pass_one_pooling(shape):
    import keras

    inputs = keras.Input((5,))
    module = keras.Model(inputs, keras.layers.Reshape(shape)(keras.layers.Dense(12)(inputs)))
    model = tlkit.build(tlkit.HubLayer(module, name="backbone"), tasks.similarity("contrastive"))
    assert [layer.name for layer in model.layers].count("pool") == 1
    left, right = np.ones((1, 5), np.float32), np.zeros((1, 5), np.float32)
    same, other = (model(dict(zip(model.input, (left, y), strict=True))) for y in (left, right))
    assert not np.allclose(same, other)
