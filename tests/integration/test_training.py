"""fit on a small real module: what moves, what does not, in which order, and again after a kill."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlkit import checkpoint, plans, tasks
from tlkit.errors import InputError, TrainingError
from tlkit.progress import quiet
from tlkit.types import ArraySpec, Examples, Phase, Splits

SIZE, LABELS = 32, ("dark", "light", "red")
PHASES = (
    Phase(epochs=3, lr=3e-3),
    Phase(epochs=3, lr=1e-3, unfrozen=0.5, warmup=0.2, cosine=True, patience=2, lr_decay=0.8),
)


def image(label: int, rng: np.random.Generator) -> np.ndarray:
    base = np.asarray(((40, 40, 40), (200, 200, 200), (200, 60, 60)))[label]
    return np.clip(base + rng.normal(0, 60, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def examples(count: int, seed: int, augment=None) -> Examples:
    rng = np.random.default_rng(seed)
    targets = np.arange(count, dtype=np.int32) % len(LABELS)
    images = [image(int(t), rng) for t in targets]
    return Examples(
        ids=tuple(f"{seed}-{i}" for i in range(count)),
        read=images.__getitem__,
        targets=targets,
        spec=ArraySpec((SIZE, SIZE, 3), "uint8"),
        digests=tuple(f"{seed}-{i}" for i in range(count)),
        augment=augment,
    )


class Brighter:
    """An augmentation that is a pure function of image and seed."""

    def __call__(self, x: np.ndarray, seed: int) -> np.ndarray:
        return np.clip(x.astype(int) + seed % 40, 0, 255).astype(np.uint8)

    def __repr__(self) -> str:
        return "Brighter()"


def data(augment=None) -> Splits:
    return Splits(examples(42, 1, augment), examples(15, 2), examples(15, 3), LABELS)


def built(folder: Path, seed: int = 0, task=None):
    import keras

    from tlkit.layer import HubLayer
    from tlkit.model import build

    keras.utils.set_random_seed(seed)
    task = task or tasks.classify(LABELS, hidden=(8,), dropout=0.3)
    layer = HubLayer(folder, name="backbone", input_range=(0.0, 1.0))
    return build(layer, task, image_size=(SIZE, SIZE)), task


def values(model) -> list[np.ndarray]:
    return [np.array(v) for v in model.weights]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def folder(module_folder):
    return module_folder("keras3_hub")


def fitted(folder: Path, *, seed: int = 0, splits=None, phases=PHASES, **options):
    from tlkit.training import fit

    model, task = built(folder, seed)
    return fit(model, task, splits or data(), phases, seed=seed, batch_size=8, **options)


def test_the_loss_falls_and_each_phase_proves_what_stayed(folder):
    run = fitted(folder)
    frozen, tuned = run.phases
    assert frozen.history["loss"][-1] < frozen.history["loss"][0]
    assert frozen.proof["sha256_before"] == frozen.proof["sha256_after"]
    assert tuned.proof["sha256_before"] == tuned.proof["sha256_after"]
    assert frozen.had["unfrozen"] == 0 and tuned.had["unfrozen"] == pytest.approx(5 / 9, abs=1e-3)  # ceil(.5 of 9)
    assert frozen.proof["frozen_variables"] > tuned.proof["frozen_variables"] > 0
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "lr"} <= set(tuned.history)


def test_same_seed_same_weights_bit_for_bit(folder):
    first, second, other = (fitted(folder, seed=s) for s in (5, 5, 6))
    assert same(values(first.model), values(second.model))
    assert [dict(p.history) for p in first.phases] == [dict(p.history) for p in second.phases]
    assert not same(values(first.model), values(other.model))


def test_cached_and_recomputed_features_train_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path))
    cold, warm, without = fitted(folder), fitted(folder), fitted(folder, cached=False)
    assert same(values(cold.model), values(warm.model))
    assert same(values(cold.model), values(without.model))
    streamed = fitted(folder, views=0)
    for a, b in zip(values(cold.model), values(streamed.model), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_unfrozen_variables_move_and_frozen_ones_are_byte_identical(folder):
    model, task = built(folder)
    from tlkit.model import backbone_of
    from tlkit.training import fit

    layer = backbone_of(model)
    before = {i: np.array(v) for i, v in layer.module_variables.items()}
    splits = dataclasses.replace(data(), val=data().train)
    fit(model, task, splits, (Phase(epochs=4, lr=1e-2, unfrozen=0.5),), batch_size=8)
    behind = set(layer.cut_for(0.5).variables_behind)
    moved = {i for i, v in layer.module_variables.items() if not np.array_equal(before[i], v)}
    assert moved and moved <= behind


def test_adapt_moves_the_statistics_of_unfrozen_blocks_only(folder):
    model, task = built(folder)
    from tlkit.model import backbone_of
    from tlkit.training import fit

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


def test_a_worse_phase_is_reported_and_its_weights_are_not_kept(folder):
    ruin = Phase(epochs=2, lr=0.3, unfrozen=1.0)
    good = fitted(folder, phases=PHASES[:1])
    run = fitted(folder, phases=(PHASES[0], ruin))
    assert [p.improved for p in run.phases] == [True, False]
    assert same(values(run.model), values(good.model))


def test_the_first_adam_step_of_each_block_has_its_own_rate(folder):
    """|first step of Adam| = rate, whatever the gradient: so it shows the factor of each variable."""
    model, task = built(folder)
    from tlkit.model import backbone_of
    from tlkit.training import fit

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


def test_nan_in_the_data_stops_before_the_weights(folder):
    from tlkit.training import fit

    model, task = built(folder)
    splits = data()
    poisoned = Examples(
        ids=splits.train.ids, read=lambda i: np.full((SIZE, SIZE, 3), np.nan, "float32") if i == 3 else splits.train.read(i),  # noqa: E501
        targets=splits.train.targets, spec=splits.train.spec, digests=tuple(f"p{d}" for d in splits.train.digests),
    )  # fmt: skip
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
    from tlkit.training import fit

    model, task = built(folder)
    for arguments, sentence in (
        ({"phases": ()}, "`phases` is empty"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more"),
        ({"views": -1}, "`views` must be 0 or more"),
    ):
        phases = arguments.pop("phases", PHASES)
        with pytest.raises(InputError, match=sentence):
            fit(model, task, data(), phases, **arguments)
    small = dataclasses.replace(data(), train=dataclasses.replace(data().train, spec=ArraySpec((8, 8, 3), "uint8")))
    with pytest.raises(InputError, match=r"shape \(8, 8, 3\), but the model takes \(32, 32, 3\); resize"):
        fit(model, task, small, PHASES)
    empty = dataclasses.replace(data(), val=data().val.subset([]))
    with pytest.raises(InputError, match="validation split is empty"):
        fit(model, task, empty, PHASES)


# -- resume


class StopError(Exception):
    """Stands for a kill at an epoch's end."""


