"""What files of annotations say: COCO JSON, Pascal VOC XML and YOLO texts, as one record an image.

What each format means by four numbers is written down here and never guessed:

| format | numbers | unit |
|---|---|---|
| COCO JSON | left, top, width, height | pixels |
| Pascal VOC XML | by name: xmin, ymin, xmax, ymax | pixels; the official sets count them from 1 |
| YOLO text | class, x and y of the centre, width, height | shares of the sides |
| TFDS `BBoxFeature` | top, left, bottom, right | shares of the sides |
| tables, arrays | what `order` and `unit` say | |
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tlkit.core.errors import InputError
from tlkit.core.remote import local
from tlkit.data import dicom, walking
from tlkit.data.image_source import passed_over
from tlkit.data.labelling import checked_names
from tlkit.data.listing import checked_folder, escaped
from tlkit.data.pixels import sides
from tlkit.data.splitting import PART_NAMES

ORDERS = {
    "xyxy": ("left", "top", "right", "bottom"),
    "yxyx": ("top", "left", "bottom", "right"),
    "xywh": ("left", "top", "width", "height"),
    "cxcywh": ("x of the centre", "y of the centre", "width", "height"),
}
UNITS = ("pixels", "shares")
IMAGES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm", ".dcm",
    ".dicom",
)  # fmt: skip
_OFFICIAL_VOC = re.compile(r"the voc\d{4} database", re.IGNORECASE)


def is_image(path: Path) -> bool:
    """Whether a file is an image by its ending, or a DICOM file, which hospitals write under any name."""
    if path.suffix.casefold() in IMAGES:
        return True
    if passed_over(path):
        return False
    try:
        with path.open("rb") as file:
            return dicom.begins(file)
    except OSError:
        return False


def without_ending(name: str) -> str:
    """A name without the ending of an image; "1.2.840.3", as DICOM files are called, has none.

    Example:
        >>> without_ending("a.b/scan.v2.png"), without_ending("1.2.840.3")
        ('a.b/scan.v2', '1.2.840.3')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if f"{dot}{ending}".casefold() in IMAGES else name


