"""Pairs of texts, one of which is to be written out of the other: a table of them, divided so that neither is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkit.core.columns import TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.data.labelling import Labelled
from tlkit.data.listing import noted
from tlkit.data.preflight import Checked
from tlkit.data.sourcing import Unchecked, checked_splits
from tlkit.data.splitting import joined_by, plainly
from tlkit.data.table_formats import read_any
from tlkit.data.text_source import TEXT, Options, TextReader, check_text, sha256_of

TRANSLATION = "translation"  # the modality
SOURCE, WANTED = "asked", "text"  # columns of what is read, and of what is to be written


def of_table(path: Path, source: str, target: str, groups: str | None, options: Options) -> Splits:
    """What `data.text.from_translations` gives."""
    rows = read_any(path, options.encoding)
    names = [f"row {number}" for number in range(rows.first, rows.first + len(rows.texts(source, "source")))]
    owners = rows.texts(groups, "groups") if groups else names
    return divided(names, rows.texts(source, "source"), rows.texts(target, "target"), owners, options)


def divided(
    names: Sequence[str], sources: Sequence[str], targets: Sequence[str], owners: Sequence[str], options: Options
) -> Splits:
    """Splits of pairs, of which no text and no owner lies in two parts.

    Args:
        names: Of the pairs.
        sources: What is read.
        targets: What is to be written.
        owners: What each is a part of, which is not divided.
        options: How they are checked and divided.
    """
    if not len(names):
        raise InputError("There is nothing to translate: the table has no row.")
    texts = [(a.strip(), b.strip()) for a, b in zip(sources, targets, strict=True)]
    first: dict[tuple[str, str], int] = {}
    for i, pair in enumerate(texts):
        first.setdefault(pair, i)
    first_rows, pairs = list(first.values()), list(first)
    keys = [
        (f"of {owners[i]}", f"source {plainly(a) or a}", f"target {plainly(b) or b}")
        for i, (a, b) in zip(first_rows, pairs, strict=True)
    ]

    def check(i: int) -> Checked:
        for side, text in zip(("source", "target"), pairs[i], strict=True):
            checked = check_text(text, options)
            if not checked.digest:
                return dataclasses.replace(checked, reason=f"{side}: {checked.reason}")
        return Checked(digest=sha256_of("\n".join(pairs[i])))

    reader = TextReader([a for a, _ in pairs].__getitem__)
    nothing = np.zeros((len(pairs), 1), np.float32)
    columns = {SOURCE: TextColumn([a for a, _ in pairs]), WANTED: TextColumn([b for _, b in pairs])}
    unchecked = Unchecked(
        [names[i] for i in first_rows], Labelled(nothing, (), "values"), reader, check, TEXT, TRANSLATION,
        reader.pipeline, "pairs", targets=nothing.astype(np.int32), columns=columns,
    )  # fmt: skip
    division = dataclasses.replace(options.division, groups=joined_by(keys))
    splits = dataclasses.replace(checked_splits(unchecked, division), labels=())
    note = f"{len(texts) - len(pairs):,} of {len(texts):,} pairs repeat another, and are left out."
    return noted(splits, [note] if len(pairs) < len(texts) else [])
