"""A part of a run's report as a record: what it shows, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tlkit.core.checks import check_fields, functions
from tlkit.core.examples import Examples


def _nothing(_id: str) -> str:
    return ""


@dataclass(frozen=True, eq=False)
class Facts:
    """What a report is drawn from.

    Attributes:
        record: The run as plain data, as run.json holds it.
        test: The test examples, or the few of them that are at hand.
        show: id of a test example -> HTML that shows it; "" where it is not at hand.
        train: The training examples, or the few of them that are at hand.
        show_train: As `show`, of a training example.
    """

    record: Mapping[str, Any]
    test: Examples | None = None
    show: Callable[[str], str] = _nothing
    train: Examples | None = None
    show_train: Callable[[str], str] = _nothing

    def why(self, name: str) -> Any:
        """The explanation of what the model says of a test example, as run.json has it; None without one."""
        return (self.record.get("explained") or {}).get(name)

    def detail(self, key: str) -> Any:
        """One of the evaluation's details, or None."""
        return self.record["details"].get(key) or None


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        key: Its anchor in the page.
        title: Its heading.
        view: Facts -> what the template draws, as `view`; None leaves the section out.
        template: Jinja, with escaping on; may import "macros.html.j2".
        short: For the menu; "" is the title.
    """

    key: str
    title: str
    view: Callable[[Facts], Any]
    template: str
    short: str = ""

    def __post_init__(self) -> None:
        texts = {field: (isinstance(getattr(self, field), str), "a text") for field in ("key", "title", "template")}
        check_fields("a Section", self, texts | functions(self, "view"))
