"""Extension of griffe, for what our docstrings write otherwise than its Google form: `Example:`, and `a, b: text`."""

from __future__ import annotations

import re
from typing import Any

import griffe

_TOGETHER = re.compile(r"^    (\w+(?:, \w+)+)(: .+(?:\n {8}.+)*)$", flags=re.MULTILINE)  # names, what is said of them


class Examples(griffe.Extension):
    """Makes examples a section of their own, so that their brackets are code and no links, and of `a, b: text` two."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change one docstring."""
        if obj.docstring is not None:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _TOGETHER.sub(_one_each, text)


def _one_each(line: re.Match[str]) -> str:
    return "\n".join(f"    {name}{line[2]}" for name in line[1].split(", "))
