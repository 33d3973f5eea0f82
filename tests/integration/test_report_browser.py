"""The report in a real browser: what is visible, how wide it is, what it asks the network for."""

import dataclasses
import io

import numpy as np
import pytest
import synthetic
from browser import CHROMIUM, chromium
from PIL import Image

from tlkit import report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

SEEN = "document.querySelector('#{}').getBoundingClientRect()"
LONG = ("Ein_sehr_langer_Klassenname_ohne_jedes_Leerzeichen_" * 4, "<b>fett</b>", "短い", *synthetic.LABELS)


@pytest.fixture(scope="module")
def browser():
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    long = synthetic.run(LONG)
    command = dataclasses.replace(long, record={**long.record, "command": "tlkit run x --data " + "y" * 400})
    runs = {
        "demo": synthetic.run(),
        "long": command,
        "hundred": synthetic.run([f"class {i}" for i in range(100)]),
        "regress": synthetic.regression_run(),
    }
    return {name: report.write(run, folder / f"{name}.html") for name, run in runs.items()}


@pytest.mark.parametrize("name", ["demo", "long", "hundred", "regress"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(browser, pages, name, width):
    browser.open(pages[name], width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.body.scrollWidth") <= width


@pytest.mark.parametrize("name", ["demo", "long"])
def test_no_requests_and_no_complaints(browser, pages, name):
    browser.open(pages[name], 1280)
    browser.run("document.querySelectorAll('img').forEach(i => i.scrollIntoView())")
    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [390, 1280])
def test_main_parts_are_visible(browser, pages, width):
    browser.open(pages["demo"], width)
    for key in ("exports", "curves", "confusion", "mistakes", "balance", "left_out", "proof", "seconds", "reproduce"):
        box = browser.run(f"JSON.parse(JSON.stringify({SEEN.format(key)}))")
        assert box["height"] > 80 and box["width"] > 0.85 * min(width, 1040), key
    assert "%" in browser.run("document.querySelector('.score').innerText")
    assert browser.run("document.querySelectorAll('#curves svg path.curve').length") == 4
    drawn = (
        "[...document.querySelectorAll('#mistakes img')].filter(i => (i.loading = 'eager', i.decode(), i.src)).length"
    )
    assert browser.run(drawn) > 0


def test_labels_show_as_they_are_written(browser, pages):
    browser.open(pages["long"], 1280)
    assert "<b>fett</b>" in browser.run("document.querySelector('#per_class').innerText")
    assert browser.run("document.querySelectorAll('#per_class td b').length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_the_screenshot_is_not_blank(browser, pages, dark):
    browser.open(pages["demo"], 1280, dark=dark)
    image = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB")).astype(int)
    assert image.shape[0] > 2500 and image.shape[1] == 1280
    assert (image.mean() < 80) == dark
    bands = [band.std() for band in np.array_split(image, 12)]
    assert min(bands) > 3  # something is drawn in every twelfth of the page
    blue = (image[..., 2] - image[..., 0] > 90).mean()
    assert blue > 0.003  # curves, matrix and bars have their colour


def test_text_is_readable_on_its_ground(browser, pages):
    """WCAG contrast of main text, soft text and badges, light and dark."""
    script = """(() => { const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
        .map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
        return .2126*v[0] + .7152*v[1] + .0722*v[2]; };
      const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255,255,255)'; };
      return ['h1', '.lead', '.badge.good', '.badge.bad', '.warnings', '.chips span', 'footer', '.said', '#exports td']
        .map(q => { const e = document.querySelector(q), a = lum(getComputedStyle(e).color), b = lum(ground(e));
          return [q, (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]; }); })()"""
    for dark in (False, True):
        browser.open(pages["demo"], 1280, dark=dark)
        assert [(q, round(ratio, 2)) for q, ratio in browser.run(script) if ratio < 4.5] == []


def test_the_copy_button_copies_the_command(browser, pages):
    browser.open(pages["demo"], 1280)
    browser.run("document.querySelector('button[data-copy]').click()")
    assert browser.run("document.querySelector('button[data-copy]').hidden") is False
    assert browser.run("document.querySelector('#command').textContent").startswith("tlkit run image_classification")
