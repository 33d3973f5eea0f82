"""keras.applications by name, as modules: feature vectors, with whatever input scaling each needs written down."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
import socket
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.trouble import first_line
from tlkit.formats import hub_module
from tlkit.hub.downloading import TIMEOUT_S
from tlkit.hub.store import Filled, Stored, obtain

_UNFETCHED = "URL fetch failure on"  # how keras.utils.get_file begins where a download fails, in a bare Exception
_SWITCHED_OFF = "downloads are switched off"
_FRIENDLY = {"vgg": "VGG16", "resnet": "ResNet50", "inception": "InceptionV3", "efficientnet": "EfficientNetB0"}


def stored(name: str, *, offline: bool) -> Stored:
    """The application's module from the cache, built first where it is missing.

    `name` may end in a size ("MobileNetV2/160"), for other images than those of the published weights. The weights are
    ImageNet's where Keras has them or can download them; where it cannot, random ones, which a warning says, and which
    are kept apart. Random weights are the same on every machine.

    Raises:
        InputError: If keras.applications has no such name, or cannot make it.
    """
    word, _, side = name.partition("/")
    full = full_name(word)
    if side and not (side.isdigit() and int(side) > 0):
        raise InputError(f"A size reads keras.applications:{full}/160. Received: {name!r}.")
    size = int(side) if side else _trained_size(full)
    handle = f"keras.applications:{full}/{size} (keras {metadata.version('keras')})"
    try:
        return obtain(f"{handle} imagenet", _fill(full, size, "imagenet", offline))
    except _NoWeightsError as error:
        warnings.warn(
            f"The ImageNet weights of {full} cannot be had ({error}), so the module has RANDOM weights: good for "
            "trying things out, not for transfer.",
            stacklevel=2,
        )
    return obtain(f"{handle} random", _fill(full, size, None, offline))


class _NoWeightsError(Exception):
    """ImageNet weights that cannot be had, and why."""


def full_name(name: str) -> str:
    """The name that keras.applications has for it, whatever the case and the hyphens.

    Raises:
        InputError: If it has none.
    """
    import keras

    names = {_plain(n): n for n in dir(keras.applications) if n[0].isupper()}
    friendly = _FRIENDLY.get(_plain(name), name)
    if _plain(friendly) in names:
        return names[_plain(friendly)]
    close = [names[n] for n in difflib.get_close_matches(_plain(name), names, n=3)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(sorted(names.values()))}."
    raise InputError(f"keras.applications has no {name!r}; {hint}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _fill(name: str, size: int, weights: str | None, offline: bool) -> Callable[[Path, bool], Filled]:
    def fill(work: Path, _again: bool) -> Filled:
        model = _model(name, size, weights, offline)
        scaling, input_range = _scaling(name)
        card = {
            "name": f"keras.applications:{name}",
            "weights": weights or "random",
            "input_range": list(input_range),
            "image_size": [size, size],
            "source": f"keras=={metadata.version('keras')}",
        }
        return Filled(hub_module.write_keras_model(model, work / "module", card=card, preprocess=scaling))

    return fill


def _model(name: str, size: int, weights: str | None, offline: bool) -> Any:
    """The headless model for square images of `size`."""
    import keras

    application = getattr(keras.applications, name)
    arguments = {"include_top": False, "pooling": "avg", "input_shape": (size, size, 3)}
    try:
        with _refusing_downloads() if offline else _impatient():
            model = application(weights=weights, **arguments)
    except OSError as error:
        if weights is not None and isinstance(error, ConnectionError | TimeoutError):
            raise _NoWeightsError(first_line(error)) from error
        raise
    except Exception as error:
        reason = first_line(error)
        if weights is not None and (isinstance(error, HTTPException) or reason.startswith(_UNFETCHED)):
            raise _NoWeightsError(_SWITCHED_OFF if _SWITCHED_OFF in reason else reason) from error
        raise InputError(f"keras.applications cannot make {name} for images of {size}x{size}: {reason}") from error
    return model if weights is not None else _randomised(model)


def _trained_size(name: str) -> int:
    """Side of the square images that the published weights were trained on, as each application's page gives it."""
    sides = {"Xception": 299, "InceptionV3": 299, "InceptionResNetV2": 299, "NASNetLarge": 331}
    efficient = {"B1": 240, "B2": 260, "B3": 300, "B4": 380, "B5": 456, "B6": 528, "B7": 600}
    second = {"B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480}
    for family, table in (("EfficientNetV2", second), ("EfficientNet", efficient)):
        if name.startswith(family):
            return table.get(name.removeprefix(family), 224)
    return sides.get(name, 224)


def _scaling(name: str) -> tuple[Callable[[Any], Any] | None, tuple[float, float]]:
    """What goes into the graph in front of the model, and the range that the module then takes.

    Found by trying `preprocess_input` on black and white: it does nothing (scaling is in the model), maps 0..255 to
    -1..1 (left to whoever feeds the module), or treats channels differently (put into the module).
    """
    import keras

    preprocess = inspect.getmodule(getattr(keras.applications, name)).preprocess_input  # type: ignore[union-attr]
    black, white = (preprocess(np.full((1, 1, 1, 3), value, "float32")).ravel() for value in (0.0, 255.0))
    if np.allclose(black, 0) and np.allclose(white, 255):
        return None, (0.0, 255.0)
    if np.allclose(black, -1) and np.allclose(white, 1):
        return None, (-1.0, 1.0)
    return preprocess, (0.0, 255.0)


def _randomised(model: Any) -> Any:
    """Weights drawn anew from a generator of our own: the user's seeds stay as they are, and two machines agree."""
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        shape = tuple(variable.shape)
        if len(shape) > 1:  # He et al. 2015, arXiv:1502.01852; biases and scales keep their constants
            depthwise = len(shape) == 4 and shape[-1] == 1
            fan_in = int(np.prod(shape[:2] if depthwise else shape[:-1]))
            variable.assign(random.normal(0.0, (2 / fan_in) ** 0.5, shape).astype("float32"))
    return model


class _Refusing(urllib.request.BaseHandler):
    """Answers every request before it leaves: Keras knows which files it has, and asks for no others."""

    handler_order = 0

    def refused(self, _request: urllib.request.Request) -> None:
        raise urllib.error.URLError(_SWITCHED_OFF)

    http_open = https_open = refused


@contextlib.contextmanager
def _refusing_downloads() -> Iterator[None]:
    """Let Keras take weights that it has downloaded before, and download none."""
    before = getattr(urllib.request, "_opener", None)
    urllib.request.install_opener(urllib.request.build_opener(_Refusing))
    try:
        yield
    finally:
        urllib.request.install_opener(before)  # None makes the usual one when it is needed


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Keras downloads without a time-out; this gives it one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
