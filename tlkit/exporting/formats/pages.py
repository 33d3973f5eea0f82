"""A page that runs a TFLite file in the browser: a folder of static files, with LiteRT.js from npm.

Source: LiteRT.js is the npm package @litertjs/core of github.com/google-ai-edge/LiteRT, Apache-2.0.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.format import Format, Opened, Source, signatures_of
from tlkit.core.modality import Modality
from tlkit.core.naming import found
from tlkit.core.packages import NPM, Package, fetch
from tlkit.exporting import gates
from tlkit.exporting.formats import tflite as files

PAGE = Path(__file__).parents[1] / "web"
MODEL = "model.tflite"
_WASM = {
    "litert_wasm_internal.js": "68efb69f770e3f76aff36a377de629ca496c131b86ac0f0f4b592a1543a898eb",
    "litert_wasm_internal.wasm": "7280cf4471774867e385e6c3cd53e2b45e2975b80fea338fff4ef359b0865614",
    "litert_wasm_compat_internal.js": "4d8f894b7883654fd6e8439730aa41e79ceaab7d19184fc4f1f0b0f1a2a2c8a5",
    "litert_wasm_compat_internal.wasm": "5255c8ad06eabdbd2522cdebf6b22fc10faf74625c23a49b9e072570cd1fa41c",
}  # the second two for browsers without relaxed SIMD
PACKAGES = (
    Package(
        name="@litertjs/core",
        version="2.5.3",
        sha256="a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd",
        files={
            "dist/index.js": "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
            **{f"wasm/{name}": digest for name, digest in _WASM.items()},
        },
        download_mb=12.0,
        archive=NPM,
    ),
    Package(
        name="@litertjs/wasm-utils",
        version="2.5.3",
        sha256="ce2a1f8379c067be49e59752e5a7f40db6be09f6e497f0f11e59f17b515366a7",
        files={"dist/index.js": "e0e20bc28ab001ac732cf40d15b6eebd24fb0deaeb95eeba5100f51eebf015f2"},
        download_mb=0.1,
        archive=NPM,
    ),
)
PLACES = {  # in the package -> in the page's folder `litert`
    ("@litertjs/core", "dist/index.js"): "core.js",
    ("@litertjs/wasm-utils", "dist/index.js"): "wasm-utils.js",
    **{("@litertjs/core", f"wasm/{name}"): f"wasm/{name}" for name in _WASM},
}


def write_float32(source: Source, folder: Path) -> None:
    """The page of a float32 file."""
    _write(source, folder, files.write_float32)


def write_int8(source: Source, folder: Path) -> None:
    """The page of a file of 8 bits."""
    _write(source, folder, files.write_int8)


def open_folder(folder: Path, threads: int) -> Opened:
    """The TFLite file of a page, ready to run."""
    return files.open_file(folder / MODEL, threads)


def _write(source: Source, folder: Path, write_model: Callable[[Source, Path], None]) -> None:
    card = source.metadata.card
    if card.get("deployed"):
        raise InputError(
            "A page asks one function once, and this model answers by a loop over several: leave `web` out."
        )
    litert = _litert()
    folder.mkdir()
    write_model(source, folder / MODEL)
    about = _about(source, folder / MODEL)
    (folder / "model.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "reading.js").write_text(_reading(card), encoding="utf-8")
    (folder / "files").mkdir()
    for name, content in source.metadata.files.items():
        (folder / "files" / name).write_bytes(content)
    for file in ("index.html", "page.js", "page.css", "numbers.js", "texts.js"):
        shutil.copy(PAGE / file, folder)
    shutil.copytree(litert, folder / "litert")


def _reading(card: Mapping[str, Any]) -> str:
    """The JavaScript by which the page reads a file: the modality's, or numbers as they are."""
    try:
        script = found(str(card["modality"]), Modality, "modalities").calls.get("page")
    except InputError:
        script = None  # a user's own, which this process did not import
    return script or (PAGE / "numbers.js").read_text(encoding="utf-8")


def _about(source: Source, model: Path) -> dict[str, Any]:
    """What the page knows of the model: its signature, its labels, and how its examples were read."""
    about = source.metadata
    signature, specs = next(iter(signatures_of(files.open_file(model, 1)).items()))
    for name, spec in specs["inputs"].items():
        if spec["dtype"] not in ("float32", "int32", "uint8"):
            raise InputError(f"LiteRT.js takes no {spec['dtype']}, and the model's input {name!r} is: leave `web` out.")
    return {
        "name": about.name.split(" (")[0],
        "description": about.description,
        "file": MODEL,
        "signature": signature,
        "inputs": [_tensor(name, spec, about.inputs, about.files) for name, spec in specs["inputs"].items()],
        "outputs": [_tensor(name, spec, about.outputs, about.files) for name, spec in specs["outputs"].items()],
        "settings": {name: dict(arguments) for name, arguments in about.card.get("pipeline", ())},
    }


def _tensor(name: str, spec: Mapping[str, Any], tables: Mapping[str, Any], content: Mapping[str, bytes]) -> Any:
    table = tables.get(name, {})
    labels = content.get(str(table[6][0][0]), b"").decode().splitlines() if 6 in table else []
    role = str(table.get(0, name))
    return {
        "name": name, **spec, "says": str(table.get(1, "")), "labels": labels, "role": "" if role == name else role,
    }  # fmt: skip


@functools.cache
def _litert() -> Path:
    """LiteRT.js in the user's cache.

    Raises:
        InputError: If it would have to be fetched, and cannot be.
    """

    def fill(folder: Path) -> None:
        scratch = folder / "fetched"
        for package in PACKAGES:
            (scratch / package.name).mkdir(parents=True)
            for inside, path in fetch(package, scratch / package.name).items():
                target = folder / PLACES[package.name, inside]
                target.parent.mkdir(exist_ok=True)
                shutil.copy(path, target)
        shutil.rmtree(scratch)

    try:
        return kept_folder(cache_dir() / "web" / f"litertjs-{PACKAGES[0].version}", fill)
    except (DownloadError, OfflineError) as error:
        raise InputError(
            f"The page needs LiteRT.js, which npm fetches once (nodejs.org brings npm). {error}"
        ) from error


CALLS = Path(__file__).with_name("page_calls.md.j2").read_text(encoding="utf-8")
web = Format("web", "web", write_float32, open_folder, scales=True, calls=CALLS)
web_int8 = Format(
    "web_int8", "web_int8", write_int8, open_folder, gates.of_bytes, scales=True, calls=CALLS, measures=True
)
