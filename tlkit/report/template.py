"""The templates of the report, and what is common to all of them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tlkit.report.words import FILTERS

TEMPLATES = Path(__file__).parent / "templates"


def beside(file: str) -> str:
    """The template that lies beside a section's Python file, under the same name."""
    return Path(file).with_suffix(".html.j2").read_text(encoding="utf-8")


@functools.cache
def environment() -> Any:
    """Jinja with escaping on and the report's filters; finds the files in `templates/`."""
    import jinja2

    jinja_environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja_environment.filters |= FILTERS
    return jinja_environment
