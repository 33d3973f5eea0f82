"""Ratings from tables to a file that takes a history; what it is compared with; new items by their texts."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from fitting import same, stopped_after

import tlkit
from tlkit.core.errors import InputError
from tlkit.data import ratings_module
from tlkit.formats import hub_module
from tlkit.methods import cold_start, recommenders
from tlkit.methods.likeness import ItemVectors

ITEMS, USERS, EACH = 24, 60, 9


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Each user walks through the items in steps of one: what comes next is certain."""
    folder = tmp_path_factory.mktemp("ratings")
    rows = [f"u{u},i{(5 * u + t) % ITEMS},5,{t}" for u in range(USERS) for t in range(EACH)]
    (folder / "ratings.csv").write_text("user,item,rating,time\n" + "\n".join(rows) + "\n")
    items = [f"i{i},Film {i},{i % 2}" for i in range(ITEMS)]
    (folder / "items.csv").write_text("item,title,odd\n" + "\n".join(items) + "\n")
    catalogue = tlkit.data.ratings.catalogue(folder / "items.csv")
    return (
        folder,
        catalogue,
        tlkit.data.ratings.from_table(folder / "ratings.csv", catalogue, history=12, cold=0.1, seed=2),
    )


@pytest.fixture(scope="module")
def run(world):
    folder, catalogue, data = world
    module = tlkit.data.ratings.module(data, width=16)
    plan = tlkit.plans.whole(epochs=30, lr=2e-2, weight_decay=1e-3)
    trained = tlkit.finetune(module, tlkit.tasks.recommend(catalogue.titles, k=5), data, plan, out=folder / "run")
    return tlkit.export(recommenders.beside_popularity(trained), formats=("saved_model", "float32"))


def test_it_learns_what_comes_next_and_says_what_it_is_compared_with(run):
    assert run.scores["recall_at_5"] > 0.9 and run.scores["ndcg_at_5"] > run.scores["ndcg_at_5_popularity"] + 0.2
    for way in ("", "_popularity", "_neighbours", "_factors"):
        assert all(0 < run.scores[f"{name}{way}"] <= 1 for name in ("recall_at_5", "ndcg_at_5", "coverage"))
    assert run.scores["coverage"] > run.scores["coverage_popularity"]
    assert [row.passed for row in run.exports] == [True, True]
    page = (run.folder / "report.html").read_text()
    assert "leave-last-out" in page and "matrix factorisation" in page and "New items" not in page


def test_a_file_takes_a_history_and_never_gives_it_back(run, world, tmp_path):
    (tmp_path / "history.txt").write_text("i3\nFilm 4\nno such film\n")
    (prediction,) = tlkit.predict(run, [tmp_path / "history.txt"])
    titles = [title for title, _ in prediction.scores]
    assert len(titles) == 5 and not {"Film 3", "Film 4"} & set(titles)
    assert prediction.note == "1 of 3 items are not in the catalogue"
    (tmp_path / "latin.txt").write_bytes("i3\ncaf\u00e9 cr\u00e8me\n".encode("latin-1"))
    (guessed,) = tlkit.predict(run, [tmp_path / "latin.txt"])
    assert "'latin.txt' is not UTF-8 and was read as" in guessed.note and "1 of 2 items are not in" in guessed.note
    again = tlkit.load(run.folder)
    assert again.scores["ndcg_at_5"] == pytest.approx(run.scores["ndcg_at_5"])
    (tmp_path / "none.txt").write_text("nothing\n")
    with pytest.raises(InputError, match="names no item of the catalogue"):
        tlkit.predict(run, [tmp_path / "none.txt"])


def test_the_tower_in_numpy_is_the_modules(run, world):
    _, _, data = world
    histories = data.test.inputs.take(np.arange(20))
    weights = {name: np.asarray(variable.value) for name, variable in cold_start._weights(run).items()}
    scores = ratings_module.queries(histories, weights) @ weights["items/embedding"][1:].T + weights["items/bias"]
    outputs = run.model.predict(histories, verbose=0)
    unseen = outputs > ratings_module.UNSEEN
    assert unseen.any() and np.abs(scores - outputs)[unseen].max() < 1e-4


