"""A task as plain data: the import path of the function that made it, and its arguments, both ways."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.identity import Itself, known
from tlkit.core.naming import import_path, trusted
from tlkit.core.task import Task

SHELVES = ("tlkit.tasks", "tlkit.methods")  # what a run folder from elsewhere may name without `trust`

RECORDED = "_recorded_as"  # attribute of a function that stands for one in a recipe


def record(path: str, arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The recipe of a task: its function's import path and arguments as plain JSON data.

    A Task among the arguments becomes `{"recipe": [path, arguments]}`, a function `{"function": "package.name"}`; one
    that has no import path `{"function": None, "code": hash}`, where the hash is None if its state cannot be seen.

    Args:
        path: Import path of the function, `tlkit.tasks.classify`.
        arguments: What it was called with.

    Returns:
        The recipe, for `Task.made_by` and `restore`.
    """
    return path, {name: _plain(value) for name, value in arguments.items()}


def made_by(function: Callable[..., Task], **arguments: Any) -> tuple[str, Mapping[str, Any]]:
    """How a task of one's own is written down: `Task.made_by`.

    Args:
        function: What made the task; of a module, so that it has an import path.
        **arguments: What it was called with: plain data, tasks, functions of modules.

    Raises:
        InputError: If the function has no import path.

    Example:
        >>> made_by(restore, recipe=["a", {}])
        ('tlkit.tasks.recording.restore', {'recipe': ['a', {}]})
    """
    path = import_path(function)
    if path is None:
        raise InputError(
            "`made_by` needs a function of a module (a .py file that can be imported), so that the task can be made "
            f"again. Received: {function!r:.80}."
        )
    return record(path, arguments)


def restore(recipe: Sequence[Any], *, trust: bool = False) -> Task:
    """Make a task again from its recipe.

    Opening somebody's run must not run somebody's code, so without `trust` only tlkit's own tasks and methods are
    called. A user's own head is imported when it is called, not before: a saved model opens without it.

    Args:
        recipe: Import path and plain arguments, as in `Task.made_by` or task.json.
        trust: Whether functions outside tlkit may be imported; TLKIT_TRUST=1 means it too.

    Returns:
        The task.

    Raises:
        InputError: If the path lies outside tlkit and `trust` is False, or does not lead to a function.

    Example:
        >>> restore(("tlkit.tasks.classify", {"labels": ["cat", "dog"]})).labels
        ('cat', 'dog')
    """
    path, arguments = _parts(recipe)
    trust = trusted(trust)
    function = _found(path, trust)
    try:
        task = function(**{name: _live(value, trust) for name, value in arguments.items()})
    except TypeError as error:
        raise InputError(f"The recipe's arguments do not fit `{path}`: {error}.") from error
    if not isinstance(task, Task):
        raise InputError(f"`{path}` does not make a Task. Received: {type(task).__name__}.")
    return task


def as_recorded(task: Task, recipe: Sequence[Any]) -> Task:
    """A task that somebody made anew, with what validation decided when it was trained (`Task.finish`), which the
    recipe has.

    Nothing is called but what made the task, and only plain values are taken out of the recipe. An argument that a
    recipe lacks, as one of another version of tlkit does, has its default.

    Args:
        task: Made anew.
        recipe: Of the trained task; one of another function changes nothing.

    Raises:
        InputError: If the two were made with other arguments, and not by what validation decides.
    """
    (path, recorded), (made_by, arguments) = _parts(recipe), json.loads(json.dumps(task.made_by, default=str))
    defaults = _defaults(made_by)
    recorded = _without_code(_filled(recorded, arguments, defaults))
    arguments = _without_code(_filled(arguments, recorded, defaults))
    names = sorted({name for name in {**recorded, **arguments} if recorded.get(name) != arguments.get(name)})
    if path != made_by or not names:
        return task
    decided = {name: recorded[name] for name in names if name in recorded}
    if task.finish is not None and not any(_is_live(value) for value in decided.values()):
        return restore((made_by, {**arguments, **decided}), trust=True)
    differing = " and ".join(f"{name}={recorded.get(name)!r:.80}, not {arguments.get(name)!r:.80}" for name in names)
    raise InputError(
        f"The run's task was made with {differing}: make `task` with the same arguments, or pass `trust=True` instead."
    )


