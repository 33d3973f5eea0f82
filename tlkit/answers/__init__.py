"""Answers, one a file: what a model's raw outputs mean. Importing this imports neither Keras nor TensorFlow.

A new answer is one new file and one line here; your own is a function that makes a `tlkit.Answer`.
"""

from tlkit.answers.affine import Affine
from tlkit.answers.boxes import boxes
from tlkit.answers.items import items
from tlkit.answers.masks import masks
from tlkit.answers.passages import passages
from tlkit.answers.points import points
from tlkit.answers.quantiles import quantiles
from tlkit.answers.scores import scores
from tlkit.answers.tokens import tokens
from tlkit.answers.transcripts import transcripts
from tlkit.answers.values import values, vectors
from tlkit.answers.words import words

__all__ = [
    "Affine",
    "boxes",
    "items",
    "masks",
    "passages",
    "points",
    "quantiles",
    "scores",
    "tokens",
    "transcripts",
    "values",
    "vectors",
    "words",
]


def __dir__() -> list[str]:
    return sorted(__all__)
