"""tune: trials are what fits alone would have been, test examples decide nothing, and a stopped search goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import fitting
import numpy as np
import pytest
import shared_fits

import tlkit
from tlkit.choosing import tuning
from tlkit.cli import commands
from tlkit.core.columns import ArrayColumn
from tlkit.core.errors import InputError, TrainingError
from tlkit.core.progress import Progress, quiet
from tlkit.core.trials import Keep, Trial, trying
from tlkit.features import engines
from tlkit.runs import invocation
from tlkit.training import fit as fits

pytest.importorskip("optuna")
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("module_cache")]

SPACE = {"lr": tlkit.Range(1e-3, 1e-1, log=True), "unfrozen": [0.0, 0.5], "epochs": tlkit.Range(2, 4)}
TRIALS = 8


@pytest.fixture(scope="module")
def adapt(module_folder, tmp_path_factory):
    """A function of settings that makes a run; `adapt.calls` holds its arguments."""
    module, out = str(module_folder("keras3_hub")), tmp_path_factory.mktemp("tuned")
    data = fitting.data()

    def run(lr: float, unfrozen: float = 0.5, epochs: int = 3, data=data, dropout: float = 0.3, out=out):
        run.calls.append((lr, unfrozen, epochs))
        head = tlkit.Phase(epochs=epochs, lr=lr)
        phases = [head, tlkit.Phase(epochs=2, lr=lr / 10, unfrozen=unfrozen, warmup=0.2, cosine=True)]
        task = tlkit.tasks.classify(fitting.LABELS, hidden=(8,), dropout=dropout)
        return tlkit.finetune(
            module, task, data, phases if unfrozen else [head], out=out, batch_size=8, input_range=(0.0, 1.0),
            progress=quiet,
        )  # fmt: skip

    run.calls, run.out, run.module = [], out, module
    return run


@pytest.fixture(scope="module")
def searched(adapt):
    lines = []
    run = tlkit.tune(adapt, SPACE, trials=TRIALS, progress=Progress(lines.append, quiet.bar))
    return run, lines


def figure_of(adapt, keep, **settings):
    trial = Trial(keep, lambda epoch, merit: None)
    with trying(trial):
        run = adapt(**settings)
    return trial.best, run


def test_the_run_of_the_best_trial_is_finished_like_any_other(searched, adapt):
    run, lines = searched
    search = run.record["search"]
    best = search["trials"][search["best"]]
    judged = [trial["figure"] for trial in search["trials"] if trial["state"] == "complete"]
    assert len(search["trials"]) == TRIALS and best["figure"] == min(judged) and search["lower_is_better"]
    assert adapt.calls[-1] == tuple(best["values"][name] for name in ("lr", "unfrozen", "epochs"))
    assert min(value for phase in run.phases for value in phase.history["val_loss"]) == best["figure"]
    assert "accuracy" in run.scores and (run.folder / "model.keras").is_file()
    assert json.loads((run.folder / "run.json").read_text())["search"] == json.loads(json.dumps(search))
    assert 'id="search"' in (run.folder / "report.html").read_text()
    assert sum("the best so far" in line for line in lines) >= 1 and any(line.startswith("best") for line in lines)


def test_a_trial_is_bit_for_bit_what_a_fit_of_its_own_is(adapt):
    settings = [(1e-2, 0.5, 2), (3e-2, 0.0, 4), (1e-2, 0.5, 3), (1e-2, 0.5, 2)]
    keep = Keep()
    shared = [figure_of(adapt, keep, lr=lr, unfrozen=share, epochs=n) for lr, share, n in settings]
    alone = [figure_of(adapt, Keep(), lr=lr, unfrozen=share, epochs=n)[0] for lr, share, n in settings[:3]]
    assert [figure for figure, _ in shared] == [*alone, alone[0]]
    assert shared[0][1].folder is None and not shared[0][1].scores


def test_features_and_steps_are_made_once(adapt, monkeypatch):
    computed, traced = [], []
    monkeypatch.setattr(fits, "compiled", lambda *a, real=fits.compiled: (traced.append(1), real(*a))[1])
    opener = engines.opener
    monkeypatch.setattr(engines, "opener", lambda *a: (computed.append(1), opener(*a))[1])
    keep = Keep()
    for lr in (1e-3, 1e-2, 1e-1):
        figure_of(adapt, keep, lr=lr, unfrozen=0.0)
    assert len(traced) == len(computed) == len(keep.things["modules"]) == 1


def test_trials_never_see_the_test_examples(adapt, tmp_path):
    """Searches with honest and with poisoned test labels, of which every look would raise, choose alike."""

    class Poisoned(ArrayColumn):
        def take(self, indices):
            raise AssertionError("a trial read a test label")

    plain = fitting.data()
    test = dataclasses.replace(plain.test, targets=Poisoned(np.asarray(plain.test.targets.values)))
    keep = Keep()
    poisoned = figure_of(adapt, keep, lr=1e-2, data=dataclasses.replace(plain, test=test))[0]
    assert poisoned == figure_of(adapt, Keep(), lr=1e-2)[0]
    wrong = dataclasses.replace(plain.test, targets=ArrayColumn(np.zeros(len(plain.test), np.int32)))
    runs = [
        tlkit.tune(
            adapt, {"lr": SPACE["lr"]}, trials=3, storage=tmp_path / name, progress=quiet,
            given={"data": dataclasses.replace(plain, test=part), "out": tmp_path / f"{name}.run"},
        )
        for name, part in (("a", plain.test), ("b", wrong))
    ]  # fmt: skip
    rows = [[trial["figure"] for trial in run.record["search"]["trials"]] for run in runs]
    assert rows[0] == rows[1] and runs[0].scores["accuracy"] != runs[1].scores["accuracy"]


def test_a_stopped_search_goes_on_where_it_was(adapt, tmp_path, monkeypatch):
    space, options = {"lr": SPACE["lr"]}, {"storage": tmp_path / "t.sqlite", "given": {"out": tmp_path / "out"}}
    begun = len(adapt.calls)

    def stopping(*arguments, real=tuning.flags.call, **named):
        if len(adapt.calls) == begun + 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tuning.flags, "call", stopping)
        tlkit.tune(adapt, space, trials=4, progress=quiet, **options)
    run = tlkit.tune(adapt, space, trials=4, progress=quiet, **options)
    states = [trial["state"] for trial in run.record["search"]["trials"]]
    assert states == ["complete", "complete", "failed", "complete"]
    assert len(adapt.calls) == begun + 2 + 1 + 1  # a trial more, and the run
    with pytest.raises(InputError, match="a search over another space"):
        tlkit.tune(adapt, {"epochs": SPACE["epochs"]}, given={"lr": 0.1}, progress=quiet, storage=tmp_path / "t.sqlite")
    other = dataclasses.replace(fitting.data(), val=fitting.examples(12, 9))
    for given, name in (({"data": other}, "data"), ({"unfrozen": 0.0}, "unfrozen")):
        with pytest.raises(InputError, match=f"holds a search with another `{name}`"):
            tlkit.tune(adapt, space, trials=5, progress=quiet, **{**options, "given": given})


def test_hopeless_trials_are_given_up_and_broken_ones_do_not_end_the_search(adapt, tmp_path):
    def run(lr: float):
        if lr < 1e-6:
            raise TrainingError("It broke.")
        return adapt(lr, unfrozen=0.0, epochs=6, out=tmp_path / "out")

    lines: list[str] = []
    space = {"lr": tlkit.Range(1e-7, 1e-1, log=True)}
    tuned = tlkit.tune(run, space, trials=16, storage=tmp_path / "t", progress=Progress(lines.append, quiet.bar))
    trials = tuned.record["search"]["trials"]
    assert {trial["state"] for trial in trials} >= {"complete", "given up"}
    assert all(trial["epochs"] < 6 for trial in trials if trial["state"] == "given up")
    assert set(tuned.record["search"]["importance"]) == {"lr"}


def fits_alone(module, head_of=None, monitor="val_loss", out=None):
    """A function of a rate and a width that builds and fits by itself, and the widths of the models it made."""
    widths = []

    def run(lr: float = 1e-2, width: int = 4):
        head = None if head_of is None else head_of(width)
        task = tlkit.tasks.classify(fitting.LABELS, hidden=(), head=head, dropout=0.0, monitor=monitor)
        data, phases = fitting.data(), [tlkit.Phase(epochs=3, lr=lr)]
        if out is not None:
            made = tlkit.finetune(module, task, data, phases, out=out, input_range=(0.0, 1.0), progress=quiet)
        else:
            layer = tlkit.HubLayer(module, input_range=(0.0, 1.0))
            made = tlkit.fit(tlkit.build(layer, task, data=data), task, data, phases)
        widths.append(made.model.weights[-2].shape[0])
        return made

    return run, widths


def two_layers(width):
    def head(x):
        import keras

        return keras.layers.Dense(len(fitting.LABELS))(keras.layers.Dense(width)(x))

    return head


def test_a_function_that_fits_by_itself_is_judged_by_what_its_task_monitors(adapt, tmp_path):
    run, _ = fits_alone(adapt.module)
    tuned = tlkit.tune(run, {"lr": [1e-5, 1e-1, 1e-2]}, trials=5, storage=tmp_path / "t", progress=quiet)
    search = tuned.record["search"]
    figures = [trial["figure"] for trial in search["trials"] if trial["state"] == "complete"]
    assert search["monitor"] == "val_loss" and search["lower_is_better"]
    assert search["trials"][search["best"]]["figure"] == min(figures) < max(figures)
    with pytest.raises(InputError, match="Nothing tells which trial is better"), trying(Trial(Keep(), print)):
        blind = dataclasses.replace(fitting.data(), val=fitting.examples(0, 2))
        model, task = fitting.built(adapt.module)
        tlkit.fit(model, task, blind, [tlkit.Phase(1, 1e-2)])


def locked(width):
    """A head that holds what cannot be told from another."""
    lock = threading.Lock()

    def head(x):
        with lock:
            return two_layers(width)(x)

    return head


class Layers:
    """A head that is an object."""

    def __init__(self, width):
        self.width = width

    def __call__(self, x):
        return two_layers(self.width)(x)


@pytest.mark.parametrize("head_of", [two_layers, Layers, locked])
def test_each_trial_has_the_head_that_it_asks_for(adapt, tmp_path, head_of):
    """Heads of a notebook have no import path by which they could be told apart."""
    run, widths = fits_alone(adapt.module, head_of, out=tmp_path / "out")
    keep = Keep()
    for width in (4, 32, 4):
        figure_of(run, keep, width=width)
    assert widths == [4, 32, 4] and len(keep.things["models"]) == (3 if head_of is locked else 2)


def test_two_modules_of_one_name_are_two(adapt):
    import keras

    figures, keep = [], Keep()
    for units in (2, 7):
        layer = keras.Sequential(
            [keras.Input((fitting.SIZE, fitting.SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(units)],
            name="mine",
        )
        run, widths = fits_alone(layer, out="unused")
        figures.append(figure_of(run, keep)[0])
        assert widths == [units]
    assert len(set(figures)) == 2


def test_a_search_of_another_module_or_plan_is_not_gone_on_with(adapt, tmp_path):
    """What the function refers to counts as its arguments do; where the run lies, and what is exported, does not."""

    def search(module, epochs, out):
        def run(lr: float):
            task = tlkit.tasks.classify(fitting.LABELS)
            phases = [tlkit.Phase(epochs=epochs, lr=lr)]
            return tlkit.finetune(module, task, fitting.data(), phases, out=out, input_range=(0.0, 1.0), progress=quiet)

        return tlkit.tune(run, {"lr": [1e-2, 1e-1]}, trials=1, storage=tmp_path / "t", progress=quiet)

    search(adapt.module, 1, tmp_path / "a")
    assert search(adapt.module, 1, tmp_path / "b").folder == tmp_path / "b"
    with pytest.raises(InputError, match=r"holds a search with another `epochs` \(1, and now 2\).*another storage"):
        search(adapt.module, 2, tmp_path / "a")
    with pytest.raises(InputError, match="holds a search with another `module`"):
        search("zoo:other", 1, tmp_path / "a")


def test_a_trial_that_runs_out_of_memory_is_one_that_failed(adapt, tmp_path):
    import tensorflow as tf

    errors = iter([MemoryError("17 GB"), tf.errors.ResourceExhaustedError(None, None, "OOM"), None, KeyError("x")])

    def run(lr: float):
        if (error := next(errors, None)) is not None:
            raise error
        return adapt(lr, unfrozen=0.0, epochs=1, out=tmp_path / "out")

    lines: list[str] = []
    options = {"storage": tmp_path / "t", "progress": Progress(lines.append, quiet.bar)}
    tuned = tlkit.tune(run, {"lr": SPACE["lr"]}, trials=5, **options)
    states = [trial["state"] for trial in tuned.record["search"]["trials"]]
    assert states == ["failed", "failed", "complete", "failed", "complete"]
    said = "\n".join(lines)
    assert all(
        f"failed. {words}" in said for words in ("MemoryError: 17 GB", "ResourceExhaustedError: OOM", "KeyError")
    )


def test_what_is_wrong_in_the_function_itself_ends_a_search_that_has_nothing_yet(tmp_path):
    def run(lr: float):
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        tlkit.tune(run, {"lr": [1, 2]}, trials=3, storage=tmp_path / "t", progress=quiet)


def test_a_perfect_figure_of_0_has_the_direction_of_its_task(adapt, tmp_path, monkeypatch):
    validated = fits._validated
    monkeypatch.setattr(fits, "_validated", lambda *a: {**validated(*a), "loss": 0.0})
    options = {"storage": tmp_path / "t", "given": {"out": tmp_path / "out", "unfrozen": 0.0}, "progress": quiet}
    search = tlkit.tune(adapt, {"lr": SPACE["lr"]}, trials=1, **options).record["search"]
    assert search["lower_is_better"] and search["trials"][0]["figure"] == 0.0


def test_a_figure_that_is_no_number_is_a_trial_that_failed(adapt, tmp_path, monkeypatch):
    figures = iter([np.nan, 0.5, 0.6, 0.7, 0.5, 0.6, 0.7])
    validated = fits._validated
    monkeypatch.setattr(fits, "_validated", lambda *a: {**validated(*a), "accuracy": next(figures)})
    run, _ = fits_alone(adapt.module, monitor="val_accuracy")
    tuned = tlkit.tune(run, {"lr": SPACE["lr"]}, trials=2, storage=tmp_path / "t", progress=quiet)
    assert [trial["state"] for trial in tuned.record["search"]["trials"]] == ["failed", "complete"]


def test_a_space_is_the_same_in_another_order(adapt, tmp_path):
    orders = ({"lr": SPACE["lr"], "epochs": [1, 2]}, {"epochs": [2, 1], "lr": SPACE["lr"]})
    options = {"storage": f"sqlite:///{tmp_path / 't.db'}", "progress": quiet}
    for trials, space in enumerate(orders, start=1):
        run = tlkit.tune(adapt, space, trials=trials, given={"out": tmp_path / "out", "unfrozen": 0.0}, **options)
    assert len(run.record["search"]["trials"]) == 2 and (tmp_path / "t.db").is_file()
    assert not Path("sqlite:").exists()


@pytest.mark.parametrize("storage", ["postgresql://host/study", "sqlite+pysqlite:///study.db", Path("mysql://host/x")])
def test_a_database_that_is_no_file_is_refused(storage):
    with pytest.raises(InputError, match="`storage` must be a file"):
        tlkit.tune(no_training, {"lr": [1, 2]}, storage=storage, progress=quiet)


def test_several_hosts_do_not_make_a_search_each(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", shared_fits.cluster(2)[0]["TF_CONFIG"])
    with pytest.raises(InputError, match="TF_CONFIG names several workers, each of which would make a search"):
        tlkit.tune(no_training, {"lr": [1, 2]}, storage=tmp_path / "t", progress=quiet)


def no_training(lr: float):
    return None


def reads_tests(lr: float):
    return tlkit.transfer_check("zoo:x", None, None)


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        (no_training, {"trials": 0}, "`trials` must be 1 or more"),
        (no_training, {"space": {"rate": [1, 2]}}, "`rate` of the space is no argument of the run"),
        (no_training, {"space": {"lr[0]": [1, 2]}}, "names no place of `lr`"),
        (no_training, {}, "must call tlkit.finetune"),
        (reads_tests, {}, "a search must not"),
    ],
)
def test_what_cannot_be_searched_is_said(function, options, sentence, tmp_path):
    options = {"space": {"lr": [1, 2]}, "trials": 2, "storage": tmp_path / "t", "progress": quiet, **options}
    with pytest.raises(InputError, match=sentence):
        tlkit.tune(function, **options)


def test_what_is_missing_is_said(adapt, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="The run needs `lr`"):
        tlkit.tune(adapt, {"epochs": SPACE["epochs"]}, progress=quiet)
    (tmp_path / "t").write_text("no database" * 100)
    with pytest.raises(InputError, match="holds no search"):
        tlkit.tune(adapt, {"lr": SPACE["lr"]}, storage=tmp_path / "t", progress=quiet)
    blind = dataclasses.replace(fitting.data(), val=fitting.examples(0, 2))
    with pytest.raises(InputError, match="Nothing tells which trial is better"):
        tlkit.tune(adapt, {"lr": SPACE["lr"]}, given={"data": blind}, storage=tmp_path / "u", progress=quiet)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'tlkit\[tune\]'"):
        tlkit.tune(adapt, {"lr": SPACE["lr"]}, progress=quiet)


def test_a_storage_is_the_file_that_is_named_and_only_a_search(adapt, tmp_path):
    """Names that a URL would read otherwise, databases of something else, and --fresh on a file of the user's."""
    options = {"trials": 1, "given": {"out": tmp_path / "out", "unfrozen": 0.0}, "progress": quiet}
    odd = tmp_path / "new" / "a?b#c%20d" / "t?.sqlite"
    tlkit.tune(adapt, {"lr": SPACE["lr"]}, storage=odd, **options)
    assert odd.is_file() and [path.name for path in odd.parent.iterdir()] == ["t?.sqlite"]
    other = tmp_path / "of_mine.sqlite"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE mine (x INTEGER)")
    text = tmp_path / "notes.txt"
    text.write_text("mine, and no search\n" * 100)
    for file in (other, text):
        before = file.read_bytes()
        for over in (False, True):
            with invocation.starting(over=over), pytest.raises(InputError, match="holds no search and cannot become"):
                tlkit.tune(adapt, {"lr": SPACE["lr"]}, storage=file, **options)
        assert file.read_bytes() == before
    with invocation.starting(over=True):
        again = tlkit.tune(adapt, {"lr": tlkit.Range(1e-2, 2e-2)}, storage=odd, **options)
    assert len(again.record["search"]["trials"]) == 1


