"""How right an answer is, in the words of SQuAD's own script (evaluate-v2.0.py). Plain Python."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)  # that of ASCII alone, as in the script


def normalized(answer: str) -> str:
    """An answer as it is compared: in lower case, without punctuation, articles and needless white space.

    Example:
        >>> normalized("The  Eiffel-Tower, in a city.")
        'eiffeltower in city'

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1.
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(said: str, answers: Sequence[str]) -> float:
    """1 where what is said equals one of the answers, else 0; both normalized.

    Args:
        said: "" where the question is left unanswered.
        answers: Those that are right; without any, only to say nothing is.

    Example:
        >>> exact_match("the Tower!", ["Paris", "tower"]), exact_match("", []), exact_match("Paris", [])
        (1.0, 1.0, 0.0)
    """
    return float(normalized(said) in _references(answers))


def word_f1(said: str, answers: Sequence[str]) -> float:
    """F1 of the words of what is said and of the answer that it comes closest to, in any order.

    Args:
        said, answers: As in `exact_match`.

    Example:
        >>> word_f1("in the city of Paris", ["Paris, France", "Rome"])
        0.3333333333333333

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1; Rajpurkar et al. 2018, arXiv:1806.03822.
    """
    return max(_f1(normalized(said).split(), true.split()) for true in _references(answers))


def _references(answers: Sequence[str]) -> list[str]:
    return [true for true in map(normalized, answers) if true] or [""]


def _f1(said: Sequence[str], true: Sequence[str]) -> float:
    if not said or not true:
        return float(said == true)
    shared = (Counter(said) & Counter(true)).total()
    return 2 * shared / (len(said) + len(true))
