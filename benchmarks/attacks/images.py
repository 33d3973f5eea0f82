"""Odd files in class folders of images."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from attacks.cases import Case, either, gives, left_out, refused

AREA = "images"
RGB = (200, 120, 40)
_CHARACTERS = 20  # of pixels' tolerance: JPEG and WebP round


def cases() -> Iterator[Case]:
    """Every odd file, once beside sound ones."""
    for name, (file, content) in _broken().items():
        yield _case(name, file, content, left_out(file))
    for name, (file, content) in _sound().items():
        yield _case(name, file, content, gives(_reads(file, RGB), "read as the picture that it is"))
    yield from _odd_entries()


def _case(name: str, file: str, content: bytes, wrong: Callable) -> Case:
    def act(folder: Path):
        root = _class_folders(folder)
        (root / "a" / file).write_bytes(content)
        return _read(root)

    return Case(AREA, name, act, wrong)


def _class_folders(folder: Path, each: int = 8) -> Path:
    root = folder / "pictures"
    for label, value in (("a", 60), ("b", 190)):
        (root / label).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (16, 16), (value, value, i)).save(root / label / f"{i}.png")
    return root


def _read(root: Path):
    import tlkit

    return tlkit.data.image.from_folder(root, progress=False)


def _reads(file: str, colour: tuple[int, int, int]) -> Callable:
    def right(splits) -> bool:
        for part in (splits.train, splits.val, splits.test):
            for i, name in enumerate(part.ids):
                if str(name).endswith(file):
                    pixels = np.asarray(part.inputs[i], float)
                    return bool(np.abs(pixels.mean((0, 1)) - colour).max() < _CHARACTERS)
        return False

    return right


def _bytes(format_: str, picture: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (picture or Image.new("RGB", (16, 16), RGB)).save(file, format_, **options)
    return file.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _noise(size: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8))


def _broken() -> dict[str, tuple[str, bytes]]:
    jpeg, png = _bytes("JPEG", _noise(), quality=90), _bytes("PNG", _noise())
    wrong_crc = bytearray(png)
    wrong_crc[-30] ^= 1
    garbage = jpeg[:700] + np.random.default_rng(1).bytes(1500) + jpeg[2200:]
    entries: dict[str, tuple[str, bytes]] = {
        "empty": ("x.png", b""),
        "one byte": ("x.png", b"\x89"),
        "spaces": ("x.jpg", b" " * 100),
        "zeros": ("x.jpg", bytes(4096)),
        "noise": ("x.png", np.random.default_rng(0).bytes(4096)),
        "HTML page": ("x.jpg", b"<!DOCTYPE html><html><body>404</body></html>"),
        "HTML page with byte-order mark": ("x.jpg", b"\xef\xbb\xbf\n<html><body>404</body></html>"),
        "JSON error": ("x.png", b'{"error": "not found"}'),
        "SVG": ("x.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'),
        "SVG called PNG": ("x.png", b'<?xml version="1.0"?><svg width="9" height="9"></svg>'),
        "PDF called JPEG": ("x.jpg", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"),
        "PostScript": ("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        "PostScript called PNG": ("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) run\n"),
        "HEIC": ("x.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00" + bytes(200)),
        "zip called PNG": ("x.png", b"PK\x03\x04" + bytes(200)),
        "ELF program called PNG": ("x.png", b"\x7fELF" + bytes(200)),
        "JPEG header only": ("x.jpg", jpeg[:20]),
        "JPEG, garbage in its scan": ("x.jpg", garbage),
        "JPEG without end marker, half": ("x.jpg", jpeg[: len(jpeg) // 2]),
        "PNG with a wrong checksum": ("x.png", bytes(wrong_crc)),
        "PNG of 50000 x 50000": ("x.png", _png(50000, 50000, b"")),
        "PNG of 12000 x 12000, all grey": ("x.png", _png(12000, 12000, bytes(12001 * 12000), colour=0)),
        "PNG of 2^31 - 1 by 1": ("x.png", _png(2**31 - 1, 1, b"")),
        "PNG of no width": ("x.png", _png(0, 16, b"")),
        "PNG with rows missing": ("x.png", _png(16, 16, bytes(49 * 4))),
        "PNG with an unknown filter": ("x.png", _png(2, 2, b"\x09" + bytes(6) + b"\x09" + bytes(6))),
        "PNG with a text bomb": (
            "x.png",
            png[:33] + _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**27))) + png[33:60],
        ),
        "BMP cut": ("x.bmp", _bytes("BMP")[:60]),
        "GIF cut": ("x.gif", _bytes("GIF", _noise())[:60]),
        "TIFF cut": ("x.tif", _bytes("TIFF", _noise())[:200]),
        "TIFF that points at itself": ("x.tif", b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00"),
        "TIFF of 32-bit floats": ("x.tif", _bytes("TIFF", Image.fromarray(np.ones((9, 9), np.float32)))),
        "WebP cut": ("x.webp", _bytes("WEBP", _noise())[:90]),
        "WebP with a wrong length": ("x.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(40)),
        "PPM with negative size": ("x.ppm", b"P6\n-4 4\n255\n" + bytes(48)),
        "PPM cut": ("x.ppm", b"P6\n400 400\n255\n" + bytes(48)),
        "PSD": ("x.psd", b"8BPS\x00\x01" + bytes(100)),
        "pickle called PNG": (
            "x.png",
            b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        ),
    }
    for share in (0.05, 0.2, 0.4, 0.6, 0.8, 0.95):
        entries[f"JPEG cut at {share:.0%}"] = ("x.jpg", jpeg[: int(len(jpeg) * share)])
        entries[f"PNG cut at {share:.0%}"] = ("x.png", png[: int(len(png) * share)])
    return entries


def _sound() -> dict[str, tuple[str, bytes]]:
    plain, wide = Image.new("RGB", (16, 16), RGB), np.asarray(RGB)
    translucent = Image.new("RGBA", (16, 16), (*RGB, 255))
    exif = Image.Exif()
    entries: dict[str, tuple[str, bytes]] = {
        "JPEG": ("x.jpg", _bytes("JPEG")),
        "JPEG with an ending in capitals": ("x.JPEG", _bytes("JPEG")),
        "JPEG called PNG": ("x.png", _bytes("JPEG")),
        "PNG called JPEG": ("x.jpg", _bytes("PNG")),
        "no ending": ("x", _bytes("PNG")),
        "progressive JPEG": ("x.jpg", _bytes("JPEG", progressive=True)),
        "JPEG with bytes behind its end": ("x.jpg", _bytes("JPEG") + bytes(500)),
        "JPEG in CMYK": ("x.jpg", _bytes("JPEG", plain.convert("CMYK"))),
        "PNG with a palette": ("x.png", _bytes("PNG", plain.quantize(4))),
        "PNG, opaque RGBA": ("x.png", _bytes("PNG", translucent)),
        "interlaced PNG of one pixel": ("x.png", _bytes("PNG", Image.new("RGB", (1, 1), RGB))),
        "GIF": ("x.gif", _bytes("GIF", plain.quantize(4))),
        "animated GIF": ("x.gif", _bytes("GIF", plain, save_all=True, append_images=[Image.new("RGB", (16, 16))])),
        "BMP": ("x.bmp", _bytes("BMP")),
        "lossless WebP": ("x.webp", _bytes("WEBP", lossless=True)),
        "TIFF": ("x.tiff", _bytes("TIFF")),
        "TIFF of several pages": ("x.tiff", _bytes("TIFF", save_all=True, append_images=[Image.new("RGB", (8, 8))])),
        "PPM": ("x.ppm", _bytes("PPM")),
        "very wide": ("x.png", _bytes("PNG", Image.new("RGB", (3000, 1), RGB))),
        "JPEG with broken EXIF": ("x.jpg", _bytes("JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")),
        "PNG of 16 bits a channel": (
            "x.png",
            _png(2, 2, (b"\x00" + np.tile(wide * 257, 2).astype(">u2").tobytes()) * 2, depth=16),
        ),
    }
    for turn in (1, 3, 6, 8, 99):
        exif[0x0112] = turn
        entries[f"JPEG turned by EXIF {turn}"] = (f"x{turn}.jpg", _bytes("JPEG", exif=exif.tobytes()))
    names = ("blank in it.png", "é ü 漢.png", "100%#&?.png", "a'\"b.png", "-rf.png", "x" * 240 + ".png", "🙂.png")
    return entries | {f"named {name[:12]}": (name, _bytes("PNG")) for name in names}


def _odd_entries() -> Iterator[Case]:
    def entry(name: str, make: Callable[[Path], object], wrong: Callable) -> Case:
        def act(folder: Path):
            root = _class_folders(folder)
            make(root)
            return _read(root)

        return Case(AREA, name, act, wrong)

    still = gives(lambda splits: splits.labels == ("a", "b"), "the two classes")

    def loop(root: Path) -> None:
        (root / "a/x.png").symlink_to(root / "a/y.png")
        (root / "a/y.png").symlink_to(root / "a/x.png")

    def listener(root: Path) -> None:
        os.chdir(root / "a")
        socket.socket(socket.AF_UNIX).bind("x.png")

    quiet = either(left_out("x.png"), still)
    yield entry("symlink loop", loop, left_out("x.png"))
    yield entry("symlink loop of folders", lambda r: (r / "a/x.png").symlink_to(r / "a"), quiet)
    yield entry("link to itself", lambda r: (r / "a/x.png").symlink_to("x.png"), left_out("x.png"))
    yield entry(
        "class folder that is a link to itself", lambda r: (r / "c").symlink_to("c"), either(still, refused("c"))
    )
    yield entry("dangling link", lambda r: (r / "a/x.png").symlink_to("gone.png"), left_out("x.png"))
    yield entry("pipe", lambda r: os.mkfifo(r / "a/x.png"), quiet)
    yield entry("socket", listener, quiet)
    yield entry("link to /dev/zero", lambda r: (r / "a/x.png").symlink_to("/dev/zero"), left_out("x.png"))
    yield entry("link to /dev/full", lambda r: (r / "a/x.png").symlink_to("/dev/full"), left_out("x.png"))
    yield entry("folder with the name of a picture", lambda r: (r / "a/x.png").mkdir(), quiet)
    yield entry("Thumbs.db", lambda r: (r / "a/Thumbs.db").write_bytes(bytes(99)), still)
    yield entry(
        ".DS_Store and ._x.png", lambda r: [(r / "a" / n).write_bytes(b"\0") for n in (".DS_Store", "._x.png")], still
    )
    yield entry("__MACOSX beside the classes", lambda r: _beside(r, "__MACOSX"), still)
    yield entry(".git beside the classes", lambda r: _beside(r, ".git"), still)
    yield entry("empty class", lambda r: (r / "c").mkdir(), either(refused("c"), still))
    yield entry("class of texts only", lambda r: _texts(r / "c"), either(refused("c"), still))
    yield entry("a name that is no UTF-8", _undecodable, either(left_out("x"), still))


def _beside(root: Path, name: str) -> None:
    (root / name).mkdir()
    (root / name / "x.png").write_bytes(b"no picture")


def _texts(folder: Path) -> None:
    folder.mkdir()
    (folder / "readme.txt").write_text("nothing here")


def _undecodable(root: Path) -> None:
    with open(os.fsencode(root / "a") + b"/x\xff\xfe.png", "wb") as file:
        file.write(_bytes("PNG"))