def test_a_catalogue_is_an_index_that_histories_search(run, world, tmp_path):
    _, catalogue, data = world
    module = tlkit.publish(run, tmp_path / "module")
    index = tlkit.index(module, data.train)
    assert index.ids == catalogue.ids and index.texts == catalogue.titles
    histories = data.test.inputs.take(np.arange(len(data.test)))
    best = np.asarray(run.task.decode(run.model(histories))["items"]).astype(int)
    hits = index.nearest(list(histories), 5)
    named = [[hit.id for hit in row] for row in hits]
    same = [[catalogue.ids[place] for place in row] == ids for row, ids in zip(best, named, strict=True)]
    assert np.mean(same) > 0.95, "order by cosine is that of the model's scores, the history's own items left out"
    saved = index.save(tmp_path / "index")
    again = tlkit.load(saved.folder)
    ((first,),), ((asked,),) = index.nearest([["i3", "i4"]], 1), again.nearest([["i3", "i4"]], 1)
    assert first == asked and first.id not in ("i3", "i4") and first.text.startswith("Film ")
    approximate = [[hit.id for hit in row] for row in again.nearest(list(histories), 5, exact=False)]
    assert np.mean([set(a) == set(b) for a, b in zip(approximate, named, strict=True)]) > 0.9
    with pytest.raises(InputError, match="names the item 'i99', which is none of the 24 indexed"):
        again.nearest([["i99"]])
    with pytest.raises(InputError, match="A query is a history"):
        again.nearest(["i3"])


