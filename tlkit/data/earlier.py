"""What runs and files of before say of their inputs: a line of text stood where a `Pipeline` is now."""

from __future__ import annotations

import re

from tlkit.core.examples import Pipeline
from tlkit.data.audio_source import AUDIO
from tlkit.data.image_source import IMAGE
from tlkit.data.long_texts import TEXT_WINDOWS
from tlkit.data.windows import QUESTION_WINDOWS


def of_line(line: str) -> tuple[str, Pipeline]:
    """Modality and pipeline of a line.

    Example:
        >>> of_line("text v1 encoding=utf-8 then wordpiece v1 cased vocabulary=0a length=8")[1].get("word_pieces")
        {'lower_case': False, 'length': 8}
    """
    if rate := re.match(r"audio .*?\brate=(\d+) samples=(\d+)", line):
        trim = re.search(r"\btrim=([\d.e+-]+)dB", line)
        trim_db = float(trim[1]) if trim else None
        return AUDIO, Pipeline().then(AUDIO, sample_rate=int(rate[1]), samples=int(rate[2]), trim_db=trim_db)
    if colour := re.search(r"background=(\d+),(\d+),(\d+)", line):
        white = re.search(r" white=([\d.e+-]+)", line)
        background = [int(value) for value in colour.groups()]
        return IMAGE, Pipeline().then(IMAGE, background=background, white=float(white[1]) if white else None)
    match = re.search(r"then (words|wordpiece) v1 .*?length=(\d+)(?: stride=(\d+))?", line)
    if match is None:
        return "plain", Pipeline()
    if match[1] == "words":
        return "words", Pipeline().then("words", length=int(match[2]))
    pipeline = Pipeline().then("word_pieces", lower_case="wordpiece v1 cased" not in line, length=int(match[2]))
    if match[3]:
        pipeline = pipeline.then(QUESTION_WINDOWS, stride=int(match[3]))
    return "text", pipeline.then(TEXT_WINDOWS) if " long=windows" in line else pipeline
