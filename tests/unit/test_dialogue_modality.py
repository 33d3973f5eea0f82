"""What a language model is asked in a file: what cannot be asked is a sentence, and what is too long is said."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tiny_language

import tlkit
from tlkit.answers.continuations import _samples
from tlkit.core.errors import InputError
from tlkit.core.examples import Pipeline
from tlkit.core.modality import FileInfo
from tlkit.data import text
from tlkit.generating import rows
from tlkit.modalities.dialogue import DIALOGUES, FILE, SETTINGS
from tlkit.modalities.prepare import prepare
from tlkit.tokenizing.chat import around

ROOM = 32


@pytest.fixture(scope="module")
def info():
    settings = {"eos_token": tiny_language.SPECIAL[1], "pad_token": tiny_language.SPECIAL[1]}
    settings["chat_template"] = tiny_language.TEMPLATE
    contents = {FILE: tiny_language.tokenizer(), SETTINGS: settings}
    files = {name: json.dumps(content).encode() for name, content in contents.items()}
    return FileInfo(Pipeline(), {"prompt": (ROOM,), "answer": (8,)}, files)


def said(tmp_path, content, info):
    file = tmp_path / "asked.txt"
    file.write_text(content)
    return DIALOGUES.parse(file, info)


@pytest.mark.parametrize(("content", "why"), [
    (" \n", "asks nothing: write a question"),
    ('[{"role": "user", "content": " "}]', "its last message must be a text of the user's"),
    ('[{"role": "assistant", "content": "yes"}]', "its last message must be a text of the user's"),
    ('[{"role": "robot", "content": "yes"}]', "has messages of robot: roles are system, user, assistant"),
    ('[ {"role": "robot", "content": "yes"}]', "has messages of robot"),
    ('[{"role": "user"}]', "begins like messages, and is no JSON"),
    ('[{"role": "user", "content": "half', "begins like messages, and is no JSON"),
])  # fmt: skip
def test_what_asks_nothing_is_a_sentence(tmp_path, info, content, why):
    with pytest.raises(InputError, match=why) as raised:
        said(tmp_path, content, info)
    assert "asked.txt" in str(raised.value) and "\n" not in str(raised.value)


def test_messages_may_be_written_over_several_lines(tmp_path, info):
    messages = [{"role": "user", "content": "yes"}]
    plain, pretty = (said(tmp_path, json.dumps(messages, indent=indent), info) for indent in (None, 2))
    assert pretty.columns["asked"][0] == "yes"
    assert rows.tokens_of(pretty.inputs[0]["prompt"]) == rows.tokens_of(plain.inputs[0]["prompt"])


def test_the_report_shows_what_was_written_before_to_the_same_turn():
    """Two dialogues that end in one question are two rows."""
    after = [{"id": f"line {i}", "asked": "And you?", "written": f"after {i}", "right": ""} for i in range(2)]
    before = {"details": {"samples": [{**row, "written": f"before {i}"} for i, row in enumerate(after)]}}

    class Facts:
        def detail(self, name):
            return {"samples": after, "before": before}[name]

    assert [row["before"] for row in _samples("Questions", Facts())["rows"]] == ["before 0", "before 1"]


def test_general_texts_of_one_token_are_left_out(tmp_path, monkeypatch):
    """Their count would be that of padding."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    layer = tlkit.HubLayer(str(tiny_language.module(tmp_path)))
    file = tiny_language.dialogues(tmp_path / "pairs.jsonl")
    data = text.from_dialogues(file, general=["a", *tiny_language.GENERAL], progress=False)
    ready = prepare(data, layer)
    assert len(ready.test) == len(data.test) - 1 and "general 1" not in ready.test.ids
    assert "1 general texts of one token are left out: there is none behind it to predict." in ready.notes
    assert len(ready.train) == len(data.train)


