"""write: one self-contained HTML page out of a run."""

from __future__ import annotations

import base64
import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from tlkit.core import excerpts
from tlkit.core.files import write_atomic
from tlkit.core.run import Run
from tlkit.core.section import Facts, Section
from tlkit.core.trouble import first_line
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
    """The page as text: the general sections, then `sections`. One that fails says so in its place."""
    drawn = [(section, _drawn(section, facts)) for section in (*GENERAL, *sections)]
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return str(
        environment()
        .get_template("report.html.j2")
        .render(
            headline=headline(facts),
            sections=[
                {"key": section.key, "title": section.title, "short": section.short or section.title, "html": html}
                for section, html in drawn
                if html is not None
            ],
            script=script,
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _drawn(section: Section, facts: Facts) -> str | None:
    """HTML of a section, None of one that is left out; a mistake in one must not cost the run its report."""
    try:
        view = section.view(facts)
        return None if view is None else str(environment().from_string(section.template).render(view=view))
    except Exception as error:
        problem = f"{type(error).__name__}: {first_line(error)}"
    warnings.warn(
        f"The section {section.title!r} of the report failed ({problem}): mend its view or template.", stacklevel=3
    )
    return str(environment().from_string("<p>This section failed: {{ problem }}</p>").render(problem=problem))
