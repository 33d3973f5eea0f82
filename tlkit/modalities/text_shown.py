"""How a text looks in the report: its beginning."""

from __future__ import annotations

import html

from tlkit.core.examples import Examples

MOST = 600  # characters
TEXT = "text"  # the column of what people read


def show(examples: Examples, index: int) -> str:
    """A text as HTML; "" where its words are not kept."""
    if TEXT not in examples.columns:
        return ""
    text = str(examples.columns[TEXT][index])
    excerpt = text if len(text) <= MOST else text[: MOST - 3].rsplit(" ", 1)[0] + "..."
    return f"<blockquote>{html.escape(excerpt)}</blockquote>"