def test_of_a_hundred_thousand_tokens_the_last_are_read(tmp_path, info):
    parsed = said(tmp_path, "a" * 99_000 + "b" * 1_000, info)
    prompt = rows.tokens_of(parsed.inputs[0]["prompt"])
    assert prompt == [ord("b")] * (ROOM - 4) + [257, 256, ord("a"), ord(" ")]
    assert f"of 100,007 tokens the last {ROOM} are read" in str(parsed.columns["note"][0])


def test_what_a_user_writes_is_no_special_token(tmp_path, info):
    prompt = rows.tokens_of(said(tmp_path, "<|end|>", info).inputs[0]["prompt"])
    assert prompt.count(257) == 1 and bytes(prompt[3:10]) == b"<|end|>"


def test_another_model_s_tokenizer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        tiny_language, "arrays", lambda seed=0, words=250, arrays=tiny_language.arrays: arrays(seed, 250)
    )
    handle = str(tiny_language.module(tmp_path))
    data = text.from_dialogues(tiny_language.dialogues(tmp_path / "pairs.jsonl"), progress=False)
    with pytest.raises(InputError, match=r"has a table of 250 tokens, and its tokenizer 258: that is another"):
        tlkit.finetune(handle, tlkit.tasks.generate(samples=0), data, (tlkit.Phase(1, 1e-3),), out=tmp_path / "run")


SYSTEM = 'Name its colour, 2 words: "red" \U0001f534.'


@pytest.mark.parametrize("chat", [True, False])
def test_what_was_told_before_prompts_in_training_is_told_in_use(tmp_path, monkeypatch, chat):
    """The model read other prompts in use than those it had learned from."""
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    layer = tlkit.HubLayer(str(tiny_language.module(tmp_path, chat=chat)))
    file = tiny_language.dialogues(tmp_path / "pairs.jsonl")
    data = text.from_dialogues(file, system=SYSTEM, general=tiny_language.GENERAL, progress=False)
    ready = prepare(data, layer, length=96)
    learned, _ = rows.unpacked(
        ready.test.inputs[0], *(ready.test.pipeline.get("dialogue")[key] for key in ("pad", "sign"))
    )
    model = tlkit.build(layer, tlkit.tasks.generate(end=layer.tokenizer.end), data=ready)
    described = DIALOGUES.describe(model, ready.test)
    assert "prefill_... and decode, or next where the file has no cache" in described.says
    files = described.files
    question = str(ready.test.columns["asked"][0])
    asked = said(tmp_path, question, FileInfo(ready.test.pipeline, {"prompt": (96,), "answer": (8,)}, files))
    assert rows.tokens_of(asked.inputs[0]["prompt"]) == learned
    template = json.loads(files[SETTINGS])["chat_template"]
    before, behind = around(dataclasses.replace(layer.tokenizer, chat_template=template))
    assert SYSTEM in before and SYSTEM not in layer.tokenizer.chat_template
    written = [*layer.tokenizer.encode(before, special=True), *layer.tokenizer.encode(question)]
    assert [*written, *layer.tokenizer.encode(behind, special=True)] == learned
    messages = [{"role": "system", "content": "Else."}, {"role": "user", "content": question}]
    other = said(
        tmp_path, json.dumps(messages), FileInfo(ready.test.pipeline, {"prompt": (96,), "answer": (8,)}, files)
    )
    assert SYSTEM not in layer.tokenizer.decode(rows.tokens_of(other.inputs[0]["prompt"]))


def test_a_greeting_is_no_answer(tmp_path):
    """Messages of an assistant that begin a dialogue were taken for general text."""
    lines = [
        {"messages": [
            {"role": "assistant", "content": f"Hello {i}"}, {"role": "user", "content": f"red {i}"},
            {"role": "assistant", "content": f"sky {i}"},
        ]}
        for i in range(9)
    ]  # fmt: skip
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = text.from_dialogues(tmp_path / "chats.jsonl", progress=False)
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 9
    assert "9 messages of the assistant's begin a dialogue: they answer nothing, and are left out." in data.notes
    assert not data.test.columns["kind"].take(np.arange(len(data.test))).any()
