"""docs/glossary.md is kept: terms are used, and the words that they replace are not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = [
    path
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs" / "methods").glob("*")),
    ]
    if path.name not in ("glossary.md", "seams.md")  # seams.md is for those who change tlkit: it names what lies where
]
DOCS_ALONE = {"sound"}  # docstrings still say it
MOST = 40


def rows():
    """(term, what it is, words that it replaces) of each row of the table."""
    cells = [line.strip("|").split("|") for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")]
    return [
        (a.strip(), b.strip(), [word.strip() for word in c.split(",") if word.strip()])
        for a, b, c in cells
        if a.strip() != "term"
    ]


def prose(markdown):
    """Text without code, targets of links, and names in backticks."""
    return re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", " ", markdown, flags=re.DOTALL)


def docstrings(path):
    """Docstrings of a file's public functions and classes, and its own, without examples and backticks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) or getattr(node, "name", "").startswith(
            "_"
        ):
            continue
        if text := ast.get_docstring(node):
            yield prose(re.sub(r"^\s*(>>>|\.\.\. ).*$", "", text, flags=re.MULTILINE))


def places(word, *, docs_alone):
    """Where a word stands, alone or in the plural."""
    pattern = re.compile(rf"\b{word}s?\b", re.IGNORECASE)
    files = [] if docs_alone else [*ROOT.glob("tlkit/**/*.py"), *ROOT.glob("recipes/*.py")]
    pages = [str(path.relative_to(ROOT)) for path in PAGES if pattern.search(prose(path.read_text()))]
    return pages + [str(p.relative_to(ROOT)) for p in files if any(pattern.search(text) for text in docstrings(p))]


def test_it_is_short_and_each_term_stands_once():
    terms = [term for term, _, _ in rows()]
    assert 20 <= len(terms) <= MOST and len(set(terms)) == len(terms) and all(meaning for _, meaning, _ in rows())
    assert "glossary.md" in (ROOT / "docs" / "index.md").read_text()


@pytest.mark.parametrize("term", [term for term, _, _ in rows()])
def test_each_term_is_used(term):
    assert places(term, docs_alone=True)


@pytest.mark.parametrize("word", [word for _, _, words in rows() for word in words])
def test_words_that_a_term_replaces_are_not_used(word):
    assert places(word, docs_alone=word in DOCS_ALONE) == []
