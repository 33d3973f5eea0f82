"""fit on a small real module: what moves, what does not, in which order, and again after a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from changing import reread
from fitting import LABELS, SIZE, Brighter, built, data, same, values
from fitting import fitted as fitted_with

from tlkit import tasks
from tlkit.core.batches import stable_seed, view_of_epoch
from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError, TrainingError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.progress import quiet
from tlkit.core.run import Phase
from tlkit.training import checkpoint
from tlkit.training.fit import fit

PHASES = (
    Phase(epochs=3, lr=3e-3),
    Phase(epochs=3, lr=1e-3, unfrozen=0.5, warmup=0.2, cosine=True, patience=2, lr_decay=0.8),
)


pytestmark = pytest.mark.usefixtures("module_cache")


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def fitted(folder: Path, *, phases=PHASES, **options):
    return fitted_with(folder, phases, **options)


@pytest.fixture(scope="module")
def plain(folder):
    """A run of PHASES, the first in this module's cache."""
    return fitted(folder)


@pytest.fixture(scope="module")
def whole(folder):
    """A run with dropout and augmented views that nothing stopped: what each stopped one must come to."""
    return fitted(folder, splits=data(Brighter()), views=2)


def test_the_loss_falls_and_each_phase_proves_what_stayed(plain):
    frozen, tuned = plain.phases
    assert frozen.history["loss"][-1] < frozen.history["loss"][0]
    assert frozen.proof["sha256_before"] == frozen.proof["sha256_after"]
    assert tuned.proof["sha256_before"] == tuned.proof["sha256_after"]
    assert frozen.had["unfrozen"] == 0 and tuned.had["unfrozen"] == pytest.approx(5 / 9, abs=1e-3)  # ceil(.5 of 9)
    assert frozen.proof["frozen_variables"] > tuned.proof["frozen_variables"] > 0
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "lr"} <= set(tuned.history)


@pytest.mark.numeric
def test_same_seed_same_weights_bit_for_bit(folder, plain):
    second, other = (fitted(folder, seed=s) for s in (0, 6))
    assert same(values(plain.model), values(second.model))
    assert [dict(p.history) for p in plain.phases] == [dict(p.history) for p in second.phases]
    assert not same(values(plain.model), values(other.model))


