"""write: one self-contained HTML page out of a run.

A section is a template `templates/sections/<key>.html.j2` and a line in SECTIONS; it appears when its view finds data.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.core import excerpts
from tlkit.core.files import write_atomic
from tlkit.core.run import Run
from tlkit.report import views
from tlkit.report.records import run_json
from tlkit.report.words import FILTERS

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A part of the page: `view` gives what its template draws, or None to leave it out; `short` is for the menu."""

    key: str
    title: str
    short: str
    view: Callable[[views.Facts], Any]


SECTIONS = (
    Section("heads", "Heads", "Heads", views.heads),
    Section("exports", "Exported files", "Exports", views.exports),
    Section("transfer", "Did transfer help?", "Transfer", views.transfer),
    Section("curves", "Learning curves", "Curves", views.curves),
    Section("confusion", "Confusion matrix", "Confusion", views.confusion),
    Section("mistakes", "Worst mistakes", "Mistakes", views.mistakes),
    Section("per_class", "Classes", "Classes", views.per_class),
    Section("per_value", "Values", "Values", views.per_value),
    Section("residuals", "Predicted and true", "Residuals", views.residuals),
    Section("calibration", "Calibration", "Calibration", views.calibration),
    Section("balance", "Class balance", "Balance", views.balance),
    Section("left_out", "Left out and repeated", "Left out", views.left_out),
    Section("blocks", "Inside the module", "Module", views.blocks),
    Section("proof", "What moved, and what did not", "Proof", views.proof),
    Section("seconds", "Time", "Time", views.seconds),
    Section("reproduce", "Reproduce", "Reproduce", views.reproduce),
)


def write(run: Run, path: str | os.PathLike[str]) -> Path:
    """Write the report of a run: one HTML file that needs no network.

    Args:
        run: At any stage; sections appear as there is something to show. `run.data.test` gives the pictures.
        path: Where the file goes; it is replaced as a whole.

    Returns:
        The path.
    """
    target = Path(path)
    write_atomic(target, render(views.Facts(run_json(run), excerpts.whole(run.data.test))))
    return target


def render(facts: views.Facts) -> str:
    """The page as text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    found = [(section, section.view(facts)) for section in SECTIONS]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        headline=views.headline(facts),
        sections=[
            {"key": s.key, "title": s.title, "short": s.short, "view": view} for s, view in found if view is not None
        ],
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
