"""A run's folder: what was saved is what is opened, and it exports without the data it was trained on."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import socket
import sys

import numpy as np
import pytest
from changing import decoded
from fitting import LABELS, SIZE, data, image
from PIL import Image

import tlkit
from tlkit.cli import commands
from tlkit.core.errors import InputError
from tlkit.core.examples import Pipeline
from tlkit.core.export_table import table
from tlkit.core.progress import quiet
from tlkit.core.run import Phase, caution
from tlkit.exporting import predict
from tlkit.runs import folder as run_folder
from tlkit.tasks.recording import as_recorded

pytestmark = pytest.mark.usefixtures("module_cache")
BLACK = Pipeline().then("image", version=1, size=[32, 32], background=[0, 0, 0], white=None)


@pytest.fixture(scope="module")
def run(module_folder, tmp_path_factory):
    splits = data()
    parts = {name: dataclasses.replace(getattr(splits, name), pipeline=BLACK) for name in ("train", "val", "test")}
    return tlkit.finetune(
        tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0)),
        tlkit.tasks.classify(LABELS),
        dataclasses.replace(splits, **parts),
        (Phase(epochs=2, lr=3e-3), Phase(epochs=1, lr=1e-4, unfrozen=1.0)),
        out=tmp_path_factory.mktemp("run"),
        image_size=(SIZE, SIZE),
        progress=quiet,
    )


@pytest.fixture(scope="module")
def exported(run):
    """The run's folder, with a TFLite file."""
    tlkit.export(run.folder, formats=("float32",), progress=quiet)
    return run.folder


def test_an_opened_run_is_the_one_that_was_saved(run):
    again = tlkit.load(run.folder)
    x = np.stack([run.data.test.inputs[i] for i in range(len(run.data.test))])
    assert np.array_equal(run.model.predict(x, verbose=0), again.model.predict(x, verbose=0))
    assert again.task.labels == LABELS and again.scores == again.record["scores"] == dict(run.scores)
    assert again.data.test.pipeline == run.data.test.pipeline
    assert (
        not run.model.compiled and not again.model.compiled
    )  # Keras alone opens it: no optimizer, loss or metric of ours
    assert [again.data.test.ids[0], again.data.train.ids[0]] == [run.data.test.ids[0], run.data.train.ids[0]]


def test_a_run_that_was_saved_before_examples_had_columns_is_exported_as_it_was(exported, tmp_path):
    folder = tmp_path / "earlier"
    shutil.copytree(exported, folder)
    data = tlkit.load(folder).data
    arrays = {"labels": np.array(LABELS)}
    for name, part in (("train", data.train), ("test", data.test)):
        arrays |= {
            f"{name}.ids": np.array(part.ids),
            f"{name}.digests": np.array(part.digests),
            f"{name}.targets": part.target_array,
            f"{name}.recipe": np.array("image v1 size=32x32 resize=stretch,bilinear,antialias background=0,0,0"),
            f"{name}.texts": np.array((), dtype=str),
            f"{name}.x": part.inputs.take(np.arange(len(part))),
        }
    np.savez_compressed(folder / "examples.npz", **arrays)
    again = tlkit.load(folder)
    assert (again.data.test.ids, again.data.test.digests) == (data.test.ids, data.test.digests)
    assert again.data.test.modality == "image" and again.data.test.pipeline.get("image")["background"] == [0, 0, 0]
    (row,) = tlkit.export(again, formats=("float32",), progress=quiet).exports
    assert row.passed


def test_an_export_of_an_opened_run_reads_files_as_they_were_trained_on(run, exported, tmp_path):
    seen = np.dstack([image(1, np.random.default_rng(0)), np.full((SIZE, SIZE), 255, np.uint8)])
    seen[:, SIZE // 2 :, 3] = 0  # half of it is transparent, so black
    Image.fromarray(seen, "RGBA").save(tmp_path / "half.png")
    black = seen[..., :3] * (seen[..., 3:] > 0)
    expected = decoded(run.task, run.model.predict(black[None], verbose=0))[0]
    (prediction,) = predict(exported, [tmp_path / "half.png"], top=3)
    assert dict(prediction.scores) == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-4)


