"""Odd tables of texts and of images, odd folders of texts."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from attacks.cases import Case, Outcome, either, gives, left_out, refused

ROWS = 24
RIGHT = [(f"some words {i}", "ab"[i % 2]) for i in range(ROWS)]


def cases() -> Iterator[Case]:
    """Tables of texts by content, tables of pictures by their paths, folders of texts."""
    for name, (file, content, wrong) in {**_csv(), **_other_tables(), **_encodings()}.items():
        yield _texts(name, file, content, wrong)
    yield from _pictures()
    yield from _text_folders()


def _texts(name: str, file: str, content: bytes | str, wrong: Callable[[Outcome], str], **options) -> Case:
    def act(folder: Path):
        import tlkit

        path = folder / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tlkit.data.text.from_csv(path, progress=False, **options)

    return Case("tables of texts", name, act, wrong)


def _total(splits) -> int:
    return sum(map(len, (splits.train, splits.val, splits.test)))


def _whole(count: int = ROWS, labels: tuple[str, ...] = ("a", "b")) -> Callable[[Outcome], str]:
    return gives(lambda s: _total(s) == count and s.labels == labels, f"{count} examples of {labels}")


def _accounted(count: int = ROWS) -> Callable[[Outcome], str]:
    """Every row is an example or on the quarantine list."""

    def right(splits) -> bool:
        return splits.labels == ("a", "b") and _total(splits) + len(splits.quarantine) == count

    return gives(right, "every row used or left out by name")


def _table(rows=RIGHT, header: str = "text,label", separator: str = ",", end: str = "\n") -> str:
    return header + end + end.join(separator.join(row) for row in rows) + end


def _csv() -> dict[str, tuple[str, bytes | str, Callable]]:
    def changed(row: int, line: str) -> str:
        lines = _table().split("\n")
        lines[row + 1] = line
        return "\n".join(lines)

    careful = either(refused(), _accounted())
    quoted = [(f'"say ""{i}"", twice"', label) for i, (_, label) in enumerate(RIGHT)]
    broken_line = [(f'"first {i}\nsecond"', label) for i, (_, label) in enumerate(RIGHT)]
    entries: dict[str, tuple[str, bytes | str, Callable]] = {
        "plain": ("t.csv", _table(), _whole()),
        "quotes in quotes": ("t.csv", _table(quoted), _whole()),
        "line breaks in quotes": ("t.csv", _table(broken_line), _whole()),
        "carriage returns": ("t.csv", _table(end="\r\n"), _whole()),
        "old Mac line ends": ("t.csv", _table(end="\r"), either(_whole(), refused())),
        "blank lines between": ("t.csv", _table(end="\n\n"), either(_whole(), refused())),
        "no last line end": ("t.csv", _table().rstrip("\n"), _whole()),
        "columns in the other order": ("t.csv", _table([(b, a) for a, b in RIGHT], "label,text"), _whole()),
        "blanks around the header": ("t.csv", _table(header=" text , label "), either(_whole(), refused("text"))),
        "header in capitals": ("t.csv", _table(header="Text,Label"), either(_whole(), refused("Text"))),
        "one more column": ("t.csv", _table([(*row, "x") for row in RIGHT], "text,label,more"), _whole()),
        "quote before the label": ("t.csv", changed(9, 'some words 9,"b'), careful),
        "quote before the first text": ("t.csv", changed(0, '"some words 0,a'), careful),
        "quote before the last label": ("t.csv", changed(ROWS - 1, f'some words {ROWS - 1},"b'), careful),
        "two stray quotes": (
            "t.csv",
            changed(3, '"some words 3,b').replace("some words 11", '"some words 11'),
            careful,
        ),
        "quote in the middle of a text": ("t.csv", changed(5, 'some 5" words,b'), careful),
        "quote closed too early": ("t.csv", changed(5, '"some" words 5,b'), careful),
        "a row with a comma too many": ("t.csv", changed(5, "some, words 5,b"), careful),
        "a row with a comma too few": ("t.csv", changed(5, "some words 5"), careful),
        "an empty label": ("t.csv", changed(5, "some words 5,"), careful),
        "an empty text": ("t.csv", changed(5, ",b"), careful),
        "an empty row of commas": ("t.csv", changed(5, ","), careful),
        "NUL in a cell": ("t.csv", changed(5, "some\0words 5,b"), careful),
        "a cell of 10 MB": ("t.csv", changed(5, "word " * 2_000_000 + ",b"), either(_whole(), careful)),
        "control characters": ("t.csv", changed(5, "some\x1b[31m words\x07 5,b"), careful),
        "text column twice": (
            "t.csv",
            _table([(*row, "other words") for row in RIGHT], "text,label,text"),
            refused("text"),
        ),
        "label column twice": ("t.csv", _table([(*row, "a") for row in RIGHT], "text,label,label"), refused("label")),
        "a column without a name": ("t.csv", _table([("0", *row) for row in RIGHT], ",text,label"), _whole()),
        "no header": ("t.csv", _table().split("\n", 1)[1], refused("text")),
        "header alone": ("t.csv", "text,label\n", refused()),
        "nothing": ("t.csv", "", refused()),
        "spaces": ("t.csv", "   \n  \n", refused()),
        "one row": ("t.csv", "text,label\nsome words,a\n", refused()),
        "one class": ("t.csv", _table([(text, "a") for text, _ in RIGHT]), either(refused(), _one_class)),
        "every label its own": ("t.csv", _table([(text, str(i)) for i, (text, _) in enumerate(RIGHT)]), refused()),
        "semicolons": ("t.csv", _table(header="text;label", separator=";"), either(_whole(), refused(";"))),
        "semicolons, commas in the text": (
            "t.csv",
            _table([(f"some, words, {i}", label) for i, (_, label) in enumerate(RIGHT)], "text;label", ";"),
            either(_whole(), refused(";")),
        ),
        "bars": ("t.csv", _table(header="text|label", separator="|"), either(_whole(), refused("|"))),
        "tabs called CSV": ("t.csv", _table(header="text\tlabel", separator="\t"), either(_whole(), refused("tab"))),
        "sep= on the first line": (
            "t.csv",
            "sep=;\n" + _table(header="text;label", separator=";"),
            either(_whole(), refused()),
        ),
        "HTML called CSV": ("t.csv", "<!DOCTYPE html><html><body>login</body></html>", refused()),
        "zip called CSV": ("t.csv", b"PK\x03\x04" + bytes(400), refused()),
        "JSON called CSV": ("t.csv", json.dumps([{"text": "x", "label": "a"}]), refused()),
        "no ending": ("table", _table(), refused("csv")),
        "xlsx": ("t.xlsx", b"PK\x03\x04" + bytes(400), refused("xlsx")),
    }
    for word in ("nan", "NaN", "null", "None", "N/A", "NA", ""):
        entries[f"missing label written {word!r}"] = (
            "t.csv",
            changed(5, f"some words 5,{word}"),
            either(refused(), _no_class(word), _noted(word)),
        )
    every_row = gives(lambda s: _total(s) == ROWS, "all rows")
    for label in ("a\tb", "a\\nb", "<script>", "x" * 300, "../../x", "\u202eabc", "a/b"):
        rows = [(text, label if old == "b" else old) for text, old in RIGHT]
        entries[f"label {label[:12]!r}"] = (
            "t.csv",
            _table(rows),
            either(every_row, refused("label")),
        )
    return entries


def _one_class(outcome: Outcome) -> str:
    """Reading one class is no fault; the task refuses it."""
    if outcome.value is None:
        return "traceback: " + outcome.error
    import tlkit

    try:
        tlkit.tasks.classify(outcome.value.labels)
    except tlkit.core.errors.InputError:
        return ""
    return "silent: a task of one class"


def _no_class(word: str) -> Callable[[Outcome], str]:
    return gives(lambda s: word not in s.labels and s.labels == ("a", "b"), f"without a class {word!r}")


def _noted(word: str) -> Callable[[Outcome], str]:
    return gives(lambda s: any(f"label {word!r}" in note for note in s.notes), f"with a note on the class {word!r}")


def _other_tables() -> dict[str, tuple[str, bytes | str, Callable]]:
    lines = [json.dumps({"text": text, "label": label}) for text, label in RIGHT]

    def changed(line: str) -> str:
        return "\n".join([*lines[:5], line, *lines[6:]])

    careful = either(refused(), _accounted())
    return {
        "TSV": ("t.tsv", _table(header="text\tlabel", separator="\t"), _whole()),
        "TSV with quotes inside": (
            "t.tsv",
            _table(header="text\tlabel", separator="\t").replace("words 5", 'words " 5'),
            _whole(),
        ),
        "TSV that is CSV": ("t.tsv", _table(), either(_whole(), refused())),
        "JSONL": ("t.jsonl", "\n".join(lines), _whole()),
        "JSONL, one line broken": ("t.jsonl", changed('{"text": "some'), careful),
        "JSONL, one line a list": ("t.jsonl", changed('["x", "a"]'), careful),
        "JSONL, one line a number": ("t.jsonl", changed("3"), careful),
        "JSONL nested 100,000 deep": ("t.jsonl", changed("[" * 100_000), careful),
        "JSONL object 100,000 deep": ("t.jsonl", changed('{"a":' * 100_000), careful),
        "JSONL, a label missing": ("t.jsonl", changed('{"text": "some words"}'), careful),
        "JSONL, a label null": ("t.jsonl", changed('{"text": "some words", "label": null}'), careful),
        "JSONL, a text that is a number": ("t.jsonl", changed('{"text": 5, "label": "b"}'), either(_whole(), careful)),
        "JSONL, a text that is a list": ("t.jsonl", changed('{"text": ["x"], "label": "b"}'), careful),
        "JSONL, NaN": ("t.jsonl", changed('{"text": NaN, "label": "b"}'), careful),
        "JSONL, label NaN": ("t.jsonl", changed('{"text": "some words", "label": NaN}'), careful),
        "JSONL, label Infinity": ("t.jsonl", changed('{"text": "some words", "label": Infinity}'), careful),
        "JSONL, half a surrogate pair as label": (
            "t.jsonl",
            changed('{"text": "some words", "label": "\\ud800"}'),
            careful,
        ),
        "JSONL, half a surrogate pair as text": (
            "t.jsonl",
            changed('{"text": "\\udc00 words", "label": "b"}'),
            careful,
        ),
        "JSONL, key twice in a line": (
            "t.jsonl",
            changed('{"text": "x", "label": "a", "label": "b"}'),
            either(_whole(), careful),
        ),
        "JSONL, one array": ("t.jsonl", json.dumps([json.loads(line) for line in lines]), refused()),
        "JSONL, a huge number": (
            "t.jsonl",
            changed('{"text": ' + "9" * 100_000 + ', "label": "b"}'),
            either(_whole(), careful),
        ),
        "Parquet that is none": ("t.parquet", b"PAR1" + bytes(50), refused()),
        "Parquet, empty": ("t.parquet", b"", refused()),
    }


def _encodings() -> dict[str, tuple[str, bytes | str, Callable]]:
    rows = [(f"café naïve Zürich größer déjà vu {i}", label) for i, (_, label) in enumerate(RIGHT)]
    table = _table(rows)

    def decoded(outcome: Outcome) -> str:
        wrong = _whole()(outcome)
        if wrong:
            return wrong if outcome.sentence is False else ("" if "encoding" in outcome.error else wrong)
        parts = (outcome.value.train, outcome.value.val, outcome.value.test)
        texts = [str(part.inputs[i]) for part in parts for i in range(len(part))]
        return "" if all("café naïve Zürich größer" in text for text in texts) else f"silent: {texts[0]!r}"

    entries: dict[str, tuple[str, bytes | str, Callable]] = {
        f"in {name}": ("t.csv", table.encode(name), decoded)
        for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "mac-roman", "cp850")
    }
    mixed = table.encode().split(b"\n")
    mixed[6] = mixed[6].decode().encode("cp1252")
    entries["one row in another encoding"] = ("t.csv", b"\n".join(mixed), either(refused("encoding"), _accounted()))
    entries["random bytes"] = ("t.csv", os.urandom(4000), refused())
    return entries


def _pictures() -> Iterator[Case]:
    def case(name: str, lines: list[str], wrong: Callable, header: str = "path,label", **options) -> Case:
        def act(folder: Path):
            import tlkit

            (folder / "sub").mkdir()
            for i in range(ROWS):
                Image.new("RGB", (8, 8), (i * 9, 90 * (i % 2), 30)).save(folder / f"sub/{i:03}.png")
            (folder / "t.csv").write_text("\n".join([header, *lines]) + "\n")
            return tlkit.data.image.from_csv(folder / "t.csv", progress=False, **options)

        return Case("tables of images", name, act, wrong)

    sound = [f"sub/{i:03}.png,{'ab'[i % 2]}" for i in range(ROWS)]

    def changed(line: str) -> list[str]:
        return [*sound[:5], line, *sound[6:]]

    careful = either(refused(), _accounted())
    yield case("plain", sound, _whole())
    yield case("./ before the paths", [f"./{line}" for line in sound], _whole())
    yield case("Windows paths", [line.replace("/", "\\") for line in sound], either(_whole(), refused("\\")))
    yield case("without endings", [line.replace(".png", "") for line in sound], either(_whole(), refused("png")))
    yield case(
        "endings in capitals", [line.replace(".png", ".PNG") for line in sound], either(_whole(), refused("png"))
    )
    yield case(
        "semicolons", [line.replace(",", ";") for line in sound], either(_whole(), refused(";")), header="path;label"
    )
    yield case("one file missing", changed("sub/gone.png,b"), either(refused("gone"), _accounted()))
    yield case("all files missing", [line.replace("sub", "gone") for line in sound], refused("gone"))
    yield case("one file twice", changed("sub/004.png,a"), either(careful, _whole(ROWS)))
    yield case("one file twice with two labels", changed("sub/004.png,b"), either(careful, _whole(ROWS)))
    yield case("a path upwards", changed("../../../../etc/passwd,b"), _accounted())
    yield case("a folder as path", changed("sub,b"), _accounted())
    yield case("/dev/zero as path", changed("/dev/zero,b"), _accounted())
    yield case("NUL in a path", changed("sub/0\0.png,b"), careful)
    yield case("a path of 5,000 characters", changed("x" * 5000 + ",b"), either(refused("xxx"), _accounted()))
    yield case("open quote", changed('"sub/005.png,b'), careful)
    yield case("open quote before a label", changed('sub/005.png,"b'), careful)
    yield case("missing label", changed("sub/005.png,nan"), either(refused(), _no_class("nan")))
    yield case(
        "a split column with other names",
        [f"{line},{'xyz'[i % 3]}" for i, line in enumerate(sound)],
        refused("x"),
        header="path,label,split",
        split="split",
    )
    yield case("numbers as labels", [f"sub/{i:03}.png,{i * 0.37:.2f}" for i in range(ROWS)], refused())


def _text_folders() -> Iterator[Case]:
    def case(name: str, make: Callable[[Path], object], wrong: Callable) -> Case:
        def act(folder: Path):
            import tlkit

            for i in range(ROWS):
                path = folder / "texts" / "ab"[i % 2] / f"{i}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"some words {i}")
            make(folder / "texts")
            return tlkit.data.text.from_folder(folder / "texts", progress=False)

        return Case("text folders", name, act, wrong)

    out, still = left_out("x.txt"), gives(lambda s: s.labels == ("a", "b") and _total(s) >= ROWS, "the sound texts")
    contents: dict[str, tuple[bytes, Callable]] = {
        "empty": (b"", out),
        "spaces": (b"  \n ", out),
        "NULs": (bytes(100), out),
        "random bytes": (bytes(range(256)) * 9, out),
        "PNG called txt": (b"\x89PNG\r\n\x1a\n" + bytes(99), out),
        "zip called txt": (b"PK\x03\x04" + bytes(range(256)), out),
        "UTF-16": ("some wörds".encode("utf-16"), still),
        "cp1252": ("café naïve Zürich größer déjà vu, and more of it".encode("cp1252"), either(still, out)),
        "Shift JIS": ("これは日本語の文章です。とても長い文章です。".encode("shift_jis"), either(still, out)),
        "byte-order mark alone": (b"\xef\xbb\xbf", out),
        "10 MB of words": (b"word " * 2_000_000, still),
        "a line of 10 MB": (b"x" * 10_000_000, still),
    }
    for name, (content, wrong) in contents.items():
        yield case(name, lambda r, content=content: (r / "a/x.txt").write_bytes(content), wrong)

    def loop(root: Path) -> None:
        (root / "a/x.txt").symlink_to(root / "a/y.txt")
        (root / "a/y.txt").symlink_to(root / "a/x.txt")

    yield case("symlink loop", loop, out)
    yield case("dangling link", lambda r: (r / "a/x.txt").symlink_to("gone"), out)
    yield case("pipe", lambda r: os.mkfifo(r / "a/x.txt"), either(out, still))
    yield case("link to /dev/zero", lambda r: (r / "a/x.txt").symlink_to("/dev/zero"), out)
    yield case("folder called x.txt", lambda r: (r / "a/x.txt").mkdir(), either(out, still))
