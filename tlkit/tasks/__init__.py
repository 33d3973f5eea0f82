"""Tasks, one a file: what a module is adapted to. Importing this imports neither Keras nor TensorFlow.

A new task is one new file and one line here; its recipe's import path is `tlkit.tasks.<name>`.
"""

from tlkit.tasks.anomaly_detection import anomalies, padim, patchcore
from tlkit.tasks.classification import classify
from tlkit.tasks.detection import detect
from tlkit.tasks.forecasting import forecast
from tlkit.tasks.frame_transcription import ctc
from tlkit.tasks.gathering import gathered
from tlkit.tasks.generation import generate
from tlkit.tasks.keypoint_detection import keypoints
from tlkit.tasks.recommendation import recommend
from tlkit.tasks.recording import restore
from tlkit.tasks.regression import regress
from tlkit.tasks.segmentation import segment
from tlkit.tasks.sequence_anomalies import sequence_anomalies
from tlkit.tasks.similarity import similarity
from tlkit.tasks.spanning import span
from tlkit.tasks.tagging import tag
from tlkit.tasks.transcription import transcribe
from tlkit.tasks.translation import translate
from tlkit.tasks.verification import verify

__all__ = [
    "anomalies",
    "classify",
    "ctc",
    "detect",
    "forecast",
    "gathered",
    "generate",
    "keypoints",
    "padim",
    "patchcore",
    "recommend",
    "regress",
    "restore",
    "segment",
    "sequence_anomalies",
    "similarity",
    "span",
    "tag",
    "transcribe",
    "translate",
    "verify",
]


def __dir__() -> list[str]:
    return sorted(__all__)