@pytest.mark.parametrize("split", ["val", "train"])
def test_without_test_examples_files_are_checked_on_others_and_all_say_so(module_folder, tmp_path, split, capsys):
    whole, lines = data(), []
    nothing = whole.test.subset([])
    splits = dataclasses.replace(whole, test=nothing, val=nothing if split == "train" else whole.val)
    run = tlkit.finetune(
        tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0)),
        tlkit.tasks.classify(LABELS), splits, (Phase(epochs=1, lr=3e-3),), out=tmp_path, image_size=(SIZE, SIZE),
        progress=dataclasses.replace(quiet, line=lines.append),
    )  # fmt: skip
    assert run.evaluation is None and run.scores == {}
    assert any(line.startswith("note: there are no test examples") for line in lines)
    formats, sentence = ("saved_model", "float32", "int8"), caution(split)
    done = tlkit.export(run, formats=formats, progress=dataclasses.replace(quiet, line=lines.append))
    assert f"note: {sentence}" in lines and sentence in table([dataclasses.asdict(row) for row in done.exports])
    assert {row.checked_on for row in done.exports} == {split} and all(row.passed for row in done.exports)
    assert {row["checked_on"] for row in json.loads((tmp_path / "run.json").read_text())["exports"]} == {split}
    assert sentence in (tmp_path / "report.html").read_text()
    loaded = tlkit.load(tmp_path).data
    assert len(getattr(loaded, split)) == len(getattr(splits, split)) and not len(loaded.test)
    assert commands.main(["export", str(tmp_path), "--formats", "float32"]) == 0  # from the folder alone
    assert sentence in " ".join(capsys.readouterr().out.split())


# -- damaged folders

DAMAGE = {
    "missing": None,
    "empty": b"",
    "binary": bytes(range(256)),
    "list": b"[]",
    "null": b"null",
    "foreign": b"{}",
    "deep": b"[" * 100_000,
    "pickled": pickle.dumps({"a": 1}),
    "cut": "cut",
    "folder": "folder",
}


