"""Ratings from tables to a file that takes a history; what it is compared with; new items by their texts."""

from __future__ import annotations

import numpy as np
import pytest
from fitting import same, stopped_after

import tlkit
from tlkit.core.errors import InputError
from tlkit.data import ratings_module
from tlkit.methods import cold_start, recommenders

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
    assert {"recall_at_5_neighbours", "ndcg_at_5_factors", "coverage"} <= run.scores.keys()
    assert [row.passed for row in run.exports] == [True, True]
    assert "leave-last-out" in (run.folder / "report.html").read_text()


def test_a_file_takes_a_history_and_never_gives_it_back(run, world, tmp_path):
    (tmp_path / "history.txt").write_text("i3\nFilm 4\nno such film\n")
    (prediction,) = tlkit.predict(run, [tmp_path / "history.txt"])
    titles = [title for title, _ in prediction.scores]
    assert len(titles) == 5 and not {"Film 3", "Film 4"} & set(titles)
    assert prediction.note == "1 of 3 items are not in the catalogue"
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


def test_new_items_are_given_to_who_took_their_neighbours(run, world, monkeypatch):
    _, catalogue, data = world
    held = sorted({int(i) for k in range(len(data.test)) for i in data.test.columns["cold"][k] if i >= 0})
    angles = 2 * np.pi * np.arange(ITEMS) / ITEMS
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    monkeypatch.setattr(cold_start, "vectors_of", lambda *_: texts)
    before = run.model.predict(data.test.inputs.take(np.arange(len(data.test))), verbose=0)
    extended = tlkit.methods.new_items(run, catalogue, neighbours=2)
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
    scores = cold_start._with_cold_scores(run, np.isin(np.arange(ITEMS), held), 1).scores
    best = [max(held, key=lambda item: row[item]) for row in after]
    cold = [set(data.test.columns["cold"][k].tolist()) - {-1} for k in range(len(data.test))]
    hits = [item in items for item, items in zip(best, cold, strict=True) if items]
    assert scores["cold_recall_at_1"] == pytest.approx(np.mean(hits)) and len(hits) > 10
    with pytest.raises(InputError, match="needs the catalogue"):
        tlkit.methods.new_items(run, catalogue, neighbours=0)


def test_what_is_no_recommendation_is_refused(world):
    _, _, data = world
    with pytest.raises(InputError, match=r"`k` must lie in \[1, 2\]"):
        tlkit.tasks.recommend(["a", "b"], k=3)
    with pytest.raises(InputError, match="The task has 2 items"):
        tlkit.tasks.recommend(["a", "b"], k=1).objective.check(data)
    with pytest.raises(InputError, match=r"for runs of `tasks\.recommend`"):
        recommenders.beside_popularity(tlkit.Run(None, tlkit.tasks.classify(["a", "b"]), data))


def test_regression_tells_a_known_item_by_the_others_alone():
    rng = np.random.default_rng(0)
    texts, known = rng.normal(size=(12, 4)), np.arange(12) < 9
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    liking = rng.normal(size=(3, 9))
    told = liking @ cold_start._regressed(unit, known).T
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


def test_catalogues_too_large_for_tables_in_memory_have_popularity_and_a_note(run, world, monkeypatch):
    _, catalogue, _ = world
    monkeypatch.setattr(recommenders, "MOST_CELLS", 100)
    monkeypatch.setattr(cold_start, "MOST_CELLS", 100)
    fresh = run.with_scores({})
    beside = recommenders.beside_popularity(fresh)
    assert "popularity alone stands beside the model" in beside.data.notes[-1]
    assert beside.scores["recall_at_5_popularity"] == pytest.approx(run.scores["recall_at_5_popularity"], abs=0.2)
    assert "New items got no vectors" in tlkit.methods.new_items(fresh, catalogue).data.notes[-1]


def test_popularity_of_pairs_is_that_of_the_whole_table():
    rng = np.random.default_rng(0)
    taken, others = rng.random((30, 40)) < 0.2, rng.random((200, 40)) < np.linspace(0.02, 0.9, 40)
    targets = np.array([rng.choice(np.flatnonzero(~row)) for row in taken])
    everyone = np.concatenate([taken, others])
    assert len(set(everyone.sum(axis=0).tolist())) > 30
    relevant = np.eye(40, dtype=bool)[targets]
    expected = recommenders.among(recommenders.ranked(recommenders.popularity(everyone)[:30], taken, 5, 0), relevant)
    pairs = recommenders._popular(np.argwhere(taken), np.argwhere(others), targets, 40, 5, 0)
    for ours, theirs in zip(pairs, expected, strict=True):
        assert abs(ours.mean() - theirs.mean()) < 0.04 and ours.shape == theirs.shape


def test_neighbours_that_speak_against_the_model_are_noted(run, world, monkeypatch):
    _, catalogue, _ = world
    angles = 2 * np.pi * np.arange(ITEMS) / ITEMS
    monkeypatch.setattr(cold_start, "vectors_of", lambda *_: np.stack([np.cos(angles), np.sin(angles)], axis=1))
    agreed = tlkit.methods.new_items(run, catalogue, neighbours=2)
    assert cold_start.UNLIKE not in agreed.data.notes
    monkeypatch.setattr(cold_start, "alternating_least_squares", lambda taken: -taken.astype(np.float64))
    assert cold_start.UNLIKE in tlkit.methods.new_items(run, catalogue, neighbours=2).data.notes
