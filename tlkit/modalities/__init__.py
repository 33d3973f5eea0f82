"""Modalities, one a file: what an example is. Importing this imports neither Keras nor TensorFlow.

A new modality is one new file and one line here; `Examples.modality` holds its name.
"""

from tlkit.modalities.audio import AUDIO as audio
from tlkit.modalities.dialogue import DIALOGUES as dialogue
from tlkit.modalities.image import IMAGE as image
from tlkit.modalities.pairs import PAIRS as pairs
from tlkit.modalities.plain import PLAIN as plain
from tlkit.modalities.ratings import RATINGS as ratings
from tlkit.modalities.series import SERIES as series
from tlkit.modalities.speech import SPEECH as speech
from tlkit.modalities.table import TABLE as table
from tlkit.modalities.text import TEXT as text
from tlkit.modalities.translation import TRANSLATIONS as translation
from tlkit.modalities.words import WORDS as words

__all__ = [
    "audio",
    "dialogue",
    "image",
    "pairs",
    "plain",
    "ratings",
    "series",
    "speech",
    "table",
    "text",
    "translation",
    "words",
]


def __dir__() -> list[str]:
    return sorted(__all__)
