"""The try-it page: a browser with LiteRT.js says what LiteRT says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import closing
from pathlib import Path
from wave import open as opened_wave

import browser
import numpy as np
import page_checks
import pytest
import readme_checks
from exporting_runs import classifier, stripes
from PIL import Image

import tlkit
from tlkit.core.errors import InputError
from tlkit.core.format import Source
from tlkit.core.progress import quiet
from tlkit.exporting import checked_formats, export, formats
from tlkit.exporting.formats import pages
from tlkit.exporting.readme import write_readme
from tlkit.formats import tflite, tflite_metadata
from tlkit.report import run_json
from tlkit.tokenizing.wordpiece import INPUTS, WordPiece
from tlkit.tokenizing.words import Words


def test_pages_are_written_where_they_are_named():
    assert not {"web", "web_int8"} & {format.name for format in checked_formats(None)}
    assert [format.file for format in checked_formats(("web", "web_int8"))] == ["web", "web_int8"]


def test_without_npm_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TLKIT_OFFLINE", raising=False)
    pages._litert.cache_clear()
    source = Source(tmp_path, None, tflite_metadata.Metadata("m", "", {}, {}, card={"modality": "image"}))
    with pytest.raises(InputError, match=r"npm fetches once \(nodejs\.org brings npm\)"):
        formats.web.write(source, tmp_path / "web")
    looped = dataclasses.replace(source.metadata, card={"modality": "dialogue", "deployed": True})
    with pytest.raises(InputError, match="by a loop over several: leave `web` out"):
        formats.web.write(dataclasses.replace(source, metadata=looped), tmp_path / "web")
    assert not (tmp_path / "web").exists()
    pages._litert.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    if browser.CHROMIUM is None or shutil.which("npm") is None:
        pytest.skip("there is no Chromium, or no npm to fetch LiteRT.js with")
    place = tmp_path_factory.mktemp("pages")
    exports = export(classifier(), place, ("float32", "web", "web_int8"))
    run = dataclasses.replace(classifier(), exports=exports)
    write_readme(run, run_json(run), place)
    return place


@pytest.fixture(scope="module")
def page():
    if browser.CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with browser.chromium() as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("web", 1e-4), ("web_int8", 1 / 128)])
def test_a_page_says_what_litert_says(folder, page, name, most, tmp_path):
    images, _ = stripes(3, seed=31)
    wide, _ = stripes(1, seed=32, size=100)
    opened = tflite.open_tflite(folder / name / "model.tflite", threads=1)
    with page_checks.served(folder / name) as address:
        page_checks.opened(page, address)
        for number, image in enumerate((*images, wide[0])):
            file = tmp_path / f"{number}.png"
            Image.fromarray(image).save(file)
            answer = page_checks.said(page, file)
            small = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR), np.float32)
            pixels = np.reshape(answer["inputs"]["image"], (1, 32, 32, 3))
            assert np.abs(pixels - small).max() <= 1 and np.mean(pixels != small) < 0.01  # as Pillow does, to rounding
            expected = opened.call({"image": pixels})["probabilities"][0]
            np.testing.assert_allclose(answer["outputs"]["probabilities"], expected, atol=most)
            shown = page.run("document.querySelector('.bar b').textContent")
            assert (
                shown
                == json.loads((folder / name / "model.json").read_text())["outputs"][0]["labels"][expected.argmax()]
            )
        assert all(url.startswith(address) for url in page.requests())


@pytest.mark.slow
def test_what_is_no_image_is_a_sentence_and_a_phone_needs_no_scrolling(folder, page, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with page_checks.served(folder / "web") as address:
        page_checks.opened(page, address, 390, dark=True)
        assert page_checks.said(page, tmp_path / "a.png") == {}
        assert page.run("document.getElementById('state').textContent").startswith("This file is no image")
        assert page.run("document.documentElement.scrollWidth") == 390


@pytest.mark.slow
def test_the_readme_s_lines_run_in_a_browser(folder, page, tmp_path):
    (code,) = readme_checks.blocks(folder, "js")
    place = tmp_path / "site"
    shutil.copytree(folder / "web", place)
    logger = "console.log = (name, values) => { (window.said ??= {})[name] = [...values]; };"
    imports, body = code.split("\n", 1)
    (place / "lines.js").write_text(f"{imports}\n{logger}\n" + body.replace("'wasm/'", "'litert/wasm/'"))
    index = (place / "index.html").read_text()
    (place / "index.html").write_text(index.replace('src="page.js"', 'src="lines.js"'))
    with page_checks.served(place) as address:
        page.call("Page.navigate", url=address)
        answer = page_checks.wait(page, "window.said")
    opened = tflite.open_tflite(folder / "model.tflite", threads=1)
    expected = opened.call({"image": np.zeros((1, 32, 32, 3))})["probabilities"][0]
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-4)


def read_by(page: browser.Browser, folder: Path, modality: str, about: dict, source: str) -> dict[str, list[float]]:
    """What the page's module of a modality makes of a Blob, a JavaScript expression: numbers by name of the input."""
    (folder / "reading.js").write_text(pages._reading({"modality": modality}))
    (folder / "model.json").write_text(json.dumps(about))
    shutil.copy(pages.PAGE / "numbers.js", folder)
    (folder / "index.html").write_text("<title>reading</title>")
    with page_checks.served(folder) as address:
        page.call("Page.navigate", url=address)
        page_checks.wait(page, "document.title === 'reading'")
        page.run(
            f"(async () => {{ const source = {source}; const own = await import('./reading.js');"
            f"window.made = (await own.read(source, {json.dumps(about)})).inputs; }})()"
        )
        lists = "Object.fromEntries(Object.entries(window.made).map(([name, values]) => [name, [...values]]))"
        return dict(page_checks.wait(page, f"window.made && {lists}"))