def ring():
    """Vectors of items that are alike where one follows the other."""
    angles = 2 * np.pi * np.arange(ITEMS) / ITEMS
    return ItemVectors(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_new_items_are_given_to_who_took_their_neighbours(run, world):
    _, catalogue, data = world
    held = sorted({int(i) for k in range(len(data.test)) for i in data.test.columns["cold"][k] if i >= 0})
    before = run.model.predict(data.test.inputs.take(np.arange(len(data.test))), verbose=0)
    extended = tlkit.methods.new_items(run, catalogue, ring(), neighbours=2)
    after = run.model.predict(data.test.inputs.take(np.arange(len(data.test))), verbose=0)
    old_items = [i for i in range(ITEMS) if i not in held]
    assert np.array_equal(before[:, old_items], after[:, old_items])
    taken = {str(user): set() for user in data.test.columns["user"]}
    for k in range(len(data.train)):
        taken[data.train.columns["user"][k]] |= {int(data.train.target_array[k])}
    for item in held:
        near = np.array([len({(item - 1) % ITEMS, (item + 1) % ITEMS} & taken[u]) for u in data.test.columns["user"]])
        assert after[near == 2, item].mean() > after[near == 0, item].mean() + 0.5
    assert "cold_recall_at_5" not in extended.scores
    assert extended.data.notes[-1].startswith(
        "Of the held-out items the test's users took 2, no more than the 5 that are"
    )
    scores = cold_start._with_cold_scores(run, 1).scores
    best = [max(held, key=lambda item: row[item]) for row in after]
    cold = [set(data.test.columns["cold"][k].tolist()) - {-1} for k in range(len(data.test))]
    hits = [item in items for item, items in zip(best, cold, strict=True) if items]
    assert scores["cold_recall_at_1"] == pytest.approx(np.mean(hits)) and len(hits) > 10
    assert scores["cold_coverage"] == 1.0
    with pytest.raises(InputError, match="needs the catalogue"):
        tlkit.methods.new_items(run, catalogue, neighbours=0)


def test_what_is_no_recommendation_is_refused(world):
    _, _, data = world
    with pytest.raises(InputError, match=r"`k` must be a whole number in \[1, 2\]"):
        tlkit.tasks.recommend(["a", "b"], k=3)
    with pytest.raises(InputError, match="The task has 2 items"):
        tlkit.tasks.recommend(["a", "b"], k=1).objective.check(data)
    with pytest.raises(InputError, match=r"for runs of `tasks\.recommend`"):
        recommenders.beside_popularity(tlkit.Run(None, tlkit.tasks.classify(["a", "b"]), data))


def test_a_run_that_was_opened_is_compared_with_nothing_that_learns_from_its_few_examples(run, world):
    """The hundred training examples that a folder keeps gave baselines and vectors of new items."""
    _, catalogue, _ = world
    again = tlkit.load(run.folder)
    for ask in (recommenders.beside_popularity, lambda opened: tlkit.methods.new_items(opened, catalogue)):
        with pytest.raises(InputError, match="keeps few of its training examples: take the run that `finetune` gave"):
            ask(again)


def test_what_a_module_gives_is_scores_by_its_card_or_by_what_is_said(world, tmp_path):
    """A module of as many features as there are items lost its head without a word."""
    _, catalogue, data = world
    history = keras.Input((12,), dtype="int32")
    vectors = keras.layers.Embedding(ITEMS + 1, ITEMS)(history)
    model = keras.Model(history, keras.layers.GlobalAveragePooling1D()(vectors))
    hub_module.write_keras_model(model, tmp_path / "module", card={"name": "mine"})

    def head(handle, **options):
        task = tlkit.tasks.recommend(catalogue.titles, k=5, **options)
        return tlkit.build(handle, task, data=data).get_layer("head_outputs")

    with pytest.raises(InputError, match=f"gives {ITEMS} numbers, as many as there are items: say whether"):
        head(tmp_path / "module")
    assert isinstance(head(tmp_path / "module", scores=False), keras.layers.Dense)
    assert isinstance(head(tmp_path / "module", scores=True), keras.layers.Activation)
    module = tlkit.data.ratings.module(data, width=16)
    assert isinstance(head(module), keras.layers.Activation)
    assert isinstance(head(module, scores=False), keras.layers.Dense)
    with pytest.raises(InputError, match=f"scores {ITEMS} items, and the catalogue has 9"):
        tlkit.build(module, tlkit.tasks.recommend(catalogue.titles[:9], k=5), data=data)


def test_a_module_of_another_catalogue_is_refused(run, world, tmp_path):
    folder, *_ = world
    lines = (folder / "items.csv").read_text().splitlines()
    (tmp_path / "items.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    films = tlkit.data.ratings.catalogue(tmp_path / "items.csv")
    data = tlkit.data.ratings.from_table(folder / "ratings.csv", films, history=12)
    module = tlkit.publish(run, tmp_path / "module")
    with pytest.raises(InputError, match="was made for another catalogue, or one in another order"):
        tlkit.finetune(module, tlkit.tasks.recommend(films.titles), data, out=tmp_path / "run")


def test_regression_tells_a_known_item_by_the_others_alone():
    rng = np.random.default_rng(0)
    texts, known = rng.normal(size=(12, 4)), np.arange(12) < 9
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    liking = rng.normal(size=(3, 9))
    told = cold_start._regressed(unit, known, liking.T).T
    for item, left_out in ((2, True), (10, False)):
        others = [i for i in range(9) if not (left_out and i == item)]
        rows = np.concatenate([unit[others], np.ones((len(others), 1))], axis=1)
        penalty = cold_start.LIKENESS_RIDGE * np.diag([1.0] * 4 + [0.0])
        fitted = np.linalg.solve(rows.T @ rows + penalty, rows.T @ liking[:, others].T)
        np.testing.assert_allclose(told[:, item], np.append(unit[item], 1.0) @ fitted, rtol=1e-9)


def test_new_items_are_like_others_by_their_columns_as_they_are(run, world):
    folder, _, data = world
    lines = [f"i{i},Film {i},{np.cos(2 * np.pi * i / ITEMS)},{np.sin(2 * np.pi * i / ITEMS)}" for i in range(ITEMS)]
    (folder / "places.csv").write_text("item,title,x,y\n" + "\n".join(lines) + "\n")
    placed = tlkit.data.ratings.catalogue(folder / "places.csv")
    tlkit.methods.new_items(run, placed, None, neighbours=2)
    after = run.model.predict(data.test.inputs.take(np.arange(len(data.test))), verbose=0)
    taken = {str(user): set() for user in data.test.columns["user"]}
    for k in range(len(data.train)):
        taken[data.train.columns["user"][k]] |= {int(data.train.target_array[k])}
    for item in {int(i) for k in range(len(data.test)) for i in data.test.columns["cold"][k] if i >= 0}:
        near = np.array([len({(item - 1) % ITEMS, (item + 1) % ITEMS} & taken[u]) for u in data.test.columns["user"]])
        assert after[near == 2, item].mean() > after[near == 0, item].mean() + 0.3


def test_equal_scores_are_in_the_order_of_the_catalogue_in_model_and_file(run, world, tmp_path):
    """All items alike: what the history holds is left out, and the rest stands in the catalogue's order."""
    from ai_edge_litert.interpreter import Interpreter

    _, _, data = world
    variables = cold_start._weights(run)
    before = {name: np.array(variable.value) for name, variable in variables.items()}
    try:
        variables["items/embedding"].assign(np.ones_like(before["items/embedding"]) / 3)
        variables["items/bias"].assign(np.full_like(before["items/bias"], 0.1))
        tied = tlkit.export(tlkit.save(run, tmp_path / "tied"), formats=("float32",))
        histories = data.test.inputs.take(np.arange(12))
        modelled = np.asarray(run.task.decode(run.model(histories))["items"])
    finally:
        for name, value in before.items():
            variables[name].assign(value)
    runner = Interpreter(str(tied.folder / "model.tflite")).get_signature_runner()
    (name,) = runner.get_input_details()
    for history, row in zip(histories, modelled, strict=True):
        expected = [item for item in range(ITEMS) if item + 1 not in history][:5]
        assert row.tolist() == expected == runner(**{name: history[None]})["items"][0].tolist()


def test_a_killed_fit_of_ratings_goes_on_to_the_same_bits(world, tmp_path):
    _, catalogue, data = world
    module = tlkit.data.ratings.module(data, width=8)
    task, plan = tlkit.tasks.recommend(catalogue.titles, k=5), tlkit.plans.whole(epochs=3, weight_decay=1e-2)

    def finetuned(name):
        return tlkit.finetune(module, task, data, plan, out=tmp_path / name)

    whole = finetuned("whole")
    stopped_after(2, lambda: finetuned("stopped"))
    again = finetuned("stopped")
    assert [dict(phase.history) for phase in again.phases] == [dict(phase.history) for phase in whole.phases]
    assert same(map(np.array, again.model.variables), map(np.array, whole.model.variables))
    assert again.scores == whole.scores


def test_what_is_made_some_users_at_a_time_is_what_is_made_at_once(run, world, monkeypatch):
    _, catalogue, _ = world
    whole = tlkit.methods.new_items(recommenders.beside_popularity(run), catalogue, ring(), neighbours=2)
    vectors = [np.array(variable.value) for variable in cold_start._weights(run).values()]
    monkeypatch.setattr(recommenders, "MOST_CELLS", 100)
    monkeypatch.setattr(recommenders, "BLOCK", 7 * ITEMS)
    monkeypatch.setattr(cold_start, "BLOCK", 7 * ITEMS)
    without = {name: score for name, score in run.scores.items() if "_neighbours" not in name}
    evaluation = dataclasses.replace(run.evaluation, scores=without)
    fresh = dataclasses.replace(run, evaluation=evaluation, record={**run.record, "scores": without})
    beside = recommenders.beside_popularity(fresh)
    assert beside.data.notes[-1].startswith("Neighbours of items do not stand beside the model: of 60 users and 24")
    assert "recall_at_5_neighbours" not in beside.scores
    names = [f"{name}_{way}" for name in ("recall_at_5", "coverage") for way in ("popularity", "factors")]
    assert [beside.scores[name] for name in names] == [whole.scores[name] for name in names]
    tlkit.methods.new_items(beside, catalogue, ring(), neighbours=2)
    for before, variable in zip(vectors, cold_start._weights(run).values(), strict=True):
        np.testing.assert_allclose(variable.value, before, rtol=1e-5, atol=1e-5)


def test_popularity_hits_as_often_as_chance_among_equals_has_it():
    """Of equally popular items each is as likely given: the share of those places that are left, by users."""
    rng = np.random.default_rng(0)
    taken = rng.random((30, 40)) < 0.2
    counts = rng.integers(0, 4, 40).astype(np.float64)
    targets = np.array([rng.choice(np.flatnonzero(~row)) for row in taken])
    above = [((counts > counts[t]) & ~row).sum() for row, t in zip(taken, targets, strict=True)]
    equal = [((counts == counts[t]) & ~row).sum() for row, t in zip(taken, targets, strict=True)]
    expected = np.clip((12 - np.array(above)) / np.array(equal), 0, 1)
    assert len({0.0, 1.0} & set(expected)) == 2 and ((expected > 0) & (expected < 1)).sum() > 3

    def popular(part):
        return np.tile(counts, (len(range(*part.indices(30))), 1))

    draws = 400
    hits = [
        (recommenders._best(popular, np.argwhere(taken), 30, 40, 12, seed) == targets[:, None]).any(axis=1)
        for seed in range(draws)
    ]
    spread = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(np.mean(hits, axis=0) - expected) <= 5 * spread).all(), "five deviations; exact where certain"


def test_neighbours_that_speak_against_the_model_are_noted(run, world, monkeypatch):
    _, catalogue, _ = world
    agreed = tlkit.methods.new_items(run, catalogue, ring(), neighbours=2)
    assert cold_start.UNLIKE not in agreed.data.notes
    monkeypatch.setattr(
        cold_start,
        "alternating_least_squares",
        lambda pairs, users, items: (-1.0 * recommenders.as_table(pairs, users, items), np.eye(items)),
    )
    assert cold_start.UNLIKE in tlkit.methods.new_items(run, catalogue, ring(), neighbours=2).data.notes


def test_what_is_fitted_is_what_a_whole_table_of_users_by_items_gives():
    rng = np.random.default_rng(0)
    users, told, tower, vectors = (rng.normal(size=shape) for shape in ((30, 4), (9, 4), (30, 6), (9, 6)))
    tower[:, -1] = 1.0
    slope, level = cold_start._line((users, told), (tower, vectors))
    liking, scores = users @ told.T, tower @ vectors.T
    np.testing.assert_allclose((slope, level), np.polyfit(liking.ravel(), scores.ravel(), 1), rtol=1e-9)
    penalty = cold_start.RIDGE * 30 * np.diag([1.0] * 5 + [0.0])
    expected = np.linalg.solve(tower.T @ tower + penalty, tower.T @ (liking + level))
    np.testing.assert_allclose(cold_start._fitted(tower, users, told, level), expected.T, rtol=1e-9)


def test_the_scores_that_are_saved_are_of_the_model_that_is_saved(run, world, tmp_path):
    """New items take part in the ranking of known ones: what was measured before they had vectors is no longer so."""
    folder, catalogue, _ = world
    data = tlkit.data.ratings.from_table(folder / "ratings.csv", catalogue, history=12, cold=0.5, seed=2)
    module, task = tlkit.data.ratings.module(data, width=16), tlkit.tasks.recommend(catalogue.titles, k=5)
    before = tlkit.finetune(module, task, data, tlkit.plans.whole(epochs=3, lr=2e-2))
    extended = tlkit.methods.new_items(recommenders.beside_popularity(before), catalogue, ring(), neighbours=2)
    again = tlkit.load(tlkit.save(extended, tmp_path / "run").folder)
    measured = tlkit.evaluate(again.model, task, data.test)
    for name, score in measured.scores.items():
        assert again.scores[name] == pytest.approx(score, abs=1e-6), name
    assert extended.evaluation.details["example_scores"] == measured.details["example_scores"]
    assert before.evaluation.details["example_scores"] != measured.details["example_scores"]
    assert again.scores["recall_at_5_popularity"] == pytest.approx(extended.scores["recall_at_5_popularity"])
    assert again.scores["cold_recall_at_5"] > again.scores["cold_recall_at_5_popularity"]
    (said,) = [note for note in extended.data.notes if note.startswith("New items take part in the ranking")]
    earlier, later = before.scores["ndcg_at_5"], measured.scores["ndcg_at_5"]
    assert said.endswith(f"ndcg_at_5 is {later:.3f}, and was {earlier:.3f} before.") and later < earlier
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Each user&#39;s held-out items are to be found among those held-out items" in page
    assert f"{again.scores['cold_recall_at_5']:.3f}" in page and "New items" in page


def test_no_new_item_is_a_note(run, world):
    folder, catalogue, _ = world
    data = tlkit.data.ratings.from_table(folder / "ratings.csv", catalogue, history=12)
    whole = dataclasses.replace(run, data=data)
    assert (
        tlkit.methods.new_items(whole, catalogue, ring()).data.notes[-1].startswith("No item of the catalogue is new")
    )
