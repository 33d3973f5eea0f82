"""What is said in a recording, as text."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkit.core.edits import distance
from tlkit.core.section import Facts, Section
from tlkit.core.task import Agreement, Answer, Decoded, Lines

UNITS, SHARES = "units", "scores"
SPAN = "span"  # the column of the seconds at which a window begins and ends, float32 (2,)
NOTHING = "(no speech)"
MOST_SHARED = 30  # words that two windows may have in common
SLACK = 1.5  # times the words that windows of even speech have in common
SURE = 3  # words in a row that join windows of uneven speech, where they are most of what both may have
BORDERS = 51  # places at which one of two windows that overlap may end to count
OVERVIEW = """
<p class="lead">{{ view.words|number }} words in {{ view.recordings|number }} recordings of the test; texts are compared
in lower case without punctuation, numbers and contractions written out. The recordings with the most errors:
<del>left out</del>, <ins>made up</ins>, <mark>heard as another word <i>that was said</i></mark>.</p>
<ul class="mistakes" data-modality="audio">
{% for one in view.worst %}
<li>{{ one.player|safe }}<div><p>
{% for edit in one.edits %}
{% if edit.kind == "equal" %}{{ edit.true }}
{% elif edit.kind == "deleted" %}<del title="left out">{{ edit.true }}</del>
{% elif edit.kind == "inserted" %}<ins title="made up">{{ edit.said }}</ins>
{% else %}<mark title="heard as another word">{{ edit.said }} <i>{{ edit.true }}</i></mark>
{% endif %}
{% endfor %}
</p><span class="row">{{ one.wer|percent(0) }} of its words wrong</span>
<span class="file" title="{{ one.id }}">{{ one.id }}</span></div></li>
{% endfor %}
</ul>
{% if view.confused %}
<div class="scroll tall"><table>
<thead><tr><th>Said</th><th>Heard</th><th>Times</th></tr></thead><tbody>
{% for row in view.confused %}
<tr><td class="name">{{ row.true or "–" }}</td><td class="name">{{ row.said or "–" }}</td><td>{{ row.count }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endif %}
"""


def transcripts(vocabulary: Sequence[str]) -> Answer:
    """The likeliest unit of each frame, repeats and blanks left out: "units" and "scores", float32 (b, frames).

    Raw outputs are logits (b, frames, 1 + k), the blank first. Units are numbers from 1 where one begins and 0
    elsewhere, so that clients write down what is not 0; scores are the shares of what each frame says.

    Args:
        vocabulary: The k units: characters, or words.
    """
    units = tuple(str(unit) for unit in vocabulary)
    return Answer(
        name="transcript",
        tensors=(UNITS, SHARES),
        labels=units,
        decode=functools.partial(_decoded, len(units)),
        agree=_agreement,
        say=functools.partial(_said, units),
        merit=_merit,
        together=functools.partial(_together, units),
        in_float32=True,
        sections=(SECTION,),
    )


def written(vocabulary: Sequence[str], row: np.ndarray) -> str:
    """The text of one example's "units"; words have blanks between them, characters none.

    Example:
        >>> written(("hello", "world"), np.array([0, 1, 0, 0, 2]))
        'hello world'
    """
    between = "" if all(len(unit) == 1 for unit in vocabulary) else " "
    return between.join(vocabulary[int(number) - 1] for number in row if number > 0).strip()


def _decoded(count: int, raw: Any) -> Mapping[str, Any]:
    import keras
    from keras import ops

    from tlkit.answers.scores import check_columns

    check_columns(raw, count + 1)
    best = ops.top_k(keras.ops.softmax(raw, axis=-1), 1)
    numbers, shares = ops.cast(best[1][..., 0], "float32"), best[0][..., 0]
    before = ops.pad(numbers[:, :-1], ((0, 0), (1, 0)))
    return {UNITS: ops.where(ops.equal(numbers, before), ops.zeros_like(numbers), numbers), SHARES: shares}


def _agreement(expected: Decoded, actual: Decoded) -> Agreement:
    difference = np.abs(expected[SHARES] - actual[SHARES]).max(axis=1, initial=0.0)
    return Agreement(difference, expected[UNITS] == actual[UNITS], 2 * expected[SHARES] - 1)


def _merit(targets: np.ndarray, decoded: Decoded) -> np.ndarray:
    """1 less the errors of each text over its units, at least 0."""
    pairs = [
        (row[row > 0].astype(int), predicted[predicted > 0].astype(int))
        for row, predicted in zip(targets, decoded[UNITS], strict=True)
    ]
    return np.array([max(0.0, 1 - distance(a.tolist(), b.tolist()) / max(1, len(a))) for a, b in pairs], np.float64)


def _said(units: tuple[str, ...], decoded: Decoded, _example: Mapping[str, Any]) -> Lines:
    """The text, and the least share of the frames at which something begins."""
    began = decoded[UNITS] > 0
    text = written(units, decoded[UNITS])
    return [(text or NOTHING, float(decoded[SHARES][began].min()) if began.any() else 0.0)]


def _together(units: tuple[str, ...], decoded: Sequence[Decoded], examples: Sequence[Mapping[str, Any]]) -> Lines:
    """The text of a recording that was heard in several windows: each counts up to a border in what it shares."""
    spans = np.array([example[SPAN] for example in examples], np.float64)
    times = [
        start + (end - start) * (np.arange(len(outputs[UNITS])) + 0.5) / len(outputs[UNITS])
        for outputs, (start, end) in zip(decoded, spans, strict=True)
    ]
    begun = [at[outputs[UNITS] > 0] for at, outputs in zip(times, decoded, strict=True)]
    shared = [border_of(np.concatenate(begun[i : i + 2]), spans[i + 1, 0], spans[i, 1]) for i in range(len(spans) - 1)]
    borders = np.maximum.accumulate([-np.inf, *shared, np.inf])  # the last window may lie close behind the one before
    parts = [
        {name: value[(at >= borders[i]) & (at < borders[i + 1])] for name, value in outputs.items()}
        for i, (at, outputs) in enumerate(zip(times, decoded, strict=True))
    ]
    return _said(units, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, {})


def border_of(begun: np.ndarray, start: float, end: float) -> float:
    """Where one window ends to count and the next begins, in seconds, of what both heard, from `start` to `end`.

    A unit may begin a few frames later in one window than in the other: a border between the two would write it down
    twice, or not at all. So it lies where, in the inner half of what is shared, the next begin of a unit in either of
    the windows is furthest away, and of such places at the one nearest to the middle.

    Args:
        begun: Seconds at which the units of both windows begin (n,).

    Example:
        >>> border_of(np.array([0.2, 0.48, 0.52]), 0.0, 1.0)
        0.75
    """
    middle, quarter = (start + end) / 2, (end - start) / 4
    places = np.linspace(middle - quarter, middle + quarter, BORDERS)
    away = np.abs(places[:, None] - begun).min(axis=1, initial=np.inf)
    return float(places[np.lexsort([np.abs(places - middle), -away.round(6)])[0]])


def shared_by(examples: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of each window but the last, the share that the next one hears too; 0 where they do not say their seconds.

    Example:
        >>> shared_by([{"span": np.array([0.0, 10.0])}, {"span": np.array([8.0, 18.0])}])
        [0.2]
    """
    if not all(SPAN in example for example in examples):
        return [0.0] * (len(examples) - 1)
    spans = [np.asarray(example[SPAN], np.float64) for example in examples]
    return [
        float(np.clip((end - after) / (end - start), 0, 1)) for (start, end), (after, _) in itertools.pairwise(spans)
    ]


