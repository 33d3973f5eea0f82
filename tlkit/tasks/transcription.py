"""Speech recognition with a module that writes text itself: an encoder that hears, a decoder that writes (Whisper)."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.answers.tokens import IDS, text_of, tokens
from tlkit.core.columns import DictColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Agreement, Answer, Decoded, Deployment, Evaluation, Lines, Objective, Task
from tlkit.data.speech import TEXT
from tlkit.layer import reads
from tlkit.tasks import heads, metrics, recording
from tlkit.tasks.gathering import gathered
from tlkit.tasks.speech_decoding import functions, run
from tlkit.tasks.transcription_scores import evaluate_transcripts

if TYPE_CHECKING:
    import keras

WAVEFORM, TOKENIZER = "waveform", "tokenizer"
NEXT = "next"  # the tensor of the likeliest token behind each


def transcribe(longest: int = 128, checked: int = 20) -> Task:
    """Write down what is said, by modules of Whisper's kind: recordings and the tokens before go in, a state a token
    out.

    Training shows the right tokens before each (teacher forcing); in use tokens are chosen one after the other, the
    likeliest each time, until the end, or until the last tokens repeat themselves three times. The scores are those of
    use: word and character error rate, before training ("wer_before") and after. Data are those of `tlkit.data.speech`
    without a vocabulary; the head is the module's own table of tokens, which stays as it is.

    Args:
        longest: Most tokens that are written for a window, in [8, 440]: about 3 a second of speech.
        checked: Recordings with which exported files are checked.

    Returns:
        A task for modules that take `waveform` and `ids`, such as zoo:whisper-tiny-en. Exported files give "ids", as
        `answers.tokens` says, out of a waveform: TFLite files by the signature `transcribe`, which holds the loop, and
        for clients with a loop of their own `encode` and `decode`.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> transcribe().deployment.answer.tensors
        ('ids', 'shares', 'leads')

    Source: Radford et al. 2022, arXiv:2212.04356.
    """
    checks = {
        "longest": (8 <= longest <= 440, "lie in [8, 440]", longest),
        "checked": (checked >= 1, "be 1 or more", checked),
    }
    heads.check_rules(checks, of="transcribe")
    return Task(
        name="transcribe",
        made_by=recording.record("tlkit.tasks.transcribe", {"longest": longest, "checked": checked}),
        reads=reads.hidden_and_embedding(),
        head=_head,
        objective=Objective(loss=_loss, metrics=_metrics, check=_check),
        answers=(Answer(NEXT, _likeliest, _agree, _said),),
        scorer=gathered(_evaluate, NEXT),
        deployment=Deployment(
            examples=in_use,
            functions=functools.partial(functions, longest=longest),
            run=run,
            answer=tokens(),
            scorer=gathered(_evaluate_texts),
            checked=checked,
        ),
        before=True,
    )


def in_use(examples: Examples) -> Examples:
    """Recordings alone; what is right is their text, and the tokenizer by which tokens become texts."""
    if not isinstance(examples.inputs, DictColumn):
        return examples
    targets = {name: examples.columns[name] for name in (TEXT, TOKENIZER)}
    return dataclasses.replace(
        examples, inputs=DictColumn({WAVEFORM: examples.inputs.columns[WAVEFORM]}), targets=DictColumn(targets)
    )


def _head(features: dict[str, Any]) -> Any:
    from keras import ops

    return ops.matmul(features["hidden"], ops.transpose(ops.stop_gradient(features["embedding"])))


def _loss() -> keras.losses.Loss:
    from tlkit.tasks.transcription_losses import TokenLoss

    return TokenLoss()


def _metrics() -> list[keras.metrics.Metric]:
    import keras

    from tlkit.tasks.losses import step_accuracy

    return [keras.metrics.MeanMetricWrapper(step_accuracy, name="token_accuracy")]


def _likeliest(raw: Any) -> dict[str, Any]:
    from keras import ops

    return {NEXT: ops.cast(ops.top_k(raw, 1)[1][..., 0], "float32")}


def _agree(expected: Decoded, found: Decoded) -> Agreement:
    same = expected[NEXT] == found[NEXT]
    return Agreement(np.zeros(len(same)), same, np.ones(same.shape))


def _said(_decoded: Decoded, _example: Any) -> Lines:
    return []


def _evaluate(examples: Examples, likeliest: np.ndarray) -> Evaluation:
    """Share of tokens that are the likeliest where the right ones stand before."""
    targets = np.asarray(examples.targets.take(np.arange(len(examples))))
    counted = targets >= 0
    right = ((likeliest == targets) & counted).sum(axis=1)
    count = np.maximum(counted.sum(axis=1), 1)
    low, high = metrics.bootstrap(lambda drawn: float(right[drawn].sum() / count[drawn].sum()), len(right))
    scores = {"token_accuracy": right.sum() / count.sum(), "token_accuracy_low": low, "token_accuracy_high": high}
    details = {
        "headline": metrics.headline("token_accuracy", "Token accuracy", "bootstrap"),
        "example_scores": (right / count).tolist(),
    }
    return Evaluation(metrics.finite({name: float(value) for name, value in scores.items()}), details, None)


def _evaluate_texts(examples: Examples, decoded: Decoded) -> Evaluation:
    """Error rates of what is written in use."""
    files = [str(examples.columns[TOKENIZER][i]) for i in range(len(examples))]
    texts = [text_of(file, row) for file, row in zip(files, decoded[IDS], strict=True)]
    return evaluate_transcripts(examples, texts)


def _check(splits: Splits) -> None:
    if not len(splits.train):
        raise InputError("The training split is empty: give more recordings, or a larger share of them to it.")
    for name, examples in (("training", splits.train), ("validation", splits.val), ("test", splits.test)):
        if len(examples) and TEXT not in examples.columns:
            raise InputError(
                f"The {name} recordings need the column {TEXT!r} of what is said: `tlkit.data.speech` makes it. "
                f"Received: the modality {examples.modality!r}."
            )
    if splits.labels:
        raise InputError("This task writes tokens of the module's own: read the data with `vocabulary=None`.")
