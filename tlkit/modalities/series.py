"""Series at regular steps: recordings of one or many channels, and windows of the past; float32 (steps, channels)."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.quantiles import STEPS_AHEAD
from tlkit.core.columns import ArrayColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality
from tlkit.data import histories, labelled_series, ts_files
from tlkit.data.labelled_series import SERIES as NAME
from tlkit.data.timeline import Timeline
from tlkit.formats.tflite_metadata import plain_tensor
from tlkit.modalities.parsed import one_example
from tlkit.zoo import rocket

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

WIDTH, HEIGHT, MOST_DRAWN = 160, 60, 8
FINE = 4 * rocket.STEPS  # steps of which zoo:rocket, which reads 128, leaves out most


def _prepare(data: Splits, layer: HubLayer) -> Splits:
    """Series as they are, if the module takes so many steps and channels; zoo:rocket gets its thresholds."""
    if data.train.pipeline.get(histories.HISTORY) is not None:
        return data
    spec, leaves = data.train.inputs.spec, layer.endpoint.input_leaves
    shape = tuple(leaves[0].shape[1:]) if leaves[0].shape.rank is not None else ()
    fits = isinstance(spec, ArraySpec) and len(leaves) == 1 and len(shape) == len(spec.shape)
    if not fits or any(b not in (None, a) for a, b in zip(spec.shape, shape, strict=True)):
        shapes = " and ".join(str(tuple(leaf.shape[1:])) for leaf in leaves)
        raise InputError(f"{layer.handle} takes {shapes}, and the series are (steps, channels) = {tuple(spec.shape)}.")
    variables = rocket.variables_of(layer.module_variables.values())
    return _fitted(data, layer, spec, variables) if variables else data


def _fitted(data: Splits, layer: HubLayer, spec: ArraySpec, variables: Mapping[str, Any]) -> Splits:
    """Set what zoo:rocket takes from training series, once: later data are looked at with the same thresholds."""
    steps, channels = (int(size or 0) for size in spec.shape)
    if channels > rocket.CHANNELS:
        raise InputError(f"{layer.handle} takes at most {rocket.CHANNELS} channels. Received: {channels}.")
    notes = []
    if not float(np.asarray(variables[rocket.FITTED])):
        series = np.asarray(data.train.inputs.take(np.arange(len(data.train))))
        for name, value in rocket.fitted_to(series).items():
            variables[name].assign(value)
    elif (trained := rocket.channels_of(np.asarray(variables[rocket.MIXING]))) != channels:
        raise InputError(
            f"{layer.handle} has the thresholds of series of {trained} channels, and these have {channels}: give the "
            'handle "zoo:rocket", which takes its thresholds from the training series.'
        )
    else:
        notes.append(f"{layer.handle} keeps the thresholds of the series that it was trained on before")
    if steps > FINE:
        notes.append(
            f"series of {steps} steps are read at {rocket.STEPS}: where details matter, cut them into shorter ones"
        )
    return dataclasses.replace(data, notes=(*data.notes, *notes))


def _inputs(_layer: HubLayer, spec: Any) -> Any:
    import keras

    return keras.Input(tuple(spec.shape), dtype="float32", name=NAME)


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    settings = examples.pipeline.get(histories.HISTORY)
    says = "A recording, float32 (steps, channels)."
    if settings is not None:
        steps = model.inputs[0].shape[1]
        says = (
            f"The last {steps} values in their own unit, the latest at the end; NaN in front where there are fewer. "
            f"A season has {settings['season_length']} steps."
        )
    return InputInfo({tensor.name: plain_tensor(tensor.name, says) for tensor in model.inputs}, says=says)


def _parse(source: Any, info: FileInfo) -> Examples | list[Examples]:
    """The latest window of each series of a history, or recordings at the length of the model's input."""
    if info.pipeline.get(histories.HISTORY) is not None:
        return _latest(source, info)
    name, settings = str(source)[:200], info.pipeline.get(NAME) or {}
    if not isinstance(source, str | Path):
        return _recorded(name, source, info)
    path, wide = Path(source), settings.get("wide", ())
    if path.suffix.lower() == ".ts":
        file = ts_files.read(path)
        rows = [f"line {line}" for line in file.lines], file.recordings
    elif wide and set(wide) <= set((frame := labelled_series.frame_of(path, None, None)).columns):
        rows = labelled_series.wide_rows(frame, wide)
    else:
        return _recorded(name, labelled_series.recording(path, settings.get("names", ())), info)
    return [_recorded(f"{name}, {row}", values, info) for row, values in zip(*rows, strict=True)]


def _recorded(name: str, values: Any, info: FileInfo) -> Examples:
    """One recording at the length of the model's input."""
    steps, channels = info.shape
    array = labelled_series.checked(name, values)
    if array.shape[1] != channels:
        raise InputError(f"{name!r} has {array.shape[1]} channels, and the model takes {channels}.")
    filled, _ = labelled_series.without_gaps(name, array)
    note = "" if len(array) == steps else f"its {len(array)} steps stretched to {steps}"
    return one_example(
        name, NAME, ArrayColumn(labelled_series.stretched(filled, steps).astype(np.float32)[None]), note, info.pipeline
    )


def _latest(source: Any, info: FileInfo) -> list[Examples]:
    windows, timelines = histories.latest(source, info.pipeline)
    settings = info.pipeline.get(histories.HISTORY) or {}
    name = str(source)[:200] if isinstance(source, str | Path) else ""
    parsed = []
    for i, timeline in enumerate(timelines):
        title = ", ".join(filter(None, (name, timeline.name if len(timelines) > 1 or not name else "")))
        ahead = TextColumn(["\n".join(timeline.ahead(int(settings["horizon"])))])
        note = _told(timeline, int(info.shape[0]), settings.get("step", timeline.step.words))
        inputs = ArrayColumn(windows[i : i + 1])
        parsed.append(one_example(title, NAME, inputs, note, info.pipeline, {STEPS_AHEAD: ahead}))
    return parsed


def _told(timeline: Timeline, steps: int, trained: str) -> str:
    """What was done to a series, and whether its values lie as far apart as those that were learned from."""
    notes = [f"from the last {min(len(timeline.values), steps)} of {len(timeline.values)} values", *timeline.notes]
    if timeline.step.words != trained:
        notes.append(f"the model learned from values {trained} apart, and these are {timeline.step.words} apart")
    return "; ".join(notes)


def _show(examples: Examples, index: int) -> str:
    """A line for each of the first channels; numbers alone, but for the escaped name."""
    values = np.asarray(examples.inputs[index], np.float64)
    values = values[np.isfinite(values).all(axis=1), :MOST_DRAWN]
    if values.ndim != 2 or len(values) < 2:
        return ""
    low, high = values.min(), values.max()
    x = np.linspace(1, WIDTH - 1, len(values))
    y = HEIGHT - 2 - (HEIGHT - 4) * (values - low) / ((high - low) or 1.0)
    lines = "".join(
        f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, column, strict=True))}" fill="none" '
        'stroke="currentColor"/>'
        for column in y.T
    )
    label = html.escape(examples.ids[index])
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">{lines}</svg>'


SERIES = Modality(NAME, _prepare, inputs=_inputs, describe=_describe, parse=_parse, show=_show)
