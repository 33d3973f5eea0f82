"""Texts that a module reads to write others: tokens of both, by the byte pairs that the module brings."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality
from tlkit.data.teacher_forcing import IDS, PROMPTED, TOKENIZER, room_for, with_tokens
from tlkit.data.translations import SOURCE, TRANSLATION, WANTED
from tlkit.modalities.parsed import also_noted, one_example
from tlkit.tokenizing.bytepairs import BytePairs

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

READ = "source"  # the input of what is read
ROWS = "source_rows"  # the step of the pipeline
LONGEST = 256  # tokens of a text, where nobody asks for more
LINES = 1000  # of a file that are translated one by one
FILE, SOURCE_FILE = f"{TOKENIZER}.json", f"source_{TOKENIZER}"


def _prepare(data: Splits, layer: HubLayer, *, length: int | None = None) -> Splits:
    """Rows of tokens, as long as 99 of 100 training texts need on either side.

    Args:
        data: Of `data.text.from_translations`.
        layer: An encoder-decoder.
        length: Most tokens of a text, on either side.

    Raises:
        InputError: If the module is none, or the length has no room.
    """
    if data.train.pipeline.get(PROMPTED) is not None:
        return data
    module_inputs, tokenizer = layer.endpoint.inputs, layer.tokenizer
    if not (isinstance(module_inputs, dict) and set(module_inputs) == {READ, IDS} and isinstance(tokenizer, BytePairs)):
        raise InputError(
            f"Translations are learned by an encoder-decoder that takes `source` and `ids`, and {layer.handle} is "
            "none: make one of your texts with `tlkit.zoo.write_transformer`."
        )
    if tokenizer.begin is None:
        raise InputError(f"The tokenizer of {layer.handle} does not say with which token a text begins (`bos_token`).")
    if length is not None and length < 8:
        raise InputError(f"`length` must be 8 tokens or more. Received: length={length!r}.")
    parts = (data.train, data.val, data.test)
    reading = source_tokenizer(layer)
    tokens = [(_tokens(reading, part, SOURCE), _tokens(tokenizer, part, WANTED)) for part in parts]
    fixed = [module_inputs[name].shape[1] for name in (READ, IDS)]
    sizes = [
        room_for(length or _usual(rows) + 1) if size is None else int(size)
        for rows, size in zip(tokens[0], fixed, strict=True)
    ]
    for part, (_, written) in zip(parts, tokens, strict=True):
        _check_known(layer, tokenizer, part, written)
    notes = [pairs.end_note for pairs in dict.fromkeys((reading, tokenizer)) if pairs.end_note] + _cut(tokens, sizes)
    train, val, test = (
        _in_rows(part, pair, (reading, tokenizer), sizes) for part, pair in zip(parts, tokens, strict=True)
    )
    return dataclasses.replace(data, train=train, val=val, test=test, notes=(*data.notes, *notes))


def _check_known(layer: HubLayer, tokenizer: BytePairs, examples: Examples, written: Sequence[Sequence[int]]) -> None:
    """Refuse texts that no module could be taught to write."""
    unknown = tokenizer.unknown
    places = [i for i, row in enumerate(written) if unknown in row]
    if unknown is None or not places:
        return
    text = str(examples.columns[WANTED][places[0]])
    part = next((part for part in text.split() if unknown in tokenizer.encode(part)), text)
    raise InputError(
        f"{layer.handle} has no token for {part!r} of {examples.ids[places[0]]!r}, and {len(places):,} texts have such "
        "parts: write them in the tokens of its tokenizer.json, or leave them out."
    )


def _cut(tokens: Sequence[tuple[list[list[int]], list[list[int]]]], sizes: Sequence[int]) -> list[str]:
    """A note for each side of which texts are too long."""
    notes = []
    for side, size, verb in zip((0, 1), sizes, ("read", "written"), strict=True):
        count = sum(len(row) >= size for pair in tokens for row in pair[side])
        note = (
            f"{count:,} texts that are {verb} have more tokens than the {size - 1} that are kept, and lose their end."
        )
        notes += [note] if count else []
    return notes


def source_tokenizer(layer: HubLayer) -> BytePairs:
    """The tokens of what a module reads: its own `source_tokenizer_file`, or those of what it writes."""
    file, tokenizer = layer.asset(f"{SOURCE_FILE}_file"), layer.tokenizer
    if file is not None:
        return BytePairs.from_file(file, layer.asset(f"{SOURCE_FILE}_config"))
    assert isinstance(tokenizer, BytePairs)
    return tokenizer


def _tokens(tokenizer: BytePairs, examples: Examples, column: str) -> list[list[int]]:
    return [tokenizer.encode(text) for text in examples.columns[column].take(np.arange(len(examples)))]


def _usual(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that 99 of 100 texts have at most."""
    return min(LONGEST, int(np.ceil(np.percentile([len(row) for row in rows] or [8], 99))))


