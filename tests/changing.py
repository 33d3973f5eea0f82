"""Examples with other inputs, for tests."""

import dataclasses

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, RaggedColumn, ReadColumn, TextColumn


def reread(examples, read=None, spec=None, digests=None):
    """The same examples, whose inputs `read` gives instead, or are said to be of another kind."""
    inputs = examples.inputs
    column = ReadColumn(read or inputs.__getitem__, spec or inputs.spec, digests or examples.digests)
    return dataclasses.replace(examples, inputs=column)


def without(examples, *names):
    """The same examples without some columns."""
    return dataclasses.replace(examples, columns={k: v for k, v in examples.columns.items() if k not in names})


def passages(text, answers, offsets, step):
    """The column of what questions are asked of: one text, `answers` of each."""
    count = len(answers)
    return DictColumn(
        {
            "text": TextColumn([text] * count),
            "answers": RaggedColumn([np.array(row, dtype=str) for row in answers]),
            "offsets": RaggedColumn([np.asarray(offsets, np.int32).reshape(-1, 2)] * count),
            "step": ArrayColumn(np.full(count, step, np.int32)),
        }
    )


def judged(task, examples, outputs):
    """What a task says of decoded outputs (n, ...), of its only tensor."""
    ((name,),) = (names.values() for names in task.outputs.values())
    scorer = task.scorer()
    scorer.update(examples, {name: np.asarray(outputs)})
    return scorer.result()


def decoded(task, raw):
    """The only tensor that a task decodes from raw outputs, as an array."""
    (tensor,) = task.decode(raw).values()
    return np.asarray(tensor)
