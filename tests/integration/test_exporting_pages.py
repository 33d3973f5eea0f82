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
import painted
import pytest
import readme_checks
from exporting_runs import BACKGROUND, classifier, stripes
from PIL import Image, ImageCms

import tlkit
from tlkit import modalities
from tlkit.core.errors import InputError
from tlkit.core.examples import Pipeline
from tlkit.core.format import Source
from tlkit.core.modality import FileInfo
from tlkit.core.progress import quiet
from tlkit.data.decoding import ENCODINGS
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


@pytest.mark.long
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


@pytest.mark.long
def test_what_is_no_image_is_a_sentence_and_a_phone_needs_no_scrolling(folder, page, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with page_checks.served(folder / "web") as address:
        page_checks.opened(page, address, 390, dark=True)
        assert page_checks.said(page, tmp_path / "a.png") == {}
        assert page.run("document.getElementById('state').textContent").startswith("This file is no image")
        assert page.run("document.documentElement.scrollWidth") == 390


@pytest.mark.long
def test_a_page_that_cannot_run_says_why(folder, page, tmp_path):
    state = "document.querySelector('#state.wrong')?.textContent"
    page_checks.opened(page, (folder / "web" / "index.html").as_uri(), ready=state)
    assert page.run(state).startswith("Browsers run this page from a server only. In its folder: python -m http.server")
    for missing in ("model.json", "page.js"):
        broken = tmp_path / missing.replace(".", "_")
        shutil.copytree(folder / "web", broken)
        (broken / missing).unlink()
        with page_checks.served(broken) as address:
            page_checks.opened(page, address, ready=state)
            assert page.run(state).startswith("This page is not whole: ")


@pytest.mark.long
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
    """What the page's module of a modality makes of a Blob, a JavaScript expression: numbers by name of the input.

    What it says is wrong is the name of an empty list.
    """
    (folder / "reading.js").write_text(pages._reading({"modality": modality}))
    (folder / "model.json").write_text(json.dumps(about))
    for script in ("numbers.js", "texts.js"):
        shutil.copy(pages.PAGE / script, folder)
    (folder / "index.html").write_text("<title>reading</title>")
    with page_checks.served(folder) as address:
        page.call("Page.navigate", url=address)
        page_checks.wait(page, "document.title === 'reading'")
        page.run(
            f"(async () => {{ const source = {source}; const own = await import('./reading.js');"
            f"window.made = (await own.read(source, {json.dumps(about)})).inputs; }})()"
            ".catch((error) => { window.made = {[error.message]: []}; })"
        )
        lists = "Object.fromEntries(Object.entries(window.made).map(([name, values]) => [name, [...values]]))"
        return dict(page_checks.wait(page, f"window.made && {lists}"))


def turned_primaries() -> bytes:
    """A colour profile in which red and blue have changed places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}  # its table of tags
    profile[places[b"rXYZ"] : places[b"rXYZ"] + 4] = b"bXYZ"
    profile[places[b"bXYZ"] : places[b"bXYZ"] + 4] = b"rXYZ"
    return bytes(profile)


def written_images(folder: Path) -> None:
    """A photo that lies on its side with clear pixels, one with a profile, one of a palette, one of 16 bits, a JPEG."""
    rng = np.random.default_rng(0)
    readme_checks.turned_and_transparent(folder / "turned.png")
    colours = np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(colours).save(folder / "profile.png", icc_profile=turned_primaries())
    palette = Image.fromarray(colours).quantize(16)
    palette.save(folder / "palette.png", transparency=3)
    Image.fromarray(rng.integers(0, 65536, (40, 48)).astype(np.uint16)).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 8  # orientation
    Image.fromarray(colours).save(folder / "profile.jpg", exif=exif, icc_profile=turned_primaries(), quality=95)


IMAGES = ("turned.png", "profile.png", "palette.png", "deep.png", "profile.jpg")


@pytest.mark.long
@pytest.mark.parametrize("white", [None, 4095.0, 100.0])
def test_images_are_read_as_in_python(page, tmp_path, white):
    written_images(tmp_path)
    settings = {"image": {"background": list(BACKGROUND), "white": white}}
    about = {"inputs": [{"name": "x", "shape": [1, 24, 20, 3]}], "settings": settings}
    info = FileInfo(Pipeline().then("image", **settings["image"]), {"x": (24, 20, 3)}, {})
    for name in IMAGES:
        pixels = read_by(page, tmp_path, "image", about, f"await (await fetch('{name}')).blob()")
        if name == "deep.png" and white is not None:
            (sentence,) = pixels
            assert sentence.startswith("A PNG of 16 bits") and f"{white:.0f} was white" in sentence
            continue
        expected = modalities.image.parse(tmp_path / name, info).inputs[0]
        away = np.abs(np.reshape(pixels["x"], (24, 20, 3)) - expected)
        most = 4 if name.endswith("jpg") else 1  # two decoders
        assert away.max() <= most * (2.55 if white == 100 else 1), name


@pytest.mark.long
def test_files_of_text_are_read_in_the_encoding_of_training(page, tmp_path):
    words = Words.of(("[PAD]", "café", "naïve"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "vocab.txt").write_text("".join(f"{word} {row}\n" for word, row in words.rows.items()))

    def read(encoding: str, content: bytes, kind: str = "File") -> dict[str, list[float]]:
        about = {"inputs": [{"name": "x", "shape": [1, 4]}], "settings": {"text": {"encoding": encoding}}}
        name = ", 'a.txt'" if kind == "File" else ""
        return read_by(page, tmp_path, "words", about, f"new {kind}([new Uint8Array({list(content)})]{name})")

    expected = {"x": [0, 1, 2, 0]}
    for encoding in ("utf-8", "latin-1", "cp1252", "utf-16", "utf-8-sig"):
        assert read(encoding, "café naïve".encode(encoding)) == expected, encoding
        assert read(encoding, "café naïve".encode(), "Blob") == expected, f"{encoding}: what is written is Unicode"
    for encoding in ("utf-8", "utf-16"):
        assert read(ENCODINGS, "\ufeffcafé naïve".encode(encoding)) == expected
    assert list(read(ENCODINGS, "café".encode("cp1252"))) == [
        "This file is not utf-8: save it as that, or write the text below."
    ]
    assert list(read("cp850", b"a")) == ["The browser reads no files in cp850: write the text below instead."]


STUB = """
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const loadLiteRt = () => wait(1500);
export class Tensor { constructor(values) { this.values = values; } delete() {} }
export const loadAndCompile = async () => ({run: async (_, {x}) => ({y: {data: async () => x.values, delete() {}}})});
"""
SLOW = """
export const accept = '*', hint = 'here';
export async function read(source) {
  const text = await source.text();
  await new Promise((resolve) => setTimeout(resolve, 100 * Number(text)));
  if (text === '9') throw new Error('late');
  return {inputs: {x: [Number(text)]}};
}
"""


def asked(number: int) -> str:
    return f"{{ at.value = '{number}'; document.getElementById('written').requestSubmit(); }}"


@pytest.mark.long
def test_a_page_answers_what_it_was_asked_last_and_waits_for_its_model(page, tmp_path):
    shutil.copytree(pages.PAGE, tmp_path / "web")
    (tmp_path / "web" / "reading.js").write_text(SLOW)
    (tmp_path / "web" / "litert").mkdir()
    for name, script in (("core.js", STUB), ("wasm-utils.js", "")):
        (tmp_path / "web" / "litert" / name).write_text(script)
    tensor = {"name": "x", "shape": [1], "dtype": "float32", "labels": [], "role": "", "says": ""}
    about = {"name": "m", "description": "", "inputs": [tensor], "outputs": [tensor | {"name": "y"}], "settings": {}}
    (tmp_path / "web" / "model.json").write_text(json.dumps(about))
    with page_checks.served(tmp_path / "web") as address:
        page_checks.opened(page, address, ready="window.tlkit")
        assert not page.run("window.tlkit.ready")
        page.run(f"const at = document.getElementById('text'); {asked(1)}")
        page_checks.wait(page, "window.tlkit.last || document.querySelector('.wrong')")
        assert page_checks.last(page)["outputs"] == {"y": [1]}, "asked before the model was there"
        page.run("".join(map(asked, (9, 5, 0))))
        page_checks.wait(page, "window.tlkit.last")
        page.run("window.done = false; setTimeout(() => { window.done = true; }, 1200)")
        page_checks.wait(page, "window.done")
        assert page_checks.last(page)["outputs"] == {"y": [0]} and not page.run("!!document.querySelector('.wrong')")
        assert page.run("document.getElementById('outputs').innerText").splitlines()[-1] == "0"


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_without_a_vocabulary_a_page_takes_numbers(page, tmp_path):
    about = {"inputs": [{"name": "ids", "shape": [1, 3]}], "settings": {}}
    assert read_by(page, tmp_path, "text", about, "new Blob(['[1, 2, 3]'])") == {"ids": [1, 2, 3]}


def of_boxes(folder):
    """A detector that was not trained, and is sure of what it says."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 64, 64, 3)).astype(np.uint8)
    boxes = [np.array([[8, 8, 20, 30]], np.float32)] * 6
    data = tlkit.data.boxes.from_arrays(
        images, boxes, [["a"], ["b"]] * 3, order="xywh", unit="pixels", labels=("a", "b"), split=(0.5, 0.2, 0.3)
    )
    task = tlkit.tasks.detect(data.labels, strides=(4, 8, 16), width=8)
    model = tlkit.build(painted.bars_module(folder / "module"), task, image_size=(64, 64))
    for variable in model.trainable_variables:
        if variable.name == "bias" and np.allclose(variable, variable[0]) and variable[0] < -1:
            variable.assign(np.zeros(variable.shape))  # of labels: they begin at a hundredth
    return tlkit.Run(model, task, data), images[0]


@pytest.mark.long
@pytest.mark.usefixtures("module_cache")
def test_a_page_draws_the_boxes_that_litert_gives(page, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch LiteRT.js with")
    run, image = of_boxes(tmp_path)
    export(run, tmp_path, ("web",))
    Image.fromarray(image).save(tmp_path / "a.png")
    expected = tflite.open_tflite(tmp_path / "web" / "model.tflite", threads=1).call({"image": image[None]})
    with page_checks.served(tmp_path / "web") as address:
        page_checks.opened(page, address)
        outputs = page_checks.said(page, tmp_path / "a.png")["outputs"]
        drawn = page.run("""(() => {
            const around = document.querySelector('#shown canvas').getBoundingClientRect();
            return [...document.querySelectorAll('#shown .box')].map((box) => {
                const {top, left, bottom, right} = box.getBoundingClientRect();
                const places = [top - around.top, left - around.left, bottom - around.top, right - around.left];
                return [box.innerText, ...places.map((place) => place / around.width)];
            });
        })()""")
    np.testing.assert_allclose(outputs["scores"], expected["scores"][0], atol=1e-4)
    sure = [row for row, score in enumerate(outputs["scores"]) if score >= 0.3]
    assert len(sure) > 2
    assert [row[0] for row in drawn] == [run.task.labels[int(outputs["classes"][row])] for row in sure]
    np.testing.assert_allclose([row[1:] for row in drawn], np.reshape(outputs["boxes"], (-1, 4))[sure], atol=5e-3)


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


@pytest.mark.long
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
