"""The texts of benchmarks/translation.py, out of Debian packages: verses, and descriptions of software, en and es.

    python -m pip install pysword
    python benchmarks/translation_data.py FOLDER

Writes FOLDER/verses.csv (the World English Bible and Reina-Valera 1909, public domain; a group is a chapter) and
FOLDER/software.csv (synopses and paragraphs of Debian's packages as its translators have them, whose licence is not
stated, so they are read here and not kept; a group is a source package). Needs apt-get, and takes some minutes.
"""

import csv
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

MOST = 140  # characters of a text: what about 32 tokens hold


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    written(folder / "software.csv", software(folder / "lists"))
    written(folder / "verses.csv", verses(folder / "sword"))


def written(file, rows):
    rows = [row for row in rows if all(4 <= len(text) <= MOST for text in row[:2])]
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([("source", "target", "group"), *rows])
    print(f"{file}: {len(rows):,} pairs", flush=True)


def software(lists):
    """(en, es, source package) of synopses, and of paragraphs where both languages have as many."""
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    options = ["-o", f"Dir::State::lists={lists}", "-o", "Acquire::Languages=en,es"]
    if not list(lists.glob("*Translation-es*")):
        subprocess.run(["apt-get", "update", *options], check=True, capture_output=True)
    owners = {}
    for entry in entries(lists, "_Packages"):
        owners[entry["Package"]] = entry.get("Source", entry["Package"]).split()[0]
    english, spanish = (described(lists, tongue) for tongue in ("en", "es"))
    for key in sorted(set(english) & set(spanish)):
        pairs = [language[key].split("\n .\n") for language in (english, spanish)]
        (first, *more), (other, *others) = ([p for part in texts for p in synopsis_first(part)] for texts in pairs)
        rows = [(first, other), *(zip(more, others, strict=True) if len(more) == len(others) else ())]
        yield from ((*row, owners.get(key[0], key[0])) for row in rows if row[0] != row[1])


def described(lists, tongue):
    """(package, hash) -> its description in a language."""
    return {
        (entry["Package"], entry["Description-md5"]): entry[f"Description-{tongue}"]
        for entry in entries(lists, f"Translation-{tongue}")
    }


def synopsis_first(part):
    """The synopsis on its own line, and the paragraph behind it as one."""
    head, _, rest = part.partition("\n") if not part.startswith(" ") else ("", "", part)
    return [" ".join(text.split()) for text in (head, rest) if text.strip()]


def entries(lists, name):
    """Fields of each entry of the lists of a name; a field's further lines begin with a blank."""
    for file in sorted(lists.glob(f"*{name}*")):
        text = subprocess.run(
            ["/usr/lib/apt/apt-helper", "cat-file", str(file)], check=True, capture_output=True
        ).stdout
        for entry in text.decode("utf-8", "replace").split("\n\n"):
            fields = dict(re.findall(r"^([\w-]+): ?(.*(?:\n .*)*)", entry, flags=re.MULTILINE))
            if "Package" in fields:
                yield fields


def verses(folder):
    """(en, es, chapter) of verses of the same book, chapter and number."""
    from pysword.modules import SwordModules

    folder.mkdir(exist_ok=True)
    for package in ("sword-text-web", "sword-text-sparv"):
        if not list(folder.glob(f"{package}_*")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
        subprocess.run(["dpkg", "-x", str(next(folder.glob(f"{package}_*"))), str(folder)], check=True)
    modules = SwordModules(os.fspath(folder / "usr/share/sword"))
    modules.parse_modules()
    texts = [by_place(modules.get_bible_from_module(name)) for name in ("engWEB2015eb", "spaRV1909eb")]
    for place in sorted(set(texts[0]) & set(texts[1])):
        yield texts[0][place], texts[1][place], f"{place[0]} {place[1]}"


def by_place(bible):
    """(book, chapter, verse) -> its text; marks become blanks, as words on both sides of them would else be one."""
    texts = {}
    bible._decompressed_text = functools.cache(bible._decompressed_text)  # of a book, else unpacked for each verse
    for books in bible.get_structure().get_books().values():
        for book in books:
            for chapter in range(1, book.num_chapters + 1):
                for verse in range(1, book.chapter_lengths[chapter - 1] + 1):
                    raw = bible.get(books=[book.osis_name], chapters=[chapter], verses=[verse], clean=False)
                    text = " ".join(re.sub(r"<note.*?</note>|<[^>]*>", " ", raw, flags=re.DOTALL).split())
                    texts[book.osis_name, chapter, verse] = re.sub(r" ([,.;:!?])", r"\1", text)
    return texts


if __name__ == "__main__":
    main(Path(sys.argv[1]))
