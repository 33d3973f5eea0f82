"""Odd sound files in class folders."""

import io
import os
import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from attacks.cases import Case, either, gives, left_out

EACH = 8
RATE = 16000


def cases() -> Iterator[Case]:
    """Every odd file, once beside sound ones."""
    out, used = left_out("x.wav"), gives(_has("x.wav"), "x.wav among the examples")
    for name, content in _broken().items():
        yield _case(name, lambda r, content=content: (r / "a/x.wav").write_bytes(content), out)
    for name, content in _sound().items():
        yield _case(name, lambda r, content=content: (r / "a/x.wav").write_bytes(content), either(used))
    still = gives(lambda s: s.labels == ("a", "b"), "the two classes")

    def loop(root: Path) -> None:
        (root / "a/x.wav").symlink_to(root / "a/y.wav")
        (root / "a/y.wav").symlink_to(root / "a/x.wav")

    yield _case("symlink loop", loop, out)
    yield _case("dangling link", lambda r: (r / "a/x.wav").symlink_to("gone"), out)
    yield _case("pipe", lambda r: os.mkfifo(r / "a/x.wav"), either(out, still))
    yield _case("folder called x.wav", lambda r: (r / "a/x.wav").mkdir(), either(out, still))
    yield _case("link to /dev/zero", lambda r: (r / "a/x.wav").symlink_to("/dev/zero"), out)
    yield _case("a note beside the sounds", lambda r: (r / "a/readme.txt").write_text("hello"), still)


def _case(name: str, make: Callable[[Path], object], wrong: Callable) -> Case:
    def act(folder: Path):
        import tlkit

        root = folder / "sounds"
        for label, pitch in (("a", 300), ("b", 900)):
            (root / label).mkdir(parents=True)
            for i in range(EACH):
                (root / label / f"{i}.wav").write_bytes(_wav(_tone(pitch + 7 * i)))
        make(root)
        return tlkit.data.audio.from_folder(root, sample_rate=RATE, seconds=0.25, progress=False)

    return Case("sounds", name, act, wrong)


def _has(file: str) -> Callable:
    def right(splits) -> bool:
        for part in (splits.train, splits.val, splits.test):
            for i, name in enumerate(part.ids):
                if file in str(name):
                    sound = np.asarray(part.inputs[i])
                    return bool(np.isfinite(sound).all() and np.abs(sound).max() > 0.01)
        return False

    return right


def _tone(pitch: float, seconds: float = 0.25, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)


def _wav(samples: np.ndarray, rate: int = RATE, width: int = 2, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        scale = {1: 127, 2: 32767, 4: 2**31 - 1}[width]
        numbers = np.repeat(samples, channels) * scale + (128 if width == 1 else 0)
        writer.writeframes(numbers.astype({1: np.uint8, 2: "<i2", 4: "<i4"}[width]).tobytes())
    return file.getvalue()


def _header(
    content: bytes, tag: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, claimed_size: int | None = None
) -> bytes:
    align = max(1, channels * bits // 8)
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    size = len(content) if claimed_size is None else claimed_size
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(content))
        + b"WAVEfmt \x10\0\0\0"
        + form
        + b"data"
        + struct.pack("<I", size)
        + content
    )


def _broken() -> dict[str, bytes]:
    whole = _wav(_tone(500))
    content = whole[44:]
    return {
        "empty": b"",
        "header alone": whole[:44],
        "half a header": whole[:20],
        "one byte": b"R",
        "zeros": bytes(9000),
        "noise": np.random.default_rng(0).bytes(9000),
        "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
        "JSON": b'{"error": "no"}',
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "zip": b"PK\x03\x04" + bytes(200),
        "MP3 header and zeros": b"ID3\x04\0\0\0\0\0\0" + bytes(300),
        "FLAC header alone": b"fLaC\0\0\0\x22" + bytes(34),
        "Ogg header alone": b"OggS\0\x02" + bytes(40),
        "no channels": _header(content, channels=0),
        "rate 0": _header(content, rate=0),
        "bits 0": _header(content, bits=0),
        "3 bits": _header(content, bits=3),
        "unknown coding": _header(content, tag=0x4242),
        "data of no length": _header(b""),
        "float samples of NaN": _header(np.full(4000, np.nan, "<f4").tobytes(), tag=3, bits=32),
        "float samples of infinity": _header(np.full(4000, np.inf, "<f4").tobytes(), tag=3, bits=32),
        "no data chunk": _header(content)[:36] + b"junk\0\0\0\0",
        "RIFF of another kind": b"RIFF\x20\0\0\0AVI LIST" + bytes(90),
    }


def _sound() -> dict[str, bytes]:
    tone = _tone(500)
    content = (tone * 32767).astype("<i2").tobytes()
    return {
        "16 bits": _wav(tone),
        "8 bits": _wav(tone, width=1),
        "32 bits": _wav(tone, width=4),
        "24 bits": _header(b"".join(int(v * 2**23).to_bytes(4, "little", signed=True)[:3] for v in tone), bits=24),
        "floats": _header(tone.astype("<f4").tobytes(), tag=3, bits=32),
        "doubles": _header(tone.astype("<f8").tobytes(), tag=3, bits=64),
        "stereo": _wav(tone, channels=2),
        "six channels": _wav(tone, channels=6),
        "8 kHz": _wav(_tone(500, rate=8000), rate=8000),
        "44.1 kHz": _wav(_tone(500, rate=44100), rate=44100),
        "192 kHz": _wav(_tone(500, rate=192000), rate=192000),
        "an odd rate": _wav(_tone(500, rate=11127), rate=11127),
        "a length of 2^32 - 1": _header(content, claimed_size=2**32 - 1),
        "bytes behind the end": _wav(tone) + bytes(77),
        "a list before the data": _header(content)[:36] + b"LIST\x04\0\0\0INFO" + _header(content)[36:],
        "very short": _wav(_tone(500, seconds=0.01)),
        "very long": _wav(_tone(500, seconds=60)),
    }