def test_a_search_that_another_process_makes_is_left_alone(adapt, tmp_path):
    options = {"trials": 1, "given": {"out": tmp_path / "out"}, "progress": quiet, "storage": tmp_path / "s" / "t"}
    holding = """import sys, time
from tlkit.core.files import held
with held(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", holding, tmp_path / "s"], stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            (tmp_path / "s" / "t").write_bytes(b"under way")
            with invocation.starting(over=True), pytest.raises(InputError, match=f"in use: process {process.pid}"):
                tlkit.tune(adapt, {"lr": SPACE["lr"]}, **options)
            assert (tmp_path / "s" / "t").read_bytes() == b"under way"
        finally:
            process.kill()


def test_the_command_line(tmp_path, module_folder, capsys, monkeypatch):
    recipe = tmp_path / "tiny.py"
    recipe.write_text(
        f'''"""Tiny."""
import sys
sys.path.insert(0, {str(fitting.__file__.rpartition("/")[0])!r})
import fitting
import tlkit


def main(out: str = "x", fit: tlkit.flags.Fit = tlkit.flags.Fit(epochs=(2, 0), batch_size=8)) -> tlkit.Run:
    """Tiny."""
    task = tlkit.tasks.classify(fitting.LABELS)
    phases = tlkit.plans.two_phase(epochs=fit.epochs, lr=fit.lr)
    module = {str(module_folder("keras3_hub"))!r}
    return tlkit.finetune(module, task, fitting.data(), phases, out=out, seed=fit.seed, input_range=(0.0, 1.0))
'''
    )
    words = ["tune", str(recipe), "--out", str(tmp_path / "out"), "--trials", "3", "--space", "lr[0]=1e-3:1e-1:log"]
    assert commands.main([*words, "epochs[0]=1:3", "--lr", "0.5", "0.25"]) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    values = record["search"]["trials"][record["search"]["best"]]["values"]
    phase = record["phases"][0]["phase"]
    assert (phase["lr"], phase["epochs"]) == (values["lr[0]"], values["epochs[0]"])
    assert record["arguments"][0] == "tune" and (tmp_path / "out" / "trials.sqlite").is_file()
    capsys.readouterr()
    assert commands.main([*words, "epochs[0]=1:3", "--lr", "0.5", "0.25"]) == 0  # all is there: no trial, and the run
    assert "trial   " not in capsys.readouterr().out
    assert commands.main([*words[:6]]) == 2 and "needs --space" in capsys.readouterr().err
    assert commands.main([*words[:6], "--space", "lr[0]=-1:1"]) == 2  # a rate below 0 is refused before any work
    for space, sentence in (
        (["lr[0]=0.1,0.2", "lr[0]=0.3,0.4"], "names lr[0] twice"),
        (["lr[0]=0.1:inf"], "to a higher one"),
        (["rate=0.1,0.2"], "`rate` of the space is no argument"),
    ):
        assert commands.main([*words[:6], "--space", *space]) == 2 and sentence in capsys.readouterr().err
    assert commands.main([*words[:4], "--trials", "x", "--space", "seed=1,2"]) == 2
    assert "`--trials` takes one value" in capsys.readouterr().err