def test_cached_and_recomputed_features_train_the_same(folder, plain):
    assert same(values(plain.model), values(fitted(folder).model))
    for streamed in (fitted(folder, cache="off"), fitted(folder, views=0)):
        for a, b in zip(values(plain.model), values(streamed.model), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_unfrozen_variables_move_and_frozen_ones_are_byte_identical(folder):
    model, task = built(folder)
    from tlkit.layer.lookup import backbone_of
    from tlkit.training.fit import fit

    layer = backbone_of(model)
    before = {i: np.array(v) for i, v in layer.module_variables.items()}
    splits = dataclasses.replace(data(), val=data().train)
    fit(model, task, splits, (Phase(epochs=4, lr=1e-2, unfrozen=0.5),), batch_size=8)
    behind = set(layer.cut_for(0.5).variables_behind)
    moved = {i for i, v in layer.module_variables.items() if not np.array_equal(before[i], v)}
    assert moved and moved <= behind


def test_adapt_moves_the_statistics_of_unfrozen_blocks_only(folder):
    model, task = built(folder)
    from tlkit.layer.lookup import backbone_of
    from tlkit.training.fit import fit

    layer = backbone_of(model)
    before = {i: np.array(v) for i, v in layer.module_variables.items()}
    fit(model, task, dataclasses.replace(data(), val=data().train),
        (Phase(epochs=2, lr=1e-3, unfrozen=0.5, batch_stats="adapt"),), batch_size=8)  # fmt: skip
    behind = set(layer.cut_for(0.5).variables_behind)
    declared = {id(v) for v in layer.endpoint.trainable}
    statistics = {i for i in layer.module_variables if id(layer.endpoint.variables[i]) not in declared}
    moved = {i for i, v in layer.module_variables.items() if not np.array_equal(before[i], v)}
    assert moved <= behind
    assert statistics & moved


@pytest.mark.long
def test_a_worse_phase_is_reported_and_its_weights_are_not_kept(folder):
    ruin = Phase(epochs=1, lr=0.3, unfrozen=1.0)
    good = fitted(folder, phases=PHASES[:1])
    run = fitted(folder, phases=(PHASES[0], ruin))
    assert [p.improved for p in run.phases] == [True, False]
    assert same(values(run.model), values(good.model))


def test_the_first_adam_step_of_each_block_has_its_own_rate(folder):
    """|first step of Adam| = rate, whatever the gradient: so it shows the factor of each variable."""
    model, task = built(folder)
    from tlkit.layer.lookup import backbone_of
    from tlkit.training.fit import fit

    layer = backbone_of(model)
    one_step = dataclasses.replace(data(), train=data().train.subset(range(8)))
    before = {v.path: np.array(v) for v in model.trainable_variables + layer.variables}
    layer.unfreeze(1.0)
    fit(model, task, dataclasses.replace(one_step, val=one_step.train),
        (Phase(epochs=1, lr=1e-3, unfrozen=1.0, lr_decay=0.5),), batch_size=8)  # fmt: skip
    factors = layer.depth_factors(0.5)
    assert len(set(factors.values())) > 1
    for variable in layer.trainable_variables:
        steps = np.abs(np.array(variable, "float64") - before[variable.path])
        if (steps > 0).any():
            assert np.median(steps[steps > 0]) / 1e-3 == pytest.approx(factors[variable.path], rel=0.02)


def test_nan_in_the_validation_stops_with_the_best_weights(folder, monkeypatch):
    from tlkit.training import fit as fitting

    model, task = built(folder)
    figures, best = [{"loss": 1.0}, {"loss": np.nan}], []
    monkeypatch.setattr(fitting, "_validated", lambda *_: best.append(values(model)) or figures.pop(0))
    with pytest.raises(TrainingError, match="validation loss became NaN or infinite in phase 1, epoch 2"):
        fitting.fit(model, task, data(), (Phase(epochs=3, lr=1e-2),), batch_size=8)
    assert same(best[0], values(model)) and not same(*best)


def test_a_monitored_figure_that_is_no_number_stops_too(folder, monkeypatch):
    from tlkit.training import fit as fitting

    model, task = built(folder, task=tasks.classify(LABELS, hidden=(8,), monitor="val_accuracy"))
    figures = [{"loss": 1.0, "accuracy": 0.5}, {"loss": 1.0, "accuracy": np.nan}]
    monkeypatch.setattr(fitting, "_validated", lambda *_: figures.pop(0))
    with pytest.raises(TrainingError, match=r"The figure val_accuracy is NaN in phase 1, epoch 2, .* `monitor`"):
        fitting.fit(model, task, data(), (Phase(epochs=3, lr=1e-2),), batch_size=8)


def test_a_rate_far_too_high_is_said():
    from tlkit.core.progress import quiet
    from tlkit.training import fit as fitting

    log: list[str] = []
    progress = dataclasses.replace(quiet, line=log.append)
    fitting._say_high_rates((Phase(epochs=1, lr=1e-2), Phase(epochs=1, lr=1e30)), progress)
    (line,) = log
    assert "lr=1e+30 of phase 2 is far above what Adam learns with" in line


def test_nan_in_the_data_stops_before_the_weights(folder):
    from tlkit.training.fit import fit

    model, task = built(folder)
    splits = data()
    poisoned = Examples(
        splits.train.ids,
        ReadColumn(
            lambda i: np.full((SIZE, SIZE, 3), np.nan, "float32") if i == 3 else splits.train.inputs[i],
            splits.train.inputs.spec,
            tuple(f"p{d}" for d in splits.train.digests),
        ),
        ArrayColumn(splits.train.target_array),
    )
    before = values(model)
    with pytest.raises(InputError, match=r"NaN or infinite features for 1 example.*1-3"):
        fit(model, task, dataclasses.replace(splits, train=poisoned), PHASES, batch_size=8)
    with pytest.raises(TrainingError, match=r"phase 1, epoch 1, at step \d+.*Lower the phase's lr"):
        fit(
            model,
            task,
            dataclasses.replace(splits, train=poisoned),
            (Phase(epochs=1, lr=1e-9, unfrozen=1.0),),
            batch_size=42,
        )
    assert same(before, values(model))


def test_bad_arguments_are_named_before_any_training(folder):
    from tlkit.training.fit import fit

    model, task = built(folder)
    for arguments, sentence in (
        ({"phases": ()}, "`phases` is empty"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"views": -1}, "`views` must be 0 or more"),
    ):
        phases = arguments.pop("phases", PHASES)
        with pytest.raises(InputError, match=sentence):
            fit(model, task, data(), phases, **arguments)
    small = dataclasses.replace(data(), train=reread(data().train, spec=ArraySpec((8, 8, 3), "uint8")))
    with pytest.raises(InputError, match=r"shape \(8, 8, 3\), but the model takes \(32, 32, 3\); resize"):
        fit(model, task, small, PHASES)
    empty = dataclasses.replace(data(), train=data().train.subset([]))
    with pytest.raises(InputError, match="training split is empty"):
        fit(model, task, empty, PHASES)


