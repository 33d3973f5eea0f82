"""Tables with columns of texts and images: through pretrained modules into one head, and out into files."""

from __future__ import annotations

import csv
import json

import modules
import numpy as np
import pytest
from fitting import same, stopped_after
from PIL import Image

import tlkit
from tlkit import methods, tasks
from tlkit.core.errors import InputError
from tlkit.modalities.image import read as read_image
from tlkit.modalities.prepare import prepare

COUNT = 240
WORDS = [piece for piece in modules.PIECES if piece.isalpha()]
FILES = ("saved_model", "float32", "float16")
TEXTS = ["title", "review text"]
PLAN = tlkit.plans.two_phase(epochs=(25, 2), lr=(1e-2, 1e-3), unfrozen=0.3)


def rows(count=COUNT, seed=0):
    """A rule that takes both: "good" or "bad" in the text, and an age."""
    rng = np.random.default_rng(seed)
    grades = rng.choice(["good", "bad"], count)
    age = rng.normal(40, 10, count).round(1)
    filler = rng.choice(WORDS[2:], count)
    votes = (grades == "good").astype(int) * 2 + (age > 40)
    return {
        "age": age.tolist(),
        "department": rng.choice(["tops", "dresses"], count).tolist(),
        "title": [None if i % 9 == 0 else "The film!" for i in range(count)],
        "review text": [f"{grade} {grade} {grade} {more}" for grade, more in zip(grades, filler, strict=True)],
        "label": np.where(votes >= 2, "yes", "no").tolist(),
    }


def read(**options):
    return tlkit.data.table.from_frame(rows(), texts=TEXTS, **options)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return modules.write_bert(tmp_path_factory.mktemp("modules") / "bert")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return modules.write_keras3_hub(tmp_path_factory.mktemp("modules") / "net")


def head(data):
    return tasks.classify(data.labels, hidden=(16,), dropout=0.0)


@pytest.fixture(scope="module")
def run(bert, tmp_path_factory):
    data = read()
    handle = tlkit.data.table.module(data, texts=tlkit.HubLayer(bert), bins=8)
    out = tmp_path_factory.mktemp("runs") / "reviews"
    trees = methods.trees(data, tasks.classify(data.labels))
    tuned = tlkit.finetune(handle, head(data), data, PLAN, out=out)
    return tlkit.export(methods.beside_trees(tuned, trees), formats=FILES)


def test_texts_and_columns_meet_in_one_head(run):
    assert run.scores["auc"] > 0.9 > run.scores["auc_trees"]  # trees see half of the rule
    assert any("Trees did not read title, review text." in note for note in run.data.notes)
    frozen, thawed = (phase.had for phase in run.phases)
    assert frozen["unfrozen"] == 0 and frozen["front"].startswith("computed once")
    assert 0 < thawed["unfrozen"] <= 0.3 and thawed["front"].startswith("computed once")
    assert all(phase.proof for phase in run.phases)


def test_every_file_passes_its_gate(run):
    assert [row.passed for row in run.exports] == [True] * len(FILES)
    assert run.exports[1].largest_difference < 1e-5
    served = run.exports[0].signatures["serving_default"]["inputs"]
    assert served["review_text"] == {"shape": [None, 1], "dtype": "string"} and "input_word_ids" not in served
    taken = run.exports[1].signatures["serving_default"]["inputs"]
    assert taken["input_word_ids"]["dtype"] == "int32" and "review_text" not in taken