def _defaults(path: str) -> dict[str, Any]:
    """Plain defaults of the arguments of a function; its module is not imported for it."""
    module_name, _, name = path.rpartition(".")
    function = getattr(sys.modules.get(module_name), name, None)
    if not inspect.isfunction(function):
        return {}
    parameters = inspect.signature(function).parameters.values()
    plain = {each.name: _plain(each.default) for each in parameters if each.default is not each.empty}
    return dict(json.loads(json.dumps(plain, default=str)))


def _filled(arguments: Mapping[str, Any], other: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments, with the defaults of those that only the other recipe has."""
    lacking = other.keys() - arguments.keys()
    return {**arguments, **{name: defaults[name] for name in lacking if name in defaults}}


def _without_code(value: Any) -> Any:
    """Plain data in which functions without an import path are all alike: another Python writes other code."""
    if isinstance(value, list):
        return list(map(_without_code, value))
    if not isinstance(value, Mapping):
        return value
    return {name: _without_code(item) for name, item in value.items() if not ("function" in value and name == "code")}


def _is_live(value: Any) -> bool:
    """Whether plain data stand for a task or a function anywhere."""
    if isinstance(value, list):
        return any(map(_is_live, value))
    return isinstance(value, Mapping) and (
        "recipe" in value or "function" in value or any(map(_is_live, value.values()))
    )


def _parts(recipe: Sequence[Any]) -> tuple[str, Mapping[str, Any]]:
    match recipe:
        case [str(path), Mapping() as arguments]:
            return path, arguments
    raise InputError(f"A task's recipe must be an import path and its arguments. Received: {recipe!r}.")


def _found(path: str, trust: bool) -> Callable[..., Any]:
    module_name, _, name = path.rpartition(".")
    if module_name not in SHELVES and not trust:
        raise InputError(
            f"The task was made by `{path}`, which is not part of tlkit: pass the task itself, `task=`, or "
            "`trust=True`, which imports that function (on the command line --trust)."
        )
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise InputError(f"`{path}` cannot be imported: {error}; pass the task itself, `task=`.") from error
    public = getattr(module, "__all__", ()) if module_name in SHELVES else vars(module)
    function = getattr(module, name, None) if name in public else None
    if not callable(function) or (module_name in SHELVES and not _makes_a_task(function)):
        raise InputError(f"`{module_name}` has no task `{name}`; was this recipe written by another version?")
    return function  # type: ignore[no-any-return]


def _makes_a_task(function: Any) -> bool:
    """Whether a function of the shelves makes a task out of its arguments, and does nothing else: a card in somebody's
    file may name it.
    """
    return function is not restore and getattr(function, "__annotations__", {}).get("return") in ("Task", Task)


def _plain(value: Any) -> Any:
    if isinstance(value, Task):
        return {"recipe": [value.made_by[0], dict(value.made_by[1])]}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if callable(value):
        return getattr(value, RECORDED, None) or _named(value)
    return value.item() if isinstance(value, np.generic) else value


def _named(function: Callable[..., Any]) -> dict[str, Any]:
    """A function by its import path; of one that has none the hash of its code tells whether it is the same."""
    path = import_path(function)
    return {"function": path} if path is not None else {"function": None, "code": known(function)}


def told_apart(recipe: Any) -> bool:
    """Whether equal recipes are of equal tasks: all functions have an import path, or code whose state is known.

    Example:
        >>> told_apart(("tlkit.tasks.classify", {"head": {"function": None, "code": None}}))
        False
    """
    match recipe:
        case {"function": None, **rest}:
            return rest.get("code") is not None
        case Mapping():
            return all(map(told_apart, recipe.values()))
        case list() | tuple():
            return all(map(told_apart, recipe))
    return True


def key_of(task: Task) -> Hashable:
    """What tasks that do the same have in common; one that cannot be told from others is a key of its own."""
    return str(task.made_by) if told_apart(task.made_by) else Itself(task)


def _live(value: Any, trust: bool) -> Any:
    match value:
        case {"recipe": [str(), Mapping()] as inner, **rest} if not rest:
            return restore(inner, trust=trust)
        case {"function": (str() | None) as path, **rest} if not set(rest) - {"code"}:
            return _postponed(path, trust, value)
    return value


def _postponed(path: str | None, trust: bool, recorded: Mapping[str, Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        if path is None:
            raise InputError(
                "This run's own head has no import path (a lambda, or a function of a notebook): pass `task=` anew."
            )
        return _found(path, trust)(*arguments)

    setattr(call, RECORDED, dict(recorded))  # so that recording it again gives the same recipe
    return call
