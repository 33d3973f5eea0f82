"""What a report shows of an example: its image, its sound, its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tlkit.core.examples import Examples
from tlkit.report import pictures, sounds, words
from tlkit.report.template import environment


def shown(test: Examples | None, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the example is like that `found` names by `index` and `id`, for the macro `example`.

    Its image, its sound, its text, and its text with the `spans` of `found` marked; None each where there is none.
    """
    text, spans = pictures.text_of(test, found), found.get("spans")
    marked = None if text is None or not spans else {side: words.marked(text, own) for side, own in spans.items()}
    sound = sounds.of_example(test, found)
    return {"picture": pictures.of_example(test, found), "sound": sound, "text": text, "marked": marked}


def shower(test: Examples) -> Callable[[str], str]:
    """id of one of these examples -> HTML that shows it; "" of any other."""

    def show(name: str) -> str:
        if name not in test.ids:
            return ""
        found = {"index": test.ids.index(name), "id": name}
        return str(environment().get_template("macros.html.j2").module.example({**found, **shown(test, found)}))

    return show
