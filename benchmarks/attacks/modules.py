"""Hostile, drawn, malformed and clean modules; archives and Keras files by strangers."""

import atexit
import contextlib
import functools
import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attacks import library
from attacks.base import base
from attacks.cases import Case, Outcome, command, either, gives, refused

ROOT = Path(__file__).parents[2]
DRAWN = 60  # random graphs that hide a read, and as many clean twins
FLIPPED = 60  # saved_model.pb with random bytes changed
APPLICATIONS = (
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0"),
    *("ResNet50V2", "DenseNet121", "NASNetMobile"),
)
REFUSED = refused()
ZOO = Path(os.environ.get("TLKIT_CACHE") or Path.home() / ".cache/tlkit") / "zoo"


def cases() -> Iterator[Case]:
    """Hostile ones first."""
    base()  # here, not in every case
    yield from _hostile()
    yield from _drawn()
    yield from _malformed()
    yield from _archives()
    yield from _keras_files()
    yield from _clean()


@functools.cache
def _library() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tlkit-modules-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = Path(__file__).with_name("library.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, cwd=ROOT, capture_output=True)
    return folder


def _opened(folder: Path) -> Any:
    from tlkit.hub import open_module

    return open_module(folder)


# Modules that attack


def _hostile() -> Iterator[Case]:
    for number, name in enumerate(library.HOSTILE):

        def act(folder: Path, number=number) -> Any:
            try:
                return _opened(_library() / "hostile" / str(number))
            finally:
                _nothing_beside(folder)

        def looked_at(_folder: Path, number=number) -> Any:
            return command("inspect", _library() / "hostile" / str(number))

        yield Case("hostile modules", f"open {name}", act, _bypassed(refused()), timeout_s=120)
        if name.startswith("bypass"):
            unsafe = _printed("nothing found", "unsafe")
            yield Case("hostile modules", f"inspect {name}", looked_at, unsafe, timeout_s=120)


def _nothing_beside(folder: Path) -> None:
    left = list(folder.iterdir())
    if left:
        raise RuntimeError(f"the module wrote {left}")


def _bypassed(answer: Callable[[Outcome], str]) -> Callable[[Outcome], str]:
    """The answer, but a module that opened is called what it is."""

    def wrong(outcome: Outcome) -> str:
        if not outcome.trace and not outcome.sentence:
            return "bypass: the module was opened"
        return answer(outcome)

    return wrong


def _printed(without: str, word: str) -> Callable[[Outcome], str]:
    def wrong(outcome: Outcome) -> str:
        if outcome.trace or "Traceback (most recent" in outcome.printed:
            return f"traceback: {outcome.error[:200]}"
        told = outcome.printed.lower()
        return "" if word in told and without not in told else f"bypass: {outcome.printed[:200]!r}"

    return wrong


def _drawn() -> Iterator[Case]:
    """Graphs that are never loaded: one step of the evil one puts in another file's name."""
    for seed in range(10_000, 10_000 + DRAWN):
        for evil in (True, False):

            def act(folder: Path, seed=seed, evil=evil) -> Any:
                import hub_graphs

                from tlkit.hub import check

                with warnings.catch_warnings():
                    warnings.simplefilter("ignore" if evil else "error")
                    return check(hub_graphs.write(folder / "m", seed, evil=evil))

            right = _bypassed(refused()) if evil else gives(lambda scanned: not scanned.findings, "without a finding")
            yield Case("drawn graphs", f"{seed} {'evil' if evil else 'clean'}", act, right)


# Modules that are broken


def _malformed() -> Iterator[Case]:
    def case(name: str, damage: Callable[[Path], object], wrong: Callable[[Outcome], str]) -> Case:
        def act(folder: Path) -> Any:
            copy = shutil.copytree(_library() / "clean" / _number("nested"), folder / "m")
            damage(Path(copy))
            return _opened(folder / "m")

        return Case("malformed modules", name, act, wrong, timeout_s=120)

    pb, index, data = "saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"
    opened = gives(lambda module: module.loaded is not None, "a module")

    def bytes_of(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
        return lambda m: (m / file).write_bytes(change((m / file).read_bytes()))

    for file in (pb, index, data):
        for share in (0.0, 0.1, 0.5, 0.9, 0.999):
            cut = bytes_of(file, lambda b, share=share: b[: int(share * len(b))])
            yield case(f"{file} cut at {share:.1%}", cut, refused())
        yield case(f"{file} missing", lambda m, file=file: (m / file).unlink(), refused())
        yield case(f"{file} of garbage", bytes_of(file, lambda b: b"\x93\xff garbage" * 50), refused())
        yield case(f"{file} of HTML", bytes_of(file, lambda b: b"<html>log in</html>"), refused())
        yield case(f"{file} a folder", lambda m, file=file: [(m / file).unlink(), (m / file).mkdir()], refused())
        yield case(f"{file} a pipe", lambda m, file=file: [(m / file).unlink(), os.mkfifo(m / file)], refused())
    yield case("variables missing", lambda m: shutil.rmtree(m / "variables"), refused())
    yield case(
        "variables of another module",
        lambda m: shutil.copytree(base() / "module/variables", m / "variables", dirs_exist_ok=True),
        refused(),
    )
    for file in ("assets.extra/tlkit.json", "assets/words.txt", "keras_metadata.pb", "fingerprint.pb"):
        for name, make in (("a pipe", os.mkfifo), ("a folder", Path.mkdir), ("garbage", lambda p: p.write_bytes(b"["))):
            yield case(f"{file} {name}", functools.partial(_put, file, make), either(refused(), opened))
    yield case("an endless length", bytes_of(pb, lambda b: b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + b), refused())
    for name, change in _PROTO_CHANGES.items():
        yield case(name, functools.partial(_edited, change), either(refused(), opened))
    rng = np.random.default_rng(0)
    for number in range(FLIPPED):
        seed, count = int(rng.integers(2**31)), int(rng.integers(1, 30))

        def flipped(content: bytes, seed=seed, count=count) -> bytes:
            changed = bytearray(content)
            for place in np.random.default_rng(seed).integers(0, len(changed), count):
                changed[place] ^= 1 << int(place % 8)
            return bytes(changed)

        yield case(f"{pb} with {count} bits flipped, {number}", bytes_of(pb, flipped), either(refused(), opened))


def _put(file: str, make: Callable[[Path], object], folder: Path) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).unlink(missing_ok=True)
    make(folder / file)


def _number(name: str) -> str:
    return str(list(library.CLEAN).index(name))


def _edited(change: Callable[[Any], object], folder: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(model)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


def _huge_constant(model: Any) -> None:
    node = model.meta_graphs[0].graph_def.node.add(name="huge", op="Const")
    node.attr["dtype"].type = 1
    node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.tensor_shape.dim.add(size=1 << 40)
    node.attr["value"].tensor.float_val.append(0.0)


def _long_chain(model: Any) -> None:
    graph, last = model.meta_graphs[0].graph_def, ""
    graph.node.add(name="c0", op="Placeholder").attr["dtype"].type = 1
    for i in range(5_000):
        last = f"c{i}"
        graph.node.add(name=f"c{i + 1}", op="Identity", input=[last]).attr["T"].type = 1


_PROTO_CHANGES: dict[str, Callable[[Any], object]] = {
    "without meta graphs": lambda m: m.ClearField("meta_graphs"),
    "with an empty meta graph": lambda m: m.meta_graphs[0].Clear(),
    "with its meta graph twice": lambda m: m.meta_graphs.add().CopyFrom(m.meta_graphs[0]),
    "without an object graph": lambda m: m.meta_graphs[0].ClearField("object_graph_def"),
    "without a graph": lambda m: m.meta_graphs[0].ClearField("graph_def"),
    "without functions": lambda m: m.meta_graphs[0].graph_def.ClearField("library"),
    "without signatures": lambda m: m.meta_graphs[0].signature_def.clear(),
    "without a saver": lambda m: m.meta_graphs[0].ClearField("saver_def"),
    "without tags": lambda m: m.meta_graphs[0].meta_info_def.ClearField("tags"),
    "of a later schema": lambda m: setattr(m, "saved_model_schema_version", 99),
    "with a child that is not there": lambda m: m.meta_graphs[0].object_graph_def.nodes[0].children.add(node_id=9_999),
    "with a child that is itself": lambda m: m.meta_graphs[0].object_graph_def.nodes[0].children.add(local_name="me"),
    "with a huge constant": _huge_constant,
    "with 5,000 nodes in a row": _long_chain,
}


# Archives


def _archives() -> Iterator[Case]:
    def case(name: str, make: Callable[[Path], object], wrong: Callable[[Outcome], str] = REFUSED) -> Case:
        def act(folder: Path) -> Any:
            make(folder / "m.tar.gz")
            return _resolved(folder)

        return Case("archives", name, act, wrong, timeout_s=180)

    whole = gives(lambda path: (path / "saved_model.pb").is_file(), "a module")

    def tar(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> Callable[[Path], None]:
        def write(path: Path) -> None:
            with tarfile.open(path, mode) as archive:
                for name, content in members.items():
                    info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
                    held = b"" if isinstance(content, tarfile.TarInfo) else content
                    info.size = len(held)
                    archive.addfile(info, io.BytesIO(held))

        return write

    def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return info

    model = (_library() / "clean" / _number("nested") / "saved_model.pb").read_bytes()
    content = {"saved_model.pb": model}
    for mode in ("w:gz", "w", "w:bz2", "w:xz"):
        yield case(f"whole, {mode}", tar(content, mode), whole)
    yield case("in a folder of its own", tar({"inner/saved_model.pb": model}), whole)
    for name in ("../escaped", "/tmp/tlkit-escaped", "a/../../escaped", "..\\escaped", "C:\\escaped", "a\0b"):
        short = name == "a\0b"  # a header's name ends at its NUL
        yield case(f"with {name!r}", tar({**content, name: b"x"}), either(refused(), whole) if short else REFUSED)
        yield case(f"zip with {name!r}", _zip({"saved_model.pb": model, name: b"x"}), either(refused(), whole))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        yield case(f"with a member of type {kind!r}", tar({**content, "s": member("s", kind, "/etc/passwd")}))
    for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR):
        yield case(f"zip with a member of mode {kind:o}", _zip(content, external_attr=(kind | 0o777) << 16))
    yield case("zip, whole", _zip(content), whole)
    yield case("the same name twice", tar({**content, "./saved_model.pb": b"x"}))
    yield case("two modules", tar({"a/saved_model.pb": model, "b/saved_model.pb": model}))
    yield case("no module", tar({"readme": b"x"}))
    yield case("nothing in it", tar({}))
    yield case("zip, nothing in it", _zip({}))
    yield case("HTML", lambda p: p.write_bytes(b"<html>"))
    yield case("empty", lambda p: p.write_bytes(b""))
    yield case("a folder", lambda p: p.mkdir())
    yield case("a pipe", os.mkfifo)
    yield case("a link to itself", lambda p: p.symlink_to(p))
    yield case("a header of 3 GB", _long_header)
    yield case("200,000 files", _many_files)
    yield case("a bomb of 4 GB", _bomb)
    for kind in ("w:gz", "w:bz2", "w:xz", "w"):
        for share in (0.05, 0.5, 0.98):

            def cut(path: Path, kind=kind, share=share) -> None:
                tar(content | {"x": os.urandom(20_000)}, kind)(path)
                path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

            padding = kind == "w" and share > 0.9  # the end of a plain tar archive is zeros
            yield case(f"cut at {share:.0%}, {kind}", cut, either(refused(), whole) if padding else REFUSED)
    for kind in ("w:gz", "w:bz2", "w:xz"):
        for place in (30, 4_000, -6):

            def damaged(path: Path, kind=kind, place=place) -> None:
                tar(content | {"x": bytes(range(256)) * 80}, kind)(path)
                held = bytearray(path.read_bytes())
                held[place] ^= 0x55
                path.write_bytes(held)

            yield case(f"byte {place} changed, {kind}", damaged)


def _resolved(folder: Path) -> Path:
    from tlkit.hub import resolve

    try:
        return resolve(folder / "m.tar.gz")
    finally:
        escaped = [p for p in (folder.parent / "escaped", Path("/tmp/tlkit-escaped")) if p.exists()]
        if escaped:
            raise RuntimeError(f"the archive wrote {escaped}")


def _zip(members: dict[str, bytes], **attributes: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, held in members.items():
                entry = zipfile.ZipInfo(name)
                for key, value in ({"create_system": 3} | attributes).items():
                    setattr(entry, key, value)
                archive.writestr(entry, held)

    return write


def _long_header(path: Path) -> None:
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, 3 << 30
    with gzip.open(path, "wb", 1) as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            file.write(bytes(1 << 20))


def _many_files(path: Path) -> None:
    with gzip.open(path, "wb", 1) as file:
        for i in range(200_000):
            file.write(tarfile.TarInfo(f"f{i}").tobuf(tarfile.GNU_FORMAT))


def _bomb(path: Path) -> None:
    info = tarfile.TarInfo("saved_model.pb")
    info.size = 4 << 30
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))


# Keras files


def _keras_files() -> Iterator[Case]:
    def case(name: str, damage: Callable[[Path], object], wrong: Callable[[Outcome], str]) -> Case:
        def act(folder: Path) -> Any:
            import tlkit

            shutil.copyfile(base() / "run/model.keras", folder / "m.keras")
            damage(folder / "m.keras")
            try:
                return tlkit.load(folder / "m.keras")
            finally:
                if (folder / "loot").exists():
                    raise RuntimeError("the file ran code")

        return Case("keras files", name, act, wrong, timeout_s=120)

    opened = gives(lambda model: model is not None, "a model")
    yield case("whole", lambda p: None, opened)
    contents = {
        "empty": b"",
        "garbage": b"\x93\xff" * 400,
        "HTML": b"<html></html>",
        "HDF5's head": b"\x89HDF\r\n\x1a\n",
    }
    contents["a pickle"] = b"cos\nsystem\n(S'touch loot'\ntR."
    for name, held in contents.items():
        yield case(name, lambda p, held=held: p.write_bytes(held), refused())
    for share in (0.01, 0.2, 0.5, 0.8, 0.99):
        cut = functools.partial(_cut, share)
        yield case(f"cut at {share:.0%}", cut, refused())
    yield case("a folder", lambda p: [p.unlink(), p.mkdir()], refused())
    yield case("a pipe", lambda p: [p.unlink(), os.mkfifo(p)], refused())
    for part in ("config.json", "metadata.json", "model.weights.h5"):
        yield case(f"without {part}", functools.partial(_rezipped, {part: None}), either(refused(), opened))
        for name, held in {"empty": b"", "garbage": b"\x93\xff" * 90, "null": b"null", "a list": b"[]"}.items():
            right = either(refused(), opened) if part == "metadata.json" else refused()
            yield case(f"{part} {name}", functools.partial(_rezipped, {part: held}), right)
    code = {"class_name": "Lambda", "module": "keras.layers", "registered_name": None}
    evil = {"class_name": "__lambda__", "config": {"value": "4wAAAA==", "defaults": None, "closure": None}}
    layers: dict[str, dict[str, Any]] = {
        "a Lambda of bytecode": {**code, "config": {"name": "x", "function": evil}},
        "a class that is os.system": {"class_name": "system", "module": "os", "config": {"command": "touch loot"}},
        "a class that is not there": {"class_name": "Nope", "module": "nowhere", "config": {}},
        "a layer of torch": {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"module": ""}},
        "a layer without a config": {"class_name": "Dense", "module": "keras.layers"},
        "a HubLayer without a graph": {
            "class_name": "HubLayer",
            "module": "tlkit.layer",
            "config": {"name": "x"},
        },
    }
    for name, layer in layers.items():
        yield case(name, functools.partial(_with_config, lambda config, layer=layer: layer), refused())
    for key, value in (
        ("graph", "garbage"),
        ("graph", ""),
        ("graph", None),
        ("graph", 7),
        ("sha256", 7),
        ("weights", 3),
    ):

        def hub_layer(config: dict[str, Any], key=key, value=value) -> dict[str, Any]:
            for layer in config["config"]["layers"]:
                if layer["class_name"] == "HubLayer":
                    layer["config"][key] = value
            return config

        yield case(
            f"a HubLayer with {key}={value!r}", functools.partial(_with_config, hub_layer), either(refused(), opened)
        )

    def other(name: str, suffix: str, held: bytes) -> Case:
        def act(folder: Path) -> Any:
            (folder / f"m{suffix}").write_bytes(held)
            return command("inspect", folder / f"m{suffix}")

        return Case("keras files", name, act, refused())

    for suffix in (".h5", ".hdf5", ".keras", ".pkl", ".pt", ".onnx", ".tflite"):
        yield other(f"inspect m{suffix}", suffix, b"\x89HDF\r\n\x1a\n" + bytes(200))