def test_a_table_of_strings_is_predicted_as_the_model_says(run, tmp_path):
    cells = rows(12, seed=7)
    names = ["age", "department", *TEXTS]
    with (tmp_path / "few.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows(zip(*([c or "" for c in cells[name]] for name in names), strict=True))
    predictions = tlkit.predict(run, [tmp_path / "few.csv"])
    few = tlkit.data.table.from_frame(cells, like=read(), split=(1, 0, 0))
    few = prepare(few, run.model.get_layer("backbone")).train
    order = np.argsort([int(name.split()[1]) for name in few.ids])
    expected = run.task.decode(run.model.predict_on_batch(tensors(few.inputs.take(order))))["probabilities"]
    for prediction, shares in zip(predictions, np.asarray(expected), strict=True):
        assert dict(prediction.scores)["yes"] == pytest.approx(shares[list(run.task.labels).index("yes")], abs=1e-5)
    assert predictions[0].note == "missing: title" and not predictions[1].note


def tensors(batch):
    import tensorflow as tf

    return {name: tf.constant(values) for name, values in batch.items()}


def test_a_long_text_and_a_row_without_text_are_told(run, tmp_path):
    row = {"age": 50, "department": "tops", "title": "", "review text": "good " * 60}
    (tmp_path / "row.json").write_text(json.dumps(row))
    (prediction,) = tlkit.predict(run, [tmp_path / "row.json"])
    assert "cut to 16 of 62 word pieces" in prediction.note and "missing: title" in prediction.note
    (tmp_path / "lacking.json").write_text(json.dumps({"age": 50, "department": "tops", "title": "film"}))
    with pytest.raises(InputError, match="lacks the column 'review text'"):
        tlkit.predict(run, [tmp_path / "lacking.json"])


def test_a_run_opens_again_exports_again_and_is_shown(run):
    again = tlkit.load(run.folder)
    assert again.scores["auc"] == pytest.approx(run.scores["auc"])
    assert [row.passed for row in tlkit.export(again, formats=("saved_model", "float32")).exports][:2] == [True, True]
    page = (run.folder / "report.html").read_text()
    assert "<th>review text</th><td>good " in page or "<th>review text</th><td>bad " in page


def test_a_thawed_module_is_published_with_its_vocabulary(run, bert, tmp_path):
    folder = tlkit.publish(run, tmp_path / "published")
    layer = tlkit.HubLayer(folder)
    assert layer.tokenizer.vocabulary == tlkit.HubLayer(bert).tokenizer.vocabulary
    batch = tensors(run.data.test.inputs.take(np.arange(4)))
    np.testing.assert_allclose(layer(batch), run.model.get_layer("backbone")(batch), atol=1e-6)
    part = tlkit.data.table.from_frame(rows(120, seed=3), like=folder)
    tuned = tlkit.finetune(folder, head(part), part, tlkit.plans.feature_extraction(1), out=tmp_path / "run")
    assert set(tuned.data.test.inputs.spec) == set(run.data.test.inputs.spec)
    other = tlkit.data.table.from_frame(rows(120), texts=["review text"], leave_out=["title"])
    with pytest.raises(InputError, match="reads the texts of title, review text"):
        tlkit.finetune(folder, head(other), other, out=tmp_path / "other")


def test_a_killed_fit_goes_on_to_the_same_bits(bert, tmp_path):
    data = read()
    handle = tlkit.data.table.module(data, texts=tlkit.HubLayer(bert), bins=4)
    plan = tlkit.plans.two_phase(epochs=(1, 2), unfrozen=0.3)

    def finetuned(name):
        return tlkit.finetune(handle, tasks.classify(data.labels), data, plan, out=tmp_path / name)

    whole = finetuned("whole")
    stopped_after(2, lambda: finetuned("stopped"))
    again = finetuned("stopped")
    assert [dict(phase.history) for phase in again.phases] == [dict(phase.history) for phase in whole.phases]
    assert same(map(np.array, again.model.variables), map(np.array, whole.model.variables))


def test_what_a_module_of_texts_must_be(bert, net):
    data = read()
    with pytest.raises(InputError, match="'title' holds texts: say which module reads them"):
        tlkit.data.table.module(data)
    with pytest.raises(InputError, match="cannot read the texts of a table"):
        tlkit.data.table.module(data, texts=tlkit.HubLayer(net))
    with pytest.raises(InputError, match=r"`texts` must be a tlkit\.HubLayer: texts=tlkit\.HubLayer\('zoo:minilm"):
        tlkit.data.table.module(data, texts="zoo:minilm-l6-v2")
    with pytest.raises(InputError, match="`hidden` must be left out beside texts and images"):
        tlkit.data.table.module(data, texts=tlkit.HubLayer(bert), hidden=(8,))
    plain = tlkit.data.table.from_frame(rows(), leave_out=TEXTS)
    with pytest.raises(InputError, match=r"No column of the data holds texts: read them with texts=\[\.\.\.\]"):
        tlkit.data.table.module(plain, texts=tlkit.HubLayer(bert))
    with pytest.raises(InputError, match="`length` is for tables with columns of texts"):
        tlkit.finetune(tlkit.data.table.module(plain), tasks.classify(plain.labels), plain, length=8)
    with pytest.raises(InputError, match="leave out the column 'title'"):
        tlkit.table_check(data, data, tasks.classify(data.labels))


def test_a_column_of_texts_is_recognised_and_said(tmp_path):
    long = [" ".join(np.random.default_rng(i).choice(WORDS, 12)) for i in range(40)]
    data = tlkit.data.table.from_frame({"age": list(range(0, 80, 2)), "story": long, "label": ["a", "b"] * 20})
    assert any("texts=['story'] lets a module of texts read it" in note for note in data.notes)


# -- images


def pictures(folder, count=COUNT, seed=0):
    """Rows whose label is red or blue in the image, and an age: a file a row, one cell empty, two files broken."""
    rng = np.random.default_rng(seed)
    red, age = rng.random(count) < 0.5, rng.normal(40, 10, count).round(1)
    (folder / "photos").mkdir(parents=True)
    for i in range(count):
        pixels = np.full((40, 30, 3), 60, np.uint8)
        pixels[..., 0 if red[i] else 2] = rng.integers(180, 255)
        Image.fromarray(pixels).save(folder / "photos" / f"{i}.png")
    cells = [f"photos/{i}.png" for i in range(count)]
    cells[3] = ""
    (folder / "photos" / "5.png").write_bytes(b"no image at all")
    cells[7] = "photos/gone.png"
    label = np.where(red & (age > 33), "yes", "no")
    return {"photo": cells, "age": age.tolist(), "label": label.tolist()}


def written(folder, columns):
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(zip(*columns.values(), strict=True))
    return folder / "table.csv"


def test_images_in_cells(net, tmp_path):
    table = written(tmp_path, pictures(tmp_path))
    data = tlkit.data.table.from_table(table, images=["photo"])
    assert {(quarantined.name, quarantined.reason.split(":")[0]) for quarantined in data.quarantine} == {
        ("row 7", "'photos/5.png'"),
        ("row 9", "'photos/gone.png'"),
    }
    assert any("Cells are missing in 1 column: photo 0.4%." in note for note in data.notes)
    handle = tlkit.data.table.module(data, images=tlkit.HubLayer(net, input_range=(0, 1)), bins=8)
    tuned = tlkit.finetune(
        handle, head(data), data, tlkit.plans.two_phase(epochs=(25, 2), lr=(1e-2, 1e-3)), out=tmp_path / "run"
    )
    assert tuned.scores["auc"] > 0.85
    assert tuned.phases[1].had["front"].startswith("computed once") and tuned.phases[1].had["unfrozen"] < 1
    tuned = tlkit.export(tuned, formats=("saved_model", "float32"))
    assert [row.passed for row in tuned.exports] == [True, True]
    assert tuned.exports[0].signatures["serving_default"]["inputs"]["photo"]["shape"] == [None, None, None, 3]
    (tmp_path / "few.csv").write_text("photo,age\nphotos/0.png,50\n,50\n")
    predictions = tlkit.predict(tuned, [tmp_path / "few.csv"])
    assert [prediction.note for prediction in predictions] == ["", "missing: photo"]
    (tmp_path / "bad.csv").write_text("photo,age\nphotos/gone.png,50\n")
    with pytest.raises(InputError, match=r"gone\.png' cannot be read as an image"):
        tlkit.predict(tuned, [tmp_path / "bad.csv"])
    assert 'src="data:image/jpeg;base64,' in (tuned.folder / "report.html").read_text()


def test_images_of_12_bits_in_cells_are_read_as_such_and_asked_with_the_same_white(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (20, 8, 8)).astype(np.uint16)
    for i, picture in enumerate(values):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    cells = {"photo": [f"{i}.png" for i in range(20)], "age": list(range(20)), "label": ["a", "b"] * 10}
    data = tlkit.data.table.from_table(written(tmp_path, cells), images=["photo"])
    assert any("are read as 12 bits, with 4,095 as white" in note for note in data.notes)
    row = int(data.train.ids[0].split()[1]) - 2
    np.testing.assert_array_equal(data.train.inputs[0]["photo"][..., 0], np.rint(values[row] * (255 / 4095)))
    asked, odd = read_image(tmp_path / f"{row}.png", 8, 8, data.train.pipeline)
    np.testing.assert_array_equal(asked, data.train.inputs[0]["photo"])
    dark = Image.fromarray(values[0] // 32)
    dark.save(tmp_path / "dark.png")
    assert odd == "" and "nearly black" in read_image(tmp_path / "dark.png", 8, 8, data.train.pipeline)[1]
    again = tlkit.data.table.from_table(written(tmp_path, cells | {"photo": ["dark.png"] * 20}), images=["photo"])
    alike = tlkit.data.table.from_table(written(tmp_path, cells | {"photo": ["dark.png"] * 20}), like=data)
    assert again.train.pipeline.get("image")["white"] == 255
    assert alike.train.pipeline.get("image") == data.train.pipeline.get("image")


def test_texts_and_images_together_thaw_from_the_top(bert, net, tmp_path):
    cells = pictures(tmp_path, 60) | {"text": ["good film", "bad plot"] * 30}
    data = tlkit.data.table.from_table(written(tmp_path, cells), images=["photo"], texts=["text"])
    layers = {"texts": tlkit.HubLayer(bert), "images": tlkit.HubLayer(net, input_range=(0, 1))}
    handle = tlkit.data.table.module(data, **layers, bins=8)
    layer = tlkit.HubLayer(handle)
    cut = layer.cut_for(0.2)
    assert cut.besides and 0.8 <= cut.depth < 1  # inside the module of texts, beside the vector of the image
    plan = tlkit.plans.two_phase(epochs=(3, 2), unfrozen=0.2)
    tuned = tlkit.finetune(handle, head(data), data, plan, out=tmp_path / "run", batch_size=16)
    assert tuned.phases[1].had["unfrozen"] == pytest.approx(1 - cut.depth, abs=1e-3)
    assert tuned.phases[1].had["front"].startswith("computed once")
    assert [row.passed for row in tlkit.export(tuned, formats=("float32",)).exports] == [True]


def test_a_table_has_one_column_of_images(tmp_path):
    cells = pictures(tmp_path, 20)
    cells["other"] = cells["photo"]
    with pytest.raises(InputError, match=r"one column of images\. Received: photo, other"):
        tlkit.data.table.from_table(written(tmp_path, cells), images=["photo", "other"])
    broken = {"photo": ["photos/none.png"] * 4, "age": [1, 2, 3, 4], "label": ["a", "b"] * 2}
    with pytest.raises(InputError, match="no usable example"):
        tlkit.data.table.from_table(written(tmp_path, broken), images=["photo"])