def test_without_validation_examples_the_last_weights_are_taken(plain, folder):
    nothing = data().val.subset([])
    phases = tuple(dataclasses.replace(phase, patience=1) for phase in PHASES)
    run = fitted(folder, splits=dataclasses.replace(data(), val=nothing), phases=phases)
    assert all(result.improved and result.best_epoch == result.phase.epochs for result in run.phases)
    assert not any(name.startswith("val_") for result in run.phases for name in result.history)
    assert run.phases[0].history["loss"] == plain.phases[0].history["loss"]
    assert len(run.phases[1].history["loss"]) == 3  # patience has nothing to wait for


# -- resume


STOPS = (0, 1, 2, 1, 1)  # epochs that each attempt gets to the end of


class StopError(Exception):
    """Stands for a kill at an epoch's end."""


def stopping_after(lines: int):
    left = [lines]

    def line(text: str) -> None:
        if text.startswith("phase "):
            left[0] -= 1
            if left[0] < 0:
                raise StopError

    return dataclasses.replace(quiet, line=line)


def same_runs(first, other) -> bool:
    weights = same(map(np.array, first.model.variables), map(np.array, other.model.variables))  # seed states, too
    history = [dict(p.history) for p in first.phases] == [dict(p.history) for p in other.phases]
    best = [(p.best_epoch, p.improved) for p in first.phases] == [(p.best_epoch, p.improved) for p in other.phases]
    return weights and history and best


@pytest.mark.long
def test_a_fit_that_is_stopped_again_and_again_goes_on_to_the_same_bits(folder, tmp_path, whole):
    """Stopped in the first epoch, inside each phase, at the end of one, and in the last epoch."""
    shared = {"splits": data(Brighter()), "checkpoints": tmp_path, "views": 2}
    for lines in STOPS:
        with pytest.raises(StopError):
            fitted(folder, **shared, progress=stopping_after(lines))
    log: list[str] = []
    assert same_runs(fitted(folder, **shared, progress=dataclasses.replace(quiet, line=log.append)), whole)
    assert log[0] == "resumed behind phase 2, epoch 2" and sum(" epoch " in text for text in log[1:]) == 1
    assert same_runs(fitted(folder, **shared), whole)  # and a finished one stays as it is


@pytest.mark.long
def test_a_damaged_newest_generation_falls_back_to_the_one_before(folder, tmp_path, whole):
    shared = {"splits": data(Brighter()), "checkpoints": tmp_path, "views": 2}
    with pytest.raises(StopError):
        fitted(folder, **shared, progress=stopping_after(4))
    newest = max(tmp_path.glob("state-*.ckpt"), key=lambda p: p.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-100])
    log: list[str] = []
    again = fitted(folder, **shared, progress=dataclasses.replace(quiet, line=log.append))
    assert any("is damaged; the generation before it is used" in text for text in log)
    assert same_runs(again, whole)


