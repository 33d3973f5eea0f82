"""Numbers as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

NONE = "–"
GAP = "\N{NO-BREAK SPACE}"  # between a figure and its unit
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage.

    Example:
        >>> percent(0.7612)
        '76.1\xa0%'
    """
    return NONE if share is None else f"{100 * share:.{digits}f}{GAP}%"


def points(change: float | None) -> str:
    """A change of a share in percentage points, signed.

    Example:
        >>> points(-0.0217)
        '−2.2'
    """
    if change is None:
        return NONE
    rounded = round(100 * change, 1)
    return "±0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def number(value: float | None) -> str:
    """Three significant figures, thousands apart.

    Example:
        >>> number(0.012345), number(4652008), number(1.2e-6)
        ('0.0123', '4,652,008', '1.2\xa0×\xa010⁻⁶')
    """
    if value is None:
        return NONE
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}{GAP}×{GAP}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.3g}"


def marked(text: str, spans: Sequence[Sequence[Any]]) -> list[dict[str, str]]:
    """A text of words with spaces between them, in pieces: those of spans (kind, first word, word behind) have a kind.

    Example:
        >>> marked("anna is in rome", [("person", 0, 1), ("place", 3, 4)])[-1]
        {'text': 'rome', 'kind': 'place'}
    """
    parts, pieces, position = text.split(" "), [], 0
    for kind, start, end in sorted(spans, key=lambda span: int(span[1])):
        pieces += [
            {"text": " ".join(parts[position:start]), "kind": ""},
            {"text": " ".join(parts[start:end]), "kind": kind},
        ]
        position = end
    return [piece for piece in (*pieces, {"text": " ".join(parts[position:]), "kind": ""}) if piece["text"]]


def size(count: float | None) -> str:
    """Bytes in decimal units, as shops and phones count them.

    Example:
        >>> size(13_600_000)
        '13.6\xa0MB'
    """
    if count is None:
        return NONE
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f}{GAP}{unit}" if unit == "B" else f"{count:.1f}{GAP}{unit}"
        count /= 1000
    return f"{count:.1f}{GAP}GB"


def duration(seconds: float | None) -> str:
    """A time span in its own unit.

    Example:
        >>> duration(0.0042), duration(8.31), duration(754)
        ('4.2\xa0ms', '8.3\xa0s', '12\xa0min\xa034\xa0s')
    """
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{1000 * seconds:.3g}{GAP}ms"
    if seconds < 60:
        return f"{seconds:.1f}{GAP}s"
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{GAP}h{GAP}{minutes}{GAP}min" if hours else f"{minutes}{GAP}min{GAP}{remainder}{GAP}s"


def words(name: str) -> str:
    """A key as words.

    Example:
        >>> words("macro_f1"), words("top5_accuracy")
        ('Macro F1', 'Top-5 accuracy')
    """
    special = {
        "f1": "F1",
        "ece": "ECE",
        "auc": "AUC",
        "eer": "EER",
        "r2": "R²",
        "mae": "MAE",
        "rmse": "RMSE",
        "sha256": "SHA-256",
        "lr": "rate",
    }
    spaced = re.sub(r"\btop(\d+)_", r"top-\1_", str(name))
    parts = [special.get(part, part) for part in spaced.split("_")]
    return " ".join([parts[0][:1].upper() + parts[0][1:], *parts[1:]])


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "example"), plural(2, "class")
        ('1 example', '2 classes')
    """
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


FILTERS: dict[str, Any] = {
    "percent": percent, "points": points, "number": number, "size": size, "duration": duration, "words": words,
    "plural": plural,
}  # fmt: skip
