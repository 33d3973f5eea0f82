"""Translation: an encoder-decoder reads a text and writes another, in another language, shorter, or in phonemes."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tlkit.answers.continuations import samples
from tlkit.answers.tokens import tokens
from tlkit.core.checks import check_rules
from tlkit.core.errors import InputError
from tlkit.core.examples import Splits
from tlkit.core.task import Task
from tlkit.data.teacher_forcing import TOKENIZER
from tlkit.data.translations import TRANSLATION, WANTED
from tlkit.tasks import recording
from tlkit.tasks.corpus_scores import SCORES, check_packages
from tlkit.tasks.encoder_decoder import encoder_decoder, scores_by_table
from tlkit.tasks.split_checks import check_training
from tlkit.tasks.translation_scores import evaluate_translations


def translate(
    scores: Sequence[str] = ("chrf", "bleu"), longest: int = 64, checked: int = 20, scored: int | None = None
) -> Task:
    """Write a text out of another, by encoder-decoders: what is read and the tokens before go in, a state a token out.

    Training shows the right tokens before each (teacher forcing); in use tokens are chosen one after the other, the
    likeliest each time, until the end, or until the last tokens repeat themselves three times. What is frozen of the
    encoder and the decoder is computed once. The head is the module's own table of tokens, which learns where all of
    the module trains.

    Args:
        scores: Of what is written in use, before training ("chrf_before") and after; the first is the headline. Of
            "chrf", "bleu" (extra `generation`), "rouge_l" (the same extra), "exact", "per": of texts as a whole,
            character n-grams and word n-grams in 0 to 100, the longest common words, the share without an error, and
            errors of parts between blanks, such as phonemes, over what is right. Beside each stands that of the
            source itself ("chrf_of_source").
        longest: Most tokens that are written, in [2, 440].
        checked: Texts with which exported files are checked.
        scored: Texts of the test that are translated for the scores; None is all.

    Returns:
        A task for modules that take `source` and `ids`, such as `tlkit.zoo.write_transformer` makes them. Exported
        files give "ids", as `answers.tokens` says, out of `source`: TFLite files by the signature `translate`, which
        holds the loop, and for clients with a loop of their own `encode` and `decode`.

    Raises:
        InputError: If an argument is out of its range, or a score needs a package that is not there.

    Example:
        >>> translate(("exact", "per")).deployment.answer.tensors
        ('ids', 'shares', 'leads')

    Source: Sutskever et al. 2014, arXiv:1409.3215; Vaswani et al. 2017, arXiv:1706.03762.
    """
    names = tuple(scores)
    checks = {
        "scores": (names and set(names) <= set(SCORES), f"be some of {', '.join(SCORES)}", scores),
        "longest": (2 <= longest <= 440, "lie in [2, 440]", longest),
        "checked": (checked >= 1, "be 1 or more", checked),
        "scored": (scored is None or scored >= 1, "be 1 or more", scored),
    }
    check_rules(checks, of="translate")
    check_packages(names)
    sections = [samples("Texts", "Translations")]
    arguments = {"scores": names, "longest": longest, "checked": checked, "scored": scored}
    return encoder_decoder(
        "translate",
        recording.record("tlkit.tasks.translate", arguments),
        head=functools.partial(scores_by_table, learned=True),
        check=_check,
        evaluate=functools.partial(evaluate_translations, names),
        answer=tokens("error rate", name="translation", units=str.split, nothing="(nothing)", sections=sections),
        targets=(WANTED, TOKENIZER),
        noun="Translations are written",
        longest=longest,
        limit="Where a wrong text does harm, unless somebody who knows both sides reads it: it makes things up.",
        checked=checked,
        scored=scored,
    )


def _check(splits: Splits) -> None:
    if splits.train.modality != TRANSLATION:
        raise InputError(
            "Translations are learned from pairs of texts: make the data with `tlkit.data.text.from_translations`. "
            f"Received: examples of the modality {splits.train.modality!r}."
        )
    check_training(splits, "give more pairs, or a larger share of them to it")