@dataclass(frozen=True)
class Thing:
    """One annotated object.

    Attributes:
        label: Name of its class.
        numbers: Four, in the order of its format; () where there is no box.
        ignored: Whether it is a crowd or a difficult one, which counts neither as found nor as missed.
        area: COCO's "segmentation": polygons, or a run-length code; None where there is none.
        points: COCO's "keypoints": x, y and visibility one behind the other.
        trouble: What is wrong with it, in words that follow "its box 2".
    """

    label: str
    numbers: tuple[float, ...] = ()
    ignored: bool = False
    area: Any = None
    points: tuple[float, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Annotated:
    """An image and what is annotated in it.

    Attributes:
        name: Its id.
        path: Where it is.
        things: The objects; none is an example, too.
        size: (width, height) in pixels that the annotations say; None where they do not.
        part: Where the source says so.
        trouble: Why it cannot be used; "" where it can.
    """

    name: str
    path: Path
    things: tuple[Thing, ...] = ()
    size: tuple[int, int] | None = None
    part: int | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Annotations:
    """All that a source says.

    Attributes:
        images: In the order of their names.
        labels: Names of the classes, in the order of their numbers.
        order: Of a thing's numbers, a key of ORDERS.
        unit: "pixels" or "shares".
        notes: Sentences on what is odd.
        points: Names of the keypoints.
    """

    images: tuple[Annotated, ...]
    labels: tuple[str, ...]
    order: str
    unit: str
    notes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Folder:
    """Finds images by what annotations call them: by path, or by name alone where one file only has it."""

    root: Path
    by_name: dict[str, list[Path]] = field(default_factory=dict)

    def find(self, name: str) -> Path | None:
        turned = urllib.parse.unquote(name).replace("\\", "/")
        for spelt in (name, turned):
            inside = os.path.normpath(spelt)
            path = self.root / inside
            if not inside.startswith("..") and not Path(inside).is_absolute() and path.is_file():
                return path
        if not self.by_name:
            for file in walking.files(self.root):
                self.by_name.setdefault(file.name, []).append(file)
        namesakes = self.by_name.get(turned.rpartition("/")[2], [])
        namesakes = _alike_ends(namesakes, turned) if len(namesakes) > 1 else namesakes
        return namesakes[0] if len(namesakes) == 1 else None


def _alike_ends(paths: Sequence[Path], name: str) -> list[Path]:
    """Those of several files of one name whose folders are most like those that the annotations say."""
    parts_of_name = name.split("/")[::-1]

    def agreement(path: Path) -> int:
        parts = path.parts[::-1]
        return next(
            (i for i, (a, b) in enumerate(zip(parts, parts_of_name, strict=False)) if a != b), len(parts_of_name)
        )

    most = max(map(agreement, paths))
    return [path for path in paths if agreement(path) == most]


def part_of(name: str) -> int | None:
    """The part that a name of a file or folder speaks of: "instances_val2017" is 1; None where it is none, or two."""
    parts = {PART_NAMES[word] for word in re.split(r"[^a-z]+", name.casefold()) if word in PART_NAMES}
    return parts.pop() if len(parts) == 1 else None


def parts_of(parts: Sequence[int | None]) -> tuple[list[int], tuple[str, ...]]:
    """The part of each image, [] where none is said, and a note where some lie in none: these are for training."""
    if all(part is None for part in parts):
        return [], ()
    lost = sum(part is None for part in parts)
    note = f"{lost:,} images lie in no part, as the source divides them, and are used for training."
    return [part or 0 for part in parts], (note,) if lost else ()


def size_of(image: Annotated) -> tuple[tuple[int, int] | None, str]:
    """(width, height) upright, and what is wrong with it; a file that cannot be read is left to the preflight."""
    image_sizes = sides(image.path)
    if image_sizes is None or image.size is None or image.trouble:
        return (None if image_sizes is None else image_sizes[1]), ""
    stored, upright = image_sizes
    if image.size == upright:
        return upright, ""
    drawn, are = (f"{width} x {height}" for width, height in (image.size, upright))
    if image.size == stored:
        return upright, f"its boxes were drawn before it is turned as its EXIF data say ({drawn}, shown as {are})"
    return upright, f"its annotations are of an image of {drawn} pixels, and it has {are}"


def number(value: Any) -> float:
    """A finite number out of a file; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return read if math.isfinite(read) else math.nan


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) as annotations say them; None where they do not."""
    sides = [number(value) for value in (width, height)]
    return (int(sides[0]), int(sides[1])) if all(side >= 1 for side in sides) else None


def format_of(root: Path) -> str:
    """ "COCO", "Pascal VOC" or "YOLO", by the files in a folder.

    Raises:
        InputError: If it is none of them, or several.
    """
    files = list(walking.files(root))
    by_kind = {
        "YOLO": [path for path in files if path.suffix in (".yaml", ".yml") and path.stem in ("data", "dataset")],
        "Pascal VOC": [path for path in files if path.suffix.casefold() == ".xml"],
        "COCO": [path for path in files if path.suffix.casefold() == ".json"],
    }
    kinds = [kind for kind, paths in by_kind.items() if paths]
    if len(kinds) == 1:
        return kinds[0]
    contents = (
        " and ".join(f"{by_kind[kind][0].relative_to(root).as_posix()!r} ({kind})" for kind in kinds) or "none of them"
    )
    raise InputError(
        f"{str(root)!r} must hold a data.yaml (YOLO), XML files (Pascal VOC) or JSON files (COCO), of one kind; it "
        f"holds {contents}. Name the loader: data.boxes.from_coco, from_voc or from_yolo."
    )


# -- COCO


def coco(where: str | os.PathLike[str], images: str | os.PathLike[str] | None, *, progress: bool = True) -> Annotations:
    """COCO JSON: one file, a folder that holds one, or train, valid and test folders with one each (Roboflow).

    Raises:
        InputError: If there is none, or it is no COCO JSON.
    """
    sources = _coco_files(local(where, progress=progress), images, progress)
    files = [_coco_file(file, _Folder(folder), part) for file, folder, part in sources]
    points = next((file.points for file in files if file.points), ())
    if any(file.points not in ((), points) for file in files):
        raise InputError("The JSON files name different keypoints: give them one list.")
    pictures = _named_once([picture for file in files for picture in file.images])
    labels, unused = _used_categories(files, pictures)
    notes = tuple(dict.fromkeys(note for file in files for note in file.notes))
    return Annotations(pictures, labels, "xywh", "pixels", (*notes, *unused), points)


def _used_categories(
    files: Sequence[_CocoFile], images: Sequence[Annotated]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the categories that any file has annotations of, in the order of their ids, and a note on the others."""
    id_of = dict[str, Any]()
    for file in files:
        for id_, name in file.categories.items():
            id_of.setdefault(name, id_)
    names = sorted(id_of, key=lambda name: _in_order(id_of[name]))
    used = {thing.label for image in images for thing in image.things}
    empty = [name for name in names if name not in used]
    note = f"No annotation is of the categories {', '.join(map(repr, empty[:5]))}: they are no labels."
    return tuple(name for name in names if name in used), (note,) if empty and used else ()


def _coco_files(
    where: Path, images: str | os.PathLike[str] | None, progress: bool
) -> list[tuple[Path, Path, int | None]]:
    """(JSON, folder of its images, part) of each."""
    chosen = None if images is None else checked_folder(images, "the images", progress=progress)
    if not where.is_dir():
        return [(where, chosen or _images_beside(where), None)]
    files = sorted(path for path in walking.files(where) if path.suffix.casefold() == ".json")
    if not files:
        raise InputError(f"The folder {str(where)!r} holds no .json: give the file of the annotations.")
    if len(files) == 1:
        return [(files[0], chosen or _images_beside(files[0]), None)]
    parts = [part_of(path.parent.name if path.parent != where else path.stem) for path in files]
    parts = [part_of(path.stem) if part is None else part for path, part in zip(files, parts, strict=True)]
    if None in parts or len(set(parts)) < len(parts):
        names = ", ".join(path.relative_to(where).as_posix() for path in files[:5])
        raise InputError(
            f"The folder {str(where)!r} holds {len(files)} JSON files ({names}), and it is not clear which are the "
            "annotations: give the file."
        )
    return [(path, chosen or _images_beside(path), part) for path, part in zip(files, parts, strict=True)]


def _images_beside(file: Path) -> Path:
    """The folder that a JSON's names start at: its own, or the one above where it lies in `annotations/`."""
    above = file.parent
    return above.parent if above.name.casefold() in ("annotations", "annotation", "result", "labels") else above


@dataclass(frozen=True)
class _CocoFile:
    """What one JSON says: its images, names of the categories by id, names of the keypoints, and notes."""

    images: tuple[Annotated, ...]
    categories: Mapping[Any, str]
    points: tuple[str, ...]
    notes: tuple[str, ...]


def _coco_file(file: Path, folder: _Folder, part: int | None) -> _CocoFile:
    content = _json(file)
    if isinstance(content, list):
        raise InputError(f"{str(file)!r} holds a list: the results of a detector, and not the annotations of images.")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "categories")):
        raise InputError(f"{str(file)!r} is no COCO JSON: it needs the lists 'images', 'annotations' and 'categories'.")
    rows = content.get("annotations")
    if not isinstance(rows, list):
        raise InputError(f"{str(file)!r} has no list 'annotations': files of a test set without answers have none.")
    names, points = _categories(file, content["categories"])
    things, notes = defaultdict[Any, list[Thing]](list), Counter[str]()
    image_ids = {_key(row["id"]) for row in content["images"] if isinstance(row, dict) and "id" in row}
    for row in rows:
        if not isinstance(row, dict) or "image_id" not in row or _key(row["image_id"]) not in image_ids:
            notes["annotations name an image that is not in the list of images, and are left out"] += 1
            continue
        things[_key(row["image_id"])].append(_coco_thing(row, names))
    pictures = tuple(_coco_image(file, row, folder, things, part) for row in content["images"])
    if len(image_ids) < len(pictures):
        raise InputError(f"{str(file)!r} gives two images one id, or one none: annotations could belong to either.")
    scored = sum(isinstance(row, dict) and "score" in row for row in rows)
    if scored:
        notes["annotations have a score, as the answers of a detector do: are these labels?"] += scored
    counted = tuple(f"{count:,} {note}" + ("" if note.endswith("?") else ".") for note, count in notes.items())
    return _CocoFile(pictures, names, points, counted)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"There is no file {str(file)!r}.") from error
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(file)!r} is no JSON: {error}.") from error