def _cut(share: float, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _rezipped(changes: dict[str, bytes | None], path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        held: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**held, **changes}.items():
            if data is not None:
                archive.writestr(name, data)


def _with_config(change: Callable[[dict[str, Any]], Any], path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    _rezipped({"config.json": json.dumps(change(config)).encode()}, path)


# Clean ones


def _clean() -> Iterator[Case]:
    for number, name in enumerate(library.CLEAN):
        yield _opens(name, lambda number=number: _library() / "clean" / str(number))
    for name in _forms():
        yield _opens(f"in memory, {name}", functools.partial(_form, name))
    for name in APPLICATIONS:
        yield _opens(f"keras.applications, {name}", functools.partial(_application, name))
    for folder in sorted(ZOO.glob("*/*/saved_model.pb")):
        yield _opens(f"zoo, {folder.parts[-3]}", lambda folder=folder: folder.parent)
    yield _opens("an export of a run", lambda: base() / "run/saved_model")


def _opens(name: str, handle: Callable[[], Any]) -> Case:
    def act(_folder: Path) -> Any:
        from tlkit.hub import check, open_module

        module_handle = handle()
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            module = open_module(module_handle)
            return module, check(module.folder if module.folder else module_handle) if module.folder else None

    def right(opened: tuple[Any, Any]) -> bool:
        module, scanned = opened
        return module.loaded is not None and (scanned is None or scanned.findings == ())

    return Case("clean modules", name, act, gives(right, "a module without a finding"), timeout_s=300, growth_mb=3000)


def _forms() -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()):
        import test_module_forms  # type: ignore[import-not-found]  # library.py put the tests on the path

    return [name for name in test_module_forms.FORMS if name != "recordings"]


def _form(name: str) -> Any:
    import test_module_forms

    return test_module_forms.FORMS[name]()


def _application(name: str) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    size = 224 if name == "NASNetMobile" else 96
    return getattr(keras.applications, name)(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
