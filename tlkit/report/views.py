"""What each section of the report shows, as plain data for its template; None leaves the section out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlkit.core.examples import Examples
from tlkit.core.run import caution
from tlkit.report import charts, pictures, sounds, words
from tlkit.report.words import plural

Record = Mapping[str, Any]

TABLE_CLASSES = 20  # up to here the confusion matrix is a table with counts, above it a heat map
SHADES = 10
PAIRS = 12
LISTED = 50  # rows of lists that can be as long as the data
HIDDEN_CURVES = ("lr", "seconds")
STAGES = ("import", "module", "data", "phases", "evaluate", "export", "report")
NOT_CHIPS = ("_low", "_high")
HAIR = 1e-6  # shares of depth are rounded in the record


@dataclass(frozen=True, eq=False)
class Facts:
    """What a report is drawn from: the run's record as plain data, and the test examples for their pictures."""

    record: Record
    test: Examples | None = None

    def detail(self, key: str) -> Any:
        """One of the evaluation's details, or None."""
        return self.record["details"].get(key) or None


# -- headline


def headline(facts: Facts) -> dict[str, Any]:
    """Title, the main score with its interval, the other scores, and sentences on what needs attention."""
    record = facts.record
    return {
        "task": record["task"]["name"],
        "outputs": _outputs(record),
        "unit": _unit(record),
        "module": module_name(record),
        "score": _score(record),
        "chips": _chips(record),
        "counts": {name: record["data"].get(name) for name in ("train", "val", "test")},
        "exports": _export_verdict(record["exports"]),
        "warnings": warnings(record),
        "seconds": total_seconds(record),
    }


def _outputs(record: Record) -> str:
    """ "10 labels", "1 value" or "2 heads"."""
    heads = record["details"].get("heads")
    if heads:
        return plural(len(heads), "head")
    return plural(len(record["task"]["labels"]), "label" if _unit(record) == "share" else "value")


def _unit(record: Record) -> str:
    return str((record["details"].get("headline") or {}).get("unit", "share"))


def module_name(record: Record) -> str:
    """Handle of the module, or ""."""
    module = record.get("module") or {}
    return str(module.get("handle", "") if isinstance(module, Mapping) else module)


def warnings(record: Record) -> list[str]:
    """Sentences on what a reader must not overlook."""
    return [
        *_phase_warnings(record["phases"]),
        *[f"{row['file']} was kept aside: {row['failure']}" for row in record["exports"] if row["failure"]],
        *_data_warnings(record["data"]),
        *dict.fromkeys(filter(None, (caution(row.get("checked_on", "test")) for row in record["exports"]))),
    ]


def total_seconds(record: Record) -> float:
    """Wall-clock seconds of all stages."""
    return float(sum(value or 0.0 for value in record["seconds"].values()))


def _score(record: Record) -> dict[str, Any] | None:
    named, scores = record["details"].get("headline"), record["scores"]
    if not named or scores.get(named["name"]) is None:
        return None
    name = named["name"]
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    bar = [min(1.0, max(0.0, value)) if value is not None else None for value in (scores[name], low, high)]
    tested = record["data"].get("test", 0)
    right = round(scores[name] * tested) if named["interval"] == "Wilson" else None
    return {**named, "value": scores[name], "low": low, "high": high, "bar": bar, "right": right, "tested": tested}


def _chips(record: Record) -> list[dict[str, Any]]:
    named = (record["details"].get("headline") or {}).get("name")
    return [
        {"name": name, "value": value, "low": record["scores"].get(f"{name}_low"),
         "high": record["scores"].get(f"{name}_high")}
        for name, value in record["scores"].items()
        if name != named and not name.endswith(NOT_CHIPS)
    ]  # fmt: skip


def _export_verdict(exports: Sequence[Record]) -> dict[str, int] | None:
    return {"passed": sum(bool(row["passed"]) for row in exports), "all": len(exports)} if exports else None


def _phase_warnings(phases: Sequence[Record]) -> list[str]:
    return [
        f"Phase {number} did not better what came before; the earlier weights were kept."
        for number, phase in enumerate(phases, start=1)
        if not phase["improved"] and phase["phase"]["epochs"] and number > 1
    ]


def _data_warnings(data: Record) -> list[str]:
    found = [str(note) for note in data.get("notes", [])]
    unseen = [row["label"] for row in data.get("balance", []) if row["train"] and not row["test"]]
    if unseen and data.get("test"):
        names = ", ".join(unseen[:5]) + (" and more" if len(unseen) > 5 else "")
        found.append(f"The test split has no example of {names}: the scores say nothing about it.")
    if data.get("quarantine"):
        found.append(f"{plural(len(data['quarantine']), 'file')} could not be used and were left out.")
    if data.get("duplicates"):
        count = plural(len(data["duplicates"]), "group")
        found.append(f"{count} of identical examples lie in more than one split, which flatters the scores.")
    return found