@pytest.mark.long
def test_other_settings_data_or_module_do_not_go_on_silently(folder, tmp_path):
    from tlkit.layer.lookup import backbone_of
    from tlkit.training.fit import fit

    shared = {"checkpoints": tmp_path / "checkpoints"}
    fitted(folder, phases=PHASES[:1], **shared)
    fewer = dataclasses.replace(data(), train=data().train.subset(range(30)))
    for change in ({}, {"phases": PHASES[:1], "seed": 1}, {"phases": PHASES[:1], "splits": fewer}):
        with pytest.raises(InputError, match=r"holds a run with other settings, data or another module.*--fresh"):
            fitted(folder, **change, **shared)
    model, task = built(folder)
    weight = next(iter(backbone_of(model).module_variables.values()))
    weight.assign(weight * 1.0001)
    with pytest.raises(InputError, match="another module"):
        fit(model, task, data(), PHASES[:1], batch_size=8, **shared)
    checkpoint.clear(tmp_path / "checkpoints")
    assert len(fitted(folder, phases=PHASES, **shared).phases) == 2


@pytest.mark.long
def test_a_fit_goes_on_with_a_function_as_augment(folder, tmp_path):
    def brighter(by):
        return lambda x, seed: np.clip(x.astype(int) + seed % by, 0, 255).astype(np.uint8)

    shared = {"phases": PHASES[:1], "checkpoints": tmp_path / "checkpoints"}
    run = fitted(folder, splits=data(brighter(40)), **shared)
    assert same_runs(fitted(folder, splits=data(brighter(40)), **shared), run)
    with pytest.raises(InputError, match="holds a run with other settings"):
        fitted(folder, splits=data(brighter(30)), **shared)
    with (tmp_path / "log").open("w") as log, pytest.raises(InputError, match=r"TextIOWrapper in what .* from another"):
        fitted(folder, splits=data(lambda x, seed: log.write("changed") and x), **shared)


@pytest.mark.long
def test_a_fit_does_not_go_on_with_another_head(folder, tmp_path):
    """Heads of a notebook have no import path, and the weights of a head say nothing of its activation."""
    import keras

    def fit_with(scale, name):
        def head(x):
            factor = scale if isinstance(scale, float) else 1.0
            return keras.layers.Dense(len(LABELS), kernel_initializer="zeros")(factor * x)

        model, task = built(folder, task=tasks.classify(LABELS, head=head))
        shared = {"batch_size": 8, "checkpoints": tmp_path / name}
        return fit(model, task, data(), (Phase(epochs=1, lr=1e-2),), **shared)

    from tlkit.training.fit import fit

    once, again = fit_with(1.0, "plain"), fit_with(1.0, "plain")
    assert same(values(once.model), values(again.model))
    with pytest.raises(InputError, match="holds a run with other settings"):
        fit_with(2.0, "plain")
    unseen = threading.Lock()
    fit_with(unseen, "unseen")
    with pytest.raises(InputError, match=r"whether its head was this one cannot be seen: .*fresh=True"):
        fit_with(unseen, "unseen")


@pytest.mark.long
def test_both_generations_damaged_start_over(folder, tmp_path, plain):
    fitted(folder, phases=PHASES, checkpoints=tmp_path)
    for path in tmp_path.glob("state-*.ckpt"):
        path.write_bytes(path.read_bytes()[:100])
    assert same_runs(fitted(folder, checkpoints=tmp_path), plain)


def child(folder: Path, out: Path, pipe) -> None:
    """What a killed command runs: `pipe` gets each line and each step of the features."""

    @contextlib.contextmanager
    def bar(title: str, total: int):
        yield lambda done: pipe.send(title)

    progress = dataclasses.replace(quiet, line=pipe.send, bar=bar)
    os.environ["TLKIT_CACHE"] = str(out / "cache")
    run = fitted(folder, splits=data(Brighter()), views=2, checkpoints=out / "checkpoints", progress=progress)
    np.savez(out / "weights.npz", *values(run.model))


