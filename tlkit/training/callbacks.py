"""Keras callbacks in `fit`: those that watch are told what Keras tells them; those that would steer are refused."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from tlkit.core.errors import InputError
from tlkit.model.partition import weights_hash

INSTEAD = {
    "EarlyStopping": "`Phase(patience=...)` ends a phase, and `fit` keeps the best weights of all phases",
    "ReduceLROnPlateau": "`Phase(cosine=True)` lowers the rate, and so does a further Phase with a lower `lr`",
    "LearningRateScheduler": "`lr`, `warmup` and `cosine` of a Phase set the rate of each step",
    "ModelCheckpoint": "`fit` keeps the best weights, and `checkpoints=` (in `finetune`: `out=`) is where it saves",
    "OrbaxCheckpoint": "`fit` keeps the best weights, and `checkpoints=` (in `finetune`: `out=`) is where it saves",
    "BackupAndRestore": "`fit(checkpoints=...)` and `finetune(out=...)` go on where they were stopped",
    "TerminateOnNaN": "`fit` stops by itself, before a loss that is not finite has touched a weight",
    "SwapEMAWeights": "`tlkit.methods.soup` averages the weights of several runs",
}
CHECKED = ("on_epoch_begin", "on_epoch_end", "on_test_end")  # events around which weights are compared


@dataclass(frozen=True, eq=False)
class Watchers:
    """The callbacks of a fit, in their order, and what they look at.

    Attributes:
        model: The whole model.
        callbacks: One list for each callback, so that what one of them does is known to be its doing.
        line: Where notes go.
        trained: Optimizer that trains the phase under way, or None between phases.
        before: Steps of the phases before it.
    """

    model: Any
    callbacks: tuple[keras.callbacks.CallbackList, ...] = ()
    line: Callable[[str], None] = print
    trained: keras.optimizers.Optimizer | None = None
    before: int = 0

    def __bool__(self) -> bool:
        return bool(self.callbacks)

    def of_phase(self, trained: Any, optimizer: Any, step: Any, before: int) -> Watchers:
        """The same in a phase: its optimizer as callbacks see it, and the graph of its step.

        Args:
            trained: What trains the phase; callbacks cannot reach it.
            shown: One like it, which counts steps over all phases.
            step: The traced step, which TensorBoard draws.
            before: Steps of the phases before.
        """
        if not self:
            return self
        self.model.optimizer, self.model.train_function = optimizer, _traced(step)
        return replace(self, trained=trained, before=before)

    def tell(self, event: str, *arguments: Any) -> None:
        """Call a method of every callback."""
        if not self:
            return
        rate = self._shown_rate()
        checked = event in CHECKED or (event == "on_train_batch_end" and arguments[0] == 0)
        for callback in self.callbacks:
            weights = weights_hash(self.model.trainable_variables) if checked else ""
            getattr(callback, event)(*arguments)
            if checked and weights_hash(self.model.trainable_variables) != weights:
                raise InputError(
                    f"The callback {_name(callback)} changed weights in `{event}`, and callbacks of `fit` only watch: "
                    "leave it out, or train with HubLayer in a model of your own and Keras' `fit`."
                )
            self._say_steering(_name(callback), rate)

    def _shown_rate(self) -> np.float32:
        """Bring the optimizer that callbacks see up to date; its rate."""
        optimizer = self.model.optimizer
        if self.trained is not None:
            optimizer.iterations.assign(self.before + int(self.trained.iterations))
            optimizer.learning_rate = float(self.trained.learning_rate)
        return np.float32(optimizer.learning_rate)

    def _say_steering(self, name: str, rate: np.float32) -> None:
        if self.model.stop_training:
            self.model.stop_training = False
            self.line(
                f"note: the callback {name} set `model.stop_training`, which does nothing here: `Phase(patience=...)` "
                "ends a phase. Training goes on."
            )
        optimizer = self.model.optimizer
        if np.float32(optimizer.learning_rate) != rate:
            optimizer.learning_rate = float(rate)
            self.line(f"note: the callback {name} set a learning rate, which does nothing here: a Phase has the rates.")


def checked(callbacks: Any) -> tuple[keras.callbacks.Callback, ...]:
    """The callbacks, one after the other.

    Args:
        callbacks: A callback, a list of them (nested, if it must be), or None.

    Raises:
        InputError: If one is no callback, would steer the training, or lacks the package that it writes with.
    """
    if callbacks is None:
        return ()
    flat = tuple(c for item in keras.tree.flatten(callbacks) for c in getattr(item, "callbacks", (item,)))
    for callback in flat:
        _check(callback)
    return flat


def _check(callback: Any) -> None:
    if not isinstance(callback, keras.callbacks.Callback):
        raise InputError(f"`callbacks` holds what is no keras.callbacks.Callback. Received: {callback!r}.")
    if type(callback).__name__ == "ProgbarLogger":
        raise InputError("`callbacks` needs no ProgbarLogger: `progress=` is where progress goes.")
    family = [c.__name__ for c in type(callback).__mro__ if c.__module__.startswith("keras.")]
    steers = next((name for name in family if name in INSTEAD), None)
    if steers is not None:
        name = type(callback).__name__
        steerer = steers if name == steers else f"{name} (a kind of {steers})"
        raise InputError(f"The callback {steerer} would steer the training, which the phases do: {INSTEAD[steers]}.")
    if "TensorBoard" in family and importlib.util.find_spec("tensorboard") is None:
        raise InputError("The callback TensorBoard needs a package that is not installed: pip install tensorboard.")


@contextlib.contextmanager
def watching(
    model: keras.Model,
    callbacks: tuple[keras.callbacks.Callback, ...],
    optimizer: keras.optimizers.Optimizer,
    params: Mapping[str, int],
    line: Callable[[str], None],
) -> Iterator[Watchers]:
    """The callbacks with the model as they expect it: `optimizer`, `stop_training` and `train_function` are there.

    What the model had before is put back, so that its file has no optimizer.

    Args:
        model: The whole model.
        callbacks: As `checked` gives them.
        optimizer: What `model.optimizer` is before the first phase.
        params: `epochs` of all phases, and `steps` of each.
        line: Where notes go.
    """
    if not callbacks:
        yield Watchers(model)
        return
    attributes = {"optimizer": optimizer, "train_function": None, "stop_training": False}
    before = {name: getattr(model, name) for name in (*attributes, "history") if hasattr(model, name)}
    for name, value in attributes.items():
        setattr(model, name, value)
    lists = (keras.callbacks.CallbackList([c], model=model, verbose=0, **params) for c in callbacks)
    try:
        yield Watchers(
            model, tuple(lists), functools.cache(line)
        )  # a note says the same in every epoch: once is enough
    finally:
        for name in (*attributes, "history"):
            if name in before:
                setattr(model, name, before[name])
            elif hasattr(model, name):
                delattr(model, name)


def _name(callback: keras.callbacks.CallbackList) -> str:
    return type(callback.callbacks[0]).__name__


def _traced(step: Any) -> Any:
    """The tf.function inside a step, which TensorBoard knows by its `function_spec`."""
    while step is not None and not hasattr(step, "function_spec"):
        step = getattr(step, "__wrapped__", None)
    return step
