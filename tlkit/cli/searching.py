"""tlkit tune: the words of a search beside those of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tlkit.core import space as spaces
from tlkit.core.errors import InputError
from tlkit.core.flags import defaults, flat

OWN = ("trials", "space", "storage")
USAGE = (
    "usage: tlkit tune RECIPE --space NAME=LOW:HIGH[:log] NAME=CHOICE,CHOICE ... [--trials 100] [--storage FILE] "
    "[--flags of the recipe] [--ray local|HOST:PORT --workers 2]\n\n"
    f"A space as an example: {spaces.EXAMPLES}. The recipe's own flags: tlkit run RECIPE --help"
)


def divided(args: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of the search's own flags, and the words that are the recipe's."""
    search_flags: dict[str, list[str]] = {}
    recipe_words: list[str] = []
    now = recipe_words
    for word in args:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            now.append(word)
        elif name in OWN:
            now = search_flags.setdefault(name, [])
            now += [value] if equals else []
        else:
            now = recipe_words
            recipe_words.append(word)
    return search_flags, recipe_words


def options(search_flags: Mapping[str, list[str]]) -> dict[str, Any]:
    """Arguments of `tlkit.tune`.

    Raises:
        InputError: If there is no space, or a flag has no value that it can take.
    """
    if not search_flags.get("space"):
        raise InputError(f"`tlkit tune` needs --space: say what may vary, as in --space {spaces.EXAMPLES}.")
    arguments: dict[str, Any] = {"space": spaces.parse(word.strip(",") for word in search_flags["space"])}
    for name, kind in (("trials", int), ("storage", str)):
        if name in search_flags:
            arguments[name] = _one(name, search_flags[name], kind)
    return arguments


def _one(name: str, values: list[str], kind: Callable[[str], Any]) -> Any:
    try:
        (value,) = values
        return kind(value)
    except ValueError:
        raise InputError(f"`--{name}` takes one value, as in --trials 100. Received: {' '.join(values)}") from None


def given(recipe: Callable[..., Any], parsed: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's arguments by flag."""
    return flat({**defaults(recipe), **parsed})
