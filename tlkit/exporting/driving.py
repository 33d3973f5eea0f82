"""Files whose functions are called in a loop, as one function: that of the task's deployment."""

from __future__ import annotations

import base64
import functools
import pickle
import sys
from dataclasses import replace
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.format import Opened
from tlkit.core.task import Task


def driven(opened: Opened, run: Any) -> Opened:
    """The file as one function of an example's inputs, by the loop `run` of a deployment."""
    return replace(opened, call=functools.partial(run, opened.signatures), signatures={}, owner=opened)


def packed(task: Task, *, checking: bool = False) -> str | None:
    """The loop of a task's deployment for another process, None where there is none.

    Args:
        task: Whose it is.
        checking: Whether it also gives what a file is compared by besides.

    Raises:
        InputError: If another process could not import it.
    """
    if task.deployment is None:
        return None
    try:
        return base64.b64encode(pickle.dumps(task.deployment.compared if checking else task.deployment.run)).decode()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"`run` of the deployment of {task.name!r} cannot be called in another process: it must be a function of a "
            f"module (a .py file that can be imported), or a functools.partial of one ({error})."
        ) from error


def unpacked(loop: str) -> Any:
    """The loop that `packed` wrote; a module of the user's own may import Keras, which workers keep out otherwise."""
    content = base64.b64decode(loop)
    try:
        return pickle.loads(content)
    except ImportError:
        sys.modules.pop("keras", None)
        return pickle.loads(content)
