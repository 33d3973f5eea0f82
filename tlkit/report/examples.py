"""What a report shows of an example, as its modality shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.modalities.prepare import modality_of
from tlkit.report import words
from tlkit.report.template import environment

TEXT = "text"  # the column of what people read


def shown(test: Examples | None, reference: Mapping[str, Any]) -> dict[str, Any]:
    """What the example is like that `reference` names by `index` and `id`, for the macro `example`.

    A run that was opened again holds a part of its test examples only, so the id decides.

    Returns:
        Its "modality", its "html", and "marked", its text with the `spans` of `reference` marked; "" and None where
        there is none.
    """
    index = None if test is None else place(test, reference)
    if test is None or index is None:
        return {"modality": "", "html": "", "marked": None}
    spans = reference.get("spans") if TEXT in test.columns else None
    text = str(test.columns[TEXT][index]) if spans else ""
    marked = {side: words.marked(text, ranges) for side, ranges in spans.items()} if spans else None
    return {"modality": test.modality, "html": drawn(test, index), "marked": marked}


def drawn(examples: Examples, index: int) -> str:
    """HTML of one example; "" where its modality shows nothing, or what it shows is gone."""
    with contextlib.suppress(InputError, OSError, ValueError, RuntimeError):  # soundfile raises the last
        show = modality_of(examples).show
        return "" if show is None else show(examples, index)
    return ""


def place(examples: Examples, reference: Mapping[str, Any]) -> int | None:
    """Where the example that `reference` names is among these; None where it is not."""
    index, name = int(reference["index"]), reference["id"]
    if index < len(examples) and examples.ids[index] == name:
        return index
    return examples.ids.index(name) if name in examples.ids else None


def shower(test: Examples) -> Callable[[str], str]:
    """id of one of these examples -> HTML that shows it; "" of any other."""

    def show(name: str) -> str:
        if name not in test.ids:
            return ""
        reference = {"index": test.ids.index(name), "id": name}
        return str(environment().get_template("macros.html.j2").module.example({**reference, **shown(test, reference)}))

    return show
