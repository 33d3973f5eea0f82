"""Byte pairs from a tokenizer.json that is written by hand."""

import json

import pytest

from tlkit.core.errors import InputError
from tlkit.exporting.litertlm import _check_parts, _numbers, of_parts
from tlkit.tokenizing import bytepairs
from tlkit.tokenizing.bytepairs import BytePairs

pytest.importorskip("tokenizers")

END = "<|end|>"


@pytest.fixture
def write(tmp_path):
    def write(settings=None, end=END, **changes):
        letters = [chr(i) for i in range(33, 127)] + ["Ġ", "Ã", "©"]
        words = [*letters, "Ġg", "oo", "Ġgoo", "Ġgood", end]
        model = {
            "type": "BPE", "vocab": {word: i for i, word in enumerate(words)},
            "merges": ["Ġ g", "o o", "Ġg oo", "Ġgoo d"], **changes,
        }  # fmt: skip
        split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added = [{"id": len(words) - 1, "content": end, "special": True, **flags}]
        content = {"version": "1.0", "added_tokens": added, "pre_tokenizer": split, "decoder": split, "model": model}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
        if settings is not None:
            (tmp_path / "settings.json").write_text(json.dumps(settings))
        return tmp_path / "tokenizer.json", None if settings is None else tmp_path / "settings.json"

    return write


def test_text_there_and_back(write):
    pairs = BytePairs.from_file(*write())
    numbers = pairs.encode("a good é")
    assert len(numbers) == 5 and pairs.decode(numbers) == "a good é"
    assert pairs.count("a good é") == 5


def test_a_special_token_is_text_where_a_user_writes_it(write):
    pairs = BytePairs.from_file(*write())
    assert pairs.special == {END: pairs.end}
    plain, special = pairs.encode(f"a{END}"), pairs.encode(f"a{END}", special=True)
    assert pairs.end not in plain and special[-1] == pairs.end and len(special) == 2
    assert pairs.decode(plain) == f"a{END}" and pairs.decode(special) == "a"


def test_inputs_begin_and_are_filled_up_as_the_settings_say(write):
    plain = BytePairs.from_file(*write({"eos_token": END, "chat_template": "{{ messages }}"}))
    begun = BytePairs.from_file(*write({"bos_token": {"content": END}, "eos_token": END, "pad_token": "!"}))
    assert plain.inputs("a", 3).tolist() == [plain.encode("a")[0], plain.end, plain.end]
    assert begun.inputs("a", 4).tolist() == [begun.end, begun.encode("a")[0], 0, 0]
    assert begun.count("a") == 2 and begun.inputs("a good a", 2).tolist() == [begun.end, begun.encode("a")[0]]
    assert plain.spec(3).shape == (3,) and plain.chat_template == "{{ messages }}" and begun.chat_template == ""
    assert plain.fingerprint != begun.fingerprint


@pytest.mark.parametrize("end", ["<|endoftext|>", "</s>", "<|im_end|>"])
def test_an_end_that_is_known_is_taken_with_a_note(write, end):
    pairs = BytePairs.from_file(*write(end=end))
    assert pairs.token(pairs.end) == end and pairs.end_note.startswith(f"{end} ends a text: tokenizer_config.json")
    assert BytePairs.from_file(*write({"eos_token": "!"}, end=end)).end_note == ""


def test_of_several_ends_that_of_the_chat_template_is_taken(write):
    path, settings = write({"chat_template": "<|im_end|>"}, end="</s>")
    content = json.loads(path.read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 500, "content": "<|im_end|>"})
    path.write_text(json.dumps(content))
    chat, plain = BytePairs.from_file(path, settings), BytePairs.from_file(path)
    assert (chat.end, plain.token(plain.end)) == (500, "</s>")


def test_an_end_that_is_an_ordinary_token_has_a_number_for_litert_lm(write):
    """It is none of the added tokens, of which alone the numbers were known."""
    pairs = BytePairs.from_file(*write({"eos_token": "!"}))
    assert pairs.token(pairs.end) == "!" and _numbers(pairs.file.encode())["!"] == pairs.end


def test_no_end_is_guessed(write):
    """It was the token of the highest number."""
    with pytest.raises(InputError, match=r"name it as `eos_token` in a tokenizer_config\.json beside it"):
        BytePairs.from_file(*write(end="<|start|>"))
    with pytest.raises(InputError, match="no token that is known to end a text"):
        BytePairs.from_file(*write({"pad_token": "!"}, end="<|start|>"))


def test_what_is_no_tokenizer_says_so(write, tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json of a byte-level BPE"):
        BytePairs.from_file(tmp_path / "nosuch.json")
    path, _ = write(type="Unigram")
    with pytest.raises(InputError, match="its model is Unigram, and not BPE"):
        BytePairs.from_file(path)
    with pytest.raises(InputError, match="has no token '<s>', which its settings name"):
        BytePairs.from_file(*write({"bos_token": "<s>"}))
    with pytest.raises(InputError, match="`length` must be at least 2"):
        BytePairs.from_file(*write()).inputs("a", 1)


def test_without_the_package_the_extra_is_named(write, monkeypatch):
    pairs = BytePairs.from_file(*write({"eos_token": END}))
    bytepairs._opened.cache_clear()
    bytepairs._plain.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install tlkit\[generation\]"):
        pairs.encode("a")


EACH = "{%% for m in messages %%}%s{%% endfor %%}"


@pytest.mark.parametrize("use", [
    "{{ m.content }}", "{{ m['content'] | trim }}", "{{ m['content'].strip() }}", "{{ '<' + m[\"content\"] + '>' }}",
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}",
])  # fmt: skip
def test_a_chat_template_takes_contents_in_parts(use):
    _check_parts(EACH % use, of_parts(EACH % use))


@pytest.mark.parametrize("use", [
    "{{ m.get('content') }}", "{{ m[ 'content' ] }}", "x.content {{ m.content }}",
    "{{ messages | map(attribute='content') | join }}", "{% set ns = namespace() %}{% set ns.content = m.content %}",
])  # fmt: skip
def test_a_chat_template_that_parts_would_spoil_is_refused(use):
    with pytest.raises(InputError, match="chat template reads `content` in a way that LiteRT-LM"):
        _check_parts(EACH % use, of_parts(EACH % use))
