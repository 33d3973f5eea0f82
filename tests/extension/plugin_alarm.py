"""Alarms: whether a series rises next, by a threshold of validation; clients send values in their own unit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tlkit
from tlkit import columns, metadata, reads

# -- data: a text file with one value a line. A window is `context` values, less their mean and in their deviations.


def from_file(path: Path, context: int) -> tlkit.Splits:
    """Windows of one series and whether the next value is higher than the last one, divided by time."""
    series = np.array(path.read_text().split(), np.float32)
    ends = np.arange(context, len(series))
    first, second = round(0.6 * len(ends)), round(0.8 * len(ends))
    parts = (ends[:first], ends[first + 1 : second], ends[second + 1 :])
    return tlkit.Splits(*(_windows(path.stem, series, part, context) for part in parts))


def _windows(name: str, series: np.ndarray, ends: np.ndarray, context: int) -> tlkit.Examples:
    past = np.stack([series[end - context : end] for end in ends])
    rises = [float(end < len(series) and series[end] > series[end - 1]) for end in ends]
    level, spread = past.mean(axis=1), past.std(axis=1) + 1e-6
    return tlkit.Examples(
        ids=tuple(f"{name}@{end}" for end in ends),
        inputs=columns.ArrayColumn(((past - level[:, None]) / spread[:, None])[..., None]),
        targets=columns.ArrayColumn(np.array(rises, np.float32)[:, None]),
        modality=TRACE.name,
        pipeline=tlkit.Pipeline().then("trace", context=context),
        columns={"level": columns.ArrayColumn(level), "spread": columns.ArrayColumn(spread)},
    )


# -- the modality


def _prepare(data: tlkit.Splits, layer: tlkit.HubLayer) -> tlkit.Splits:
    return data


def _parse(source: Path, info: tlkit.FileInfo) -> tlkit.Examples:
    context = info.pipeline.get("trace")["context"]
    series = np.array(source.read_text().split(), np.float32)
    return _windows(source.stem, series[-context:], np.array([context]), context)


def _serve(model: keras.Model, examples: tlkit.Examples) -> tlkit.Serving:
    """Clients send values as they measured them; the SavedModel brings them to their unit."""
    import tensorflow as tf

    name = model.inputs[0].name
    (context, _) = examples.inputs.spec.shape

    def prepare(tensors: dict[str, Any]) -> dict[str, Any]:
        mean, variance = tf.nn.moments(tensors["values"], axes=[1], keepdims=True)
        return {name: ((tensors["values"] - mean) / (tf.sqrt(variance) + 1e-6))[..., None]}

    return tlkit.Serving({"values": tf.TensorSpec((None, context), tf.float32, name="values")}, prepare, sent=_sent)


def _sent(examples: tlkit.Examples) -> Mapping[str, np.ndarray]:
    every = np.arange(len(examples))
    level, spread = (examples.columns[name].take(every)[:, None] for name in ("level", "spread"))
    return {"values": (examples.inputs.take(every)[..., 0] * spread + level).astype(np.float32)}


def _describe(model: keras.Model, examples: tlkit.Examples) -> tlkit.InputInfo:
    name = model.inputs[0].name
    return tlkit.InputInfo({name: metadata.plain_tensor(name, "The last values, less their mean, in deviations.")})


def _show(examples: tlkit.Examples, index: int) -> str:
    """The last value in its unit; a number alone, so that there is nothing to escape."""
    return f"<p>{float(_sent(examples.subset([index]))['values'][0, -1]):.1f}</p>"


TRACE = tlkit.Modality(
    name=f"{__name__}.TRACE", prepare=_prepare, serve=_serve, describe=_describe, parse=_parse, show=_show
)

# -- the task


def alarm(recall: float = 0.9, share: float | None = None, threshold: float | None = None) -> tlkit.Task:
    """Tell of a series whether it rises next.

    Args:
        recall: Share of the rises of validation that are told.
        share: Of rises among the training windows, with which the head begins; None takes it from the targets.
        threshold: Chance from which on there is an alarm; None leaves it to validation.
    """
    limit = 0.5 if threshold is None else threshold
    return tlkit.Task(
        name="alarm",
        made_by=tlkit.made_by(alarm, recall=recall, share=share, threshold=threshold),
        reads=reads.pooled(),
        head=functools.partial(_head, 0.5 if share is None else share),
        objective=tlkit.Objective(loss=functools.partial(keras.losses.BinaryCrossentropy, from_logits=True)),
        answers=(alarms(limit),),
        scorer=functools.partial(Alarms, limit),
        begin=functools.partial(_begin, recall) if share is None else None,
        finish=functools.partial(_finish, recall, share) if threshold is None else None,
    )


def _begin(recall: float, data: tlkit.Splits, say: Callable[[str], None]) -> tlkit.Task:
    share = float(np.clip(data.train.targets.take(np.arange(len(data.train))).mean(), 0.01, 0.99))
    say(f"{share:.0%} of the training windows rise")
    return alarm(recall, share)


def _finish(recall: float, share: float | None, evaluation: tlkit.Evaluation) -> tlkit.Task:
    rises = [chance for chance, truth in evaluation.details["chances"] if truth]
    return alarm(recall, share, float(np.quantile(rises, 1 - recall)) if rises else 0.5)


def _head(share: float, features: Any) -> Any:
    bias = keras.initializers.Constant(float(np.log(share / (1 - share))))
    return keras.layers.Dense(1, bias_initializer=bias, dtype="float32", name="rises")(features)


# -- what it says, and how that is scored


def alarms(threshold: float) -> tlkit.Answer:
    """The chance of a rise, and whether it is high enough for an alarm."""
    return tlkit.Answer(
        name="alarms",
        tensors=("chance", "alarm"),
        decode=functools.partial(_decode, threshold),
        agree=functools.partial(_agree, threshold),
        merit=_merit,
        say=_say,
        describe=_tables,
        sections=(tlkit.Section("alarms", "Alarms", _view, TEMPLATE),),
    )


def _decode(threshold: float, raw: Any) -> Mapping[str, Any]:
    chance = keras.ops.sigmoid(raw)
    return {"chance": chance, "alarm": keras.ops.cast(chance >= threshold, "float32")}


def _agree(threshold: float, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> tlkit.Agreement:
    apart = np.abs(expected["chance"] - actual["chance"])[:, 0]
    equal = (expected["alarm"] == actual["alarm"])[:, 0]
    return tlkit.Agreement(apart, equal, np.abs(expected["chance"] - threshold)[:, 0])


def _merit(targets: np.ndarray, decoded: Mapping[str, np.ndarray]) -> np.ndarray:
    return (decoded["alarm"] == targets)[:, 0].astype(float)


def _say(decoded: Mapping[str, np.ndarray], example: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [("alarm" if decoded["alarm"][0] else "quiet", float(decoded["chance"][0]))]


def _tables(labels: str) -> Mapping[str, Any]:
    return {
        "chance": metadata.plain_tensor("chance", "Chance that the next value is higher, 0 to 1."),
        "alarm": metadata.plain_tensor("alarm", "1 from the threshold on, else 0."),
    }


def _view(facts: tlkit.Facts) -> Any:
    return facts.detail("told")


TEMPLATE = "<table><tr><td>alarms</td><td>{{ view.alarms }}</td><td>of {{ view.of }} windows</td></tr></table>"


class Alarms:
    """Accuracy, and the share of rises that are told."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.chances: list[float] = []
        self.truths: list[bool] = []

    def update(self, examples: tlkit.Examples, decoded: Mapping[str, np.ndarray]) -> None:
        self.chances += decoded["chance"][:, 0].tolist()
        self.truths += (examples.targets.take(np.arange(len(examples)))[:, 0] > 0.5).tolist()

    def result(self) -> tlkit.Evaluation:
        told, truths = np.array(self.chances) >= self.threshold, np.array(self.truths)
        headline = {"name": "accuracy", "label": "Accuracy", "interval": "", "unit": "share", "lower_is_better": False}
        return tlkit.Evaluation(
            scores={
                "accuracy": float((told == truths).mean()),
                "recall": float(told[truths].mean()) if truths.any() else 1.0,
            },
            details={
                "headline": headline,
                "told": {"alarms": int(told.sum()), "of": len(told)},
                "chances": list(zip(self.chances, self.truths, strict=True)),
            },
            outputs=None,
        )