def _categories(file: Path, rows: Sequence[Any]) -> tuple[dict[Any, str], tuple[str, ...]]:
    """Names of the classes by id, in the order of the ids; and those of keypoints."""
    names = {_key(row.get("id")): str(row.get("name", "")) for row in rows if isinstance(row, dict)}
    if len(names) < len(rows):
        raise InputError(f"{str(file)!r} gives two categories one id: annotations could be of either.")
    ordered = dict(sorted(names.items(), key=lambda pair: _in_order(pair[0])))
    checked_names(list(ordered.values()))
    points = [tuple(map(str, row["keypoints"])) for row in rows if isinstance(row.get("keypoints"), list)]
    if len(set(points)) > 1:
        raise InputError(f"The categories of {str(file)!r} name different keypoints: one task learns one list.")
    return ordered, points[0] if points else ()


def _key(value: Any) -> Any:
    return value if isinstance(value, int | str) else repr(value)


def _in_order(key: Any) -> tuple[bool, Any]:
    """By which ids are sorted: numbers before words."""
    return not isinstance(key, int), key


def _coco_thing(row: Mapping[str, Any], names: Mapping[Any, str]) -> Thing:
    label, box = names.get(_key(row.get("category_id"))), row.get("bbox", ())
    trouble = "" if label is not None else f"is of category {row.get('category_id')!r:.40}, which has no name"
    numbers = tuple(map(number, box)) if isinstance(box, list) else ()
    if not trouble and isinstance(box, list) and len(box) not in (0, 4):
        trouble = f"has {len(box)} numbers instead of left, top, width and height"
    points = row.get("keypoints")
    return Thing(
        label or "", numbers, bool(row.get("iscrowd")) or bool(row.get("ignore")), row.get("segmentation"),
        tuple(map(number, points)) if isinstance(points, list) else (), trouble,
    )  # fmt: skip


