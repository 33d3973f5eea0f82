"""Folders, tables, arrays and builders of texts, sound and broken, to Splits, and to word pieces."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changing import without
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary import small

from tlkit.core.columns import ArrayColumn, ReadColumn
from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.data import decoding, text, text_source
from tlkit.tokenizing.wordpiece import SPECIAL, WordPiece

WORDS = (
    *("river", "stone", "cloud", "apple", "horse", "night", "green", "music"),
    *("paper", "bread", "light", "water", "chair", "tiger", "smile"),
)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "data-cache"))


def sentence(i: int) -> str:
    """Texts that have no word pair in common with each other's neighbours."""
    return f"{WORDS[i % 15]} {i} {WORDS[(i * 7 + 3) % 15]} {i * 31 % 97} {WORDS[(i * 4 + 1) % 15]}"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def class_folders(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    for name, count in counts.items():
        for i in range(count):
            write(root / name / f"{i:02}.txt", sentence(start := start + 1))
    return root


def parts(splits: Splits) -> tuple[Examples, Examples, Examples]:
    return splits.train, splits.val, splits.test


def contents(splits: Splits) -> dict[str, str]:
    return {name: str(part.inputs[i].item()) for part in parts(splits) for i, name in enumerate(part.ids)}


def quarantined(splits: Splits) -> dict[str, str]:
    return {left_out.name: left_out.reason for left_out in splits.quarantine}


# --- folders


def test_class_folders_become_stratified_splits(tmp_path):
    class_folders(tmp_path, {"good": 20, "bad": 10})
    splits = text.from_folder(tmp_path, progress=False)
    assert splits.labels == ("bad", "good")
    assert [len(part) for part in parts(splits)] in ([21, 5, 4], [21, 4, 5])
    for part in parts(splits):
        for i, name in enumerate(part.ids):
            assert splits.labels[part.target_array[i]] == name.split("/")[0]
            assert part.inputs[i].shape == () and part.inputs[i].dtype == object
            assert part.inputs[i].item() == (tmp_path / name).read_text()
            assert part.digests[i] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert splits.train.inputs.spec == ArraySpec((), "string")
    assert splits.train.pipeline.get("text") == {"version": 1, "encoding": "utf-8, utf-16 or utf-32 by mark"}
    assert (splits.quarantine, splits.duplicates, splits.notes) == ((), (), ())
    assert np.stack([splits.train.inputs[0], splits.train.inputs[1]]).shape == (2,)


def test_texts_have_the_layouts_and_links_of_pictures(tmp_path):
    class_folders(tmp_path / "train", {"a": 6, "b": 6})
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.txt").write_text("who knows")
    (tmp_path / "train" / "a" / "loop.txt").symlink_to("loop.txt")
    splits = text.from_folder(tmp_path, progress=False)
    assert splits.labels == ("a", "b")
    assert quarantined(splits) == {"train/a/loop.txt": "it cannot be read: Too many levels of symbolic links"}
    assert "Left out: 'test' (1 file without labels)." in splits.notes


def test_the_split_is_the_same_in_another_process_and_needs_no_tensorflow(tmp_path):
    class_folders(tmp_path, {"a": 9, "b": 9})
    first = text.from_folder(tmp_path, progress=False)
    assert text.from_folder(tmp_path, seed=1, progress=False).train.ids != first.train.ids
    code = (
        "import sys; from tlkit.data import text;"
        f"print(text.from_folder({str(tmp_path)!r}, progress=False).fingerprint);"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == first.fingerprint


def test_split_folders_are_kept_and_groups_stay_together(tmp_path):
    for start, (name, count) in enumerate((("train", 8), ("test", 3))):
        class_folders(tmp_path / "fixed" / name, {"a": count, "b": count}, start * 100)
    splits = text.from_folder(tmp_path / "fixed", progress=False)
    assert {name.split("/")[0] for name in splits.test.ids} == {"test"}
    assert len(splits.val) > 0 and all(name.startswith("train/") for name in splits.val.ids)
    class_folders(tmp_path / "free", {"a": 24, "b": 24})
    splits = text.from_folder(tmp_path / "free", groups=lambda name: int(name[2:4]) // 2, progress=False)
    sides = [set(part.groups) for part in parts(splits)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 12


SHORT = {
    "cp1251": "да нет Привет спасибо завтра хорошо плохо очень жду конечно "
    "сегодня вчера можно нельзя когда где почему я мы вы",
    "cp1250": "zażółć gęślą jaźń łódź świerszcz pięć dziękuję żółw ćma źle "
    "dzień książka mąż żona święto wódka sól łąka gość śnieg",
    "cp932": "はい いいえ ありがとう 天気 散歩 日本 東京 元気ですか 明日 猫 犬 今日 昨日 水 お茶 本 車 駅 学校 先生",
    "cp1253": "καλημέρα ναι όχι ευχαριστώ αύριο σήμερα πολύ νερό σπίτι θάλασσα "
    "ημέρα νύχτα ψωμί γάλα φίλος πόλη δρόμος βιβλίο εγώ εσύ",
}


@pytest.mark.parametrize("encoding", SHORT)
def test_short_texts_are_read_in_one_encoding_that_all_of_them_tell(tmp_path, encoding):
    words = SHORT[encoding].split()
    for i, word in enumerate(words):
        write(tmp_path / "ab"[i % 2] / f"{i}.txt", word.encode(encoding))
        write(tmp_path / "ab"[i % 2] / f"plain{i}.txt", f"naïve {i}".encode())
    splits = text.from_folder(tmp_path, progress=False)
    read = contents(splits)
    assert [read[f"{'ab'[i % 2]}/{i}.txt"] for i in range(20)] == words and read["a/plain2.txt"] == "naïve 2"
    assert f"those too short to tell are read as {encoding}, as all of them together are" in splits.notes[0]
    asked = tmp_path / "asked.txt"
    asked.write_bytes(words[0].encode(encoding))  # `predict` reads it alike
    assert text_source.read_text(asked, splits.train.pipeline)[0] == words[0]


def test_a_few_short_texts_are_read_as_the_long_ones(tmp_path):
    write(tmp_path / "a" / "short.txt", "жду".encode("cp1251"))
    for i in range(5):
        write(tmp_path / "ab"[i % 2] / f"{i}.txt", f"Привет, как дела? Это обычное письмо {i}.".encode("cp1251"))
    assert contents(text.from_folder(tmp_path, progress=False))["a/short.txt"] == "жду"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_are_read_and_lead_to_the_same_splits(tmp_path, encoding):
    for kind in (encoding, "utf-8"):
        for i in range(12):
            write(tmp_path / kind / "ab"[i % 2] / f"{i}.txt", f"naïve 中 😀 {i}\r\n{sentence(i)}".encode(kind))
    splits = [text.from_folder(tmp_path / kind, progress=False) for kind in (encoding, "utf-8")]
    assert contents(splits[0])["a/0.txt"] == f"naïve 中 😀 0\n{sentence(0)}"
    assert splits[0].fingerprint == splits[1].fingerprint


def test_other_encodings_are_found_and_noted(tmp_path):
    class_folders(tmp_path, {"a": 8, "b": 8})
    write(tmp_path / "a" / "latin.txt", "un café crème".encode("cp1252"))
    write(tmp_path / "b" / "russian.txt", "Привет, как дела? Это обычное письмо о погоде.".encode("cp1251"))
    write(tmp_path / "b" / "unmarked.txt", "hello there".encode("utf-16-le"))
    splits = text.from_folder(tmp_path, progress=False)
    read = contents(splits)
    assert (read["a/latin.txt"], read["b/unmarked.txt"]) == ("un café crème", "hello there")
    assert read["b/russian.txt"].startswith("Привет")
    guesses = "cp1251 (1), cp1252 (1), utf-16-le (1)"
    short = "those too short to tell are read as cp1252, as all of them together are"
    assert splits.notes[0] == (
        f"3 of 19 texts are not UTF-8 and were read as {guesses}; {short}; pass `encoding` if that is wrong."
    )
    (tmp_path / "b" / "russian.txt").unlink()
    (tmp_path / "b" / "unmarked.txt").unlink()
    assert contents(text.from_folder(tmp_path, encoding="cp1252", progress=False))["a/latin.txt"] == "un café crème"
    with pytest.raises(InputError, match="Python knows no encoding 'klingon': name one such as"):
        text.from_folder(tmp_path, encoding="klingon")


@pytest.mark.parametrize("encoding", ["cp1252", "mac-roman", "cp850", "cp437"])
@pytest.mark.parametrize("words", ["café naïve Zürich größer déjà vu", "Les élèves étaient très gênés par l'été"])
def test_western_texts_of_old_systems_are_read_as_they_were_written(encoding, words):
    lines = "\n".join(f"{words} {i}" for i in range(20))
    assert decoding.decode(lines.encode(encoding)) == lines
    marks = "he said \u2019Vous aimez la m\u00e9t\u00e9o?\u2019 \u2013 5 m\u00b2, \u20ac 3\u2026 don\u2019t foo"
    mixed = f"{marks}\n{lines}"
    assert decoding.decode(mixed.encode("cp1252")) == mixed
    assert decoding.decode("Hello, привет, друзья: good morning to all of you".encode("cp1251")).startswith("Hello")


def test_bad_files_are_quarantined_by_name_and_reason_and_the_rest_goes_on(tmp_path):
    class_folders(tmp_path, {"a": 8, "b": 8})
    files = {
        "a/empty.txt": b"",
        "a/mark.txt": b"\xef\xbb\xbf",
        "a/blank.txt": " \n\t\u200b\u3000".encode(),
        "a/photo.txt": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "b/bytes.txt": b"\1\2\3 and so on",
        "b/marked.txt": b"\xff\xfea",
        "b/named.txt": b"a\0\0c\0\0\0",
        "b/long.txt": b"word " * 30,
        "b/huge.txt": b"word " * 300,
    }
    for name, content in files.items():
        write(tmp_path / name, content)
    (tmp_path / "b" / "link.txt").symlink_to("nowhere.txt")
    splits = text.from_folder(tmp_path, max_characters=100, progress=False)
    assert quarantined(splits) == {
        "a/empty.txt": "empty: it has 0 bytes",
        "a/mark.txt": "empty",
        "a/blank.txt": "empty: it holds white space or control characters alone",
        "a/photo.txt": "binary, not text: it holds zero bytes",
        "b/bytes.txt": "binary, not text: 3 of its 13 characters are control characters",
        "b/marked.txt": "not utf-16, as its mark says: byte 0x61 at position 2",
        "b/named.txt": "binary, not text: it holds zero bytes",
        "b/long.txt": "over-long: 150 characters, and at most 100 are read",
        "b/huge.txt": "over-long: 1500 bytes, and at most 100 characters are read",
        "b/link.txt": "a link to a file that is not there",
    }
    assert len(contents(splits)) == 16
    with pytest.raises(InputError, match=r"^9 of 26 texts .*\), .* and 6 more\. Repair"):
        text.from_folder(tmp_path, strict=True, progress=False, max_characters=1000)


def test_tables_code_and_hidden_files_are_passed_over_and_any_ending_is_read(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    for name in ("a/Thumbs.db", "a/list.csv", "b/.DS_Store", "b/README", "b/run.py"):
        write(tmp_path / name, b"no example")
    for name in ("a/12345", "b/x.md", "b/y.log"):
        write(tmp_path / name, f"{name} is a text")
    splits = text.from_folder(tmp_path, strict=True, progress=False)
    assert {"a/12345", "b/x.md", "b/y.log"} < set(contents(splits))
    assert (len(contents(splits)), splits.quarantine) == (15, ())


def test_a_folder_that_cannot_be_learned_from_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder '.*nowhere'"):
        text.from_folder(tmp_path / "nowhere")
    write(tmp_path / "a" / "x.txt", "one")
    write(tmp_path / "a" / "y.txt", "two")
    write(tmp_path / "b" / "z.txt", "")
    with pytest.raises(InputError, match=r"'b' has no usable example; 1 were left out: 'b/z.txt' \(empty: it has 0"):
        text.from_folder(tmp_path, progress=False)
    with pytest.raises(InputError, match="`split` must be three shares"):
        text.from_folder(tmp_path, split=(0.8, 0.2))
    with pytest.raises(InputError, match=r"`max_characters` must be positive. Received: max_characters=0"):
        text.from_folder(tmp_path, max_characters=0)


def test_the_preflight_says_what_it_found(tmp_path, capsys):
    class_folders(tmp_path, {"a": 6, "b": 6})
    write(tmp_path / "a" / "bad.txt", b"")
    text.from_folder(tmp_path)
    pattern = r"tlkit: checked texts in \d+\.\d s: 12 sound; left out 1: 'a/bad.txt' \(empty: it has 0 bytes\)\n"
    assert re.fullmatch(pattern, capsys.readouterr().err)


def test_a_file_that_vanishes_after_the_preflight_is_named(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    splits = text.from_folder(tmp_path, progress=False)
    (tmp_path / splits.train.ids[0]).unlink()
    with pytest.raises(InputError, match=r"txt' was sound at the start and cannot be read now"):
        splits.train.inputs[0]


# --- duplicates


def test_exact_duplicates_are_reported_whatever_their_encoding(tmp_path):
    for start, part in enumerate(("train", "val", "test")):
        class_folders(tmp_path / part, {"a": 3, "b": 3}, start * 100)
    write(tmp_path / "train" / "a" / "x.txt", "the very same")
    write(tmp_path / "test" / "a" / "y.txt", "the very same".encode("utf-16"))
    write(tmp_path / "train" / "b" / "z.txt", "the very same")
    splits = text.from_folder(tmp_path, progress=False)
    assert splits.duplicates == (("test/a/y.txt", "train/a/x.txt", "train/b/z.txt"),)
    assert splits.notes == (
        "One content appears under different labels, so at least one label is wrong: "
        "'test/a/y.txt' and 'train/a/x.txt' and 'train/b/z.txt'.",
    )


LONG = " ".join(f"{WORDS[i % 15]}{i}" for i in range(60))


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (LONG.upper() + "!!!", True),
        (LONG.replace(" ", " ,\n"), True),
        (LONG.replace("apple18", "pear"), True),
        (LONG.replace("apple18", "apple18 and"), True),
        (LONG.replace("apple18", "pear").replace("music22", "noise").replace("tiger43", "lion"), False),
        (" ".join(reversed(LONG.split())), False),
        (LONG[: len(LONG) // 2], False),
    ],
)
def test_near_duplicates_across_parts_are_noted(other, alike):
    fill = [sentence(i) for i in range(20)]
    splits = text.from_arrays([*fill, LONG], [i % 2 for i in range(21)], test=([other, sentence(50)], [0, 1]))
    note = "One text of val and test nearly repeats one of another part, so scores may flatter: "
    assert splits.duplicates == ()
    assert bool(splits.notes) == alike
    assert not alike or splits.notes[0].startswith(note)


def test_texts_without_words_are_not_alike_and_emoji_are_words():
    fill = [sentence(i) for i in range(20)]
    ends = (["...", "?!", "I am 😀", "x"], [0, 1, 0, 1])
    splits = text.from_arrays([*fill, "!!!", "---", "I am 😢"], [i % 2 for i in range(23)], test=ends)
    assert splits.notes == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=25).map(" ".join), min_size=3, max_size=25), st.randoms())
def test_near_duplicates_are_those_that_comparing_all_would_find(texts, rng):
    where = [rng.randrange(3) for _ in texts]
    places = [[i for i in range(len(texts)) if where[i] == part] for part in range(3)]

    def examples(numbers: list[int]) -> Examples:
        names = tuple(str(i) for i in numbers)
        return Examples(
            names,
            ReadColumn(lambda k: np.array(texts[numbers[k]], dtype=object), None, names),
            ArrayColumn(np.zeros(len(numbers))),
        )

    repeated = {name for name, _ in text_source._repeats([examples(part) for part in places])}
    pairs = [{*zip(t.split(), [*t.split()[1:], "end"], strict=False)} for t in texts]

    def repeats(i: int) -> bool:
        earlier = [j for j in range(len(texts)) if where[j] < where[i]]
        return any(pairs[i] and len(pairs[i] & pairs[j]) >= 0.9 * len(pairs[i] | pairs[j]) for j in earlier)

    assert repeated == {str(i) for i in range(len(texts)) if repeats(i)}


def test_too_many_texts_are_not_compared(monkeypatch):
    monkeypatch.setattr(text_source, "COMPARED", 10)
    splits = text.from_arrays([sentence(i) for i in range(20)], [i % 2 for i in range(20)])
    assert splits.notes == ("Near duplicates were not looked for: 20 texts are more than 10.",)


# --- tables

ROWS = [{"text": f'{sentence(i)}, "so"\nit went', "label": "ab"[i % 2]} for i in range(12)]


def table(folder: Path, name: str, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    import csv
    import io

    path = folder / name
    if name.endswith("parquet"):
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name.endswith("jsonl"):
        path.write_bytes("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode(encoding))
    else:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), delimiter="\t" if name.endswith("tsv") else ",")
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(buffer.getvalue().encode(encoding))
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet", "T.CSV"])
def test_tables_of_all_kinds_are_alike(tmp_path, name):
    splits = text.from_table(table(tmp_path, name, ROWS), progress=False)
    first = 2 if name.lower().endswith(("csv", "tsv")) else 1
    assert contents(splits) == {f"row {i + first}": row["text"] for i, row in enumerate(ROWS)}
    assert splits.labels == ("a", "b")
    assert text.from_csv is text.from_table


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_with_a_mark_are_read(tmp_path, encoding):
    rows = [{**row, "text": "ключ " + row["text"]} for row in ROWS]
    splits = text.from_table(table(tmp_path, "t.csv", rows, encoding), progress=False)
    assert set(contents(splits).values()) == {row["text"] for row in rows}


def test_a_tsv_with_plain_quotes_loses_no_row(tmp_path):
    lines = [f'"so {sentence(i)}\t{"ab"[i % 2]}' if i % 3 else f'{sentence(i)} "so\t{"ab"[i % 2]}' for i in range(12)]
    write(tmp_path / "t.tsv", "\n".join(["text\tlabel", *lines]))
    splits = text.from_table(tmp_path / "t.tsv", progress=False)
    assert set(contents(splits).values()) == {line.split("\t")[0] for line in lines}


def test_several_labels_values_parts_and_groups(tmp_path):
    rows = [{"text": sentence(i), "label": ["red", "red|big", ""][i % 3]} for i in range(24)]
    splits = text.from_table(table(tmp_path, "t.csv", rows), progress=False)
    assert (splits.labels, splits.train.target_array.shape[1]) == (("big", "red"), 2)
    rows = [{"text": sentence(i), "label": [["red"], ["red", "big"], []][i % 3]} for i in range(24)]
    assert text.from_table(table(tmp_path, "t.jsonl", rows), progress=False).labels == ("big", "red")
    assert text.from_table(table(tmp_path, "t.parquet", rows), progress=False).labels == ("big", "red")
    rows = [
        {"body": sentence(i), "x": i / 2, "y": i, "part": ["train", "dev", "test"][i % 3], "by": i // 6}
        for i in range(18)
    ]
    for name in ("v.csv", "v.jsonl", "v.parquet"):
        splits = text.from_table(
            table(tmp_path, name, rows), text="body", label=("x", "y"), split="part", groups="by", progress=False
        )
        assert splits.val.target_array.tolist() == [[i / 2, i] for i in (1, 4, 7, 10, 13, 16)]
        assert splits.notes == ("3 groups lie in more than one part, as the source divides them: '0' first.",)


def test_numbers_and_missing_texts_of_a_table(tmp_path):
    rows = [{"text": sentence(i), "label": i % 2} for i in range(12)]
    rows += [{"text": None, "label": 1}, {"label": 0}, {"text": " ", "label": 1}, {"text": 12, "label": 0}]
    splits = text.from_table(table(tmp_path, "t.jsonl", rows), progress=False)
    assert quarantined(splits) == {"row 13": "empty", "row 14": "empty", "row 15": "empty"}
    assert contents(splits)["row 16"] == "12"
    assert splits.labels == ("0", "1")
    write(tmp_path / "s.jsonl", "\n".join([*(json.dumps(row) for row in rows), '{"text": "\\ud800", "label": 1}']))
    reason = "no Unicode text: half of a surrogate pair stands alone at position 0"
    assert quarantined(text.from_table(tmp_path / "s.jsonl", progress=False))["row 17"] == reason


def test_a_long_cell_is_quarantined_and_costs_no_other_row(tmp_path):
    rows = [*ROWS, {"text": "word " * 40_000, "label": "a"}]
    for name in ("t.csv", "t.tsv"):
        splits = text.from_table(table(tmp_path, name, rows), progress=False)
        assert quarantined(splits) == {"row 14": "over-long: 199999 characters, and at most 100000 are read"}


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("t.csv", b"body,label\nx,a\n", {}, "The table has no column 'text': it has 'body', 'label'"),
        ("t.csv", b"text,class\nx,a\n", {}, "The table has no column 'label': it has 'text', 'class'"),
        ("t.csv", b"text,label\nx,a\ny,\n", {}, "Row 3 of the table has no label"),
        ("t.jsonl", b'{"text": "x", "label": "a"}\n{"text": "y"}', {}, "Row 2 of the table has no label"),
        ("t.csv", b"text,label\nx,a,b\n", {}, "Row 2 of '.*' has 3 cells, and the header has 2"),
        ("t.csv", b"text,label\n", {}, "holds no rows: give a header"),
        ("t.jsonl", b"\n\n", {}, "holds no rows: write one JSON object a line"),
        ("t.jsonl", b'{"text": "x"}\nnonsense', {}, "Line 2 of '.*t.jsonl' is no JSON: Expecting value"),
        ("t.jsonl", b'["x", "a"]', {}, "Line 1 of '.*t.jsonl' is no JSON object, such as"),
        ("t.jsonl", b'{"text": ["x"], "label": 1}', {}, "Row 1 of the table holds list, not text, in column 'text'"),
        ("t.csv", b"text,label\n\xff\x81\xfe\x90" * 9, {}, "t.csv' cannot be read: not UTF-8: byte 0xff at pos"),
        ("t.csv", b"text,label,text\nx,a,y\n", {}, "The header of '.*' names the column 'text' twice"),
        ("t.jsonl", b'{"text": "x", "text": "y"}', {}, "Line 1 of '.*t.jsonl' names 'text' twice"),
        ("t.jsonl", b"[" * 100_000, {}, "Line 1 of '.*t.jsonl' is no JSON: nested too deeply"),
        (
            "t.csv",
            b"text,label\nx,a\ny,NaN\nz,nan\n",
            {},
            r"Row 3 of the table has no label, but 'NaN' \(nor have 1 more",
        ),
        ("t.csv", b'text,label\nx,a\ny,"b\n', {}, "a quote that opens in line 3 is not closed"),
        ("t.csv", b"text,label\nx,a\n", {"separator": "--"}, "`separator` must be one character"),
        ("t.csv", b"text,x\nok,a\n", {"label": ("x",)}, "Row 2 of the table holds no finite number in column 'x': 'a'"),
        ("t.jsonl", b'{"text": "x", "x": "a"}', {"label": ("x",)}, "Row 1 of the table holds no finite number"),
        ("t.csv", b"text,label,s\nok,a,both\n", {"split": "s"}, "Row 2 of the table names the part 'both'"),
        ("t.csv", b"text,label\nok,a\n", {"groups": "author"}, "The table has no column 'author'"),
        ("t.xlsx", b"PK", {}, r"t.xlsx' must end in .csv, .tsv, .jsonl or .parquet, as its content does"),
        ("t.jsonl", b'{"text": "x", "label": Infinity}', {}, "Row 1 of the table holds an infinite number in column"),
        ("t.parquet", b"nonsense", {}, "t.parquet' cannot be read as Parquet: "),
        ("t.csv", None, {}, "t.csv' cannot be read: .*No such file"),
        ("t.parquet", None, {}, "t.parquet' cannot be read as Parquet: .*No such file"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, name, content, arguments, message):
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        text.from_table(tmp_path / name, progress=False, **arguments)


@pytest.mark.parametrize("word", ["null", "None", "N/A"])
def test_a_class_that_may_mean_that_nothing_is_there_is_noted(tmp_path, word):
    rows = [*ROWS, {"text": sentence(99), "label": word}]
    splits = text.from_table(table(tmp_path, "t.csv", rows), progress=False)
    assert f"1 rows have the label {word!r}, which is taken as a class" in " ".join(splits.notes)


def test_names_as_long_as_a_page_are_cut_in_messages(tmp_path):
    long = "x" * 5_000
    for row in ({"text": "y", "label": "a", "s": long}, {"text": "y", long: "a"}):
        path = table(tmp_path, "t.jsonl", [row])
        with pytest.raises(InputError, match="xxx") as caught:
            text.from_table(path, progress=False, split="s")
        assert len(str(caught.value)) < 400


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    path = table(tmp_path, "t.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r'needs pyarrow: run `pip install "tlkit\[text\]"`, or save the'):
        text.from_table(path)


# --- arrays


def test_arrays_are_read_as_they_are():
    texts = [f"{sentence(i)}\0 \r\n" for i in range(20)]
    splits = text.from_arrays(texts, np.arange(20) % 2, labels=["even", "odd"])
    assert contents(splits) == {str(i): content for i, content in enumerate(texts)}
    assert splits.labels == ("even", "odd")
    assert all(part.target_array[i] == int(name) % 2 for part in parts(splits) for i, name in enumerate(part.ids))


def test_arrays_with_their_own_parts_numpy_strings_and_bytes():
    texts = np.array([sentence(i) for i in range(20)])
    splits = text.from_arrays(texts, ["a", "b"] * 10, test=([b"caf\xc3\xa9", b"caf\xe9", sentence(3)], ["a", "b", "a"]))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (16, 4, 3)
    assert contents(splits)["20"] == "café"
    assert contents(splits)["21"] == "café" and "1 of 23 texts is not UTF-8 and was read as cp1252" in splits.notes[0]
    assert len(splits.duplicates) == 1


@pytest.mark.parametrize(
    ("texts", "targets", "message"),
    [
        (["x", "y", "z"], [0, 1], "There are 3 texts and 2 targets for train"),
        (["x", float("nan"), "z"], [0, 1, 0], r"Text 1 must be a str. Received: nan \(float\)"),
        ("xyz", [0, 1, 0], "The texts for train must be a sequence of texts. Received: one text"),
        (["x", "y", "z"], [0, 0, 0], "All 3 examples are of one class, '0'"),
        ([], [], "There is no usable example"),
        (["", " "], [0, 1], r"There is no usable example; 2 were left out: '0' \(empty\), '1' \(empty: it holds"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(texts, targets, message):
    with pytest.raises(InputError, match=message):
        text.from_arrays(texts, targets)


# --- TensorFlow Datasets


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_builder_of_texts(file_format, tmp_path):
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["neg", "pos"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples(0), "test": self._generate_examples(100)}

        def _generate_examples(self, start: int) -> Iterator[Any]:
            for i in range(20):
                yield i, {"text": f"naïve {sentence(start + i)}" if i != 7 else "", "label": i % 2}

    builder = Tiny(data_dir=str(tmp_path), file_format=file_format)
    builder.download_and_prepare()
    splits = text.from_tfds(builder.data_dir, progress=False)
    assert splits.labels == ("neg", "pos")
    assert len(splits.quarantine) == 2
    assert set(contents(splits).values()) == {f"naïve {sentence(k + i)}" for k in (0, 100) for i in range(20) if i != 7}
    assert {name.split("/")[0] for name in splits.test.ids} == {"test"}
    with pytest.raises(InputError, match="The feature 'label' of 'tiny' is no text; name the one that is with `text`"):
        text.from_tfds(builder.data_dir, text="label")


# --- tokenized

PIECES = WordPiece((*SPECIAL, "a", "b", "##b"))


def letters(count: int) -> str:
    return " ".join("ab"[(count * 7 + i * i) % 2] for i in range(count))


def test_tokenized_texts_are_a_modules_inputs():
    texts = [sentence(i) for i in range(20)]
    splits = text.from_arrays(texts, np.arange(20) % 2)
    wordpiece = WordPiece(small())
    tokens = text.tokenized(splits, wordpiece, 12)
    assert tokens.train.inputs.spec == {
        name: ArraySpec((12,), "int32") for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    for part in parts(tokens):
        assert part.lengths.dtype == np.int32
        for i, name in enumerate(part.ids):
            expected = wordpiece.inputs(texts[int(name)], 12)
            assert {key: value.tolist() for key, value in part.inputs[i].items()} == {
                key: value.tolist() for key, value in expected.items()
            }
            assert part.lengths[i] == wordpiece.count(texts[int(name)])
    few = tokens.train.subset([3, 1])
    assert few.lengths.tolist() == [tokens.train.lengths[3], tokens.train.lengths[1]]
    assert without(tokens.train, "length").fingerprint == tokens.train.fingerprint
    assert tokens.train.pipeline.steps[:-1] == splits.train.pipeline.steps
    step = tokens.train.pipeline.get("word_pieces")
    assert step["lower_case"] and step["length"] == 12
    others = [text.tokenized(splits, WordPiece(small(), False), 12), text.tokenized(splits, wordpiece, 13)]
    assert len({variant.fingerprint for variant in (tokens, *others)}) == 3
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(tokens.train.inputs.__getitem__, list(range(len(tokens.train))) * 5))
    for i, inputs in enumerate(again):
        first = tokens.train.inputs[i % len(tokens.train)]
        assert all((inputs[key] == first[key]).all() for key in first)


def test_texts_that_are_cut_are_counted():
    texts = [letters(i) for i in range(1, 41)]
    splits = text.from_arrays(texts, np.arange(40) % 2)
    assert text.tokenized(splits, PIECES, 32).notes[-1] == "10 of 40 texts are longer than 32 pieces and are cut."
    assert text.tokenized(splits, PIECES, 41).notes[-1] == "1 of 40 texts is longer than 41 pieces and is cut."
    assert text.tokenized(splits, PIECES, 42).notes == splits.notes


def test_the_length_is_taken_from_training():
    def length(counts: list[int]) -> int:
        texts = [letters(count) for count in counts]
        splits = text.from_arrays(
            texts, np.arange(len(texts)) % 2, val=(texts, np.arange(len(texts)) % 2), split=(1, 0, 0)
        )
        return int(text.tokenized(splits, PIECES).train.inputs[0]["input_word_ids"].shape[0])

    assert length([1] * 20) == 8
    assert length([6] * 20) == 8
    assert length([7] * 20) == 16
    assert length([6] * 199 + [300]) == 8
    assert length([600] * 20) == 512


def test_what_cannot_be_tokenized_is_refused():
    splits = text.from_arrays([sentence(i) for i in range(20)], np.arange(20) % 2)
    with pytest.raises(InputError, match=r"`length` must be at least 3 pieces. Received: length=2"):
        text.tokenized(splits, PIECES, 2)
    with pytest.raises(InputError, match=r"Only texts can be tokenized. Received: \{'input_word_ids'"):
        text.tokenized(text.tokenized(splits, PIECES, 8), PIECES, 8)


# --- a label for each word


def conll(path: Path, start: int, count: int, gap: str = "\t") -> Path:
    lines = []
    for i in range(start, start + count):
        rows = [*((word, "O") for word in sentence(i).split()), ("anna", "B-person"), ("bob", "I-person")][: 5 + i % 3]
        lines += [*(f"{word}{gap}{label}" for word, label in rows), "" if i % 2 else "\t"]
    return write(path, "\n".join(lines))


@pytest.mark.parametrize("gap", ["\t", " ", " NNP I-NP ", "\tx\t"])
def test_sentences_of_labelled_words(tmp_path, gap):
    splits = text.from_conll(
        conll(tmp_path / "a", 0, 20, gap), test=conll(tmp_path / "b", 40, 9, gap), split=(0.8, 0.2, 0), progress=False
    )
    assert splits.labels == ("B-person", "I-person", "O")
    assert [len(part) for part in parts(splits)] == [16, 4, 9]
    assert splits.train.inputs.spec == ArraySpec((None,), "string")
    assert (splits.test.ids[0], splits.test.ids[1]) == ("test/1", "test/8")
    assert splits.test.inputs[1].tolist() == [*sentence(41).split(), "anna", "bob"]
    assert splits.test.target_array[1].tolist() == [2, 2, 2, 2, 2, 0, 1]
    assert splits.test.target_array[2].tolist() == [2, 2, 2, 2, 2, -1, -1]
    assert (splits.quarantine, splits.duplicates, splits.notes) == ((), (), ())


def test_the_first_piece_of_a_word_has_its_label(tmp_path):
    write(tmp_path / "t", "hallo\tO\nanna\tB-person\n\u200b\tI-person\n\n" * 3 + "hello\tO\n")
    data = text.from_conll(tmp_path / "t", val=tmp_path / "t", test=tmp_path / "t", progress=False)
    wordpiece = WordPiece((*SPECIAL, "hello", "hal", "##lo", "an", "##na"))
    splits = text.tokenized(data, wordpiece, 7)
    assert splits.test.inputs[0]["input_word_ids"].tolist() == [2, 5, 6, 7, 8, 1, 3]
    assert splits.test.target_array.tolist() == [[-1, 2, -1, 0, -1, 1, -1]] * 3 + [[-1, 2, -1, -1, -1, -1, -1]]
    assert splits.test.lengths.tolist() == [7, 7, 7, 3]
    assert splits.test.columns["text"][3] == "hello"
    assert text.tokenized(data, wordpiece, 4).test.target_array[0].tolist() == [-1, 2, -1, -1]
    assert text.tokenized(data, wordpiece, 4).notes[-1] == "9 of 12 texts are longer than 4 pieces and are cut."
    assert {arr.shape for arr in text.tokenized(data, wordpiece).train.inputs[0].values()} == {(8,)}


def test_documents_and_remarks_are_passed_over(tmp_path):
    body = "# sent 1\n" + "#tag\tO\nx\tB-a\n\n" * 9
    splits = text.from_conll(write(tmp_path / "t", body), progress=False)
    assert splits.train.inputs[0].tolist() == ["#tag", "x"]
    body = "-DOCSTART- -X- O O\n\n" + "# NN O O\nx NN O B-a\n\n" * 9
    assert text.from_conll(write(tmp_path / "t", body), progress=False).train.inputs[0].tolist() == ["#", "x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tO\nb\n", r"Line 2 of '.*t' has no label: write a word and its label, with a tab or a blank between"),
        (b"a\tO\nb\t\n", "Line 2 of '.*t' has no label"),
        (b"\n\n", "The file '.*t' holds no sentence"),
        (b"caf\xe9 O\n", "The file '.*t' cannot be read: not UTF-8"),
        (None, "The file '.*t' cannot be read: .*No such file"),
        (b"a\tO\n\n", "1 examples are too few"),
    ],
)
def test_sentences_that_cannot_be_used_are_refused(tmp_path, content, message):
    if content is not None:
        write(tmp_path / "t", content)
    with pytest.raises(InputError, match=message):
        text.from_conll(tmp_path / "t", progress=False)


def test_the_shelf_holds_texts():
    from tlkit import data

    assert data.text is text
    assert "text" in dir(data)
