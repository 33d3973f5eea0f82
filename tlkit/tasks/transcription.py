"""Speech recognition with a module that writes text itself: an encoder that hears, a decoder that writes (Whisper)."""

from __future__ import annotations

import dataclasses
import functools

from tlkit.answers.tokens import IDS, text_of, tokens
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.task import Decoded, Evaluation, Task
from tlkit.data.speech import TEXT
from tlkit.data.teacher_forcing import TOKENIZER
from tlkit.tasks import recording
from tlkit.tasks.corpus_scores import cut_short
from tlkit.tasks.encoder_decoder import encoder_decoder, scores_by_table
from tlkit.tasks.split_checks import check_training, named_splits
from tlkit.tasks.transcription_scores import evaluate_transcripts


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
    check_rules(checks, of="transcribe")
    return encoder_decoder(
        "transcribe",
        recording.record("tlkit.tasks.transcribe", {"longest": longest, "checked": checked}),
        head=functools.partial(scores_by_table, learned=False),
        check=_check,
        evaluate=_evaluate_texts,
        answer=tokens(),
        targets=(TEXT, TOKENIZER),
        noun="What is said is written",
        longest=longest,
        checked=checked,
        limit="As a record of emergencies, or of medical or legal talk, that nobody listened to: it mishears names, "
        "and makes text up where nobody speaks.",
    )


def _evaluate_texts(examples: Examples, decoded: Decoded) -> Evaluation:
    """Error rates of what is written in use."""
    files = [str(examples.columns[TOKENIZER][i]) for i in range(len(examples))]
    texts = [text_of(file, row) for file, row in zip(files, decoded[IDS], strict=True)]
    evaluation = evaluate_transcripts(examples, texts)
    return dataclasses.replace(evaluation, details={**evaluation.details, "notes": cut_short(decoded[IDS], "longest")})


def _check(splits: Splits) -> None:
    check_training(splits, "give more recordings, or a larger share of them to it")
    for name, examples in named_splits(splits):
        if len(examples) and TEXT not in examples.columns:
            raise InputError(
                f"The {name} recordings need the column {TEXT!r} of what is said: `tlkit.data.speech` makes it. "
                f"Received: the modality {examples.modality!r}."
            )
    if splits.labels:
        raise InputError("This task writes tokens of the module's own: read the data with `vocabulary=None`.")