def _coco_image(
    file: Path, row: Any, folder: _Folder, things: Mapping[Any, Sequence[Thing]], part: int | None
) -> Annotated:
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise InputError(f"{str(file)!r} lists an image without 'file_name': {row!r:.80}.")
    name, path = row["file_name"], folder.find(row["file_name"])
    size = _size(row.get("width"), row.get("height"))
    printable = name.encode("utf-8", "backslashreplace").decode()
    return Annotated(
        printable, path or folder.root / printable, tuple(things.get(_key(row.get("id")), ())), size, part,
        "" if path else f"there is no such file below {str(folder.root)!r}, or several of that name",
    )  # fmt: skip


def _named_once(pictures: Sequence[Annotated]) -> tuple[Annotated, ...]:
    """Sorted by name; one that is listed twice belongs to nobody."""
    counts = Counter(picture.path for picture in pictures)
    twice = next((picture.name for picture in pictures if counts[picture.path] > 1), None)
    if twice is not None:
        raise InputError(f"The image {twice!r} is listed twice: put all that is annotated in it into one entry.")
    return tuple(sorted(pictures, key=lambda picture: picture.name))


# -- Pascal VOC


def voc(folder: str | os.PathLike[str], images: str | os.PathLike[str] | None, *, progress: bool = True) -> Annotations:
    """XML files, one an image, in `Annotations/` or beside the images; also in train, valid and test folders.

    Raises:
        InputError: If there are none.
    """
    root = checked_folder(folder, "XML files, one for each image", progress=progress)
    files = sorted(path for path in walking.files(root) if path.suffix.casefold() == ".xml")
    if not files:
        raise InputError(f"The folder {str(root)!r} holds no .xml: Pascal VOC has one for each image.")
    pictures = _Folder(root if images is None else checked_folder(images, "the images", progress=progress))
    listed = _voc_parts(root)
    annotated = [_voc_file(file, root, pictures, listed) for file in files]
    labels = tuple(sorted({thing.label for image in annotated for thing in image.things if thing.label}))
    unlisted = _unlisted(root, {image.path for image in annotated}) if images is None else ()
    return Annotations(_named_once(annotated), labels, "xyxy", "pixels", unlisted)


