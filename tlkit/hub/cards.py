"""The card of a module, assets.extra/tlkit.json: read, and refused where a field has another form than it must have."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.numeric import is_number
from tlkit.formats.hub_module import CARD_FILE

EARLIER_SIZE = "input_size"  # how cards of keras.applications named `image_size`


def card_of(folder: Path, name: str) -> dict[str, Any]:
    """The card in a module's folder, {} where there is none; earlier words of a field as it is named now.

    Args:
        folder: Of the module.
        name: Of the module, for the message.

    Raises:
        InputError: If it is no JSON object, or one of its fields has another form than `FORMS` says.
    """
    file = folder / CARD_FILE
    if not file.is_file():  # a pipe would be waited for
        return {}
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The card of {name}, {CARD_FILE}, cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The card of {name}, {CARD_FILE}, is no JSON: {error}. Mend it, or delete it.") from error
    if not isinstance(card, dict):
        raise InputError(f"The card of {name}, {CARD_FILE}, must be a JSON object. Received: {card!r:.60}.")
    check(card, name)
    earlier = card.pop(EARLIER_SIZE, None)
    return card if earlier is None or card.get("image_size") else {**card, "image_size": earlier}


def check(card: Mapping[str, Any], name: str) -> None:
    """Refuse a field of another form; null is as if the field were not there.

    Raises:
        InputError: Naming the card, the field and its form.
    """
    for field, (fits, form) in FORMS.items():
        value = card.get(field)
        if value is not None and not fits(value):
            raise InputError(
                f"The card of {name}, {CARD_FILE}, must have {form} as {field!r}. Received: {value!r:.60}."
            )


def _is_range(value: Any) -> bool:
    return _is_pair(value) and all(math.isfinite(side) for side in value) and value[0] < value[1]


def _is_size(value: Any) -> bool:
    return _is_pair(value) and all(side > 0 and float(side).is_integer() for side in value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def _is_positive(value: Any) -> bool:
    return is_number(value) and 0 < value < math.inf


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_levels(value: Any) -> bool:
    numbers = isinstance(value, list) and all(is_number(level) and 0 < level < 1 for level in value)
    return bool(numbers and value and all(a < b for a, b in itertools.pairwise(value)))


def _are_columns(value: Any) -> bool:
    rows = isinstance(value, list) and all(isinstance(row, dict) for row in value)
    return rows and all(isinstance(row.get(word), str) for row in value for word in ("name", "input", "kind"))


FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "input_range": (_is_range, "two numbers, the lower one first, such as [0, 255],"),
    "image_size": (_is_size, "height and width in pixels, such as [224, 224],"),
    EARLIER_SIZE: (_is_size, "height and width in pixels, such as [224, 224],"),
    "sample_rate": (_is_positive, "samples a second, such as 16000,"),
    "window_s": (_is_positive, "seconds, such as 30,"),
    "labels": (_are_names, 'names, such as ["cat", "dog"],'),
    "levels": (_are_levels, "rising numbers between 0 and 1, such as [0.1, 0.5, 0.9],"),
    "columns": (_are_columns, 'a "name", an "input" and a "kind" for each column'),
    "decoder": (lambda value: isinstance(value, dict), "a JSON object"),
}