# -- curves


def curves(facts: Facts) -> dict[str, Any] | None:
    """A chart for each figure that was followed, and a row for each phase."""
    phases = facts.record["phases"]
    names = _curve_names(phases)
    if not names:
        return None
    drawn = [chart for name in names if (chart := _curve(name, phases)) is not None]
    return {"charts": drawn, "phases": phases, "kept": _kept(phases)}


def _curve_names(phases: Sequence[Record]) -> list[str]:
    keys = [key.removeprefix("val_") for phase in phases for key in phase["history"]]
    return [key for key in dict.fromkeys(keys) if key not in HIDDEN_CURVES]


def _curve(name: str, phases: Sequence[Record]) -> charts.Chart | None:
    series = {"train": _followed(name, phases), "val": _followed(f"val_{name}", phases)}
    points = [point for curve in series.values() for point in curve if point is not None]
    if not points:
        return None
    epochs = max(1, sum(_epochs(phase) for phase in phases))
    x, y = charts.scales(points, x_range=(1, epochs) if epochs > 1 else None)
    spoken = {"train": "training", "val": "validation"}
    lines = [charts.Line(spoken[kind], kind, *charts.path(curve, x, y)) for kind, curve in series.items() if any(curve)]
    kept = _kept(phases)
    mark = series["val"][kept["epoch"] - 1] if kept and len(series["val"]) >= kept["epoch"] else None
    return charts.Chart(
        title=name,
        x_label="epoch",
        x_ticks=charts.whole_axis(epochs, x),
        y_ticks=charts.axis(y.low, y.high, y),
        lines=tuple(lines),
        bands=_bands(phases, x) if len(phases) > 1 else (),
        mark=(x(mark[0]), y(mark[1])) if mark else None,
    )


def _followed(key: str, phases: Sequence[Record]) -> list[charts.Point | None]:
    """One figure over all phases, at epochs 1, 2, ...; None where it was not measured or not finite."""
    values = [value for phase in phases for value in (phase["history"].get(key) or [None] * _epochs(phase))]
    if all(value is None for value in values):
        return []
    return [
        (float(epoch), float(value)) if value is not None and math.isfinite(value) else None
        for epoch, value in enumerate(values, start=1)
    ]


def _epochs(phase: Record) -> int:
    return max((len(values) for values in phase["history"].values()), default=0)


def _bands(phases: Sequence[Record], x: charts.Scale) -> tuple[charts.Band, ...]:
    bands, before = [], 0
    for number, phase in enumerate(phases, start=1):
        epochs = _epochs(phase)
        if not epochs:
            continue
        ends = [min(max(x(before + offset), x.start), x.end) for offset in (0.5, epochs + 0.5)]
        bands.append(charts.Band(ends[0], ends[1], f"phase {number}"))
        before += epochs
    return tuple(bands)


def _kept(phases: Sequence[Record]) -> dict[str, int] | None:
    """Epoch (over all phases, from 1) and phase whose weights were kept."""
    before, kept = 0, None
    for number, phase in enumerate(phases, start=1):
        if phase["improved"] and phase["best_epoch"]:
            kept = {"phase": number, "epoch": before + phase["best_epoch"]}
        before += _epochs(phase)
    return kept


# -- what was right and what was wrong