def stitched(windows: Sequence[Sequence[str]], shares: Sequence[float]) -> list[str]:
    """Words of windows that overlap, each once.

    The longest stretch of words that one window has where the next begins, and that one too, joins them: words at the
    edge of a window may be cut in half, so what lies behind the stretch in the one and before it in the other is left
    out. The stretch lies in what may be heard twice. Without such words both are kept whole.

    Args:
        windows: Words of each window.
        shares: Of each window but the last, how much of it the next hears too, in [0, 1].

    Example:
        >>> stitched(["press one to rec".split(), "ess one to record".split(), "a message".split()], [0.5, 0.2])
        ['press', 'one', 'to', 'record', 'a', 'message']
        >>> " ".join(stitched(["take the train".split(), "at noon please leave the house".split()], [0.2]))
        'take the train at noon please leave the house'
    """
    text: list[str] = []
    for window, share, before in zip(windows, (0.0, *shares), ((), *windows), strict=False):
        words, length = list(window), max(len(window), len(before))
        joint = _joint(text[-MOST_SHARED:], words[:MOST_SHARED], share * length) if before else None
        if joint is None:
            text += words
        else:
            text = [*text[: len(text) - joint[0]], *words[joint[1] :]]
    return text


def _joint(before: Sequence[str], words: Sequence[str], expected: float) -> tuple[int, int] | None:
    """Words that go from the end of one text and from the beginning of the next; None where nothing joins them.

    Args:
        before: The end of the one.
        words: The beginning of the next.
        expected: About how many words both have.
    """
    plain, other = ([plainly(word) for word in row] for row in (before, words))
    joints = []
    for overlap in range(1, len(plain) + 1):  # so many words of the one have the next begin beside them
        start = len(plain) - overlap
        equal = [bool(a) and a == b for a, b in zip(plain[start:], other, strict=False)]
        size, end = max(((run, i + 1) for i, run in enumerate(_runs(equal))), default=(0, 0))
        near = overlap <= SLACK * expected + 2
        if size and (near or (size >= SURE and 2 * size >= overlap)):
            joints.append((size, -abs(overlap - expected), overlap - end, end))
    return max(joints)[2:] if joints else None


def _runs(equal: Sequence[bool]) -> list[int]:
    """How many in a row are true up to each place."""
    return list(itertools.accumulate(equal, lambda run, true: run + 1 if true else 0, initial=0))[1:]


def plainly(word: str) -> str:
    """A word as windows that write it with other capitals and points have it in common."""
    return "".join(character for character in word.lower() if character.isalnum())


def _view(facts: Facts) -> Any:
    detail = facts.detail("transcripts")
    return detail and {**detail, "worst": [{**row, "player": facts.show(row["id"])} for row in detail["worst"]]}


SECTION = Section("transcripts", "Transcripts", _view, OVERVIEW)
