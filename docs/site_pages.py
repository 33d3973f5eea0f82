"""Hook of mkdocs: pages that are made of the code, so that no name, recipe or decision is missing from the site.

API pages hold every public name of `tlkit` and of its shelves; the page of recipes their help and README's scores; the
guides that mkdocs.yml does not name stand below "More".
"""

from __future__ import annotations

import ast
import importlib
import re
import types
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import tlkit

ROOT = Path(__file__).parents[1]
SHELVES = (
    "answers",
    "cluster",
    "columns",
    "data",
    "datasets",
    "flags",
    "metadata",
    "methods",
    "plans",
    "reads",
    "tasks",
    "zoo",
)
SOURCES = "sources"  # notebooks and other files beside docs/ that pages link to


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    pages = {"api/index.md": _of_names(), "recipes.md": _of_recipes(), "decisions/index.md": _of_decisions()}
    pages |= {f"api/{shelf}.md": _of_shelf(shelf) for shelf in SHELVES}
    pages["methods/index.md"] = _listed("Methods", "methods")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_config(config: Any) -> Any:
    """Replace folders in the navigation by their pages."""
    config.nav = _expanded(config.nav)
    named = set(_pages(config.nav))
    more = sorted(p.name for p in (ROOT / "docs").glob("*.md") if p.name not in named)
    config.nav[1]["Guides"] += [{"More": more}] if more else []
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to what lies beside docs/ lead nowhere on the site: their text stays."""
    return re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+(?!\w+\.md|docs/)(?:notebooks|tests|benchmarks|recipes|tlkit|README)[^)]*\)",
        r"\1",
        markdown,
    )


def _expanded(nav: list[Any]) -> list[Any]:
    return [{k: _folder(v) for k, v in item.items()} if isinstance(item, dict) else item for item in nav]


def _folder(value: Any) -> Any:
    if isinstance(value, list):
        return _expanded(value)
    if value == "api/":
        return ["api/index.md", *(f"api/{shelf}.md" for shelf in SHELVES)]
    if value.endswith("/"):
        pages = sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs" / value).glob("*.md"))
        return [f"{value}index.md", *pages]
    return value


def _pages(nav: Any) -> Any:
    for item in nav.values() if isinstance(nav, dict) else nav:
        yield from [item] if isinstance(item, str) else _pages(item)


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def _listed(title: str, folder: str) -> str:
    pages = sorted((ROOT / "docs" / folder).glob("*.md"))
    return f"# {title}\n\n" + "\n".join(f"- [{_title(page)}]({page.name})" for page in pages)


def _of_decisions() -> str:
    return _listed("Decisions", "decisions")


# -- API


def public_names() -> dict[str, str]:
    """Public name -> where it is defined, shelves left out."""
    made = {"__version__": "tlkit.__version__"}
    for name, (module, attribute) in tlkit._FROM.items():
        if attribute is not None:
            made[name] = f"{module}.{attribute}"
    return made


def _of_names() -> str:
    head = "# API\n\nWhat `import tlkit` gives. Shelves have pages of their own: " + ", ".join(
        f"[`tlkit.{shelf}`]({shelf}.md)" for shelf in SHELVES
    )
    parts = [_anchored(f"tlkit.{name}", _directive(path)) for name, path in sorted(public_names().items())]
    return head + ".\n\n" + "\n\n".join(parts)


def _anchored(name: str, text: str) -> str:
    """What is said of a public name, with the name as its anchor."""
    return f'<a id="{name}"></a>\n\n`{name}`\n\n{text}'


def _directive(path: str) -> str:
    if path == "tlkit.__version__":
        return f"`{tlkit.__version__}`: the version."
    return f"::: {path}\n    options:\n      heading_level: 2"


def names_of(shelf: str) -> list[str]:
    """Public names of a shelf."""
    module = importlib.import_module(tlkit._FROM[shelf][0])
    return sorted(module.__all__)


def _of_shelf(shelf: str) -> str:
    path = tlkit._FROM[shelf][0]
    module = importlib.import_module(path)
    parts = [f"# tlkit.{shelf}\n\n{(module.__doc__ or '').strip()}"]
    for name in names_of(shelf):
        parts.append(_anchored(f"tlkit.{shelf}.{name}", _of_name(module, path, name)))
    return "\n\n".join(parts)


def _of_name(module: types.ModuleType, path: str, name: str) -> str:
    value = getattr(module, name, None)
    if isinstance(value, types.ModuleType):
        inside = f"::: {value.__name__}\n    options:\n      heading_level: 2"
        chosen = getattr(value, "__all__", None)
        return inside + (f"\n      members: {sorted(chosen)}" if chosen else "")
    return _directive(f"{path}.{name}")


# -- recipes


def _of_recipes() -> str:
    tables = re.findall(r"(?:^\|.*\|\n)+", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    (table,) = (table.replace("](docs/", "](") for table in tables if table.startswith("| recipe |"))
    parts = ["# Recipes\n\n`tlkit run NAME` runs one, `tlkit new NAME` copies it.", table.rstrip()]
    for path in sorted((ROOT / "recipes").glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        first = (ast.get_docstring(tree) or "").split("\n\n")
        code = "".join(f"\n\n```sh\n{text}\n```" for text in first[1:2])
        parts.append(f"## {path.stem}\n\n{first[0]}{code}\n\n```py\n{path.read_text(encoding='utf-8')}\n```")
    return "\n\n".join(parts)
