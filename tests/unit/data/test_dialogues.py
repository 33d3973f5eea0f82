"""Pairs and dialogues: what is read, how it is divided, and what is refused."""

import json

import pytest

from tlkit.core.errors import InputError
from tlkit.data import text


def lines(file, rows):
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_no_question_and_no_answer_lies_in_two_parts(tmp_path):
    rows = [{"prompt": f"Ask {i // 2}?", "answer": f"Answer {i // 4}."} for i in range(60)]
    data = text.from_dialogues(lines(tmp_path / "a.jsonl", rows), progress=False)
    parts = [
        {str(part.columns[name][i]) for i in range(len(part))}
        for name in ("asked", "text") for part in (data.train, data.val, data.test)
    ]  # fmt: skip
    assert not any(parts[i] & parts[j] for base in (0, 3) for i, j in ((base, base + 1), (base, base + 2)))


def test_encodings_that_were_guessed_are_noted(tmp_path):
    rows = [{"prompt": f"Où est le café numéro {i} ?", "answer": f"À côté de la forêt, numéro {i}."} for i in range(40)]
    file = tmp_path / "a.jsonl"
    file.write_bytes("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("cp1252"))
    table = tmp_path / "a.csv"
    table.write_bytes("\n".join(["prompt,answer", *(f'{r["prompt"]},"{r["answer"]}"' for r in rows)]).encode("cp1252"))
    for data in (text.from_dialogues(file, progress=False), text.from_pairs(table, progress=False)):
        assert any("is not UTF-8 and was read as" in note for note in data.notes)


def test_each_answer_of_a_dialogue_knows_what_came_before(tmp_path):
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Sing"), ("assistant", "La")]
    messages = [{"role": role, "content": content} for role, content in turns]
    data = text.from_dialogues(
        lines(tmp_path / "a.jsonl", [{"messages": messages}]), system="Be short", split=(1, 0, 0), progress=False
    )
    inputs = [json.loads(str(data.train.inputs[i]["messages"])) for i in range(2)]
    assert sorted(map(len, inputs)) == [2, 4] and inputs[0][0] == {"role": "system", "content": "Be short"}
    assert data.train.groups == ("of a line 1", "of a line 1")


def test_examples_of_several_files_have_names_of_their_own(tmp_path):
    for name in ("a", "b"):
        lines(
            tmp_path / f"{name}.jsonl", [{"prompt": f"{name} asks {i}", "answer": f"{name} says {i}"} for i in range(9)]
        )
    data = text.from_dialogues(tmp_path, progress=False)
    names = [name for part in (data.train, data.val, data.test) for name in part.ids]
    assert len(set(names)) == 18 and {"a line 1", "b line 1"} <= set(names)
    assert len({group for part in (data.train, data.val, data.test) for group in part.groups}) == 18


@pytest.mark.parametrize(("mix", "mixed", "noted"), [(0.1, 21, True), (0.02, 15, False)])
def test_of_general_texts_a_third_is_trained_on_at_most(tmp_path, mix, mixed, noted):
    rows = [{"prompt": f"Ask {i}?", "answer": f"Answer {i}."} for i in range(900)]
    general = [f"Text {i} of the world." for i in range(64)]
    file = lines(tmp_path / "a.jsonl", rows)
    data = text.from_dialogues(file, general=general, mix=mix, split=(0.8, 0.1, 0.1), progress=False)
    train, test = (
        [part.columns["text"][i] for i in range(len(part)) if part.columns["kind"][i]]
        for part in (data.train, data.test)
    )
    assert sorted([*train, *test]) == sorted(general) and abs(len(train) - mixed) <= 1
    wanted = "asked for: the other two thirds of the 64 measure what is forgotten."
    assert any(note.endswith(wanted) for note in data.notes) is noted


def test_chatterbot_s_files_and_tables_are_read(tmp_path):
    (tmp_path / "food.yml").write_text("conversations:\n- - Eat\n  - Always.\n  - Why\n  - Hunger.\n")
    assert len(text.from_dialogues(tmp_path, split=(1, 0, 0), progress=False).train) == 2
    (tmp_path / "pairs.csv").write_text("prompt,answer\nWho?,Me\nWhen?,Now\n")
    assert len(text.from_pairs(tmp_path / "pairs.csv", split=(1, 0, 0), progress=False).train) == 2


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "Line 1 of .* is no JSON"),
        ('{"question": "a"}', 'must hold {"prompt", "answer"}'),
        ('{"messages": [{"role": "robot", "content": "a"}]}', "without a role of system, user, assistant"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "no message of the assistant's"),
    ],
)
def test_broken_lines_are_named(tmp_path, row, why):
    file = tmp_path / "a.jsonl"
    file.write_text(row)
    with pytest.raises(InputError, match=why):
        text.from_dialogues(file, progress=False)


def test_other_files_and_shares_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(InputError, match="`from_pairs` reads tables"):
        text.from_dialogues(tmp_path / "a.txt")
    file = lines(tmp_path / "a.jsonl", [{"prompt": "a", "answer": "b"}])
    with pytest.raises(InputError, match=r"`mix` must lie in \[0, 1\)"):
        text.from_dialogues(file, mix=1, progress=False)
    with pytest.raises(InputError, match="needs `general` texts"):
        text.from_dialogues(file, mix=0.5, progress=False)
