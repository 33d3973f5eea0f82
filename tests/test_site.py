"""The site holds every public name, asks no network, and is built without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import page_checks
import pytest
from browser import CHROMIUM, chromium

import tlkit

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[1]


def hook():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_public_name_is_missing_from_the_pages():
    pages = hook()
    assert {*pages.public_names(), *pages.SHELVES} == set(tlkit.__all__)
    text = pages._of_names()
    assert all(f"`tlkit.{name}`" in text for name in tlkit.__all__)
    for shelf in pages.SHELVES:
        assert all(f"`tlkit.{shelf}.{name}`" in pages._of_shelf(shelf) for name in pages.names_of(shelf))


def test_no_recipe_decision_or_guide_is_missing():
    pages = hook()
    recipes = pages._of_recipes()
    assert all(f"## {path.stem}\n" in recipes for path in (ROOT / "recipes").glob("[a-z]*.py"))
    assert "| recipe |" in recipes and "\n|---|" in recipes and "| extra |" not in recipes
    assert pages._of_decisions().count("](") == len(list((ROOT / "docs" / "decisions").glob("*.md")))

    config = types.SimpleNamespace(nav=["index.md", {"Guides": ["image_classification.md", "methods/"]}])
    shown = set(pages._pages(pages.on_config(config).nav))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= shown


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.long
def test_the_site_is_built_strictly_and_asks_no_network(site):
    pages = list(site.rglob("*.html"))
    names = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    assert all(f'id="tlkit.{name}"' in names for name in tlkit.__all__ if name not in hook().SHELVES)
    assert names.count('class="doc doc-heading"') > len(tlkit.__all__), "names without what is said of them"
    assert "<table>" in (site / "recipes.html").read_text()
    fetched = r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]*)"'
    addresses = {url for page in pages for url in re.findall(fetched, page.read_text())}
    assert len(pages) > 50 and (site / "search" / "search_index.json").is_file()
    assert not addresses, addresses


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
@pytest.mark.timeout(1200)
def test_the_site_fits_a_desktop_and_a_phone(site):
    pages = sorted(path for path in site.rglob("*.html") if path.name != "404.html")
    with chromium() as browser:
        for width in (1280, 390):
            for path in pages:
                browser.open(path, width)
                wide = browser.run("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{path.relative_to(site)} is {wide} px wider than a window of {width}"
                shown = browser.run("document.querySelector('article h1').getBoundingClientRect().width")
                assert 0 < shown <= width and not [url for url in browser.requests() if not url.startswith("file:")]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_search_finds_a_public_name_and_a_word_of_a_guide(site):
    field = "document.querySelector('[data-md-component=search-query]')"
    with chromium() as browser, page_checks.served(site) as address:
        for query, page in (("integrated_gradients", "explain.html"), ("coreset_sampling_ratio", "anomaly")):
            page_checks.opened(browser, f"{address}index.html", ready=f"!!{field}")
            browser.run(f"{field}.focus()")
            browser.call("Input.insertText", text=query)
            links = page_checks.wait(
                browser, "[...document.querySelectorAll('.md-search-result__link')].map((link) => link.href).join(' ')"
            )
            assert page in links, (query, links)
        assert all(url.startswith((address, "blob:")) for url in browser.requests())
