"""Speaker verification: whether one person speaks in two recordings, also of people who were never trained on.

Training tells the speakers of the training recordings apart; what is kept and exported is the embedding before that.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.values import vectors
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Evaluation, Objective, Task
from tlkit.layer import reads
from tlkit.tasks import recording
from tlkit.tasks import verification_scores as measures
from tlkit.tasks.gathering import gathered
from tlkit.tasks.split_checks import named_splits
from tlkit.tasks.verification_scores import enrol, score

if TYPE_CHECKING:
    import keras

__all__ = ["enrol", "score", "verify"]

EMBEDDING = "embedding"


def verify(
    speakers: int,
    size: int = 256,
    *,
    normalize: bool = False,
    dropout: float = 0.0,
    margin: float = 0.2,
    scale: float = 30.0,
    threshold: float | None = None,
) -> Task:
    """Give recordings embeddings whose cosine says whether they share a speaker.

    The head is one linear map, an embedding at unit length, and its cosines to one direction a trained speaker, which
    are learned with an additive margin and left out of what is exported. Validation and test are an open set: none of
    their speakers is trained, and the two share none (`tlkit.data.speakers` divides so). Their loss is 0 for that
    reason; weights are chosen by how far apart the cosines of same and different speakers of validation lie.

    Targets are int32 (n,) speakers, those of the training split 0 to `speakers` - 1. The threshold that `finetune`
    chooses is that of the equal error rate on validation; the run's task.json and exported files hold it.

    Args:
        speakers: How many are trained, >= 2.
        size: Numbers of an embedding; the map starts as a rotation, so that, where it is as wide as the module's
            features, cosines start as theirs.
        normalize: Whether features are brought to mean 0 and deviation 1 first, by the training examples.
        dropout: Share of features dropped before the map, in [0, 1).
        margin: What the cosine of the right speaker must be better by, in [0, 1).
        scale: Factor on the cosines, > 0.
        threshold: Cosine from which two recordings count as one voice, in [-1, 1]; None leaves it to validation.

    Returns:
        A task for `build`, `fit`, `finetune`; `tasks.enrol` and `tasks.score` use its embeddings.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> verify(20).answers[0].name
        'embedding'

    Source: Wang et al. 2018, arXiv:1801.05599 (additive margin softmax); NIST 2016 Speaker Recognition Evaluation Plan
    (trials and their cost).
    """
    _check_options(speakers, size, dropout, margin, scale, threshold)
    arguments = {
        "speakers": speakers, "size": size, "normalize": normalize, "dropout": dropout, "margin": margin,
        "scale": scale, "threshold": threshold,
    }  # fmt: skip
    return Task(
        name="verify",
        made_by=recording.record("tlkit.tasks.verify", arguments),
        reads=reads.pooled(),
        head=functools.partial(_head, speakers=speakers, size=size, normalize=normalize, dropout=dropout),
        objective=Objective(
            loss=functools.partial(_loss, speakers, margin, scale),
            metrics=functools.partial(_metrics, size),
            monitor=("val_separation", "max"),
            check=functools.partial(_check, speakers),
        ),
        answers=(vectors(functools.partial(_decode, size)),),
        scorer=gathered(functools.partial(measures.verified, threshold), EMBEDDING),
        finish=functools.partial(_finished, arguments) if threshold is None else None,
    )


def _finished(arguments: dict[str, Any], evaluation: Evaluation) -> Task:
    """The task with the threshold of the equal error rate on validation."""
    return verify(**{**arguments, "threshold": evaluation.details[measures.EQUAL_ERROR_THRESHOLD]})


def _head(features: Any, speakers: int, size: int, normalize: bool, dropout: float) -> Any:
    import keras

    x = features
    if normalize:
        x = keras.layers.BatchNormalization(
            momentum=0.9, center=False, scale=False, dtype="float32", name="head_normalized"
        )(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    rotation = {"use_bias": False, "kernel_initializer": "orthogonal", "dtype": "float32"}
    x = keras.layers.Dense(size, name="head_embedding", **rotation)(x)
    embedding = keras.layers.UnitNormalization(dtype="float32", name="head_unit")(x)
    directions = keras.constraints.UnitNorm(axis=0)  # so that the products are cosines
    cosines = keras.layers.Dense(speakers, name="head_speakers", kernel_constraint=directions, **rotation)(embedding)
    return keras.layers.Concatenate(dtype="float32", name="head_outputs")([embedding, cosines])


def _loss(speakers: int, margin: float, scale: float) -> keras.losses.Loss:
    from tlkit.tasks import speaker_losses

    return speaker_losses.AdditiveMargin(speakers, margin, scale)


def _metrics(size: int) -> list[keras.metrics.Metric]:
    from tlkit.tasks import speaker_losses

    return [speaker_losses.Separation(size)]


def _decode(size: int, raw: Any) -> dict[str, Any]:
    return {EMBEDDING: raw[:, :size]}


def _check_options(
    speakers: int, size: int, dropout: float, margin: float, scale: float, threshold: float | None
) -> None:
    checks = {
        "speakers": (speakers >= 2, "be 2 or more", speakers),
        "size": (size >= 2, "be 2 or more", size),
        "dropout": (0 <= dropout < 1, "lie in [0, 1)", dropout),
        "margin": (0 <= margin < 1, "lie in [0, 1)", margin),
        "scale": (scale > 0, "be positive", scale),
        "threshold": (threshold is None or -1 <= threshold <= 1, "lie in [-1, 1] or be None", threshold),
    }
    check_rules(checks)


def _check(speakers: int, splits: Splits) -> None:
    for name, examples in named_splits(splits):
        targets = examples.target_array
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise InputError(f"The {name} targets must be whole speaker numbers (n,). Received: {targets.dtype}.")
    trained = np.unique(splits.train.target_array)
    if trained.tolist() != list(range(speakers)):
        raise InputError(
            f"The task trains {speakers} speakers, so training targets must be 0 to {speakers - 1}, each at least "
            f"once: divide with `tlkit.data.speakers`. Received: {len(trained)} speakers."
        )
    _check_open(splits, "test", splits.test, {"training": splits.train, "validation": splits.val})
    _check_open(splits, "validation", splits.val, {"training": splits.train})


def _check_open(splits: Splits, name: str, examples: Examples, other_splits: dict[str, Examples]) -> None:
    if not len(examples):
        return
    speakers, counts = np.unique(examples.target_array, return_counts=True)
    for other_name, theirs in other_splits.items():
        shared = np.intersect1d(speakers, theirs.target_array)
        if shared.size:
            voice = splits.labels[shared[0]] if splits.labels else shared[0]
            raise InputError(
                f"Speaker `{voice}` is in the {name} and the {other_name} split: verification is judged on voices that "
                "were never heard; divide with `tlkit.data.speakers`."
            )
    if len(speakers) < 2 or counts.max() < 2:
        raise InputError(f"The {name} split needs two speakers, and one of them twice, to make pairs of. Add some.")
