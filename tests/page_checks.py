"""A try-it page in a headless browser: served on this machine alone, given a file, and asked what it says."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as browsers

LIMIT_S = 240.0


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    timeout = LIMIT_S

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder; the server ends with the block."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


READY = "window.tlkit?.ready || document.querySelector('.wrong')?.textContent"  # a try-it page, or why it is not


def opened(page: browsers.Browser, address: str, width: int = 1000, *, dark: bool = False, ready: str = READY) -> None:
    """Load the page in a window of that width, and wait until an expression says that it is ready."""
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    scheme = "dark" if dark else "light"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.events.clear()
    page.call("Page.navigate", url=address)
    page.wait_for("Page.loadEventFired")
    wait(page, ready)


def wait(page: browsers.Browser, script: str) -> Any:
    """The value of an expression, once it has one."""
    end = time.monotonic() + LIMIT_S
    while not (value := page.run(script)):
        assert time.monotonic() < end, (page.run("document.body.innerText"), page.complaints())
        time.sleep(0.1)
    return value


def give(page: browsers.Browser, file: Path) -> None:
    """Choose a file, as a user does."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)


def said(page: browsers.Browser, file: Path) -> dict[str, Any]:
    """Inputs and outputs, lists of numbers by name, of a file that is given to the page."""
    page.run("window.tlkit.last = null; document.getElementById('state').className = ''")
    give(page, file)
    wait(page, "!!(window.tlkit.last || document.querySelector('#state.wrong'))")
    return last(page)


def last(page: browsers.Browser) -> dict[str, Any]:
    """Inputs and outputs of what the page was asked last, as `said` gives them."""
    return dict(page.run(
        "Object.fromEntries(Object.entries(window.tlkit.last ?? {}).map(([kind, own]) => [kind, "
        "Object.fromEntries(Object.entries(own).map(([name, values]) => [name, [...values]]))]))"
    ))  # fmt: skip


LOOP_PAGE = """<!doctype html><link rel="icon" href="data:,"><script type="importmap">
{"imports": {"@litertjs/core": "./litert/core.js", "@litertjs/wasm-utils": "./litert/wasm-utils.js"}}
</script><script type="module">
import * as loop from './loop.js';
try { window.loop = {...loop, model: await loop.load('model.tflite')}; } catch (error) { window.wrong = String(error); }
</script>"""


@contextlib.contextmanager
def looped(folder: Path, model: Path, lines: str) -> Iterator[browsers.Browser]:
    """A page in which the names that lines of JavaScript export are in `window.loop`, with a file as its `model`."""
    import shutil

    from tlkit.exporting.formats import pages

    shutil.copytree(pages._litert(), folder / "litert")
    shutil.copytree(folder / "litert" / "wasm", folder / "wasm")
    shutil.copy(model, folder / "model.tflite")
    (folder / "loop.js").write_text(lines, encoding="utf-8")
    (folder / "index.html").write_text(LOOP_PAGE, encoding="utf-8")
    with served(folder) as address, browsers.chromium() as page:
        page.call("Page.navigate", url=address)
        page.wait_for("Page.loadEventFired")
        wait(page, "window.loop || window.wrong")
        assert not page.run("window.wrong"), (page.run("window.wrong"), page.complaints())
        yield page


def promised(page: browsers.Browser, script: str) -> Any:
    """What a promise gives, as plain data."""
    page.run(f"window.said = null; ({script}).then((said) => {{ window.said = {{said}}; }}, (e) => {{ window.said = "
             "{wrong: String(e)}; })")  # fmt: skip
    wait(page, "window.said")
    assert page.run("window.said.wrong") is None, page.run("window.said.wrong")
    return page.run("window.said.said")