def damage(path, kind):
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif DAMAGE[kind] is not None:
        path.write_bytes(content[: len(content) // 2] if kind == "cut" else DAMAGE[kind])


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["run.json", "task.json", "examples.npz", "model.keras"])
def test_a_damaged_folder_is_told_by_the_file(run, tmp_path, capsys, name, kind):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    damage(folder / name, kind)
    with pytest.raises(InputError, match=name) as caught:
        tlkit.load(folder)
    assert "--fresh" in str(caught.value) or (name, kind) == ("run.json", "missing")
    assert commands.main(["export", str(folder), "--formats", "float32"]) == 2
    assert name in capsys.readouterr().err


def test_a_folder_of_two_runs_is_not_opened(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    task = json.loads((folder / "task.json").read_text())
    for labels, words in ((["a", "b"], "gives 3 outputs, and the task has 2 names"), (["a", "b", "c"], "other labels")):
        task["arguments"]["labels"] = labels
        (folder / "task.json").write_text(json.dumps(task))
        with pytest.raises(InputError, match=words):
            tlkit.load(folder)
    task["arguments"] = {"labels": {"a": 1}, "nonsense": 3}
    (folder / "task.json").write_text(json.dumps(task))
    with pytest.raises(InputError, match=r"task\.json does not make a task"):
        tlkit.load(folder)


def test_an_answer_may_have_other_labels_than_its_data(run, tmp_path):
    fewer = dataclasses.replace(run, data=dataclasses.replace(run.data, labels=LABELS[1:]))
    folder = run_folder.save(fewer, tmp_path / "run").folder
    opened = tlkit.load(folder)
    assert opened.task.labels == LABELS and opened.data.labels == LABELS[1:]
    shutil.copy(run.folder / "examples.npz", folder)
    with pytest.raises(InputError, match=r"examples\.npz has other labels than .*run\.json: they are of two runs"):
        tlkit.load(folder)


# -- one's own task


def own_task(labels):
    return dataclasses.replace(tlkit.tasks.classify(labels), made_by=(f"{__name__}.own_task", {"labels": list(labels)}))


def deciding_task(labels, threshold=0.5):
    made_by = (f"{__name__}.deciding_task", {"labels": list(labels), "threshold": threshold})
    return dataclasses.replace(own_task(labels), made_by=made_by, finish=lambda evaluation: deciding_task(labels, 0.25))


def test_what_validation_decided_is_opened_with_ones_own_task(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    plain = {"task": f"{__name__}.deciding_task", "arguments": {"labels": list(LABELS), "threshold": 0.25}}
    (folder / "task.json").write_text(json.dumps(plain))
    assert tlkit.load(folder, task=deciding_task(LABELS)).task.made_by[1]["threshold"] == 0.25
    never = dataclasses.replace(deciding_task(LABELS, 0.75), finish=None)
    with pytest.raises(InputError, match=r"was made with threshold=0\.25, not 0\.75: make `task` with"):
        tlkit.load(folder, task=never)
    plain["arguments"]["threshold"] = {"recipe": ["os.getcwd", {}]}  # nothing that the file names is called
    (folder / "task.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="was made with threshold="):
        tlkit.load(folder, task=deciding_task(LABELS))


@pytest.mark.parametrize(
    ("make", "name", "other"),
    [
        (lambda **further: tlkit.tasks.forecast(3, **further), "zero_shot", True),
        (lambda **further: tlkit.tasks.recommend(["a", "b"], 1, **further), "scores", False),
    ],
)
def test_a_recipe_without_a_newer_argument_has_its_default(make, name, other):
    task = make()
    path, arguments = task.made_by
    older = (path, {key: value for key, value in arguments.items() if key != name})
    assert as_recorded(task, older) is task
    with pytest.raises(InputError, match=rf"was made with {name}=(False|None), not {other}: make `task` with"):
        as_recorded(make(**{name: other}), older)


def test_a_run_of_an_earlier_version_is_opened_with_a_task(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    plain = json.loads((folder / "task.json").read_text())
    required = {"labels": plain["arguments"]["labels"]}
    assert required.keys() < plain["arguments"].keys()
    (folder / "task.json").write_text(json.dumps({**plain, "arguments": required}))
    assert tlkit.load(folder, task=tlkit.tasks.classify(LABELS)).task.labels == LABELS


def test_ones_own_task_can_be_opened(run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (folder / "task.json").write_text(json.dumps({"task": f"{__name__}.own_task", "arguments": {"labels": LABELS}}))
    with pytest.raises(InputError, match=r"task.json .*is not part of tlkit: .*`task=`.*trust=True.*--trust"):
        tlkit.load(folder)
    assert tlkit.load(folder, task=own_task(LABELS)).task.labels == LABELS
    assert tlkit.load(folder, trust=True).task.made_by[0] == f"{__name__}.own_task"
    monkeypatch.setenv("TLKIT_TRUST", "1")
    assert tlkit.load(folder).task.labels == LABELS
    with pytest.raises(
        InputError, match=r"was made with labels=\['dark', 'light', 'red'\], not \['dark', 'light'\]: make"
    ):
        tlkit.load(folder, task=own_task(LABELS[:2]))
    moved = dataclasses.replace(own_task(LABELS[:2]), made_by=("elsewhere.own_task", {}))
    with pytest.raises(InputError, match="gives 3 outputs, and the task has 2 names"):
        tlkit.load(folder, task=moved)
    with pytest.raises(InputError, match="`task` must be a Task"):
        tlkit.load(folder, task="classify")


OWN_KIND = """
import dataclasses
import tlkit

def prepare(data, layer, *, paper="white"):
    return dataclasses.replace(data, notes=(*data.notes, f"drawn on {paper} paper"))

DRAWN = tlkit.Modality("own_drawings.DRAWN", prepare, show=lambda examples, index: f"drawing {index}")
"""


def test_ones_own_modality_is_imported_with_trust_and_there_when_it_is_exported(run, tmp_path, monkeypatch):
    """In a process that knows nothing of it, as the second one of a user is."""
    (tmp_path / "own_drawings.py").write_text(OWN_KIND)
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = (run.data.train, run.data.val, run.data.test)
    drawn = tlkit.Splits(*(dataclasses.replace(part, modality="own_drawings.DRAWN") for part in parts), labels=LABELS)
    folder = tmp_path / "run"
    import own_drawings  # noqa: F401

    tlkit.save(dataclasses.replace(run, data=drawn, exports=()), folder)
    monkeypatch.delitem(sys.modules, "own_drawings")
    stranger = tlkit.load(folder)
    with pytest.raises(InputError, match=r"import `own_drawings` first, or pass `trust=True` to `load` or `predict`"):
        tlkit.export(stranger, formats=("float32",), progress=quiet)
    (row,) = tlkit.export(tlkit.load(folder, trust=True), formats=("float32",), progress=quiet).exports
    assert row.passed and "drawing 0" in (folder / "report.html").read_text()
    monkeypatch.delitem(sys.modules, "own_drawings")
    monkeypatch.setenv("TLKIT_TRUST", "1")  # as --trust sets it
    assert tlkit.export(folder, formats=("float32",), progress=quiet).exports[0].passed
    monkeypatch.delitem(sys.modules, "own_drawings")


def test_settings_of_ones_own_modality_are_given_to_finetune(module_folder, tmp_path, monkeypatch):
    (tmp_path / "own_drawings.py").write_text(OWN_KIND)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_drawings

    splits, lines = data(), []
    kind = own_drawings.DRAWN.name
    parts = (dataclasses.replace(part, modality=kind) for part in (splits.train, splits.val, splits.test))
    drawn = tlkit.Splits(*parts, labels=LABELS)

    def tuned(**options):
        layer = tlkit.HubLayer(module_folder("keras3_hub"), name="backbone", input_range=(0.0, 1.0))
        watched = dataclasses.replace(quiet, line=lines.append)
        return tlkit.finetune(layer, tlkit.tasks.classify(LABELS), drawn, (Phase(epochs=1, lr=3e-3),),
                              out=tmp_path / "run", progress=watched, **options)  # fmt: skip

    for words, options in {
        "`papre` is not for data of the modality 'own_drawings.DRAWN'; they take paper": {"settings": {"papre": 1}},
        "`length` is given twice": {"length": 3, "settings": {"length": 4}},
        "`settings` must be a dict": {"settings": "paper"},
    }.items():
        with pytest.raises(InputError, match=words):
            tuned(**options)
    tuned(settings={"paper": "grey"})
    assert "note: drawn on grey paper" in lines
    monkeypatch.delitem(sys.modules, "own_drawings")


# -- mistakes that are told before any work


def test_finetune_checks_where_it_writes_before_it_reads(run, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "run.json").mkdir(parents=True)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "checkpoints").touch()
    wrong = {
        "something else lies there": {"out": tmp_path / "file"},
        "run.json is a folder": {"out": tmp_path / "taken"},
        "checkpoints is a file": {"out": tmp_path / "blocked"},
        "`batch_size` must be 1 or more": {"batch_size": 0},
        "`batch_size` must be a whole": {"batch_size": 1.5},
        "`seed` must be a whole": {"seed": "0"},
        "`cache` must be one of": {"cache": "maybe"},
        "`phases` is empty": {"phases": ()},
        "`phases` must hold Phases": {"phases": (3,)},
    }
    for words, options in wrong.items():
        with pytest.raises(InputError, match=words):
            tlkit.finetune("zoo:none", run.task, run.data, **{"out": tmp_path / "new", **options})
        assert not (tmp_path / "new").exists()


def test_export_checks_its_arguments_before_it_opens_the_run(tmp_path):
    for words, options in {
        "`formats` must be some of": {"formats": ("nonsense",)},
        r"Received: formats=\[\]": {"formats": ()},
        "`max_drop` of Gates must lie in": {"max_drop": float("nan")},
        "is no run's folder": {},
    }.items():
        with pytest.raises(InputError, match=words):
            tlkit.export(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_a_file_is_told_first(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"file is a file\. Let TLKIT_CACHE name a folder"):
        tlkit.finetune("zoo:none", run.task, run.data, out=tmp_path / "run")


# -- predict


def test_predict_answers_for_the_good_files_and_names_the_others(exported, tmp_path, capsys):
    Image.fromarray(image(1, np.random.default_rng(0))).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:500])
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    names = ["bad.png", "good.png", "cut.png", "pipe", "folder", "socket", "none.png", "/dev/zero"]
    assert commands.main(["predict", str(exported), *(str(tmp_path / name) for name in names)]) == 2
    shown = capsys.readouterr()
    assert [line for line in shown.out.splitlines() if line[:1] == "/"] == [str(tmp_path / "good.png")]
    assert len(shown.err.splitlines()) == 7 and all(name in shown.err for name in names if name != "good.png")
    assert commands.main(["predict", str(exported), str(tmp_path / "good.png")]) == 0


def test_predict_tells_of_a_damaged_model(exported, tmp_path, capsys):
    whole = (exported / "model.tflite").read_bytes()
    Image.fromarray(image(1, np.random.default_rng(0))).save(tmp_path / "good.png")
    model, archive = tmp_path / "model.tflite", whole.index(b"PK\3\4")
    for content in (b"", whole[:1000], whole[:-30], whole[archive:], bytes(100) + whole[100:], b"TFL3" * 1000):
        model.write_bytes(content)
        assert commands.main(["predict", str(model), str(tmp_path / "good.png")]) == 2
        told = capsys.readouterr().err
        assert "model.tflite" in told and "does not know" not in told and told.count("\n") == 1
    model.unlink()
    os.mkfifo(model)
    assert commands.main(["predict", str(model), str(tmp_path / "good.png")]) == 2
