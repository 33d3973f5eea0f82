"""Plug-ins as users write them, one file each: finetune, save, load, evaluate, export with gates, predict, report.

docs/extending.md is made from them; docs/seams.md says what the seams are.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
import types
from pathlib import Path

import kept_workers
import keras
import numpy as np
import pytest
import worlds

import tlkit
from tlkit.formats import hub_module

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PLUGINS = sorted(HERE.glob("plugin_*.py"))
OUTSIDE = {"numpy", "keras", "tensorflow", "PIL"}  # besides Python's own library
PHASES = (tlkit.Phase(epochs=8, lr=1e-2), tlkit.Phase(epochs=4, lr=1e-3, unfrozen=0.5))
EXACT = ("saved_model", "float32")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


def plugin(name):
    return importlib.import_module(f"plugin_{name}")


def module(folder, model, **card):
    return hub_module.write_keras_model(model, folder / "module", card=card)


def image_module(folder):
    return module(folder, worlds.images(), input_range=[0.0, 1.0])


def journey(folder, handle, task, data, files, formats=EXACT, phases=PHASES):
    """A plug-in's whole way; returns the exported run and what `predict` says of `files`."""
    run = tlkit.finetune(handle, task, data, phases, out=folder / "run", batch_size=8)
    assert run.phases[0].history["loss"][-1] < run.phases[0].history["loss"][0]
    assert run.phases[0].proof["frozen_variables"] > 0 and any((folder / "cache" / "features").iterdir())

    opened = tlkit.load(run.folder, task=task)
    again = tlkit.evaluate(opened.model, opened.task, opened.data.test)
    after = {name: value for name, value in run.scores.items() if not name.endswith("_before")}
    assert again.scores == pytest.approx(after, abs=1e-5)

    exported = tlkit.export(opened, formats=formats)
    assert [row.format for row in exported.exports] == [getattr(format, "name", format) for format in formats]
    assert all(row.passed for row in exported.exports)

    predictions = tlkit.predict(run.folder, files, task=task)
    assert [Path(prediction.file) for prediction in predictions] == list(files)
    assert all(isinstance(score, float) for prediction in predictions for _, score in prediction.scores)
    assert set(json.loads((run.folder / "run.json").read_text())["scores"]) == set(run.scores)
    return exported, predictions


def titles(run):
    return re.findall(r"<h2>(.*?)</h2>", (run.folder / "report.html").read_text())


# (a) to (h)


def test_keypoints(tmp_path):
    """Two feature maps, targets that move with the picture, an answer, a metric and a section of its own."""
    plug = plugin("keypoints")
    data = plug.from_folder(worlds.dots(tmp_path / "dots"), mirror=(0, 1))
    task = plug.keypoints(["red", "blue"], strides=(2, 4), within=0.15)
    run, predictions = journey(tmp_path, image_module(tmp_path), task, data, [tmp_path / "dots" / "059.png"])
    assert {"found", "val_found"} <= set(run.record["phases"][0]["history"]) and "Points" in titles(run)
    assert [text.split()[0] for text, _ in predictions[0].scores] == ["red", "blue"] and run.scores["found"] > 0.2


def test_a_label_for_each_pixel(tmp_path):
    """Targets are files, read when they are needed; the mean overlap is that of the tables of all batches."""
    plug = plugin("pixel_labels")
    data = plug.from_folder(worlds.fields(tmp_path / "fields"))
    files = [tmp_path / "fields" / "images" / "039.png"]
    run, predictions = journey(tmp_path, image_module(tmp_path), plug.segment(["ground", "field"]), data, files)
    assert "Overlap of each label" in titles(run) and run.scores["mean_iou"] > 0.6
    assert sum(share for _, share in predictions[0].scores) == pytest.approx(1)


