"""Keras callbacks in fit: what they are told is what Keras' own fit tells, and nothing that they do moves a weight."""

from __future__ import annotations

import csv
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from fitting import data, fitted, same, stopped_after, values

from tlkit.core.errors import InputError
from tlkit.core.progress import Progress, quiet
from tlkit.core.run import Phase

PHASES = (Phase(epochs=2, lr=3e-3), Phase(epochs=1, lr=1e-3, unfrozen=0.5, warmup=0.2, cosine=True))
EVENTS = [
    f"on_{kind}_{end}" for kind in ("train", "epoch", "train_batch", "test", "test_batch") for end in ("begin", "end")
]
EPOCHS, STEPS, VAL_STEPS = 3, 6, 2  # of PHASES on fitting.data() in batches of 8

pytestmark = pytest.mark.usefixtures("module_cache")


class Listener(keras.callbacks.Callback):
    """Writes down each call; `act` is what it does besides."""

    def __init__(self, act=lambda event, model: None):
        super().__init__()
        self.calls, self.act = [], act
        for event in EVENTS:
            setattr(self, event, lambda *a, event=event, **k: self._called(event, *a, **k))

    def _called(self, event, *arguments, logs=None):
        number = next((a for a in arguments if isinstance(a, int)), None)
        logs = next((a for a in arguments if isinstance(a, dict)), logs)
        self.calls.append((event, number, dict(logs or {})))
        self.act(event, self.model)


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


@pytest.fixture(scope="module")
def plain(folder):
    return fitted(folder, PHASES)


@pytest.fixture(scope="module")
def watched(folder, tmp_path_factory):
    """A fit that everything watches at once: (run, listener, folder of files, lines said)."""
    place, lines = tmp_path_factory.mktemp("watched"), []

    def noisy(event, model):  # draws from every global generator, as trackers that choose samples do
        if event in ("on_epoch_begin", "on_train_batch_begin", "on_epoch_end"):
            random.random(), np.random.rand(), tf.random.normal([2]), keras.random.normal([2])
        seen.append((event, int(model.optimizer.iterations), float(model.optimizer.learning_rate)))

    seen, listener = [], Listener(noisy)
    watch = [
        listener,
        [keras.callbacks.CSVLogger(str(place / "log.csv"))],
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    ]
    run = fitted(folder, PHASES, callbacks=watch, progress=Progress(lines.append, quiet.bar))
    return run, listener, place, lines, seen


def test_weights_and_history_are_the_same_bits_with_callbacks_and_without(plain, watched):
    run = watched[0]
    assert same(values(run.model), values(plain.model))
    assert [dict(p.history) for p in run.phases] == [dict(p.history) for p in plain.phases]


def test_calls_and_logs_are_those_of_keras_fit(watched):
    listener, keras_listener = watched[1], Listener()
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", "mse", metrics=["accuracy"])
    x, val = np.zeros((42, 2)), np.zeros((15, 2))
    arguments = {"validation_data": (val, np.zeros((15, 3))), "batch_size": 8, "epochs": EPOCHS, "verbose": 0}
    model.fit(x, np.zeros((42, 3)), callbacks=[keras_listener], **arguments)
    assert [(event, number) for event, number, _ in listener.calls] == [(e, n) for e, n, _ in keras_listener.calls]
    for (event, _, logs), (_, _, expected) in zip(listener.calls, keras_listener.calls, strict=True):
        extra = {"learning_rate"} if event in ("on_epoch_end", "on_train_end") else set()
        assert set(logs) == set(expected) | extra, event
    assert {name: listener.params[name] for name in ("epochs", "steps")} == {"epochs": EPOCHS, "steps": STEPS}


def test_logs_hold_the_figures_of_the_history(watched):
    run, listener = watched[:2]
    ends = [logs for event, _, logs in listener.calls if event == "on_epoch_end"]
    for name, key in (("loss", "loss"), ("val_accuracy", "val_accuracy"), ("lr", "learning_rate")):
        assert [logs[key] for logs in ends] == [value for p in run.phases for value in p.history[name]]
    last_batches = [logs for event, number, logs in listener.calls if (event, number) == ("on_train_batch_end", 5)]
    assert [logs["loss"] for logs in last_batches] == [logs["loss"] for logs in ends]


def test_the_optimizer_counts_steps_over_all_phases_and_shows_the_rate(watched):
    run, _, _, _, seen = watched
    begins = [steps for event, steps, _ in seen if event == "on_train_batch_begin"]
    assert begins == list(range(EPOCHS * STEPS))
    rates = [rate for event, _, rate in seen if event == "on_train_batch_end"]
    assert rates[: 2 * STEPS] == pytest.approx([3e-3] * 2 * STEPS)
    assert rates[2 * STEPS] == pytest.approx(run.phases[1].history["lr"][0])
    assert rates[-1] < rates[2 * STEPS]


