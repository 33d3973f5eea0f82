"""Folders below a folder -> which are classes, and of which part; a layout that can be read in two ways is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlkit.core.errors import InputError
from tlkit.data import walking
from tlkit.data.part_names import (
    TRAIN,
    hints_at_training,
    is_no_class,
    is_of_detection,
    is_stray,
    is_unlabelled,
    may_be_a_class,
    part_names,
)

_DEEPEST = 4  # folders of one folder each that are gone through
_PART = ("training", "validation", "test")
_SHOWN = 5


@dataclass(frozen=True)
class ClassFolder:
    """A folder of one class's files, and their part; None where no folder says."""

    path: Path
    label: str
    part: int | None = None


@dataclass(frozen=True)
class Layout:
    """The class folders, and sentences on what was taken as what and what was left out."""

    classes: tuple[ClassFolder, ...]
    notes: tuple[str, ...] = ()


def layout(root: Path) -> Layout:
    """Read a folder of class folders, or of training, validation and test folders of such.

    Raises:
        InputError: If it can be read in two ways, or the parts hold no class folders.
    """
    inner = walking.folders(root)
    parts = _parts(inner)
    filled = {folder: part for folder, part in parts.items() if walking.holds_files(folder)}
    beside = [folder for folder in inner if folder not in parts]
    train = [folder for folder, part in filled.items() if part == TRAIN]
    if any(_is_nested(folder) for folder in train):
        return _divided(root, inner, parts)
    if train:
        return _with_flat_training(root, filled, beside)
    if filled:
        return _without_training(root, filled, beside)
    return _undivided(root, inner)


def _divided(root: Path, inner: Sequence[Path], parts: Mapping[Path, int]) -> Layout:
    """A training folder of class folders, and what lies beside it."""
    strange = [
        folder for folder in inner if folder not in parts and not is_stray(folder.name) and walking.loose(folder)
    ]
    if strange and len([folder for folder in parts if walking.holds_files(folder)]) == 1:
        raise InputError(
            f"{str(root)!r} can be read in two ways: {_names(root, parts)} holds class folders as a training part "
            f"does, and {_names(root, strange)} beside it holds files as a class does. Give the folder of the training "
            "part, or move what does not belong to it."
        )
    nested = {_unwrapped(folder): part for folder, part in parts.items() if _is_nested(folder)}
    class_names = {child.name for folder, part in nested.items() if part == TRAIN for child in walking.folders(folder)}
    nested = {
        folder: part for folder, part in nested.items() if part == TRAIN or not _is_unlabelled(folder, class_names)
    }
    for folder in nested:
        _check_no_boxes(root, _filled(folder))
    classes, dropped = _classes(nested)
    used = [candidate for candidate in inner if any(candidate in (folder, *folder.parents) for folder in nested)]
    unused = [folder for folder in inner if folder not in used]
    return Layout(classes, _notes(root, nested, unused, dropped))


def _classes(parts: Mapping[Path, int]) -> tuple[tuple[ClassFolder, ...], list[Path]]:
    """The class folders of the parts, and those that say they have no label."""
    classes = [ClassFolder(path, path.name, part) for folder, part in parts.items() for path in walking.folders(folder)]
    labels = {child.label for child in classes if not is_unlabelled(child.label)}
    dropped = [child.path for child in classes if is_unlabelled(child.label)] if len(labels) > 1 else []
    return tuple(child for child in classes if child.path not in dropped), dropped


def _unparted(folders: Sequence[Path]) -> tuple[ClassFolder, ...]:
    return tuple(ClassFolder(path, path.name) for path in folders)


def _with_flat_training(root: Path, filled: Mapping[Path, int], beside: Sequence[Path]) -> Layout:
    """A folder named after training that holds files: a class of that name, or a part without labels."""
    classes = [folder for folder in beside if not is_stray(folder.name) and walking.loose(folder)]
    if len({*filled.values()}) > 1 and classes:
        raise InputError(
            f"{str(root)!r} can be read in two ways: {_names(root, filled)} are named as parts, and lie beside "
            f"{_names(root, classes)}, which hold files as they do. Rename them if they are classes, or give "
            "each part its class folders."
        )
    if not classes:
        verb = "hold" if len(filled) > 1 else "holds"
        raise InputError(
            f"{_names(root, filled)} in {str(root)!r} {verb} files and no class folders, so nothing says the "
            f"labels: put the files of each class into a folder named after it{_or_table(root)}."
        )
    return Layout(_unparted([*filled, *beside]), (_as_a_class(root, filled, classes),))


def _as_a_class(root: Path, folders: Mapping[Path, int], classes: Sequence[Path]) -> str:
    return f"{_names(root, folders)} is taken as a class, because it holds files as {_names(root, classes)} beside it."


