"""The workers that TF_CONFIG names: joined, and counted."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from tlkit.core.errors import InputError

CONFIG = "TF_CONFIG"


@contextlib.contextmanager
def joined() -> Iterator[int]:
    """Join the workers that TF_CONFIG names, if there are several; gives this one's index, 0 where there are none.

    Raises:
        InputError: If TF_CONFIG is damaged.
    """
    if _workers_named() < 2:
        yield 0
        return
    import tensorflow as tf  # the strategy must be made before anything else of TensorFlow

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tlkit.training.replicas import sharing

    with sharing(strategy) as workers:
        yield workers.index


def _workers_named() -> int:
    text = os.environ.get(CONFIG, "")
    if not text:
        return 0
    try:
        jobs = json.loads(text).get("cluster", {})
        return sum(len(jobs.get(job, ())) for job in ("chief", "worker"))
    except (ValueError, AttributeError, TypeError):
        raise InputError(
            f'{CONFIG} must be JSON as TensorFlow has it: {{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": '
            f'{{"type": "worker", "index": 0}}}}. Received: {text!r:.80}.'
        ) from None