def test_a_forecast_on_a_modality_of_its_own(tmp_path):
    plug = plugin("forecast")
    data = plug.from_file(worlds.wave(tmp_path / "wave.txt"), worlds.CONTEXT, worlds.HORIZON)
    handle = module(tmp_path, worlds.series())
    run, predictions = journey(tmp_path, handle, plug.forecast(worlds.HORIZON), data, [tmp_path / "wave.txt"])
    assert run.data.test.modality == "plugin_forecast.SERIES" and run.scores["relative_loss"] < 0.5
    assert len(predictions[0].scores) == worlds.HORIZON
    assert 30 < predictions[0].scores[0][1] < 70  # in the unit of the file
    assert "the last 24 of 300 values" in predictions[0].note and "Error by step ahead" in titles(run)


def test_what_is_decided_before_and_behind_training_and_what_clients_send(tmp_path):
    """`begin`, `finish`, `serve`, `describe`: files hold a threshold of validation, and take values in their unit."""
    plug = plugin("alarm")
    data = plug.from_file(worlds.wave(tmp_path / "wave.txt"), worlds.CONTEXT)
    handle = module(tmp_path, worlds.series())
    run, predictions = journey(tmp_path, handle, plug.alarm(), data, [tmp_path / "wave.txt"])
    decided = run.task.made_by[1]
    assert 0.3 < decided["share"] < 0.7 and 0 < decided["threshold"] < 1 and run.task.finish is None
    assert run.scores["accuracy"] > 0.8 and "Alarms" in titles(run)
    ((text, chance),) = predictions[0].scores
    assert text == ("alarm" if chance >= decided["threshold"] else "quiet")
    rows = {row.format: row.signatures for row in run.exports}
    assert rows["saved_model"]["serving_default"]["inputs"]["values"]["shape"] == [None, worlds.CONTEXT]
    assert b"less their mean, in deviations" in (run.folder / "model.tflite").read_bytes()


def test_an_export_format(tmp_path):
    """A run of tlkit's own task, as a file of the plug-in's format, which is judged and answers as the others do."""
    plug = plugin("frozen_graph")
    data, task = stripes()
    formats = ("float32", plug.FROZEN_GRAPH)
    run, predictions = journey(tmp_path, image_module(tmp_path), task, data, [picture(tmp_path)], formats)
    from_graph = tlkit.predict(run.folder, [picture(tmp_path)], format=plug.FROZEN_GRAPH)
    assert (run.folder / "model.pb").is_file()
    assert dict(from_graph[0].scores) == pytest.approx(dict(predictions[0].scores), abs=1e-4)


def test_a_method_of_data(tmp_path):
    """Splits -> Splits: it needs no seam but the records, so it passes from the start."""
    plug = plugin("by_group")
    data, task = stripes(groups=True)
    weighted = plug.by_group(data)
    sizes = {name: data.train.groups.count(name) for name in set(data.train.groups)}
    shares = {name: sum(w for g, w in zip(data.train.groups, weighted.train.weights, strict=True) if g == name)
              for name in sizes}  # fmt: skip
    assert len(set(sizes.values())) > 1 and np.ptp(list(shares.values())) < 1e-4
    run, predictions = journey(tmp_path, image_module(tmp_path), task, weighted, [picture(tmp_path)])
    assert run.record["data"]["fingerprint"] == weighted.fingerprint != data.fingerprint
    assert "Exported files" in titles(run) and len(predictions[0].scores) == 2


def test_a_method_of_tasks(tmp_path):
    plug = plugin("confidence")
    data, task = stripes()
    run, predictions = journey(tmp_path, image_module(tmp_path), plug.less_confident(task), data, [picture(tmp_path)])
    assert run.task.made_by[0] == "plugin_confidence.less_confident" and len(predictions[0].scores) == 2


def test_a_zoo_module(tmp_path):
    plugin("gabor")
    data, task = stripes()
    run, predictions = journey(tmp_path, "zoo:plugin_gabor", task, data, [picture(tmp_path)])
    assert run.record["module"]["handle"] == "zoo:plugin_gabor" and run.scores["accuracy"] > 0.9
    assert predictions[0].scores[0][1] > 0.5


