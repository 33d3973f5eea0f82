"""What tasks of encoder-decoders share: the right tokens before each in training, greedy choice in use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.tokens import next_tokens
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Agreement, Answer, Decoded, Deployment, Evaluation, FileCheck, Lines, Objective, Task
from tlkit.data.teacher_forcing import in_use
from tlkit.layer.token_scores import LOGITS, token_scores
from tlkit.tasks import client_loops, metrics
from tlkit.tasks.gathering import gathered
from tlkit.tasks.greedy_decoding import functions, run, run_apart

if TYPE_CHECKING:
    import keras

NEXT = "next"  # the tensor of the likeliest token behind each
HEAD = "head_scores"  # the layer


def encoder_decoder(
    name: str,
    made_by: tuple[str, Mapping[str, Any]],
    *,
    head: Callable[[Any], Any],
    check: Callable[[Splits], None],
    evaluate: Callable[[Examples, Decoded], Evaluation],
    answer: Answer,
    targets: Sequence[str],
    noun: str,
    longest: int,
    checked: int,
    scored: int | None = None,
    limit: str = "",
) -> Task:
    """A task for modules that take an input and the tokens before each, and give a state a token.

    Args:
        name: Of the task, and of the function of its files that holds the loop.
        made_by: What makes the task again.
        head: What `token_scores` gives -> logits (batch, tokens, vocabulary).
        check: As in `Objective`.
        evaluate: Examples in use and what was written -> scores.
        answer: What is written.
        targets: Columns of what is right, for `answer.merit`.
        noun: What is written, for messages: "Translations are written".
        longest: Most tokens that are written.
        checked: Examples with which exported files are checked.
        scored: Examples that `evaluate` is given at most; None is all.
        limit: What it must not be used for, a sentence; "" where there is nothing to say.
    """
    return Task(
        name=name,
        made_by=made_by,
        reads=token_scores(),
        head=head,
        objective=Objective(loss=_loss, metrics=_metrics, check=check),
        answers=(Answer(NEXT, _likeliest, _agree, _said),),
        scorer=gathered(_evaluate, NEXT),
        deployment=Deployment(
            examples=functools.partial(in_use, targets=tuple(targets)),
            functions=functools.partial(functions, longest=longest, whole=name, noun=noun),
            run=functools.partial(run, whole=name),
            answer=answer,
            further=(FileCheck(run_apart, next_tokens()),),
            scorer=gathered(evaluate),
            checked=checked,
            scored=scored,
            calls=functools.partial(client_loops.of_encoder_decoder, name),
            limits=(limit,) if limit else (),
        ),
        before=True,
    )


def scores_by_table(features: dict[str, Any], *, learned: bool) -> Any:
    """Logits (batch, tokens, vocabulary): the module's own, or products of states with the table of its tokens.

    Args:
        features: As `layer.token_scores` gives them.
        learned: Whether the table learns from them too, where all of the module trains.
    """
    from keras import layers, ops

    from tlkit.tasks.text_scores import TextScores

    if LOGITS in features:
        return layers.Identity(dtype="float32", name=HEAD)(features[LOGITS])
    table = features["embedding"] if learned else ops.stop_gradient(features["embedding"])
    if "pad" not in features:
        return ops.matmul(features["hidden"], ops.transpose(table))
    return TextScores(features["pad"], name=HEAD)([features["hidden"], table, features["ids"]])


def _loss() -> keras.losses.Loss:
    from tlkit.tasks.transcription_losses import TokenLoss

    return TokenLoss()


def _metrics() -> list[keras.metrics.Metric]:
    import keras

    from tlkit.tasks.text_scores import token_hits

    return [keras.metrics.MeanMetricWrapper(token_hits, name="token_accuracy")]


def _likeliest(raw: Any) -> dict[str, Any]:
    from keras import ops

    return {NEXT: ops.cast(ops.top_k(raw, 1)[1][..., 0], "float32")}


def _agree(expected: Decoded, actual: Decoded) -> Agreement:
    equal = expected[NEXT] == actual[NEXT]
    return Agreement(np.zeros(len(equal)), equal, np.ones(equal.shape))


def _said(_decoded: Decoded, _example: Any) -> Lines:
    return []


def _evaluate(examples: Examples, likeliest: np.ndarray) -> Evaluation:
    """Share of tokens that are the likeliest where the right ones stand before."""
    targets = np.asarray(examples.targets.take(np.arange(len(examples))))
    counted = targets >= 0
    right = ((likeliest == targets) & counted).sum(axis=1)
    count = np.maximum(counted.sum(axis=1), 1)
    interval = metrics.bootstrap(lambda drawn: float(right[drawn].sum() / count[drawn].sum()), len(right))
    scores = metrics.with_interval("token_accuracy", right.sum() / count.sum(), interval)
    details = {
        "headline": metrics.headline("token_accuracy", "Token accuracy", "bootstrap"),
        "example_scores": (right / count).tolist(),
    }
    return Evaluation(metrics.finite({name: float(value) for name, value in scores.items()}), details, None)
