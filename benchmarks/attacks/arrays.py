"""Odd arrays and labels into `from_arrays`, for images, texts and sounds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attacks.cases import Case, either, gives, refused

COUNT = 24
LABELS = np.arange(COUNT) % 2
SHARES_IN_PROPORTION = ((1, 1, 1), (0.5, 0.6, 0.5))  # shares need not sum to 1


def cases() -> Iterator[Case]:
    """Images first, then labels with every modality, then sounds."""
    yield from _images()
    yield from _labels()
    yield from _sounds()


def _pixels(dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (COUNT, 8, 8, 3)).astype(dtype)


def _total(splits) -> int:
    return sum(map(len, (splits.train, splits.val, splits.test)))


_whole = gives(lambda s: _total(s) == COUNT, f"{COUNT} examples")


def _image(name: str, images: Callable[[], Any], wrong: Callable, labels=LABELS, **options) -> Case:
    def act(_folder: Path):
        import tlkit

        return tlkit.data.image.from_arrays(images(), labels, **options)

    return Case("image arrays", name, act, wrong)


def _images() -> Iterator[Case]:
    one_left_out = gives(lambda s: _total(s) + len(s.quarantine) == COUNT and len(s.quarantine) == 1, "one left out")

    def with_first(first: Any) -> Callable[[], list]:
        return lambda: [first, *_pixels()[1:]]

    yield _image("uint8", _pixels, _whole)
    yield _image("floats of 0 to 255", lambda: _pixels(np.float32), _whole)
    yield _image("a list of arrays", lambda: list(_pixels()), _whole)
    yield _image("nested lists", lambda: _pixels().tolist(), either(_whole, refused()))
    yield _image("grey (n, h, w)", lambda: _pixels()[..., 0], _whole)
    yield _image("RGBA", lambda: np.concatenate([_pixels(), _pixels()[..., :1]], -1), _whole)
    yield _image("floats of 0 to 1", lambda: _pixels(np.float32) / 255, refused("0 to 1"))
    yield _image("floats of -1 to 1", lambda: _pixels(np.float32) / 127.5 - 1, refused())
    yield _image("NaN in one", with_first(np.full((8, 8, 3), np.nan)), either(one_left_out, refused()))
    yield _image("infinity in one", with_first(np.full((8, 8, 3), np.inf)), either(one_left_out, refused()))
    yield _image("negative numbers", lambda: _pixels(np.int32) - 300, refused())
    yield _image("uint16 of 0 to 65535", lambda: _pixels(np.uint16) * 257, either(_whole, refused()))
    yield _image("uint16 of 12 bits", lambda: _pixels(np.uint16) * 16, either(_bright, refused()))
    yield _image("booleans", lambda: _pixels() > 127, either(_whole, refused()))
    yield _image("complex numbers", lambda: _pixels(np.complex64), refused())
    yield _image("strings", lambda: np.full((COUNT, 8, 8, 3), "x"), refused())
    yield _image("objects", lambda: np.full((COUNT, 8, 8, 3), None), refused())
    yield _image("channels first", lambda: _pixels().transpose(0, 3, 1, 2), refused())
    yield _image("two channels", lambda: _pixels()[..., :2], refused())
    yield _image("five channels", lambda: np.repeat(_pixels(), 2, -1)[..., :5], refused())
    yield _image("no height", lambda: _pixels()[:, :0], refused())
    yield _image("no images", lambda: _pixels()[:0], refused(), labels=LABELS[:0])
    yield _image("one image", lambda: _pixels()[:1], refused(), labels=LABELS[:1])
    yield _image("a single picture", lambda: _pixels()[0], refused())
    yield _image("a number", lambda: 5, refused())
    yield _image("None", lambda: None, refused())
    yield _image("a string", lambda: "pictures", refused())
    yield _image("a dict", lambda: {"a": _pixels()}, refused())
    yield _image("a generator", lambda: iter(_pixels()), either(_whole, refused()))
    yield _image("None among them", with_first(None), either(one_left_out, refused()))
    yield _image("a path among them", with_first("x.png"), either(one_left_out, refused()))
    yield _image("one of another size", with_first(np.zeros((5, 9, 3), np.uint8)), either(_whole, refused()))
    yield _image("image_size of 0", _pixels, refused("image_size"), image_size=0)
    yield _image("image_size of -5", _pixels, refused("image_size"), image_size=-5)
    yield _image("image_size of 1.5", _pixels, refused("image_size"), image_size=1.5)
    yield _image("image_size of 10^6", _pixels, refused("image_size"), image_size=10**6)
    yield _image("image_size of three numbers", _pixels, refused("image_size"), image_size=(8, 8, 3))
    yield _image("image_size as text", _pixels, refused("image_size"), image_size="8")
    for split in (
        (0.5, 0.5),
        (1, 1, 1),
        (-0.1, 0.6, 0.5),
        (0.5, 0.6, 0.5),
        (float("nan"), 0.5, 0.5),
        "x",
        5,
        ("a", "b", "c"),
    ):
        right = _whole if split in SHARES_IN_PROPORTION else refused("split")
        yield _image(f"split {split}", _pixels, right, split=split)
    yield _image("seed as text", _pixels, either(refused("seed"), _whole), seed="x")
    yield _image("negative seed", _pixels, either(refused("seed"), _whole), seed=-1)
    yield _image("groups of another length", _pixels, refused("groups"), groups=np.arange(5))


def _bright(outcome) -> str:
    if outcome.value is None:
        return "refused"
    brightest = max(int(np.asarray(outcome.value.train.inputs[i]).max()) for i in range(len(outcome.value.train)))
    return "" if brightest > 100 else f"silent: 12-bit pictures read as at most {brightest}"


def _labels() -> Iterator[Case]:
    def read(kind: str, labels: Any, options: dict) -> Any:
        import tlkit

        if kind == "image":
            return tlkit.data.image.from_arrays(_pixels(), labels, **options)
        if kind == "text":
            return tlkit.data.text.from_arrays([f"some words {i}" for i in range(COUNT)], labels, **options)
        waves = np.random.default_rng(0).normal(0, 0.1, (COUNT, 1600)).astype(np.float32)
        return tlkit.data.audio.from_arrays(waves, labels, sample_rate=16000, seconds=0.1, **options)

    classes = gives(lambda s: len(s.labels) == 2 and s.train.target_array.dtype.kind in "iu", "two classes")
    numbers = gives(lambda s: any("taken as numbers" in note for note in s.notes), "numbers to regress, with a note")
    either_way = either(classes, refused())
    entries: dict[str, tuple[Any, Callable, dict]] = {
        "whole floats": (LABELS.astype(float), either(classes, refused(), numbers), {}),
        "whole floats with names": (LABELS.astype(float), either_way, {"labels": ["cat", "dog"]}),
        "whole floats in a column": (LABELS.astype(float)[:, None], either_way, {"labels": ["cat", "dog"]}),
        "integers in a column": (LABELS[:, None], either_way, {}),
        "booleans": (LABELS.astype(bool), either_way, {}),
        "words": (np.array(["a", "b"])[LABELS], classes, {}),
        "bytes": (np.array([b"a", b"b"])[LABELS], either_way, {}),
        "uint8": (LABELS.astype(np.uint8), classes, {}),
        "10^6 apart": (LABELS * 10**6, refused("class"), {}),
        "10^8 apart": (LABELS * 10**8, refused("class"), {}),
        "10^12 apart": (LABELS * 10**12, refused("class"), {}),
        "largest integers": (LABELS.astype(np.uint64) * (2**64 - 1), refused(), {}),
        "negative": (LABELS - 1, refused(), {}),
        "from 1": (LABELS + 1, either_way, {}),
        "infinite": (np.where(LABELS, np.inf, 0.0), refused(), {}),
        "NaN": (np.where(LABELS, np.nan, 0.0), refused(), {}),
        "NaN among words": (["a", "b", float("nan"), *["a", "b"] * 10, "a"], refused(), {}),
        "None among words": (["a", "b", None, *["a", "b"] * 10, "a"], refused(), {}),
        "words and numbers": (["a", 1] * (COUNT // 2), either(classes, refused()), {}),
        "ragged": ([[0], [0, 1]] * (COUNT // 2), refused(), {}),
        "too few": (LABELS[:-1], refused(), {}),
        "too many": (np.append(LABELS, 1), refused(), {}),
        "a single number": (1, refused(), {}),
        "None": (None, refused(), {}),
        "a string": ("ab" * (COUNT // 2), either_way, {}),
        "a dict": (dict(enumerate(LABELS)), refused(), {}),
        "three dimensions": (np.zeros((COUNT, 2, 2)), refused(), {}),
        "one class": (np.zeros(COUNT, int), either(refused(), gives(lambda s: len(s.labels) == 1, "one class")), {}),
        "half a surrogate pair": (np.array(["a", "\ud800"], dtype=object)[LABELS], refused(), {}),
        "too few names": (LABELS, refused("name"), {"labels": ["cat"]}),
        "names twice": (LABELS, refused("cat"), {"labels": ["cat", "cat"]}),
        "names that are numbers": (LABELS, either_way, {"labels": [1, 2]}),
    }
    for kind in ("image", "text", "audio"):
        for name, (labels, wrong, options) in entries.items():

            def act(_folder: Path, kind=kind, labels=labels, options=options):
                return read(kind, labels, options)

            yield Case("labels", f"{kind}: {name}", act, wrong)


def _sounds() -> Iterator[Case]:
    def wave(seconds: float = 0.5) -> np.ndarray:
        return np.random.default_rng(0).normal(0, 0.1, (COUNT, int(16000 * seconds))).astype(np.float32)

    def case(name: str, waves: Callable[[], Any], wrong: Callable, **options) -> Case:
        def act(_folder: Path):
            import tlkit

            settings = {"sample_rate": 16000, "seconds": 0.5} | options
            return tlkit.data.audio.from_arrays(waves(), LABELS, **settings)

        return Case("audio arrays", name, act, wrong)

    def with_first(first: Any) -> Callable[[], list]:
        return lambda: [first, *wave()[1:]]

    out = gives(lambda s: _total(s) + len(s.quarantine) == COUNT and len(s.quarantine) == 1, "one left out")
    careful = either(out, refused())
    yield case("float32", wave, _whole)
    yield case("int16", lambda: (wave() * 30000).astype(np.int16), _whole)
    yield case("stereo", lambda: np.stack([wave(), wave()], -1), either(_whole, refused()))
    yield case("empty", with_first(np.zeros(0, np.float32)), careful)
    yield case("silence", with_first(np.zeros(8000, np.float32)), either(_whole, careful))
    yield case("NaN", with_first(np.full(8000, np.nan, np.float32)), careful)
    yield case("infinity", with_first(np.full(8000, np.inf, np.float32)), careful)
    yield case("floats of 16 bits", lambda: wave() * 30000, refused())
    yield case("words", lambda: ["x"] * COUNT, refused())
    yield case("a number", lambda: 5, refused())
    yield case("three dimensions", lambda: np.zeros((COUNT, 10, 10, 10), np.float32), refused())
    for key in ("sample_rate", "resampled_to", "seconds", "hop", "trim_db"):
        for value in (0, -1, float("nan"), float("inf"), 1e12, "x", None):
            if value is not None or key in ("hop", "trim_db"):
                yield case(f"{key} {value}", wave, either(refused(), _whole), **{key: value})
    yield case("seconds 1e6", wave, refused("seconds"), seconds=1e6)