def _without_training(root: Path, filled: Mapping[Path, int], beside: Sequence[Path]) -> Layout:
    """Folders named after validation or test, and no training folder."""
    classes = [folder for folder in beside if walking.holds_files(folder)]
    inside = {child.name for folder in filled if _is_nested(folder) for child in walking.folders(_unwrapped(folder))}
    names = {folder.name for folder in classes if not is_stray(folder.name)}
    if len(inside) > 1 and inside <= names:
        nested: dict[Path, int] = {_unwrapped(folder): part for folder, part in filled.items() if _is_nested(folder)}
        trained = [folder for folder in classes if folder.name in inside or not is_stray(folder.name)]
        every, _ = _classes(nested)
        note = f"{_names(root, trained)} are taken for training, {_said(root, nested)}."
        return Layout((*(ClassFolder(folder, folder.name, TRAIN) for folder in trained), *every), (note,))
    if names and not inside and all(may_be_a_class(folder.name) for folder in filled):
        note = (
            f"{_names(root, filled)} is taken as a class, because it holds files as {_names(root, classes)} beside it."
        )
        return Layout(_unparted([*filled, *beside]), (note,))
    if not names:
        raise InputError(
            f"{str(root)!r} holds {_names(root, filled)} and no training folder: put the training examples beside, in "
            "train/ with a folder for each class."
        )
    raise InputError(
        f"{str(root)!r} can be read in two ways: {_names(root, filled)} beside {_names(root, classes)} may be a "
        "class, or examples to be predicted. Rename it if it is a class; else move it elsewhere, or put the classes "
        "into train/."
    )


def _undivided(root: Path, inner: Sequence[Path]) -> Layout:
    """Folders of which none is named after a part: classes, or one folder around all of it."""
    data = [folder for folder in inner if walking.holds_files(folder)]
    around = [
        folder for folder in data if any(part == TRAIN and _is_nested(p) for p, part in _parts_in(folder).items())
    ]
    beside = [folder for folder in data if folder not in around and not is_stray(folder.name) and walking.loose(folder)]
    if len(around) == 1 and not beside:
        below = layout(around[0])
        unused = [folder for folder in inner if folder not in around]
        notes = (f"The data were found in {around[0].name!r}.", *below.notes, *_left_out(root, unused))
        return Layout(below.classes, notes)
    if len(around) > 1:
        raise InputError(
            f"{_names(root, around)} in {str(root)!r} hold a training folder each: give one of them, such as "
            f"{str(around[0])!r}."
        )
    _check_no_boxes(root, data)
    divided = [folder for folder in data if _is_class_of_parts(folder)]
    if len(divided) > 1:
        return _parts_of_classes(root, inner, data, divided)
    _check_one_folder(root, data)
    return _plain(root, inner, data)


def _plain(root: Path, inner: Sequence[Path], data: Sequence[Path]) -> Layout:
    hinted = [
        folder for folder in data if hints_at_training(folder.name) and _is_nested(folder) and not walking.loose(folder)
    ]
    if hinted:
        raise InputError(
            f"{hinted[0].name!r} in {str(root)!r} is named as a training part and holds folders: give "
            f"{str(hinted[0])!r}, or name it train."
        )
    dropped = [folder for folder in inner if is_unlabelled(folder.name)]
    classes = [folder for folder in inner if folder not in dropped] if len(inner) - len(dropped) > 1 else list(inner)
    notes = []
    if len(classes) < len(inner):
        notes.append(f"{_names(root, dropped)} is left out: its name says that what it holds has no label.")
    strays = [folder for folder in data if is_stray(folder.name)]
    if strays and len(classes) > 1:
        verb = "are taken as classes" if len(strays) > 1 else "is taken as a class"
        notes.append(f"{_names(root, strays)} {verb}; move what is none elsewhere.")
    if len(classes) > 1 and (common := _common(data)):
        notes.append(
            f"{_names(root, data)} are taken as classes, though each of them holds {_quoted(common)}: if these are the "
            "classes, name the folders around them train, val and test, or give one of these."
        )
    if (count := walking.loose(root)) and len(classes) > 1:
        notes.append(_left_beside(count, "the class folders"))
    return Layout(_unparted(classes), tuple(notes))


def _common(data: Sequence[Path]) -> list[str]:
    """Names of folders that all of these hold and nothing else, as parts do whatever they are called: fold1, fold2."""
    if len(data) < 2 or any(walking.loose(folder) for folder in data):
        return []
    names = set.intersection(*({inner.name for inner in _filled(folder)} for folder in data))
    return sorted(names) if len(names) > 1 else []


def _check_no_boxes(root: Path, data: Sequence[Path]) -> None:
    if is_of_detection(folder.name for folder in data):
        raise InputError(
            f"{_names(root, data)} in {str(root)!r} look like pictures with boxes or masks, not like classes: put the "
            "pictures of each class into a folder named after it."
        )