def _voc_parts(root: Path) -> dict[str, int]:
    """Stem -> part, from ImageSets/Main/train.txt, val.txt and test.txt."""
    lists = [path for path in (root / "ImageSets" / "Main").glob("*.txt") if path.stem in PART_NAMES]
    return {
        line.split()[0]: PART_NAMES[path.stem]
        for path in sorted(lists)
        for line in path.read_text("utf-8", "replace").splitlines()
        if line.split()
    }


def _voc_file(file: Path, root: Path, pictures: _Folder, listed: Mapping[str, int]) -> Annotated:
    name = escaped(file.relative_to(root).with_suffix("").as_posix())
    try:
        content = file.read_bytes()
        if b"<!DOCTYPE" in content:
            return Annotated(name, file, trouble="its XML declares a document type, which no annotation needs")
        tree = ElementTree.fromstring(content)
    except (OSError, ElementTree.ParseError) as error:
        return Annotated(name, file, trouble=f"its XML cannot be read: {error}")
    if tree.tag != "annotation":
        return Annotated(name, file, trouble=f"its XML holds <{tree.tag:.40}> and no <annotation>")
    file_name = (tree.findtext("filename") or "").strip()
    path = next(filter(None, map(pictures.find, _voc_names(file, file_name))), None)
    size = _size(tree.findtext("size/width"), tree.findtext("size/height"))
    above = file.relative_to(root).parts[:-1]
    part = listed.get(file.stem) if listed else part_of(above[0]) if above else None
    shift = -1.0 if _OFFICIAL_VOC.search(tree.findtext("source/database") or "") else 0.0
    things = tuple(_voc_thing(element, shift) for element in tree.iter("object"))
    missing = f"there is no image {file_name or file.stem!r:.80} beside its XML" if path is None else ""
    return Annotated(name, path or file, things, size, part, missing)


def _voc_names(file: Path, file_name: str) -> Iterator[str]:
    if file_name:
        yield file_name
    yield from (file.stem + ending for suffix in IMAGES for ending in (suffix, suffix.upper()))
    yield file.stem


