"""--ray and --workers: where a command's work runs, beside the flags of its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlkit.core.errors import InputError

OWN = {"--ray": "address", "--workers": "workers"}


def divided(args: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """Arguments of `tlkit.cluster.ray`, None where there is no --ray; and the words that are the recipe's.

    Raises:
        InputError: If one of the two has no value that it can take, or --workers comes alone.

    Example:
        >>> divided(["text", "--ray", "local", "--epochs", "3", "--workers=4"])
        ({'address': 'local', 'workers': 4}, ['text', '--epochs', '3'])
    """
    placing: dict[str, Any] = {}
    recipe_words: list[str] = []
    words = iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in OWN:
            recipe_words.append(word)
            continue
        value = value if equals else next(words, "")
        if not value or value.startswith("--"):
            raise InputError(f"`{flag}` needs a value: --ray local, or --ray HOST:PORT, and --workers 2.")
        placing[OWN[flag]] = value
    if "workers" in placing:
        if "address" not in placing:
            raise InputError("`--workers` says how many workers Ray places: give --ray local or --ray HOST:PORT too.")
        placing["workers"] = _count(placing["workers"])
    return placing or None, recipe_words


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"`--workers` takes a whole number, 1 or more. Received: {text}") from None
