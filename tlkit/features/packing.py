"""A frozen front as bytes, for processes that compute features elsewhere."""

from __future__ import annotations

import io
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from tlkit.core.errors import InputError
from tlkit.features.engines import Opener
from tlkit.graph.constant import WITHOUT_GRADIENTS, quiet_log

NAME = "front"


@dataclass(frozen=True, eq=False)
class PackedOpener:
    """What `opened` makes an opener of, in any process that sees the same cache.

    Attributes:
        opener: Without what only its own process has.
        saved: The front as a SavedModel, as a tar file.
    """

    opener: Opener
    saved: bytes

    def opened(self) -> Opener:
        """The opener; a converted form is taken from the cache."""
        with tempfile.TemporaryDirectory(prefix="tlkit-front-") as folder:
            with tarfile.open(fileobj=io.BytesIO(self.saved)) as archive:
                archive.extractall(folder, filter="data")
            module = tf.saved_model.load(str(Path(folder) / NAME))
        return replace(self.opener, tensorflow=_Loaded(module))


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A front of a SavedModel, which lives as long as its module does."""

    module: tf.Module

    def __call__(self, inputs: object) -> tuple[tf.Tensor, ...]:
        return tuple(self.module.run(tf.nest.map_structure(tf.convert_to_tensor, inputs)))


def packed(opener: Opener) -> PackedOpener:
    """A front with the variables and tables that it reads.

    Raises:
        InputError: If it reads what cannot be saved.
    """
    module = tf.Module()
    module.run, module.held = opener.tensorflow, list(opener.front.variables)
    file = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="tlkit-front-") as folder:
        place = Path(folder) / NAME
        try:
            with quiet_log():
                tf.saved_model.save(module, str(place), options=WITHOUT_GRADIENTS)
        except (AssertionError, ValueError, KeyError) as error:
            raise InputError(f"The module cannot be sent to other processes: {error}") from error
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(place, NAME)
    bare = {id(front): replace(front, run=_unpacked, variables=()) for front in (opener.front, *opener.together)}
    together = tuple(bare[id(front)] for front in opener.together)
    return PackedOpener(
        replace(opener, front=bare[id(opener.front)], tensorflow=None, together=together), file.getvalue()
    )


def _unpacked(_inputs: object) -> tuple[tf.Tensor, ...]:
    raise InputError("A front that was sent here is run by its SavedModel alone.")
