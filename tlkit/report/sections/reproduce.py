"""What makes the run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlkit.core.section import Facts, Section
from tlkit.report.headline import module_name
from tlkit.report.template import beside


def view(facts: Facts) -> dict[str, Any] | None:
    """Command, versions, seed, module and data: what makes the run again."""
    record = facts.record
    rows = {
        "module": module_name(record),
        "module_sha256": (record.get("module") or {}).get("sha256", ""),
        "data_fingerprint": record["data"].get("fingerprint", ""),
        "method": _method(record.get("method")),
        **{name: record.get(name) for name in ("seed", "batch_size", "input_range", "machine", "threads", "created")},
    }
    filled = {name: value for name, value in rows.items() if value not in (None, "", [])}
    return {"command": record.get("command"), "rows": filled, "versions": record.get("versions") or {}}


def _method(recipe: Sequence[Any] | None) -> str:
    """A transfer method with its plain arguments, those in it first: "coral(weight=100.0) of classify"."""
    if recipe is None:
        return ""
    path, arguments = recipe
    plain = ", ".join(f"{key}={value!r}" for key, value in arguments.items() if not isinstance(value, Mapping))
    inner = arguments.get("task")
    of = "" if inner is None else f" of {_name_of(inner['recipe'])}"
    return f"{path.rpartition('.')[2]}({plain}){of}"


def _name_of(recipe: Sequence[Any]) -> str:
    path, arguments = recipe
    return _method(recipe) if "task" in arguments else str(path).rpartition(".")[2]


SECTION = Section("reproduce", "Reproduce", view, beside(__file__))