@pytest.mark.slow
def test_texts_and_recordings_are_read_as_in_python(page, tmp_path):
    words = Words.of(("[PAD]", "good", "naïve", "film"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "vocab.txt").write_text("".join(f"{word} {row}\n" for word, row in words.rows.items()))
    text, about = "A GOOD, naïve-film! good unknown", {"inputs": [{"name": "x", "shape": [1, 8]}]}
    inputs = read_by(page, tmp_path, "words", about, f"new Blob([{json.dumps(text)}])")["x"]
    assert inputs == words.inputs(text, 8).tolist()

    wave = np.random.default_rng(0).integers(-9000, 9000, (600, 2), np.int16)
    with closing(opened_wave(str(tmp_path / "a.wav"), "wb")) as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(wave.tobytes())
    settings = {"audio": {"sample_rate": 16_000}}
    about = {"inputs": [{"name": "x", "shape": [1, 800]}], "settings": settings}
    inputs = read_by(page, tmp_path, "audio", about, "await (await fetch('a.wav')).blob()")["x"]
    assert np.abs(np.asarray(inputs[:600]) - wave.mean(axis=1) / 32768).max() < 1e-4 and not any(inputs[600:])


TEXTS = (
    "Unaffable, isn't it? naïve CAFÉ\u0301s",
    "中国 und  Straße\tİstanbul Σίσυφος",
    "a\u200bb \ufffd x [SEP] ẞ",
    "un" * 60,
    "",
    " ".join(["unaffable!"] * 9),
)


@pytest.mark.slow
@pytest.mark.parametrize("lower", [True, False])
def test_word_pieces_of_a_page_are_those_of_python(page, tmp_path, lower):
    letters = "abcdefghijklmnopqrstuvwxyzCAFENIUMS0σίςςçéß中国!?,'[]"
    pieces = dict.fromkeys(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", *letters, *(f"##{c}" for c in letters)]
    )
    wordpiece, length = WordPiece(tuple(pieces), lower), 24
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    inputs = [{"name": name, "shape": [1, length]} for name in INPUTS]
    about = {"inputs": inputs, "settings": {"word_pieces": {"lower_case": lower}}}
    for text in TEXTS:
        made = read_by(page, tmp_path, "text", about, f"new Blob([{json.dumps(text)}])")
        assert made == {name: row.tolist() for name, row in wordpiece.inputs(text, length).items()}, text


@pytest.mark.slow
def test_without_a_vocabulary_a_page_takes_numbers(page, tmp_path):
    about = {"inputs": [{"name": "ids", "shape": [1, 3]}], "settings": {}}
    assert read_by(page, tmp_path, "text", about, "new Blob(['[1, 2, 3]'])") == {"ids": [1, 2, 3]}


def of_texts(module_folder, folder):
    """A model of texts with its page, and a file for it."""
    texts = [f"the {('good', 'bad')[i % 2]} film" for i in range(24)]
    data = tlkit.data.text.from_arrays(texts, [("first", "second")[i % 2] for i in range(24)])
    layer = tlkit.HubLayer(module_folder("bert"), name="backbone")
    run = tlkit.finetune(
        layer, tlkit.tasks.classify(data.labels), data, [tlkit.Phase(epochs=2, lr=3e-2)], length=12, out=folder,
        progress=quiet,
    )  # fmt: skip
    (folder / "new.txt").write_text("The film: GOOD, bad and good!")
    return tlkit.export(run, formats=("web",), progress=quiet), folder / "new.txt"


def of_sounds(module_folder, folder):
    rng = np.random.default_rng(0)
    waves = [np.sin(np.arange(4000) * (0.1, 0.9)[i % 2] + rng.uniform(0, 6)).astype(np.float32) / 2 for i in range(24)]
    data = tlkit.data.audio.from_arrays(
        waves, [("low", "high")[i % 2] for i in range(24)], sample_rate=16_000, seconds=0.25
    )
    layer = tlkit.HubLayer(module_folder("waveform"), name="backbone")
    run = tlkit.finetune(
        layer, tlkit.tasks.classify(data.labels), data, [tlkit.Phase(epochs=2, lr=3e-2)], out=folder, progress=quiet
    )
    with closing(opened_wave(str(folder / "new.wav"), "wb")) as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((9000 * waves[1]).astype(np.int16).tobytes())
    return tlkit.export(run, formats=("web",), progress=quiet), folder / "new.wav"


DROPPED = """(async () => {
  const given = new DataTransfer();
  given.items.add(new File([await (await fetch('given')).blob()], NAME, {type: TYPE}));
  window.tlkit.last = null;
  const dropped = new DragEvent('drop', {dataTransfer: given, bubbles: true, cancelable: true});
  document.getElementById('drop').dispatchEvent(dropped);
})()"""


@pytest.mark.slow
@pytest.mark.usefixtures("module_cache")
@pytest.mark.parametrize(("of", "kind"), [(of_texts, "text/plain"), (of_sounds, "audio/wav")])
def test_what_a_page_says_of_a_dropped_text_or_recording_litert_says_too(page, module_folder, tmp_path, of, kind):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch LiteRT.js with")
    run, file = of(module_folder, tmp_path)
    opened = tflite.open_tflite(run.folder / "web" / "model.tflite", threads=1)
    with page_checks.served(run.folder / "web") as address:
        shutil.copy(file, run.folder / "web" / "given")
        page_checks.opened(page, address)
        page.run(DROPPED.replace("NAME", json.dumps(file.name)).replace("TYPE", json.dumps(kind)))
        page_checks.wait(page, "!!(window.tlkit.last || document.querySelector('#state.wrong'))")
        answer = page_checks.last(page)
    inputs = {name: np.array(values)[None] for name, values in answer["inputs"].items()}
    expected = opened.call(inputs)["probabilities"][0]
    np.testing.assert_allclose(answer["outputs"]["probabilities"], expected, atol=1e-4)
    (prediction,) = tlkit.predict(run.folder, [file], format="web")
    assert prediction.scores[0][1] == pytest.approx(max(answer["outputs"]["probabilities"]), abs=1e-3)