def _voc_thing(element: ElementTree.Element, shift: float) -> Thing:
    label, box = (element.findtext("name") or "").strip(), element.find("bndbox")
    if not label:
        return Thing("", trouble="has no name")
    if box is None:
        return Thing(label, trouble="has no <bndbox>")
    left, top, right, bottom = (number((box.findtext(key) or "").strip()) for key in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (element.findtext("difficult") or "").strip() == "1"
    return Thing(label, (left + shift, top + shift, right, bottom), difficult)


def _unlisted(root: Path, annotated: set[Path]) -> tuple[str, ...]:
    unlisted = [path for path in walking.files(root) if path not in annotated and is_image(path)]
    if not unlisted:
        return ()
    names = ", ".join(repr(path.relative_to(root).as_posix()) for path in unlisted[:3])
    more = ", ..." if len(unlisted) > 3 else ""
    return (f"{len(unlisted):,} images have no XML file and are no examples: {names}{more}.",)


# -- YOLO


def yolo(where: str | os.PathLike[str], *, progress: bool = True) -> Annotations:
    """A data.yaml, or its folder: images in `images/`, texts of the same names in `labels/`.

    An image without a text has no objects, as for Ultralytics.

    Raises:
        InputError: If there is no data.yaml, or it names no classes or no images.
    """
    file = _yolo_file(local(where, progress=progress))
    config = _yaml(file)
    labels, points = _yolo_names(file, config.get("names"), config.get("nc")), bool(config.get("kpt_shape"))
    annotated, without = [], 0
    for key in ("train", "val", "test"):
        for path in _yolo_images(file, config, key):
            text = _label_file(path)
            without += not text.is_file()
            name = escaped(os.path.relpath(path, file.parent))
            annotated.append(_yolo_image(name, path, text, PART_NAMES[key], labels, points))
    if not annotated:
        raise InputError(f"{str(file)!r} names no folder with images: `train:` and `val:` say where they are.")
    notes = (f"{without:,} images have no text of labels, and count as images without objects.",) if without else ()
    parts = {image.part for image in annotated}
    pictures = _named_once(annotated if len(parts) > 1 else [replace(image, part=None) for image in annotated])
    return Annotations(pictures, labels, "cxcywh", "shares", notes)


def _yolo_file(where: Path) -> Path:
    if not where.is_dir():
        return where
    files = sorted({*where.glob("*.yaml"), *where.glob("*.yml")})
    chosen = [path for path in files if path.stem in ("data", "dataset")] or files
    if len(chosen) != 1:
        contents = "no data.yaml" if not files else f"{len(files)} .yaml files"
        raise InputError(f"The folder {str(where)!r} holds {contents}: give the one that names classes and folders.")
    return chosen[0]


def _yaml(file: Path) -> dict[str, Any]:
    try:
        config = importlib.import_module("yaml").safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # yaml's own kinds, and Unicode's
        raise InputError(f"{str(file)!r} is no YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(config, dict):
        raise InputError(f"{str(file)!r} must hold `names:` and `train:`, as YOLO's data.yaml does.")
    return config


def _yolo_names(file: Path, names: Any, count: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InputError(f"The names in {str(file)!r} must be numbered from 0 without gaps: {list(names)[:10]}.")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{str(file)!r} names no classes: write names: [cat, dog].")
    if isinstance(count, int) and count != len(names):
        raise InputError(f"{str(file)!r} says nc: {count}, and names {len(names)} classes.")
    return checked_names([str(name) for name in names])


def _yolo_images(file: Path, config: Mapping[str, Any], key: str) -> list[Path]:
    entries = config.get(key, config.get("valid") if key == "val" else None)
    paths: list[Path] = []
    for entry in entries if isinstance(entries, list) else [entries] if entries else []:
        place = _yolo_place(file, config, str(entry))
        if place is None:
            raise InputError(f"{str(file)!r} says {key}: {entry!r}, and there is no such folder or list.")
        if place.is_dir():
            paths += [path for path in walking.files(place) if is_image(path)]
        else:
            lines = [line.strip() for line in place.read_text("utf-8", "replace").splitlines()]
            paths += [path if path.is_absolute() else place.parent / path for path in map(Path, filter(None, lines))]
    return sorted(paths)


def _yolo_place(file: Path, config: Mapping[str, Any], entry: str) -> Path | None:
    """Relative to `path:`, or to the YAML; Roboflow writes "../train/images" where it means "train/images"."""
    base = file.parent / str(config.get("path") or "")
    places = [base / entry, file.parent / entry, file.parent / entry.removeprefix("../")]
    return next((place for place in places if place.exists()), None)


def _label_file(image: Path) -> Path:
    """The text of an image's labels: the last folder "images" is "labels" there; beside it where there is none."""
    parts = list(image.parts)
    folders = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts[:-1], f"{without_ending(parts[-1])}.txt")


def _yolo_image(name: str, path: Path, text: Path, part: int, labels: tuple[str, ...], points: bool) -> Annotated:
    if not text.is_file():
        return Annotated(name, path, part=part)
    try:
        lines = text.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return Annotated(name, path, part=part, trouble=f"its labels {text.name!r} cannot be read: {error}")
    things = tuple(_yolo_thing(line.split(), labels, points) for line in lines if line.strip())
    return Annotated(name, path, things, part=part)


def _yolo_thing(words: Sequence[str], labels: tuple[str, ...], points: bool) -> Thing:
    """One line: a class and a box, or a class and the corners of a polygon, whose box is taken."""
    values = [number(word) for word in words]
    class_number = values[0] if math.isfinite(values[0]) else -1.0
    if not (class_number.is_integer() and 0 <= class_number < len(labels)):
        return Thing("", trouble=f"is of class {words[0]!r:.20}, and there are {len(labels)} names")
    label, coordinates = labels[int(class_number)], values[1:]
    if len(coordinates) == 4 or (points and len(coordinates) > 4):
        return Thing(label, tuple(coordinates[:4]))
    if len(coordinates) == 5:
        return Thing(label, trouble="has 6 numbers, as a detector's answers with their scores have: give labels")
    if len(coordinates) >= 6 and len(coordinates) % 2 == 0:
        x, y = coordinates[::2], coordinates[1::2]
        box = ((min(x) + max(x)) / 2, (min(y) + max(y)) / 2, max(x) - min(x), max(y) - min(y))
        return Thing(label, box, area=[coordinates])
    return Thing(label, trouble=f"has {len(values)} numbers instead of a class, the centre, width and height")
