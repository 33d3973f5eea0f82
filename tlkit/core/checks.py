"""Checks of the records that users write: a wrong value is one sentence that names its field, before any work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.trouble import first_line

FUNCTION = "a function"
NAMES = 'a tuple of names, such as ("points", "scores")'


def check_fields(of: str, record: Any, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse the first field that is wrong.

    Args:
        of: How messages call the record: "the task 'level'".
        record: Whose fields these are.
        rules: Field -> whether its value is right, and what it must be.
    """
    for field, (right, wanted) in rules.items():
        if not right:
            raise InputError(f"`{field}` of {of} must be {wanted}. Received: {field}={getattr(record, field)!r:.80}.")


def functions(record: Any, *fields: str, optional: bool = False) -> dict[str, tuple[bool, str]]:
    """Rules by which fields are functions, or None where they are optional."""
    values = {field: getattr(record, field) for field in fields}
    wanted = FUNCTION + (" or None" if optional else "")
    return {field: (callable(value) or (optional and value is None), wanted) for field, value in values.items()}


def makes_fresh(value: Any, sign: str) -> bool:
    """Whether `value` is a class or a function, and nothing that was made of one, which has the attribute `sign`."""
    return callable(value) and (isinstance(value, type) or not hasattr(value, sign))


def are_names(value: Any) -> bool:
    """Whether a value is a tuple of texts."""
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def check_rules(checks: Mapping[str, tuple[Any, str, Any]], of: str = "") -> None:
    """Refuse the first argument that breaks its rule.

    Args:
        checks: Name of each argument -> whether it keeps to the rule, the rule as it follows "must", what was given.
        of: Name of the function, for the message; "" leaves it out.
    """
    where = f" of `{of}`" if of else ""
    for name, (fine, rule, value) in checks.items():
        if not fine:
            raise InputError(f"`{name}`{where} must {rule}. Received: {name}={value!r}.")


def check_positive(**values: float | None) -> None:
    """Refuse a number that is not above 0; None passes."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise InputError(f"`{name}` must be positive. Received: {name}={value!r}.")


def check_given(value: Any, kind: type, function: str, of: str) -> None:
    """Refuse what a user's function gave, if it is of another kind."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise InputError(f"`{function}` of {of} must give {article} {kind.__name__}. Received: {type(value).__name__}.")


@contextlib.contextmanager
def naming_mistakes(answer: str, function: str) -> Iterator[None]:
    """A mistake in a function of an answer, which may be a user's own, as a sentence that names both."""
    try:
        yield
    except (OSError, MemoryError, InputError):
        raise
    except Exception as error:
        raise InputError(
            f"`{function}` of the answer {answer!r} failed ({type(error).__name__}: {first_line(error)}): mend it, or "
            "export the run again if the file is of another version of tlkit."
        ) from error
