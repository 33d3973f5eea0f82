"""Ratings: how histories are cut by time, the catalogue, and each sentence that refuses."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import modules
import numpy as np
import pytest
from PIL import Image

from tlkit import HubLayer
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError
from tlkit.core.modality import FileInfo
from tlkit.data import ratings
from tlkit.methods import recommenders
from tlkit.methods.cold_start import new_items
from tlkit.methods.likeness import ItemVectors, item_vectors
from tlkit.modalities import ratings as RATINGS
from tlkit.search.items import numbers_of
from tlkit.tasks.recommendation import by_user, evaluate_items, recommend

ROWS = [(f"u{u}", f"i{(u + t) % 9}", 1 + (u + t) % 5, 100 * u + t) for u in range(8) for t in range(6)]


@pytest.fixture
def table(tmp_path):
    def written(rows=ROWS, header="user,item,rating,time", name="ratings.csv"):
        lines = [header, *(",".join(map(str, row)) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return written


def test_the_last_item_of_each_user_tests_and_no_history_holds_its_future(table):
    data = ratings.from_table(table(reversed(ROWS)), history=4)
    ids, _ = ratings.items_of(data.train.pipeline)
    assert [len(part) for part in (data.train, data.val, data.test)] == [8 * 3, 8, 8]
    for part in (data.train, data.val, data.test):
        for i, name in enumerate(part.ids):
            user, place = name.split("@")
            taken = [item for rater, item, _, _ in ROWS if rater == user]
            assert ids[part.target_array[i]] == taken[int(place)]
            assert [ids[n - 1] for n in part.inputs[i] if n] == taken[: int(place)][-4:]
    assert {name.split("@")[1] for name in data.test.ids} == {"5"}


def test_histories_are_made_of_one_list_of_items(table):
    """As arrays, a million examples with 256 items each took a gigabyte."""
    data = ratings.from_table(table(), history=4)
    column = data.train.inputs
    assert len(column.numbers) == len(ROWS) and column.spec.shape == (4,)
    rows = column.take(np.arange(len(column)))
    flat = ArrayColumn(rows)
    assert column.digests == flat.digests and rows.dtype == np.int32
    np.testing.assert_array_equal(column.latest, rows[:, -1])
    np.testing.assert_array_equal(column.subset([5, 2]).take(np.array([1, 0])), rows[[2, 5]])
    np.testing.assert_array_equal(column.batch([column[3], column[0]]), rows[[3, 0]])
    empty = column.subset([])
    assert empty.digests == () and empty.take(np.arange(0)).shape == (0, 4) and not len(empty.latest)
    users = [str(user) for user in data.train.columns["user"].take(np.arange(len(data.train)))]
    as_arrays = dataclasses.replace(data.train, inputs=flat)
    np.testing.assert_array_equal(ratings.taken_by([data.train], users), ratings.taken_by([as_arrays], users))


def test_dates_events_and_few_items(table):
    rows = [("a", item, f"2024-01-{day:02d}") for day, item in enumerate("xyzw", 1)] + [
        ("b", "x", "2024-02-01T10:00:00")
    ]
    data = ratings.from_table(table(rows, "user,item,time"))
    assert [len(part) for part in (data.train, data.val, data.test)] == [1, 1, 1]
    assert ratings.items_of(data.test.pipeline)[0][data.test.target_array[0]] == "w"


def test_items_at_one_time_are_in_the_order_of_rows_which_is_noted(table):
    rows = [("a", item, 3, 7) for item in "zyxw"] + [("b", "x", 3, 8)]
    data = ratings.from_table(table(rows))
    assert ratings.items_of(data.test.pipeline)[0][data.test.target_array[0]] == "w"
    assert any("4 of 5 ratings have the time of another one of their user" in note for note in data.notes)
    assert not any("have the time of another" in note for note in ratings.from_table(table()).notes)


def test_ratings_below_the_least_and_repeats_are_left_out(table):
    data = ratings.from_table(table([*ROWS, *ROWS[:3]]), min_rating=2)
    assert len(data.test) and any("ratings of 2 and above" in note for note in data.notes)
    assert not any(len(set(row[row > 0])) < (row > 0).sum() for row in data.test.inputs.take(np.arange(len(data.test))))


def test_held_out_items_are_in_no_history_and_in_the_column(table):
    data = ratings.from_table(table(), cold=0.3, seed=1)
    held = {int(i) for k in range(len(data.test)) for i in data.test.columns["cold"][k] if i >= 0}
    assert held and not held & {int(i) - 1 for part in (data.train, data.val, data.test) for i in np.unique(
        part.inputs.take(np.arange(len(part)))
    )} and not held & set(data.train.target_array.tolist())  # fmt: skip


def test_a_catalogue_says_flags_by_their_names(table):
    rows = [("i1", "Heat (1995)", "1", "0", "http://x"), ("i2", "", "1", "1", "http://y")]
    catalogue = ratings.catalogue(table(rows, "item,title,Crime,Drama,link", "items.csv"))
    assert catalogue.texts == ("Heat (1995). Crime", "Crime, Drama") and catalogue.titles == ("Heat (1995)", "i2")


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1.0", "0.0"), ("1", ""), ("true", "0")])
def test_flags_are_those_of_pandas_too(table, yes, no):
    rows = [("i1", "Heat", yes, no), ("i2", "Emma", no, yes)]
    catalogue = ratings.catalogue(table(rows, "item,title,Crime,Drama", "items.csv"))
    assert catalogue.texts == ("Heat. Crime", "Emma. Drama")


def test_what_describes_items_may_be_lists_numbers_and_images(tmp_path):
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    columns = {
        "item": ["007", "8"], "title": ["Bond", "Emma"], "genres": [["spy", "war"], None], "year": [1962, 2020],
        "poster": ["posters/a.png", None],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), tmp_path / "items.parquet")
    items = ratings.catalogue(tmp_path / "items.parquet", image="poster")
    assert items.texts == ("Bond. spy, war", "Emma") and items.ids == ("007", "8")
    assert items.images == (str(tmp_path / "posters" / "a.png"), "") and list(items.columns) == ["genres", "year"]


def test_columns_of_items_are_numbers_in_deviations_and_categories_one_hot(table):
    rows = [(f"i{i}", f"Film {i}", 2000 + i, "ab"[i % 2], "" if i == 3 else i * i) for i in range(6)]
    items = ratings.catalogue(table(rows, "item,title,year,maker,price", "items.csv"))
    vectors = item_vectors(items, None).vectors
    years = np.arange(6) - 2.5
    np.testing.assert_allclose(vectors[:, 0], years / years.std(), rtol=1e-5)
    np.testing.assert_array_equal(vectors[:, 1:3], np.eye(2)[[0, 1, 0, 1, 0, 1]])
    assert vectors[3, 3] == 0 and vectors.shape == (6, 4)
    both = item_vectors(items, [None, None]).vectors
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), np.sqrt(2), rtol=1e-5)


def test_columns_that_name_items_tell_no_likeness_and_are_noted(table):
    rows = [(i, f"Film {i}", 1990 + i % 30, f"http://x/{i}", 7 * i * i, "en") for i in range(120)]
    described = item_vectors(ratings.catalogue(table(rows, "item,title,year,link,imdb,language", "i.csv")), None)
    assert described.vectors.shape == (120, 1)
    assert described.notes[0] == "Items are alike by their columns 'year'."
    assert described.notes[1].startswith("Not by 'link', 'imdb', 'language', which name items")


def test_values_that_each_item_has_of_its_own_tell_no_likeness_and_are_noted(table):
    """Numbers that begin with 0, few names, and ids of few items became a column for each item."""
    rows = [(f"i{i}", f"F{i}", f"{7919 * i % 100:04d}", f"maker {i}", 1000 + 37 * i, "ab"[i % 2]) for i in range(12)]
    path = table(rows, "item,title,code,maker,shelf_id,kind", "items.csv")
    described = item_vectors(ratings.catalogue(path), None)
    assert described.vectors.shape == (12, 2)
    assert "Items are alike by their columns 'kind'." in described.notes
    assert any("Not by 'code', 'maker', 'shelf_id', which name items" in note for note in described.notes)


def test_images_that_no_module_reads_are_noted(table):
    rows = [(i, f"Film {i}", i % 3, "") for i in range(6)]
    catalogue = ratings.catalogue(table(rows, "item,title,year,poster", "i.csv"), image="poster")
    assert item_vectors(catalogue, None).notes[-1].startswith("No module reads the images of the catalogue")


def test_which_columns_are_an_items_text_is_noted(table):
    rows = [("i1", "Heat", 1, 1995), ("i2", "Emma", 0, 2020)]
    path = table(rows, "item,title,Crime,year", "items.csv")
    assert ratings.catalogue(path).notes == (
        "The text of an item is of its columns 'title', and by their names 'Crime'; `columns` names others.",
    )


def test_coverage_is_of_items_that_are_not_held_out(table):
    data = ratings.from_table(table(), cold=0.3, seed=1)
    held_out = ratings.held_out_of(data.test.pipeline)
    assert len(held_out) == 3 and not set(held_out) & set(data.train.target_array.tolist())
    places = np.stack([np.arange(9)] * len(data.test))
    shares = np.tile([0.5, 0.3, 0.2, 0.0], (len(data.test), 1))  # the fourth is of the history
    decoded = {"items": places.astype(np.float32), "scores": shares}
    evaluation = evaluate_items(tuple("abcdefghi"), 4, data.test, decoded)
    assert evaluation.scores["coverage"] == pytest.approx(len({0, 1, 2} - set(held_out)) / 6)


def test_images_of_items_pass_a_frozen_module(tmp_path):
    net = modules.write_keras3_hub(tmp_path / "net")
    for name, level in (("dark", 10), ("bright", 240), ("brighter", 250)):
        Image.new("RGB", (40, 40), (level, level, level)).save(tmp_path / f"{name}.png")
    lines = ["item,title,poster", "1,a,dark.png", "2,b,bright.png", "3,c,brighter.png", "4,d,"]
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    items = ratings.catalogue(tmp_path / "items.csv", image="poster")
    layer = HubLayer(net, input_range=(0, 1))
    described = item_vectors(items, layer)
    vectors = described.vectors
    assert described.notes == ("Items are alike by their images.",)
    dark, bright, brighter, grey = vectors
    assert np.linalg.norm(bright - brighter) < np.linalg.norm(bright - grey) < np.linalg.norm(bright - dark)
    with pytest.raises(InputError, match="reads images, and the catalogue has none: name their column, `image`"):
        item_vectors(ratings.catalogue(tmp_path / "items.csv"), layer)
    (tmp_path / "dark.png").write_bytes(b"no image")
    with pytest.raises(
        InputError, match=r"image of the item '1' cannot be used: '.*dark\.png': its content is no image"
    ):
        item_vectors(items, layer)
    with pytest.raises(InputError, match="has no columns that describe items"):
        item_vectors(ratings.catalogue(tmp_path / "items.csv", image="poster"), None)


def test_a_history_names_items_by_ids_and_titles_and_says_which_title_is_not_one(table, tmp_path):
    rows = [
        ("i1", "Heat  (1995)"),
        ("i2", "Emma"),
        ("i3", "Emma"),
        *((f"i{i}", f"Film {i}") for i in (0, *range(4, 9))),
    ]
    data = ratings.from_table(table(), ratings.catalogue(table(rows, "item,title", "items.csv")), history=4)
    (tmp_path / "h.txt").write_text("\ufeffHeat  (1995)\nEmma\ni5\nMöwe\n", encoding="utf-8")
    asked = RATINGS.parse(tmp_path / "h.txt", FileInfo(data.train.pipeline, {"history": (4,)}))
    assert asked.inputs[0].tolist() == [0, 1, 2, 6]
    assert asked.columns["note"][0] == (
        "1 of 4 items are not in the catalogue; 'Emma' is the title of several items, and the first is taken"
    )


def nested(folder, **columns):
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    plain = {"user": ["a"] * 5, "item": list("vwxyz"), "time": list(range(5)), "title": list("vwxyz")}
    parquet.write_table(pa.table(plain | columns), folder / "nested.parquet")
    return folder / "nested.parquet"


REFUSED = {
    "a header alone": (lambda t: ratings.from_table(t([])), "holds no rows: give a header and one row"),
    "one item": (lambda t: ratings.from_table(t([(f"u{i}", "x", 1, i) for i in range(9)])), "more than 3 items"),
    "dates in two ways": (
        lambda t: ratings.from_table(t([("u", "x", 1, "2024-01-31"), ("u", "y", 1, "1.2.2024")])),
        "the time '1.2.2024': write numbers, or dates",
    ),
    "infinite rating": (lambda t: ratings.from_table(t([("a", "x", "-inf", 2)])), "no number in column 'rating'"),
    "zeros in front lost": (
        lambda t: ratings.from_table(t(), ratings.catalogue(t([("001", "x")], "item,title", "i.csv"))),
        "the catalogue has '001'; give both the ids of one list, written alike",
    ),
    "lists of items": (
        lambda t: ratings.from_table(nested(t().parent, item=[["x"]] * 5)), "holds list, not text, in column 'item'"
    ),
    "times in structs": (
        lambda t: ratings.from_table(nested(t().parent, time=[{"s": 1}] * 5)), "holds dict, not text, in column 'time'"
    ),
    "one column for two": (lambda t: ratings.from_table(t(), user="item"), "are a column each. Received: user='item'"),
    "bytes of posters": (
        lambda t: ratings.catalogue(nested(t().parent, poster=[b"x"] * 5)), "holds bytes, not text: name the columns"
    ),
    "columns in a word": (lambda t: ratings.catalogue(t(), title="user", columns="time"), "columns=['time']"),
    "a catalogue of a header": (lambda t: ratings.catalogue(t([], "item,title")), "holds no rows"),
    "no user column": (
        lambda t: ratings.from_table(t(header="who,item,rating,time")),
        "no column 'user': it has 'who', 'item', 'rating', 'time'; name the one that is meant, `user`.",
    ),
    "names of MovieLens": (
        lambda t: ratings.from_table(t(header="userId,movieId,rating,timestamp")), "did you mean user='userId'?"
    ),
    "nothing near": (
        lambda t: ratings.catalogue(t([(1, "x")], "movieId,title", "i.csv")), "; name the one that is meant, `item`."
    ),
    "a slip": (lambda t: ratings.from_table(t(header="usre,item,rating,time")), "did you mean user='usre'?"),
    "a capital": (lambda t: ratings.from_table(t(header="user,item,Rating,time")), "did you mean rating='Rating'?"),
    "no such rating": (lambda t: ratings.from_table(t(), rating="stars"), "no column 'stars'"),
    "columns that name": (
        lambda t: item_vectors(ratings.catalogue(t([(f"i{i}", f"Film {i}", f"http://x/{i}") for i in range(30)],
                                                   "item,title,link", "i.csv")), None),
        "No column is left for the model to learn from",
    ),
    "no item": (lambda t: ratings.from_table(t([("a", "", 1, 2), *ROWS])), "has no item"),
    "no user": (lambda t: ratings.from_table(t([("", "x", 1, 2), *ROWS])), "has no user"),
    "no number": (lambda t: ratings.from_table(t([("a", "x", "good", 2), *ROWS])), "no number in column 'rating'"),
    "no time": (lambda t: ratings.from_table(t([("a", "x", 1, "noon"), *ROWS])), "write numbers, or dates"),
    "numbers and dates": (
        lambda t: ratings.from_table(t([("a", "x", 1, "2024-01-31"), *ROWS])), "a number, and row 2 has '2024-01-31'"
    ),
    "zones here and there": (
        lambda t: ratings.from_table(t([("a", "x", 1, "2024-01-31"), ("a", "y", 1, "2024-01-31T00:00Z")])),
        "a date with a time zone, and row 2",
    ),
    "days first": (lambda t: ratings.from_table(t([("a", "x", 1, "31/01/2024"), *ROWS])), "such as 2024-01-31"),
    "another catalogue": (
        lambda t: ratings.from_table(t(), ratings.catalogue(t([("1", "x")], "item,title", "i.csv"))), "None of the"
    ),
    "cold of few": (lambda t: ratings.from_table(t(), cold=0.01), "`cold` of 9 items holds none out"),
    "endless time": (lambda t: ratings.from_table(t([("a", "x", 1, "inf"), *ROWS])), "is no time"),
    "nothing left": (lambda t: ratings.from_table(t(), min_rating=9), "No rating reaches"),
    "events without ratings": (
        lambda t: ratings.from_table(t([r[:2] + r[3:] for r in ROWS], "user,item,time"), min_rating=3), "needs a column"
    ),
    "least in words": (lambda t: ratings.from_table(t(), min_rating="3"), "`min_rating` must be a number"),
    "cold in words": (lambda t: ratings.from_table(t(), cold="3"), "`cold` in [0, 1)"),
    "few items": (lambda t: ratings.from_table(t(ROWS[:3])), "No user took more than 3 items"),
    "history": (lambda t: ratings.from_table(t(), history=0), "`history` must be 1 or more"),
    "history of True": (lambda t: ratings.from_table(t(), history=True), "`history` must be 1 or more"),
    "negative seed": (lambda t: ratings.from_table(t(), cold=0.3, seed=-1), "`seed` a whole number, 0 or more"),
    "cold": (lambda t: ratings.from_table(t(), cold=1.0), "`cold` in [0, 1)"),
    "twice": (lambda t: ratings.catalogue(t([("a", "x"), ("a", "y")], "item,title")), "names the item 'a' twice"),
    "no id": (lambda t: ratings.catalogue(t([("", "x"), ("a", "y")], "item,title")), "has no item"),
    "no title": (lambda t: ratings.catalogue(t([("a", "x")], "item,name")), "no column 'title'"),
    "width in words": (lambda t: ratings.module(ratings.from_table(t()), width="64"), "must be 1 or more"),
    "a catalogue's path": (lambda t: ratings.from_table(t(), "items.csv"), "`items` is what `data.ratings.catalogue"),
    "half an item": (lambda t: recommend("abc", k=2.5), "`k` must be a whole number in [1, 3]"),
    "width": (lambda t: ratings.module(ratings.from_table(t()), width=0), "must be 1 or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_each_refusal_is_one_sentence(name, table):
    call, sentence = REFUSED[name]
    with pytest.raises(InputError) as refused:
        call(table)
    message = str(refused.value)
    assert sentence in message and "\n" not in message and message.rstrip()[-1] in ".!?"


# -- what a recommender is compared with


def test_neighbours_and_factors_on_a_matrix_by_hand():
    taken = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    near = recommenders.item_neighbours(taken, 3)
    assert near[0, 2] == pytest.approx(0.5 + 0.5) and near[3, 2] == pytest.approx(0.5) and near[3, 0] == 0
    pairs = np.argwhere(np.kron(taken, np.ones((5, 5), bool)))
    users, items = recommenders.alternating_least_squares(pairs[::-1], 20, 20, width=4, ridge=0.1)
    scores = users @ items.T
    assert scores[0, :10].min() > scores[0, 15:].max()


def test_factors_are_where_their_loss_is_least():
    """Hu, Koren and Volinsky's eq. 3: after a turn of the items no change of an item's factors lowers it."""
    rng = np.random.default_rng(0)
    taken = rng.random((12, 9)) < 0.3
    users, items = recommenders.alternating_least_squares(np.argwhere(taken), 12, 9, width=3, ridge=0.5, trust=4.0)

    def loss(items):
        errors = (1 + 4.0 * taken) * (taken - users @ items.T) ** 2
        return errors.sum() + 0.5 * ((users**2).sum() + (items**2).sum())

    for moved in rng.normal(0, 1e-3, (50, 9, 3)):
        assert loss(items + moved) > loss(items)


def test_ties_are_broken_by_chance():
    orders = recommenders.ranked(np.zeros((200, 50)), np.zeros((200, 50), bool), 1)
    assert len(np.unique(orders)) > 30


def test_recall_and_ndcg_are_those_of_keras_rs():
    keras_rs = pytest.importorskip("keras_rs")
    rng = np.random.default_rng(0)
    scores, relevant = rng.normal(size=(40, 30)), rng.random((40, 30)) < 0.1
    relevant[np.arange(40), rng.integers(30, size=40)] = True
    hidden = rng.random((40, 30)) < 0.2
    hidden &= ~relevant
    hidden[0], relevant[0] = False, np.arange(30) < 13  # more than ten: recall is of ten
    recall, gain = recommenders.among(recommenders.ranked(scores, hidden, 10), relevant)
    seen = np.where(hidden, scores.min() - 1, scores)
    theirs = keras_rs.metrics.NDCG(k=10)
    theirs.update_state(relevant.astype("float32"), seen.astype("float32"))
    assert float(theirs.result()) == pytest.approx(gain.mean(), abs=1e-4)
    counts = relevant.sum(axis=1)
    for i in range(40):
        theirs = keras_rs.metrics.RecallAtK(k=10)
        theirs.update_state(relevant[i : i + 1].astype("float32"), seen[i : i + 1].astype("float32"))
        of_all = float(theirs.result())  # theirs is of all relevant items
        assert recall[i] == pytest.approx(of_all * counts[i] / min(counts[i], 10), abs=1e-6)
    assert counts[0] == 13 and recall[0] > of_all and (counts[1:] <= 10).all()


def test_recall_and_ndcg_of_one_item_a_user_are_those_of_keras_rs():
    keras_rs = pytest.importorskip("keras_rs")
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=(40, 30)), rng.integers(30, size=40)
    relevant = np.eye(30, dtype="float32")[targets]
    figures = by_user(np.argsort(-scores, axis=1)[:, :10], targets)
    for metric, name in ((keras_rs.metrics.NDCG, "ndcg_at_10"), (keras_rs.metrics.RecallAtK, "recall_at_10")):
        theirs = metric(k=10)
        theirs.update_state(relevant, scores.astype("float32"))
        assert 0 < figures[name].mean() == pytest.approx(float(theirs.result()), abs=1e-6)


def test_new_items_are_those_of_the_catalogue_that_was_read(table):
    films = ratings.catalogue(table([(f"i{i}", f"Film {i}") for i in range(9)], "item,title", "items.csv"))
    data = ratings.from_table(table(), films, cold=0.3, seed=1)
    run = SimpleNamespace(task=recommend(films.titles, k=2), data=data, folder=None, evaluation=None)
    with pytest.raises(InputError, match="needs the catalogue that the ratings were read with"):
        new_items(run, dataclasses.replace(films, ids=films.ids[::-1]))
    with pytest.raises(InputError, match="The catalogue has 9 items, and `module` holds 8 vectors"):
        new_items(run, films, ItemVectors(np.eye(8)))


def test_a_history_of_whole_numbers_names_items_by_their_ids():
    assert [row.tolist() for row in numbers_of([["7", "3"], [7, 3], np.array([1, 0])], ["3", "7"])] == [
        [2, 1],
        [2, 1],
        [1, 0],
    ]
    with pytest.raises(InputError, match="'1', which is none of the 2 indexed"):
        numbers_of([[1]], ["3", "7"])


def test_a_row_that_is_wrong_is_named_by_its_line_where_rows_are_no_lines(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,time\n\nu,i,1\n\nu,,2\n")
    with pytest.raises(InputError, match=r"Row 3 \(line 5\) of the ratings has no item"):
        ratings.from_table(tmp_path / "r.csv")