def confusion(facts: Facts) -> dict[str, Any] | None:
    """The confusion matrix, as a table or a heat map, and the pairs that were confused most."""
    found = facts.detail("confusion")
    if not found:
        return None
    labels, counts = found["labels"], found["counts"]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    view = {"labels": labels, "size": len(labels), "pairs": _pairs(labels, counts)}
    if len(labels) > TABLE_CLASSES:
        return {**view, "rows": None, "shades": _shades(shares), "ticks": _label_ticks(labels)}
    cells = [
        [{"count": count, "share": round(share, 2)} for count, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    return {**view, "rows": [{"label": label, "cells": row} for label, row in zip(labels, cells, strict=True)]}


def _pairs(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    wrong = [(count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count]
    wrong.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [
        {"true": labels[i], "predicted": labels[j], "count": count, "of": sum(counts[i])}
        for count, i, j in wrong[:PAIRS]
    ]


def _shades(shares: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Paths of the cells of each shade: right ones on the diagonal, wrong ones off it."""
    groups: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share:
                key = ("right" if i == j else "wrong", max(1, math.ceil(share * SHADES)))
                groups.setdefault(key, []).append((i, j))
    return [
        {"kind": kind, "opacity": round(0.15 + 0.85 * shade / SHADES, 2), "d": charts.cells(where)}
        for (kind, shade), where in sorted(groups.items())
    ]


def _label_ticks(labels: Sequence[str]) -> list[dict[str, Any]]:
    step = max(1, round(charts.ticks(0, len(labels), 10)[1]))
    return [{"at": i, "label": labels[i]} for i in range(0, len(labels), step)]


def mistakes(facts: Facts) -> list[dict[str, Any]] | None:
    """The worst mistakes, each with its picture or its text where the example is at hand and has one."""
    found = facts.detail("mistakes")
    if not found:
        return None
    return [{**mistake, **_shown(facts.test, mistake)} for mistake in found]


def _shown(test: Examples | None, mistake: Record) -> dict[str, Any]:
    """What the example is like: its picture, its sound, its text, its text with the spans marked that were found."""
    text, spans = pictures.text_of(test, mistake), mistake.get("spans")
    marked = None if text is None or not spans else {side: words.marked(text, own) for side, own in spans.items()}
    sound = sounds.of_example(test, mistake)
    return {"picture": pictures.of_example(test, mistake), "sound": sound, "text": text, "marked": marked}


def per_class(facts: Facts) -> dict[str, Any] | None:
    """One row a class."""
    rows = facts.detail("per_class")
    return {"rows": rows, "precise": "average_precision" in rows[0]} if rows else None


def heads(facts: Facts) -> Any:
    """One row a head of several, with a link to its own report where the run is saved with it."""
    return facts.detail("heads")


def transfer(facts: Facts) -> dict[str, Any] | None:
    """What `transfer_check` found: each way of training with its mean and seeds, and the differences of pairs."""
    found = facts.record.get("transfer")
    if found is None:
        return None
    ways = [{"name": name, "mean": statistics.fmean(own), "seeds": own} for name, own in found["scores"].items()]
    name = words.words(found["score"])
    return {"level": 0.95, **found, "label": name[:1].upper() + name[1:], "ways": ways}


def per_value(facts: Facts) -> Any:
    """One row a regressed value."""
    return facts.detail("per_value")


def calibration(facts: Facts) -> dict[str, Any] | None:
    """The reliability curve."""
    found = facts.detail("calibration")
    if not found or not found["bins"]:
        return None
    x, y = charts.scales([(0, 0), (1, 1)])
    points: list[charts.Point | None] = [(row["confidence"], row["accuracy"]) for row in found["bins"]]
    most = max(row["count"] for row in found["bins"])
    bars = [
        {"x": x(row["low"]), "width": round(x(row["high"]) - x(row["low"]), 1),
         "height": round((y.start - y.end) * 0.25 * row["count"] / most, 1), "count": row["count"]}
        for row in found["bins"]
    ]  # fmt: skip
    dots = tuple((x(point[0]), y(point[1])) for point in points if point)
    chart = charts.Chart(
        title="accuracy among examples of that probability",
        x_label="probability given by the model",
        x_ticks=charts.axis(0, 1, x),
        y_ticks=charts.axis(0, 1, y),
        lines=(
            charts.Line("perfect", "ideal", charts.path([(0, 0), (1, 1)], x, y)[0]),
            charts.Line("model", "val", charts.path(points, x, y)[0], dots),
        ),
    )
    return {"chart": chart, "bars": bars, "ece": found["ece"]}


def residuals(facts: Facts) -> list[charts.Chart] | None:
    """Predicted against true values, one chart a value."""
    found = facts.detail("residuals")
    return [_scatter(row) for row in found] if found else None


def _scatter(row: Record) -> charts.Chart:
    values = [value for point in row["points"] for value in point]
    ends = charts.ticks(min(values), max(values))
    corners: list[charts.Point | None] = [(ends[0], ends[0]), (ends[-1], ends[-1])]
    x, y = charts.scales([(ends[0], ends[0]), (ends[-1], ends[-1])])
    return charts.Chart(
        title=f"{row['label']}, predicted",
        x_label=f"{row['label']}, true",
        x_ticks=charts.axis(x.low, x.high, x),
        y_ticks=charts.axis(y.low, y.high, y),
        lines=(
            charts.Line("perfect", "ideal", charts.path(corners, x, y)[0]),
            charts.Line("examples", "cloud", "", tuple((x(a), y(b)) for a, b in row["points"])),
        ),
    )


# -- data


def balance(facts: Facts) -> dict[str, Any] | None:
    """Examples of each class in each split."""
    rows = facts.record["data"].get("balance")
    if not rows or not any(row["train"] for row in rows):
        return None
    most = max(row["train"] + row["val"] + row["test"] for row in rows)
    return {"rows": rows, "most": most}


def left_out(facts: Facts) -> dict[str, Any] | None:
    """Files in quarantine, and duplicates across splits."""
    data = facts.record["data"]
    quarantine, duplicates = data.get("quarantine", []), data.get("duplicates", [])
    if not quarantine and not duplicates:
        return None
    return {
        "quarantine": quarantine[:LISTED], "quarantined": len(quarantine),
        "duplicates": duplicates[:LISTED], "duplicated": len(duplicates),
    }  # fmt: skip


# -- the module


def blocks(facts: Facts) -> dict[str, Any] | None:
    """The module's blocks, input side first, and the phases that trained each."""
    found = (facts.record.get("module") or {}).get("blocks")
    if not found:
        return None
    trained = [phase["had"].get("unfrozen") or 0.0 for phase in facts.record["phases"]]
    rows, before = [], 0.0
    for block in found:
        phases = [number for number, share in enumerate(trained, start=1) if before >= 1 - share - HAIR]
        rows.append({**block, "shape": _shape(block["shape"]), "phases": phases})
        before = block["depth"]
    return {"rows": rows, "most": max(block["cost"] for block in found) or 1.0}


def _shape(shape: Sequence[int | None] | None) -> str:
    return "" if shape is None else " × ".join("any" if size is None else str(size) for size in shape[1:])


# -- proof


def proof(facts: Facts) -> list[dict[str, Any]] | None:
    """What each phase moved and what it did not."""
    rows = [_proved(number, phase) for number, phase in enumerate(facts.record["phases"], start=1)]
    return rows if any(row["facts"] or row["before"] for row in rows) else None


def _proved(number: int, phase: Record) -> dict[str, Any]:
    hashes = ("sha256_before", "sha256_after")
    before, after = (phase["proof"].get(key) for key in hashes)
    rest = {key: value for key, value in {**phase["had"], **phase["proof"]}.items() if key not in hashes}
    asked = phase["phase"]["unfrozen"]
    return {
        "number": number,
        "before": before,
        "after": after,
        "same": before is not None and before == after,
        "facts": {key: _fact(key, value, rest, asked) for key, value in rest.items() if key != "parameters_of"},
    }


def _fact(key: str, value: Any, others: Record, asked: float) -> str:
    if key == "unfrozen" and value is not None:
        had, wanted = words.percent(value, 0), words.percent(asked, 0)
        return f"{had} of the depth" if had == wanted else f"{had} of the depth, {wanted} asked"
    if key == "parameters" and others.get("parameters_of"):
        return f"{words.number(value)} of {words.number(others['parameters_of'])}"
    if isinstance(value, list | tuple):
        return ", ".join(_fact("", one, {}, asked) for one in value)
    return words.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def exports(facts: Facts) -> Any:
    """One row an exported file, and the splits that they were checked on."""
    rows = facts.record["exports"]
    if not rows:
        return None
    spoken = {"test": "test", "val": "validation", "train": "training"}
    splits = dict.fromkeys(spoken[row.get("checked_on", "test")] for row in rows)
    return {"rows": rows, "checked_on": " and ".join(splits)}


# -- time and reproduction


def seconds(facts: Facts) -> list[dict[str, Any]] | None:
    """Stages with their share of the whole, for a bar."""
    stages = {name: value for name, value in sorted(facts.record["seconds"].items(), key=_in_order) if value}
    total = sum(stages.values())
    return [
        {"name": name, "seconds": value, "share": value / total, "colour": i % 8}
        for i, (name, value) in enumerate(stages.items())
    ] or None


def _in_order(stage: tuple[str, float]) -> int:
    return STAGES.index(stage[0]) if stage[0] in STAGES else len(STAGES)


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


def reproduce(facts: Facts) -> dict[str, Any] | None:
    """Command, versions, seed, module and data: what makes the run again."""
    record = facts.record
    rows = {
        "module": module_name(record),
        "module_sha256": (record.get("module") or {}).get("sha256", ""),
        "data_fingerprint": record["data"].get("fingerprint", ""),
        "method": _method(record.get("method")),
        **{name: record.get(name) for name in ("seed", "batch_size", "input_range", "machine", "threads", "created")},
    }
    shown = {name: value for name, value in rows.items() if value not in (None, "", [])}
    return {"command": record.get("command"), "rows": shown, "versions": record.get("versions") or {}}
