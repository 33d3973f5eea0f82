"""write: one self-contained HTML page out of a run."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from tlkit.core import excerpts
from tlkit.core.files import write_atomic
from tlkit.core.run import Run
from tlkit.core.section import Facts, Section
from tlkit.report.examples import shower
from tlkit.report.headline import headline
from tlkit.report.records import run_json
from tlkit.report.sections import GENERAL
from tlkit.report.template import TEMPLATES, environment


def write(run: Run, path: str | os.PathLike[str], sections: Sequence[Section] = ()) -> Path:
    """Write the report of a run: one HTML file that needs no network.

    Args:
        run: At any stage; sections appear as there is something to show. `run.data` gives the images.
        path: Where the file goes; it is replaced as a whole.
        sections: Those of the run's answers, drawn behind the general ones.

    Returns:
        The path.
    """
    target, test, train = Path(path), excerpts.whole(run.data.test), excerpts.whole(run.data.train)
    write_atomic(target, render(Facts(run_json(run), test, shower(test), train, shower(train)), sections))
    return target


def render(facts: Facts, sections: Sequence[Section] = ()) -> str:
    """The page as text: the general sections, then `sections`."""
    drawn = [(section, section.view(facts)) for section in (*GENERAL, *sections)]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    jinja_environment = environment()
    return str(
        jinja_environment.get_template("report.html.j2").render(
            headline=headline(facts),
            sections=[
                {
                    "key": section.key,
                    "title": section.title,
                    "short": section.short or section.title,
                    "view": view,
                    "template": jinja_environment.from_string(section.template),
                }
                for section, view in drawn
                if view is not None
            ],
            script=script,
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