def stopping_after(lines: int):
    left = [lines]

    def line(text: str) -> None:
        if " epoch " in text:
            left[0] -= 1
            if left[0] < 0:
                raise StopError

    return dataclasses.replace(quiet, line=line)


@pytest.mark.parametrize("lines", [0, 1, 3, 4, 5])
def test_a_stopped_fit_goes_on_to_the_same_bits(folder, tmp_path, lines):
    splits = data(Brighter())
    whole = fitted(folder, splits=splits, checkpoints=tmp_path / "whole", views=2)
    with pytest.raises(StopError):
        fitted(folder, splits=splits, checkpoints=tmp_path / "cut", views=2, progress=stopping_after(lines))
    again = fitted(folder, splits=splits, checkpoints=tmp_path / "cut", views=2)
    assert same(values(whole.model), values(again.model))
    assert [dict(p.history) for p in whole.phases] == [dict(p.history) for p in again.phases]
    assert [(p.best_epoch, p.improved) for p in whole.phases] == [(p.best_epoch, p.improved) for p in again.phases]
    finished = fitted(folder, splits=splits, checkpoints=tmp_path / "cut", views=2)
    assert same(values(whole.model), values(finished.model))


def test_a_damaged_newest_generation_falls_back_to_the_one_before(folder, tmp_path):
    whole = fitted(folder)
    with pytest.raises(StopError):
        fitted(folder, checkpoints=tmp_path, progress=stopping_after(4))
    newest = max(tmp_path.glob("state-*.ckpt"), key=lambda p: p.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-100])
    said: list[str] = []
    again = fitted(folder, checkpoints=tmp_path, progress=dataclasses.replace(quiet, line=said.append))
    assert any("is damaged; the generation before it is used" in text for text in said)
    assert same(values(whole.model), values(again.model))


def test_other_settings_do_not_go_on_silently(folder, tmp_path):
    fitted(folder, phases=PHASES[:1], checkpoints=tmp_path / "checkpoints")
    with pytest.raises(InputError, match="holds a run with other settings, data or another module"):
        fitted(folder, phases=PHASES, checkpoints=tmp_path / "checkpoints")
    checkpoint.clear(tmp_path / "checkpoints")
    assert len(fitted(folder, phases=PHASES, checkpoints=tmp_path / "checkpoints").phases) == 2


CHILD = """
import sys, pathlib
sys.path[:0] = {paths!r}
import numpy as np
import test_training as t
run = t.fitted(pathlib.Path({module!r}), splits=t.data(t.Brighter()), checkpoints={out!r} + "/checkpoints", views=2)
np.savez({out!r} + "/weights.npz", *t.values(run.model))
"""


def test_kill_9_at_any_moment_and_again_gives_the_same_bits(folder, tmp_path):
    """The short form: the long one, with 20 kills, is benchmarks/kills.py."""
    rng = random.Random(0)

    def start(name: str) -> subprocess.Popen:
        (tmp_path / name).mkdir(exist_ok=True)
        code = CHILD.format(
            paths=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
            module=str(folder),
            out=str(tmp_path / name),
        )
        environment = {**os.environ, "TLKIT_CACHE": str(tmp_path / name / "cache")}
        return subprocess.Popen([sys.executable, "-c", code], env=environment)

    assert start("whole").wait(300) == 0
    for _ in range(2):
        child = start("killed")
        started = time.monotonic()
        while (
            not list((tmp_path / "killed").rglob("*.npy")) and child.poll() is None and time.monotonic() - started < 120
        ):
            time.sleep(0.02)
        time.sleep(rng.random() * 2)
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    assert start("killed").wait(300) == 0
    with np.load(tmp_path / "whole" / "weights.npz") as a, np.load(tmp_path / "killed" / "weights.npz") as b:
        assert a.files == b.files and all(np.array_equal(a[n], b[n]) for n in a.files)


def test_recommend_unfreezes_more_where_there_is_more_data():
    shares = [plans.recommend(n, 10)[1].unfrozen for n in (100, 5_000, 50_000)]
    assert shares == sorted(shares) and shares[0] < shares[-1] == 1.0
