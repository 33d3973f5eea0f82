"""Examples that a run kept before they had a `Pipeline`: what turned files into inputs was a line of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, DigestedColumn, RaggedColumn, TextColumn
from tlkit.core.examples import Column, Examples
from tlkit.core.excerpts import OF
from tlkit.data.earlier import of_line
from tlkit.data.windows import PASSAGE


def kept(arrays: Mapping[str, np.ndarray], name: str) -> Examples:
    """The examples of one part, out of the arrays of a run folder of then."""
    keys = sorted(key for key in arrays if key.startswith(f"{name}.x."))
    inputs: Column = (
        DictColumn({key.split(".x.")[1]: ArrayColumn(arrays[key]) for key in keys})
        if keys
        else ArrayColumn(arrays[f"{name}.x"])
    )
    modality, pipeline = of_line(str(arrays.get(f"{name}.recipe", "")))
    return Examples(
        ids=tuple(str(i) for i in arrays[f"{name}.ids"]),
        inputs=DigestedColumn(inputs, tuple(str(digest) for digest in arrays[f"{name}.digests"])),
        targets=ArrayColumn(arrays[f"{name}.targets"]),
        modality=modality,
        pipeline=pipeline,
        columns=_columns(arrays, name),
    )


def _columns(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    texts = [str(text) for text in arrays.get(f"{name}.texts", ())]
    windows: dict[str, Any] = _json(arrays, f"{name}.excerpts", {"texts": {}, "windows": []})
    if windows["windows"]:
        owners = [owner for owner, _ in windows["windows"]]
        texts = [windows["texts"][owner][0] for owner in owners]
        shares = ArrayColumn(np.array([share for _, share in windows["windows"]], np.float64))
        digests = TextColumn([windows["texts"][owner][1] for owner in owners])
        columns[OF] = DictColumn({"id": TextColumn(owners), "digest": digests, "share": shares})
    if texts:
        columns["text"] = TextColumn(texts)
    passages = _json(arrays, f"{name}.passages", [])
    if passages:
        columns[PASSAGE] = DictColumn(
            {
                "text": TextColumn([row["text"] for row in passages]),
                "answers": RaggedColumn([np.array(row["answers"], dtype=str) for row in passages]),
                "offsets": RaggedColumn([np.array(row["offsets"], np.int32).reshape(-1, 2) for row in passages]),
                "step": ArrayColumn(np.array([row["step"] for row in passages], np.int32)),
            }
        )
    return columns


def _json(arrays: Mapping[str, np.ndarray], name: str, nothing: Any) -> Any:
    return json.loads(arrays[name].tobytes()) if name in arrays else nothing
