"""Dialogues: a causal module reads what was said before, and learns the answer."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.core.columns import ArrayColumn, DictColumn, TextColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Pipeline, Splits
from tlkit.core.modality import FileInfo, InputInfo, Modality
from tlkit.data.dialogue_rows import STEP, TOKENIZER, in_rows, tokens_of
from tlkit.data.dialogues import DIALOGUE, MESSAGES, ROLES
from tlkit.data.dialogues import STEP as TURNS
from tlkit.generating import rows
from tlkit.modalities.parsed import also_noted, one_example
from tlkit.tokenizing.bytepairs import BytePairs
from tlkit.tokenizing.chat import prompt_tokens, with_system

if TYPE_CHECKING:
    import keras

    from tlkit.layer.hub_layer import HubLayer

LONGEST = 1024  # tokens of a row, where nobody asks for more
FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
BEGINS_AS_MESSAGES = re.compile(r"\[\s*\{")


def _prepare(data: Splits, layer: HubLayer, *, length: int | None = None) -> Splits:
    """Rows of tokens, as long as 99 of 100 training examples need.

    Args:
        data: Of `data.text.from_dialogues` or `from_pairs`.
        layer: A causal module.
        length: Tokens of a row, prompt and answer together.

    Raises:
        InputError: If the module brings no byte pairs, or the length has no room.
    """
    if data.train.pipeline.get(STEP) is not None:
        return data
    tokenizer = layer.tokenizer
    if data.train.inputs.spec != MESSAGES or not isinstance(tokenizer, BytePairs):
        raise InputError(
            f"Dialogues need a language model with byte pairs, such as zoo:smollm2-135m, and {layer.handle} is none."
        )
    if length is not None and length < 8:
        raise InputError(f"`length` must be 8 tokens or more. Received: length={length!r}.")
    data, tokens, notes = _with_tokens(data, tokenizer)
    needed = [np.array([len(p) + len(a) + 1 for p, a in pairs], np.int32) for pairs in tokens]
    chosen = _length_for(needed[0]) if length is None else length
    cut = int(sum((lengths > chosen).sum() for lengths in needed))
    parts = [
        in_rows(part, pairs, tokenizer, chosen, sizes)
        for part, pairs, sizes in zip((data.train, data.val, data.test), tokens, needed, strict=True)
    ]
    total = sum(map(len, tokens))
    if cut:
        notes += [f"{cut:,} of {total:,} dialogues are longer than {chosen} tokens, and lose their beginning."]
    return dataclasses.replace(data, train=parts[0], val=parts[1], test=parts[2], notes=(*data.notes, *notes))


def _with_tokens(
    data: Splits, tokenizer: BytePairs
) -> tuple[Splits, list[list[tuple[list[int], list[int]]]], list[str]]:
    """The dialogues that predict a token, prompt and answer of each of the three parts, and notes."""
    parts, tokens, left_out = [], [], 0
    for part in (data.train, data.val, data.test):
        pairs = tokens_of(part, tokenizer)
        places = [i for i, (prompt, answer) in enumerate(pairs) if prompt or len(answer) > 1]
        left_out += len(pairs) - len(places)
        parts.append(part.subset(places) if len(places) < len(pairs) else part)
        tokens.append([pairs[i] for i in places])
    notes = [tokenizer.end_note] if tokenizer.end_note else []
    if left_out:
        notes += [f"{left_out:,} general texts of one token are left out: there is none behind it to predict."]
    return dataclasses.replace(data, train=parts[0], val=parts[1], test=parts[2]), tokens, notes


def _length_for(needed: np.ndarray) -> int:
    longest = float(np.percentile(needed, 99)) if len(needed) else 8.0
    return min(LONGEST, max(8, 8 * int(np.ceil(longest / 8))))


def _describe(model: keras.Model, examples: Examples) -> InputInfo:
    from tlkit.layer.lookup import hub_layers

    system = _system_of(examples.pipeline)
    tokenizer = next((layer.tokenizer for layer in hub_layers(model)), None)
    if not isinstance(tokenizer, BytePairs):
        return InputInfo({})
    says = (
        "Texts are byte pairs of the tokenizer.json in this file; generate by calling prefill_... and decode, or next "
        "where the file has no cache."
    )
    settings = {
        "bos_token": None if tokenizer.begin is None else tokenizer.token(tokenizer.begin),
        "eos_token": tokenizer.token(tokenizer.end),
        "pad_token": tokenizer.token(tokenizer.pad),
        "chat_template": tokenizer.chat_template if system is None else with_system(tokenizer.chat_template, system),
    }
    files = {FILE: tokenizer.file.encode(), SETTINGS: json.dumps(settings, ensure_ascii=False).encode()}
    return InputInfo({}, files=files, says=says)


def _system_of(pipeline: Pipeline) -> str | None:
    """What the model was told before all prompts in training."""
    told = (pipeline.get(TURNS) or {}).get("system")
    return None if told is None else str(told)


def _parse(source: Any, info: FileInfo) -> Examples:
    """The prompt that a file holds: a text, which the user says, or a JSON list of messages.

    What the model was told before all prompts in training stands before it, unless the messages say something else.
    """
    from tlkit.data.text_source import read_text

    text, guess = read_text(source, info.pipeline) if isinstance(source, Path) else (str(source), "")
    tokenizer = tokenizer_in(info)
    messages, system = _asked(text.strip(), str(source)), _system_of(info.pipeline)
    if system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    prompt, room = prompt_tokens(tokenizer, messages), info.shapes["prompt"][0]
    note = f"of {len(prompt):,} tokens the last {room:,} are read" if len(prompt) > room else ""
    inputs = DictColumn(
        {
            "prompt": ArrayColumn(rows.filled([prompt], room)),
            "answer": ArrayColumn(rows.filled([[]], info.shapes["answer"][0])),
        }
    )
    columns = {TOKENIZER: TextColumn([tokenizer.file]), "asked": TextColumn([messages[-1]["content"]])}
    return also_noted(one_example(str(source), DIALOGUE, inputs, note, info.pipeline, columns), guess)


def _asked(text: str, where: str) -> list[dict[str, str]]:
    if not text:
        raise InputError(f"{where!r} asks nothing: write a question into it.")
    if not BEGINS_AS_MESSAGES.match(text):
        return [{"role": "user", "content": text}]
    try:
        messages = [{"role": str(message["role"]), "content": str(message["content"])} for message in json.loads(text)]
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f'{where!r} begins like messages, and is no JSON of [{{"role", "content"}}, ...].') from error
    if strange := sorted({message["role"] for message in messages} - set(ROLES)):
        raise InputError(f"{where!r} has messages of {', '.join(strange)}: roles are {', '.join(ROLES)}.")
    if messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise InputError(f"{where!r} asks nothing: its last message must be a text of the user's.")
    return messages


def tokenizer_in(info: FileInfo) -> BytePairs:
    """The tokenizer that a file brings."""
    import tempfile

    if FILE not in info.files:
        raise InputError("The file brings no tokenizer.json: export the run again.")
    with tempfile.TemporaryDirectory(prefix="tlkit-") as folder:
        for name in (FILE, SETTINGS):
            (Path(folder) / name).write_bytes(info.files.get(name, b"{}"))
        return BytePairs.from_file(Path(folder) / FILE, Path(folder) / SETTINGS)


def _show(examples: Examples, index: int) -> str:
    question, answer = (
        str(examples.columns[name][index]) if name in examples.columns else "" for name in ("asked", "text")
    )
    return f"<q>{html.escape(question[:300])}</q><br>{html.escape(answer[:300])}"


DIALOGUES = Modality(DIALOGUE, _prepare, describe=_describe, parse=_parse, show=_show)
