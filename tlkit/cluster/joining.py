"""The workers that TF_CONFIG names: joined, and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tlkit.core.workers import workers_named


@contextlib.contextmanager
def joined() -> Iterator[int]:
    """Join the workers that TF_CONFIG names, if there are several; gives this one's index, 0 where there are none.

    Raises:
        InputError: If TF_CONFIG is damaged.
    """
    if workers_named() < 2:
        yield 0
        return
    import tensorflow as tf  # the strategy must be made before anything else of TensorFlow

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tlkit.training.replicas import sharing

    with sharing(strategy) as workers:
        yield workers.index