@pytest.mark.long
def test_kill_9_at_any_moment_and_again_gives_the_same_bits(folder, tmp_path, whole):
    """The short form: the long one, with 20 kills, is benchmarks/kills.py."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tensorflow", "keras", "tlkit.training"])
    rng = random.Random(0)
    for moment in ("features", "phase 1", "phase 2", None):
        lines, pipe = processes.Pipe(duplex=False)
        process = processes.Process(target=child, args=(folder, tmp_path, pipe))
        process.start()
        pipe.close()
        if moment is not None:
            next(text for text in iter(lines.recv, None) if text.startswith(moment))
            time.sleep(rng.random() * 0.05)
            process.kill()
        process.join(120)
        assert process.exitcode == (0 if moment is None else -signal.SIGKILL)
    with np.load(tmp_path / "weights.npz") as archive:
        assert same([archive[name] for name in archive.files], values(whole.model))


@dataclasses.dataclass(frozen=True)
class Lighter:
    """Adds to an image and to its target."""

    def draw(self, seed: int):
        return {"by": float(seed % 100)}

    def inputs(self, value, drawn):
        return np.clip(value.astype(int) + int(drawn["by"]), 0, 255).astype(np.uint8)

    def targets(self, value, drawn):
        return value + np.float32(drawn["by"])


@pytest.mark.long
@pytest.mark.parametrize("views", [0, 3])
def test_every_step_has_the_targets_of_its_copies(folder, views, monkeypatch):
    """Of each epoch's own draws, or those of the cached views, for which no image is read again."""
    from tlkit.training import fit as fitting

    count, reads, seen = 24, [], []
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 150, (SIZE, SIZE, 3)).astype(np.uint8) for _ in range(count)]
    names = tuple(f"{views}-{i}" for i in range(count))
    read = ReadColumn(lambda i: (reads.append(i), images[i])[1], ArraySpec((SIZE, SIZE, 3), "uint8"), names)
    whole = Examples(names, read, ArrayColumn(np.arange(count, dtype=np.float32)[:, None]), modality="image")
    splits = Splits(
        dataclasses.replace(whole, augment=Lighter()), whole.subset(range(8)), whole.subset(range(8)), ("x",)
    )
    original = fitting.targets_of

    def watched(examples, indices, drawn=None):
        batch = original(examples, indices, drawn)
        if drawn is not None:
            seen.append((indices, np.array(batch), len(reads)))
        return batch

    monkeypatch.setattr(fitting, "targets_of", watched)
    model, task = built(folder, task=tasks.regress(["x"]))
    fit(model, task, splits, (Phase(epochs=2, lr=1e-3),), batch_size=8, views=views, seed=4)
    assert len(seen) == 6
    for step, (indices, batch, _) in enumerate(seen):
        epoch = 1 + step // 3
        shown = view_of_epoch(count, max(1, views), 4, 0, epoch)
        seeds = [stable_seed(4, int(shown[i]), int(i)) if views else stable_seed(4, 0, epoch, int(i)) for i in indices]
        np.testing.assert_array_equal(
            batch[:, 0], [float(i) + seed % 100 for i, seed in zip(indices, seeds, strict=True)]
        )
    trained_on = seen[-1][2] - seen[0][2]
    assert trained_on == 0 if views else trained_on > 0


def own_layers(module_folder):
    import keras

    from tlkit import HubLayer

    return [HubLayer(module_folder("keras3_hub"), trainable=True, input_range=(0, 1)), keras.layers.Dense(len(LABELS))]


@pytest.mark.parametrize("with_input", [True, False])
def test_a_sequential_model_is_trained_in_place(module_folder, with_input):
    import keras

    inputs = [keras.Input((SIZE, SIZE, 3))] if with_input else []
    model = keras.Sequential([*inputs, *own_layers(module_folder)])
    run = fit(model, tasks.classify(LABELS), data(), (Phase(epochs=2, lr=3e-3),))
    assert run.phases[0].history["loss"][-1] < run.phases[0].history["loss"][0]
    images = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    assert np.array_equal(run.model.predict(images, verbose=0), model.predict(images, verbose=0))


def test_a_model_without_known_inputs_is_refused():
    import keras

    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(InputError, match="inputs of the model 'own' are not known"):
        fit(Own(), tasks.classify(LABELS), data(), PHASES)
    with pytest.raises(InputError, match=r"`model` must be a keras.Model.*Received: model='zoo:x'"):
        fit("zoo:x", tasks.classify(LABELS), data(), PHASES)


def test_what_is_no_splits_is_refused_by_name(folder):
    from tlkit import finetune

    for call in (finetune, fit):
        with pytest.raises(InputError, match=r"`data` must be Splits.*from_dataset\(dataset\).*Received: data="):
            call(folder, tasks.classify(LABELS), (np.zeros((2, 8, 8, 3)), [0, 1]), PHASES)