def _in_rows(
    examples: Examples,
    tokens: tuple[list[list[int]], list[list[int]]],
    tokenizers: tuple[BytePairs, BytePairs],
    sizes: Sequence[int],
) -> Examples:
    (sources, targets), (reading, tokenizer) = tokens, tokenizers
    read = ArrayColumn(read_rows(reading, sources, sizes[0]))
    written = [row[: sizes[1] - 1] for row in targets]
    prompt = [] if tokenizer.begin is None else [tokenizer.begin]
    never = sorted({*tokenizer.special.values()} - {tokenizer.end})
    rows = with_tokens(
        examples, {READ: read}, written, tokenizer, prompt, width=sizes[1], barred=[tokenizer.end], never=never
    )
    step = {"pad": reading.pad, "end": reading.end, "length": sizes[0], **reading.arguments}
    return dataclasses.replace(rows, pipeline=rows.pipeline.then(ROWS, **step))


def read_rows(tokenizer: BytePairs, texts: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """What the encoder reads, int32 (n, length): tokens, the end, padding; what is too long loses its end."""
    rows = np.full((len(texts), length), tokenizer.pad, np.int32)
    for place, text in zip(rows, texts, strict=True):
        tokens = [*text[: length - 1], tokenizer.end]
        place[: len(tokens)] = tokens
    return rows


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    from tlkit.layer.lookup import backbone_of

    layer = backbone_of(model)
    settings = examples.pipeline.get(PROMPTED)
    if layer is None or settings is None or not isinstance(layer.tokenizer, BytePairs):
        return InputInfo({})
    reading, file = source_tokenizer(layer), layer.tokenizer.file
    files = {FILE: file} if reading.file == file else {FILE: file, f"{SOURCE_FILE}.json": reading.file}
    return InputInfo(
        {},
        files={name: content.encode() for name, content in files.items()},
        says=f"What is read is of {list(files)[-1]}, with {reading.end} behind its last token and {reading.pad} behind "
        f"that. What is written is of {FILE}: {settings['prompt'][0]} stands in front of it, and "
        f"{settings['end']} behind it.",
    )


def _parse(source: Any, info: FileInfo) -> list[Examples]:
    """Each line of a file, or of a text, with the tokenizer that its translation is read with."""
    from tlkit.data.text_source import read_text

    settings, rows = (info.pipeline.get(step) for step in (PROMPTED, ROWS))
    if settings is None or rows is None or FILE not in info.files:
        raise InputError("The file does not say how texts become tokens: export the run again.")
    text, guess = read_text(source, info.pipeline) if isinstance(source, Path) else (str(source), "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= LINES:
        raise InputError(f"{str(source)!r} has {len(lines):,} lines of text: 1 to {LINES:,} can be translated at once.")
    reading = info.files.get(f"{SOURCE_FILE}.json", info.files[FILE]).decode()
    tokenizer = BytePairs(reading, None, int(rows["end"]), int(rows["pad"]))
    names = [str(source) if len(lines) == 1 else line for line in lines]
    return [also_noted(_line(line, name, tokenizer, info), guess) for line, name in zip(lines, names, strict=True)]


def _line(line: str, name: str, tokenizer: BytePairs, info: FileInfo) -> Examples:
    tokens, room = tokenizer.encode(line), info.shapes[READ][0]
    note = f"of {len(tokens)} tokens the first {room - 1} are read" if len(tokens) >= room else ""
    inputs = DictColumn({READ: ArrayColumn(read_rows(tokenizer, [tokens], room))})
    columns = {TOKENIZER: TextColumn([info.files[FILE].decode()]), SOURCE: TextColumn([line])}
    return one_example(name, TRANSLATION, inputs, note, info.pipeline, columns)


def _show(examples: Examples, index: int) -> str:
    source, translation = (str(examples.columns[name][index])[:300] for name in (SOURCE, WANTED))
    return f"<q>{html.escape(source)}</q><br>{html.escape(translation)}"


TRANSLATIONS = Modality(TRANSLATION, _prepare, describe=_describe, parse=_parse, show=_show)