def test_any_number_of_boxes(tmp_path):
    """Ragged targets, and three tensors that come out of one answer."""
    plug = plugin("boxes")
    data = plug.from_folder(worlds.bars(tmp_path / "bars"))
    task = plug.detect(data.labels, strides=(2, 4))
    run, _ = journey(tmp_path, image_module(tmp_path), task, data, [tmp_path / "bars" / "059.png"])
    assert "Boxes of each label" in titles(run) and run.scores["map_50"] > 0.2
    assert len({len(run.data.test.targets[i]) for i in range(len(run.data.test))}) > 1


def test_a_text_is_written_on(tmp_path):
    """The head reads the module's own table, and `predict` calls the file until the text ends."""
    plug = plugin("generator")
    data = plug.from_file(worlds.sentences(tmp_path / "lines.txt"), worlds.LENGTH)
    begun = tmp_path / "begun.txt"
    begun.write_text("a cat s")
    handle = module(tmp_path, worlds.letters(len(plug.LETTERS)))
    phases = (tlkit.Phase(epochs=40, lr=1e-2), tlkit.Phase(epochs=2, lr=1e-3, unfrozen=0.5))
    run, predictions = journey(tmp_path, handle, plug.write_on(), data, [begun], phases=phases)
    ((text, share),) = predictions[0].scores
    assert text.startswith("a cat s") and len(text) > len("a cat s") and 0 < share <= 1
    assert "Bits by step" in titles(run) and run.scores["bits"] < 4.5  # all letters alike: 5.1
    table = [v for v in keras.tree.flatten(run.model.get_layer("backbone").weights) if "table" in v.path]
    assert len(table) == 1 and not any("table" in v.path for v in run.model.trainable_variables)


def test_what_is_exported_is_another_function_than_what_is_trained(tmp_path):
    """A loop over a file's function, the same one for the model, for servers, for phones and in `predict`."""
    plug = plugin("step_by_step")
    data = plug.from_file(worlds.sentences(tmp_path / "lines.txt"), worlds.LENGTH)
    begun = tmp_path / "begun.txt"
    begun.write_text("a cat ")
    handle = module(tmp_path, worlds.letters(len(plug.LETTERS)))
    phases = (tlkit.Phase(epochs=40, lr=1e-2), tlkit.Phase(epochs=2, lr=1e-3, unfrozen=0.5))
    with kept_workers.none_kept():  # the plug-in brings Keras into the worker that checks its files
        run, predictions = journey(tmp_path, handle, plug.finish(), data, [begun], (*EXACT, "dynamic"), phases)
    assert {"accuracy", "exact", "accuracy_before", "exact_before"} == set(run.scores)
    assert run.scores["accuracy_before"] < run.scores["accuracy"] - 0.1
    assert predictions[0].scores[0][0].startswith("a cat ") and len(predictions[0].scores[0][0]) > len("a cat ")


# What the plug-ins may use