def _check_one_folder(root: Path, data: Sequence[Path]) -> None:
    """Refuse a folder around the class folders, and name the one that is meant."""
    real = [folder for folder in data if not is_stray(folder.name)] or list(data)
    if len(real) != 1:
        return
    meant, depth = real[0], 0
    while depth < _DEEPEST and not walking.loose(meant) and len(filled := _filled(meant)) == 1:
        meant, depth = filled[0], depth + 1
    if len(_filled(meant)) > 1 and not walking.loose(meant):
        raise InputError(
            f"{str(root)!r} holds one folder with data only, {real[0].name!r}: did you mean {str(meant)!r}, which "
            f"holds {_names(meant, _filled(meant))}?"
        )


def _is_class_of_parts(folder: Path) -> bool:
    """Whether a class's folder holds its examples in train/ and test/."""
    inner, parts = walking.folders(folder), _parts_in(folder)
    return len(inner) > 1 and len(parts) == len(inner) and TRAIN in parts.values() and not walking.loose(folder)


def _parts_of_classes(root: Path, inner: Sequence[Path], data: Sequence[Path], divided: Sequence[Path]) -> Layout:
    undivided = [folder for folder in data if folder not in divided and not is_stray(folder.name)]
    if undivided:
        raise InputError(
            f"{_names(root, divided)} in {str(root)!r} hold training and test folders, and {_names(root, undivided)} "
            "none: divide all classes, or none."
        )
    classes = tuple(
        ClassFolder(path, folder.name, part) for folder in divided for path, part in _parts_in(folder).items()
    )
    note = "Each class is divided already: its train, val and test folders are the parts."
    return Layout(classes, (note, *_left_out(root, [folder for folder in inner if folder not in divided])))


def _parts(inner: Sequence[Path]) -> dict[Path, int]:
    part_of_name = part_names([folder.name for folder in inner])
    return {folder: part_of_name[folder.name] for folder in inner if folder.name in part_of_name}


def _parts_in(folder: Path) -> dict[Path, int]:
    return _parts(walking.folders(folder))


def _filled(folder: Path) -> list[Path]:
    return [inner for inner in walking.folders(folder) if walking.holds_files(inner)]


def _is_nested(folder: Path) -> bool:
    return bool(_filled(folder))


def _unwrapped(folder: Path, depth: int = 0) -> Path:
    """The folder of class folders in a part: seg_train/seg_train of seg_train."""
    filled = _filled(folder)
    if depth < _DEEPEST and len(filled) == 1 and not walking.loose(folder) and not walking.loose(filled[0]):
        return _unwrapped(filled[0], depth + 1) if _is_nested(filled[0]) else folder
    return folder


def _is_unlabelled(folder: Path, class_names: set[str]) -> bool:
    """Whether a part's only folder is no class: test/test/ or test/images/ of files to be predicted."""
    names = [inner.name for inner in _filled(folder)]
    return len(names) == 1 and names[0] not in class_names and is_no_class(names[0])


def _notes(root: Path, parts: Mapping[Path, int], left: Sequence[Path], dropped: Sequence[Path]) -> tuple[str, ...]:
    usual = all(
        folder.parent == root and folder.name == ("train", "val", "test")[part] for folder, part in parts.items()
    )
    notes = [] if usual and not left else [f"The folder is divided already: {_said(root, parts)}."]
    if dropped:
        notes.append(f"{_names(root, dropped)} is left out: its name says that what it holds has no label.")
    return (*notes, *_left_out(root, left), *_loose_beside(root, parts))


def _loose_beside(root: Path, parts: Mapping[Path, int]) -> list[str]:
    counts = {folder: count for folder in parts if (count := walking.loose(folder))}
    return [_left_beside(count, f"the class folders of {_name(root, folder)!r}") for folder, count in counts.items()]


def _left_out(root: Path, unused: Sequence[Path]) -> list[str]:
    if not unused:
        return []
    descriptions = []
    for folder in unused[:_SHOWN]:
        count = sum(1 for _ in walking.files(folder))
        descriptions.append(f"{_name(root, folder)!r} ({count:,} file{'' if count == 1 else 's'}{_why(folder)})")
    more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
    return [f"Left out: {', '.join(descriptions)}{more}."]


def _why(folder: Path) -> str:
    return " without labels" if part_names([folder.name]) and not is_stray(folder.name) else ""


def _said(root: Path, divided: Mapping[Path, int]) -> str:
    parts = sorted(divided.items(), key=lambda folder_part: folder_part[1])
    return ", ".join(f"{_name(root, folder)!r} is {_PART[part]}" for folder, part in parts)


def _or_table(root: Path) -> str:
    names = walking.tables(root)
    return f"; if {names[0]!r} names the labels, read it with from_csv" if names else ""


def _names(root: Path, folders: Sequence[Path] | Mapping[Path, int]) -> str:
    return _quoted([_name(root, folder) for folder in folders])


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _name(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix()


def _left_beside(count: int, folders: str) -> str:
    if count == 1:
        return f"One file that lies beside {folders} is left out."
    return f"{count:,} files that lie beside {folders} are left out."