def test_the_model_is_left_as_it_was(plain, watched):
    names = ("optimizer", "stop_training", "train_function", "history", "compiled")
    before, after = ({name: getattr(run.model, name, "absent") for name in names} for run in (plain, watched[0]))
    assert after == before


def test_csv_logger_writes_one_row_an_epoch_over_all_phases(watched):
    run, _, place, _, _ = watched
    rows = list(csv.DictReader((place / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    losses = [loss for phase in run.phases for loss in phase.history["loss"]]
    assert [float(row["loss"]) for row in rows] == pytest.approx(losses)
    assert set(rows[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}


def test_tensorboard_files_hold_the_curves_the_weights_and_the_graph(folder, plain, tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    board = keras.callbacks.TensorBoard(str(tmp_path), histogram_freq=1, write_graph=True, write_steps_per_second=True)
    run = fitted(folder, PHASES, callbacks=board)
    assert same(values(run.model), values(plain.model))
    train, graph = events(tmp_path / "train")
    val, _ = events(tmp_path / "validation")
    for read, prefix in ((train, ""), (val, "val_")):
        curve = [loss for phase in run.phases for loss in phase.history[f"{prefix}loss"]]
        assert [step for step, _ in read["epoch_loss"]] == [0, 1, 2]
        assert [float(x) for _, x in read["epoch_loss"]] == pytest.approx(curve, rel=1e-5)
    assert [step for step, _ in train["epoch_learning_rate"]] == [0, 1, 2]
    assert [step for step, _ in val["evaluation_loss_vs_iterations"]] == [6, 12, 18]
    histograms = {name: points for name, points in train.items() if name.endswith("/histogram")}
    assert len(histograms) > 2 and all([step for step, _ in points] == [0, 1, 2] for points in histograms.values())
    assert graph and "keras" in train


def events(folder):
    """(tag -> [(step, value)], whether a graph is there) of all event files in a folder."""
    values_of, graph = {}, False
    for file in sorted(folder.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            graph = graph or bool(event.graph_def)
            for value in event.summary.value:
                values_of.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return values_of, graph


@pytest.mark.parametrize(
    ("callback", "field"),
    [
        (lambda: keras.callbacks.EarlyStopping(), "patience"),
        (lambda: keras.callbacks.ReduceLROnPlateau(), "cosine"),
        (lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), "warmup"),
        (lambda: keras.callbacks.ModelCheckpoint("best.keras"), "checkpoints="),
        (lambda: keras.callbacks.BackupAndRestore("backup"), "checkpoints="),
        (lambda: keras.callbacks.TerminateOnNaN(), "stops by itself"),
        (lambda: keras.callbacks.SwapEMAWeights(), "tlkit.methods.soup"),
        (lambda: type("Mine", (keras.callbacks.EarlyStopping,), {})(), "Mine (a kind of EarlyStopping)"),
        (lambda: keras.callbacks.CallbackList([keras.callbacks.EarlyStopping()]), "patience"),
        (lambda: print, "no keras.callbacks.Callback"),
    ],
)
def test_what_would_steer_is_refused_before_work(folder, callback, field):
    listener = Listener()
    with pytest.raises(InputError) as refused:
        fitted(folder, PHASES, callbacks=[listener, [callback()]])
    assert field in str(refused.value)
    assert not listener.calls


def test_stop_training_and_a_set_rate_are_said_and_change_nothing(folder, plain):
    def steer(event, model):
        if event == "on_epoch_end":
            model.stop_training = True
        if event == "on_train_batch_begin":
            model.optimizer.learning_rate = 1.0

    lines = []
    run = fitted(folder, PHASES, callbacks=[Listener(steer)], progress=Progress(lines.append, quiet.bar))
    assert same(values(run.model), values(plain.model))
    assert sum("Listener set `model.stop_training`" in line for line in lines) == 1
    assert sum("Listener set a learning rate" in line for line in lines) == 1


@pytest.mark.parametrize("event", ["on_epoch_end", "on_train_batch_end"])
def test_a_callback_that_writes_to_weights_is_found(folder, event):
    def write(called, model):
        if called == event:
            model.trainable_variables[-1].assign_add([1.0, 0.0, 0.0])

    with pytest.raises(InputError, match=f"Listener changed weights in `{event}`"):
        fitted(folder, PHASES[:1], callbacks=[Listener(write)])


def test_a_fit_that_goes_on_tells_of_the_epochs_that_are_left(folder, plain, tmp_path):
    stopped_after(2, lambda: fitted(folder, PHASES, checkpoints=tmp_path))
    listener = Listener()
    run = fitted(folder, PHASES, checkpoints=tmp_path, callbacks=[listener])
    assert same(values(run.model), values(plain.model))
    assert [number for event, number, _ in listener.calls if event == "on_epoch_begin"] == [2]
    assert len(data().val) == 15 and sum(e == "on_test_batch_end" for e, _, _ in listener.calls) == VAL_STEPS