def stripes(groups=False):
    """Upright and lying stripes, as tlkit reads arrays of images; task and data."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: worlds.SIZE, : worlds.SIZE]
    targets = np.arange(60) % 2
    waves = [np.sin((x if target else y) * 2 * np.pi / 4 + rng.uniform(0, 6)) for target in targets]
    pictures = [np.clip(128 + 90 * w[..., None] + rng.normal(0, 8, (*w.shape, 3)), 0, 255) for w in waves]
    names = [f"group {i // 3 if i < 30 else i // 6 + 5}" for i in range(60)]  # ten of 3, five of 6
    data = tlkit.data.image.from_arrays(
        np.stack(pictures).astype(np.uint8),
        targets,
        groups=names if groups else None,
        split=(0.6, 0.2, 0.2),
        image_size=worlds.SIZE,
    )
    return data, tlkit.tasks.classify(data.labels)


def picture(folder):
    from PIL import Image

    path = folder / "one.png"
    data, _ = stripes()
    reading = getattr(data.test, "read", None) or data.test.inputs.__getitem__
    Image.fromarray(reading(0)).save(path)
    return path


def test_each_plugin_is_one_file_of_public_names():
    """No plug-in imports a private place or another plug-in, and each name that it takes of tlkit is public there."""
    for path in PLUGINS:
        tree = ast.parse(path.read_text())
        shelves = {"tlkit": "tlkit"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert all(alias.name == "tlkit" or allowed(alias.name) for alias in node.names), (
                    path.name,
                    ast.unparse(node),
                )
            if isinstance(node, ast.ImportFrom):
                assert node.module == "tlkit" or allowed(node.module), (path.name, ast.unparse(node))
                names = node.names if node.module == "tlkit" else []
                shelves |= {alias.asname or alias.name: f"tlkit.{alias.name}" for alias in names}
        chains = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        parts = [chain.partition(".") for chain in chains if re.fullmatch(r"[\w.]+", chain)]
        used = {f"{shelves[first]}.{rest}" for first, _, rest in parts if first in shelves}
        assert used and [name for name in used | set(shelves.values()) if not is_public(name)] == [], path.name


def is_public(name):
    """Whether each step of "tlkit.columns.ArrayColumn" is one of the names that its shelf lists."""
    value = tlkit
    for part in name.split(".")[1:]:
        if not hasattr(value, part) or (isinstance(value, types.ModuleType) and part not in value.__all__):
            return False
        value = getattr(value, part)
    return True


def test_private_names_are_found():
    assert is_public("tlkit.columns.ArrayColumn") and is_public("tlkit.zoo.Card")
    assert not any(map(is_public, ("tlkit.columns.joined", "tlkit.exporting", "tlkit.core.task.Task", "tlkit.Tasks")))


def recorded():
    """Name of each record in docs/seams.md -> its fields, in order; of a protocol none."""
    blocks = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "seams.md").read_text(), re.DOTALL)
    classes = [node for block in blocks for node in ast.parse(block).body if isinstance(node, ast.ClassDef)]
    return {
        record.name: [item.target.id for item in record.body if isinstance(item, ast.AnnAssign)]
        for record in classes
        if "Protocol" not in map(ast.unparse, record.bases)
    }


def test_plugins_make_the_records_that_are_written_down():
    """Each record that a plug-in makes has the fields of docs/seams.md; so have tlkit's own."""
    signatures, constructed = recorded(), set()
    for path in PLUGINS:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func).removeprefix("tlkit.")
            if name in signatures and ast.unparse(call.func) != name:
                constructed.add(name)
                assert {keyword.arg for keyword in call.keywords} <= set(signatures[name]), (
                    path.name,
                    ast.unparse(call),
                )
                assert len(call.args) + len(call.keywords) <= len(signatures[name]), (path.name, ast.unparse(call))
    assert constructed >= {"Answer", "Examples", "Format", "Modality", "Objective", "Opened", "Section", "Task"}
    for name in signatures.keys() & set(tlkit.__all__):
        member = getattr(tlkit, name)
        names = getattr(member, "_fields", None) or [field.name for field in dataclasses.fields(member)]
        assert list(names) == signatures[name], member


def allowed(name):
    import sys

    top = name.partition(".")[0]
    return top in OUTSIDE or top in sys.stdlib_module_names


def test_each_plugin_needs_one_file():
    """One file is the plug-in's, and nothing of tlkit knows it."""
    tests = Path(__file__).read_text()
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tlkit").rglob("*.py"))
    for path in PLUGINS:
        name = path.stem.removeprefix("plugin_")
        assert f'plugin("{name}")' in tests, f"{path.name} goes on no journey"
        needed = [path, *HERE.glob(f"plugin_{name}/**/*"), *HERE.glob(f"{name}.*")]
        assert len(needed) == 1 and path.stem not in code
