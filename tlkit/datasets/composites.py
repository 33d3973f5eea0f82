"""Synthetic images with boxes and masks: cut-outs of Debian's tuxpaint stamps, pasted on crops of photographs.

Six classes: bird, fish, flower, fruit, mammal and vehicle. They are for trying detection and segmentation where nothing
else can be fetched, and no substitute for photographs: a score on them says little about any camera.

Training and validation images are made of the same stamps and photographs; the test is made of stamps **and**
photographs that are in none of them, or, with `held_out=False`, of new composites of those of training. Stamps whose
names share a word ("apple_fuji", "apple_red") are on one side. Everything is drawn from the seed: which stamps and
photographs are held out, too.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.core.examples import Augmenting, Splits
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.numeric import is_number
from tlkit.data import boxes as box_data
from tlkit.data import masks as mask_data
from tlkit.data.augment import recoloured
from tlkit.data.splitting import name_key
from tlkit.datasets import debian

__all__ = ["CLASSES", "boxes", "masks"]


def __dir__() -> list[str]:
    return sorted(__all__)


CLASSES: Mapping[str, str] = {  # class -> folder of its stamps
    "bird": "animals/birds",
    "fish": "animals/fish",
    "flower": "plants/flowers",
    "fruit": "food/fruit",
    "mammal": "animals/mammals",
    "vehicle": "vehicles",
}
_STAMPS = ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", "The stamps of Tux Paint")
_NOT_PHOTOGRAPHS = ("cartoon", "toys", "plastic")  # folders of drawings and toys
_NO_OBJECTS = ("7spoke256", "sedan_police", "sedan_police_mirror")  # a wheel; letters whose car is transparent
_PHOTOGRAPHS = {  # those that show nothing of the classes
    ("mate-backgrounds", "usr/share/backgrounds/mate", "The photographs of MATE"): tuple(
        f"nature/{name}.jpg" for name in ("Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood")
    ),
    ("plasma-workspace-wallpapers", "usr/share/wallpapers", "The photographs of Plasma"): tuple(
        f"{name}/contents/images/2560x1600.jpg"
        for name in ("BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "FallenLeaf", "Grey", "OneStandsOut",
                     "Path", "summer_1am")
    ),
}  # fmt: skip
_VERSION = 1  # of what is drawn: a change makes other images
_HELD_OUT = 0.3  # of the stamps of each class, and of the photographs
_SIDE = 320  # pixels that a stamp is kept with
_SOLID = 128  # opacity from which a pixel belongs to the object


def boxes(
    *,
    held_out: bool = True,
    image_size: int = 256,
    train: int = 900,
    val: int = 150,
    test: int = 300,
    seed: int = 0,
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """Composites with a box around each object; `masks` has the same images.

    Args:
        held_out: Whether stamps and photographs of the test are in no other part; False tests on new composites of
            those of training.
        image_size: Height and width in pixels, in [64, 1024].
        train: Number of images for training, 6 or more, as of validation and test.
        val: For validation.
        test: For the test.
        seed: Of everything; another seed also holds out other stamps and photographs.
        augment, progress: As in `data.boxes.from_coco`.

    Raises:
        InputError: If an argument is out of range, or a Debian package is neither installed nor can be fetched.
    """
    root = _made(held_out, image_size, (train, val, test), seed)
    return box_data.from_coco(root / "annotations", root, split=_shares(val), augment=augment, progress=progress)


def masks(
    *,
    held_out: bool = True,
    image_size: int = 256,
    train: int = 900,
    val: int = 150,
    test: int = 300,
    seed: int = 0,
    augment: Augmenting | None = None,
    progress: bool = False,
) -> Splits:
    """Composites with a class for each pixel, "background" first; `boxes` has the same images.

    Args:
        held_out, image_size, train, val, test, seed: As in `boxes`.
        augment, progress: As in `data.masks.from_folder`.

    Raises:
        InputError: If an argument is out of range, or a Debian package is neither installed nor can be fetched.
    """
    root = _made(held_out, image_size, (train, val, test), seed)
    names = (mask_data.BACKGROUND, *CLASSES)
    return mask_data.from_folder(
        root / "images", root / "masks", labels=names, void=None, split=_shares(val), augment=augment, progress=progress
    )


def _shares(val: int) -> tuple[float, float, float]:
    """That no part is taken out of another: the folders say what is what."""
    return (0.6, 0.2, 0.2) if val else (0.8, 0.0, 0.2)


def _made(held_out: bool, image_size: int, counts: tuple[int, int, int], seed: int) -> Path:
    """The folder of the images, drawn where the cache does not have it."""
    _check(image_size, counts, seed)
    name = (
        f"composites-{_VERSION}-{image_size}-{'-'.join(map(str, counts))}-{seed}-{'held-out' if held_out else 'known'}"
    )
    return kept_folder(cache_dir() / "samples" / name, lambda fresh: _fill(fresh, held_out, image_size, counts, seed))


def _check(image_size: Any, counts: tuple[int, int, int], seed: Any) -> None:
    for name, value, least, most in (
        ("image_size", image_size, 64, 1024), ("train", counts[0], 6, 100_000), ("val", counts[1], 6, 100_000),
        ("test", counts[2], 6, 100_000), ("seed", seed, -(2**63), 2**63),
    ):  # fmt: skip
        if not (is_number(value) and float(value).is_integer() and least <= value <= most):
            raise InputError(f"`{name}` must be a whole number in [{least}, {most}]. Received: {name}={value!r}.")


def _fill(root: Path, held_out: bool, image_size: int, counts: tuple[int, int, int], seed: int) -> None:
    known, unknown = (material(seed, held_out=flag) for flag in (False, True))
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        for kind in ("images", "masks"):
            (root / kind / part).mkdir(parents=True)
        part_material = unknown if part == "test" and held_out else known
        tag = "unseen" if part == "test" and held_out else part
        draw = functools.partial(_written, root, part, part_material, image_size, f"{seed}/{tag}")
        with ThreadPoolExecutor() as pool:
            rows = list(pool.map(draw, range(count)))
        _annotate(root, part, rows, image_size)


def _annotate(root: Path, part: str, rows: Sequence[Sequence[Mapping[str, Any]]], image_size: int) -> None:
    """COCO JSON of a part."""
    names = [f"images/{part}/{i:05d}.jpg" for i in range(len(rows))]
    all_rows = [{**row, "image_id": i, "iscrowd": 0} for i, image_rows in enumerate(rows) for row in image_rows]
    record = {
        "images": [{"id": i, "file_name": n, "width": image_size, "height": image_size} for i, n in enumerate(names)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
        "annotations": [{"id": i, **row} for i, row in enumerate(all_rows)],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{part}.json").write_text(json.dumps(record), encoding="utf-8")


def _written(root: Path, part: str, source: Material, image_size: int, stream: str, i: int) -> list[dict[str, Any]]:
    """Writes image i and its mask; what is annotated in it."""
    rng = random.Random(f"{_VERSION}/{stream}/{i}")  # same on every machine
    image, mask, rows = composite(source, image_size, rng)
    Image.fromarray(image).save(root / "images" / part / f"{i:05d}.jpg", quality=92)
    Image.fromarray(mask).save(root / "masks" / part / f"{i:05d}.png")
    return rows


# -- what is pasted, and on what


@dataclass(frozen=True, eq=False)
class Material:
    """Cut-outs by class, RGBA with `_SIDE` pixels at most, and photographs."""

    stamps: tuple[tuple[Image.Image, ...], ...]
    photographs: tuple[Image.Image, ...]


@functools.lru_cache(maxsize=4)
def material(seed: int, *, held_out: bool) -> Material:
    """What training images are made of, or what is held out from them."""
    root = debian.folder(*_STAMPS)
    stamps = []
    for folder in CLASSES.values():
        paths = [path for path in sorted((root / folder).rglob("*.png")) if _is_photograph(path.relative_to(root))]
        chosen = _kept(paths, [families(paths)[path] for path in paths], seed, held_out)
        stamps.append(tuple(filter(None, map(_stamp, chosen))))
    every = [debian.folder(*package) / name for package, names in _PHOTOGRAPHS.items() for name in names]
    photographs = _kept(every, [f"{path.parts[-4:]}" for path in every], seed, held_out)
    return Material(tuple(stamps), tuple(map(_photograph, photographs)))


def _is_photograph(path: Path) -> bool:
    return not set(path.parts) & set(_NOT_PHOTOGRAPHS) and path.stem not in _NO_OBJECTS


def _kept(paths: Sequence[Path], groups: Sequence[str], seed: int, held_out: bool) -> list[Path]:
    """Those that are held out, a share of _HELD_OUT in whole groups, or the others."""
    counts = {name: groups.count(name) for name in groups}
    out: set[str] = set()
    for name in sorted(counts, key=lambda group: (name_key(group, seed), group)):
        if sum(counts[group] for group in out) + counts[name] <= max(2.0, _HELD_OUT * len(paths)):
            out.add(name)
    return [path for path, name in zip(paths, groups, strict=True) if (name in out) == held_out]


def families(paths: Sequence[Path]) -> dict[Path, str]:
    """One name for all stamps that share a word, directly or through others.

    Example:
        >>> sorted(set(families([Path("red-apple.png"), Path("apple_fuji2.png"), Path("kiwi.png")]).values()))
        ['apple', 'kiwi']
    """
    words = {path: {word for word in re.split(r"[^a-z]+", path.stem.casefold()) if len(word) > 2} for path in paths}
    family = {word: word for stamp_words in words.values() for word in stamp_words}

    def top(word: str) -> str:
        return word if family[word] == word else top(family[word])

    for stamp_words in words.values():
        tops = sorted(map(top, stamp_words))
        for other in tops[1:]:
            family[other] = tops[0]
    return {path: top(min(stamp_words)) if stamp_words else path.stem for path, stamp_words in words.items()}


def _stamp(path: Path) -> Image.Image | None:
    """A cut-out, cropped to what is solid; None where it has no transparent part."""
    image = Image.open(path).convert("RGBA")
    solid = np.asarray(image.getchannel("A")) >= _SOLID
    if solid.all() or not solid.any():
        return None
    image = image.crop(Image.fromarray(solid).getbbox())
    image.thumbnail((_SIDE, _SIDE))
    return image


def _photograph(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    image.thumbnail((1600, 1600))
    return image


# -- one image


def composite(source: Material, size: int, rng: random.Random) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """One image, its mask and what is annotated in it: none to five objects of 14 to 50 % of the side.

    Args:
        source: What is pasted, and on what.
        size: Height and width.
        rng: Where everything is drawn from.

    Returns:
        (uint8 (size, size, 3), uint8 (size, size) with 0 for background, rows of COCO's "category_id" and "bbox").
    """
    canvas = Image.fromarray(_ground(source, size, rng))
    owner = np.zeros((size, size), np.uint8)  # which object each pixel shows
    classes = list[int]()
    for _ in range(0 if rng.random() < 0.04 else 1 + int(rng.random() * 5)):
        number = int(rng.random() * len(source.stamps))
        cut, solid = _object(source.stamps[number][int(rng.random() * len(source.stamps[number]))], size, rng)
        place = _place(owner, solid, len(classes), size, rng)
        if place is None:
            continue
        left, top = place
        classes.append(number + 1)
        canvas.paste(cut, place, cut.getchannel("A"))
        owner[top : top + solid.shape[0], left : left + solid.shape[1]][solid] = len(classes)
    mask = np.array([0, *classes], np.uint8)[owner]
    return np.asarray(canvas), mask, [_row(owner == i, number) for i, number in enumerate(classes, start=1)]


def _ground(source: Material, size: int, rng: random.Random) -> np.ndarray:
    """A crop of a photograph, sometimes with another one over it, in changed colours."""
    first = _crop(source, size, rng)
    if rng.random() < 0.5:
        share = 0.2 + 0.6 * rng.random()
        first = np.asarray(Image.blend(Image.fromarray(first), Image.fromarray(_crop(source, size, rng)), share))
    return recoloured(_hued(first, rng, 0.5), *(0.6 + 0.8 * rng.random() for _ in range(3)))


def _crop(source: Material, size: int, rng: random.Random) -> np.ndarray:
    image = source.photographs[int(rng.random() * len(source.photographs))]
    side = min(image.size) * (0.3 + 0.7 * rng.random())
    left, top = ((length - side) * rng.random() for length in image.size)
    crop = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return np.asarray(crop)[:, :: -1 if rng.random() < 0.5 else 1]


def _hued(x: np.ndarray, rng: random.Random, chance: float) -> np.ndarray:
    """Colours turned by up to a sixth of the circle, in a share of the images."""
    if rng.random() >= chance:
        return x
    hsv = np.array(Image.fromarray(np.ascontiguousarray(x)).convert("HSV"))
    hsv[..., 0] += np.uint8(round(42 * (2 * rng.random() - 1)) % 256)
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def _object(stamp: Image.Image, size: int, rng: random.Random) -> tuple[Image.Image, np.ndarray]:
    """A stamp resized, stretched, mirrored, turned and in changed colours; and which of its pixels are solid."""
    longest = size * (0.14 + 0.36 * rng.random())
    stretch = 0.85 + 0.3 * rng.random()
    scale = longest / max(stamp.width * stretch, stamp.height)
    sides = max(4, round(stamp.width * scale * stretch)), max(4, round(stamp.height * scale))
    cut = stamp.resize(sides, Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cut = cut.rotate(40 * rng.random() - 20, Image.Resampling.BICUBIC, expand=True)
    colours = recoloured(
        _hued(np.asarray(cut.convert("RGB")), rng, 0.3), *(0.75 + 0.5 * rng.random() for _ in range(3))
    )
    alpha = cut.getchannel("A")
    cut = Image.fromarray(np.dstack([colours, np.asarray(alpha)]))
    box = Image.fromarray(np.asarray(alpha) >= _SOLID).getbbox() or (0, 0, *cut.size)
    cut = cut.crop(box)
    return cut, np.asarray(cut.getchannel("A")) >= _SOLID


def _place(owner: np.ndarray, solid: np.ndarray, count: int, size: int, rng: random.Random) -> tuple[int, int] | None:
    """(left, top) where the object hides a fifth of no other at most; None where twenty tries find nothing."""
    height, width = solid.shape
    if height > size or width > size:
        return None
    areas = np.bincount(owner.reshape(-1), minlength=count + 1)
    for _ in range(20):
        left, top = int(rng.random() * (size - width + 1)), int(rng.random() * (size - height + 1))
        hidden = np.bincount(owner[top : top + height, left : left + width][solid], minlength=count + 1)
        if (hidden[1:] <= 0.2 * areas[1:]).all():
            return left, top
    return None


def _row(area: np.ndarray, number: int) -> dict[str, Any]:
    """What COCO says of an object that is seen in these pixels."""
    ys, xs = np.nonzero(area)
    left, top = int(xs.min()), int(ys.min())
    return {
        "category_id": number,
        "bbox": [left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top],
        "area": int(area.sum()),
    }
