"""What people call the folders of training, validation and test -> the part; and names of what is no class."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

TRAIN, VAL, TEST = range(3)

_WORDS = {
    TRAIN: ("train", "training", "trn"),
    VAL: ("val", "vali", "valid", "validate", "validation", "validating", "dev", "devel", "development"),
    TEST: ("test", "tests", "testing", "tst", "holdout", "heldout"),
}
_EVALUATION = ("eval", "evaluation", "evaluating")  # a test, or the validation beside one
_PART_OF_WORD = {word: part for part, words in _WORDS.items() for word in words}
_GLUED = re.compile(
    rf"x?({'|'.join(sorted((*_PART_OF_WORD, *_EVALUATION), key=len, reverse=True))})"
    r"(?:(?:data)?sets?|data|images?|imgs?|pics?|pictures|photos|audio|wavs?|sounds|texts?|split|folder)?"
)
_BESIDE_PARTS = """
    seg set sets data dataset datasets image images img imgs pic pics picture pictures photo photos x split splits
    folder file files dir audio audios wav wavs sound sounds clip clips recordings text texts txt raw final resized
    cropped small full new part the all my original orig cleaned clean processed preprocessed labeled labelled for
    class classes classification sorted examples
"""
_BESIDE_DATA = """
    sample samples example examples demo doc docs documentation notes prediction predictions predict pred preds
    output outputs out result results submission submissions log logs run runs model models checkpoint checkpoints
    weights script scripts src code tmp temp cache backup backups readme assets annotation annotations metadata meta
    notebooks
"""
_COMPANIONS = frozenset(_BESIDE_PARTS.split())  # words of a part's name that say nothing about a class
_STRAY = frozenset(_BESIDE_DATA.split())
_UNLABELLED = frozenset(("unsup", "unsupervised", "unlabeled", "unlabelled", "unlabled"))
_ALSO_CLASSES = frozenset(("valid", "dev", "eval", "evaluation", "development", "trn", "tst"))


def part_names(names: Sequence[str]) -> dict[str, int]:
    """The names that mean a part, of folders that lie side by side: "Train", "seg_test", "x_train", "valid_images".

    What else stands in a name must be a word such as set, images or seg, or be the same in the names of two parts.

    Example:
        >>> part_names(["flowers_train", "flowers_dev", "test_tube", "Testing"])
        {'flowers_train': 0, 'flowers_dev': 1, 'Testing': 2}
    """
    readings = {name: split for name in names if (split := _told(name)) is not None}
    parts_of_rest: dict[tuple[str, ...], set[int | None]] = defaultdict(set)
    for word, companions in readings.values():
        parts_of_rest[companions].add(_PART_OF_WORD.get(word))
    sure = {
        name: word
        for name, (word, companions) in readings.items()
        if _COMPANIONS.issuperset(companions) or len(parts_of_rest[companions]) > 1
    }
    parts = {_PART_OF_WORD.get(word) for word in sure.values()}
    evaluation = VAL if TEST in parts else TEST
    return {
        name: _PART_OF_WORD.get(word, evaluation)
        for name, word in sure.items()
        if word in _PART_OF_WORD or evaluation not in parts
    }


def hints_at_training(name: str) -> bool:
    """Whether a name holds the word train, whatever else: "flowers_train", and "train_station" too.

    Example:
        >>> hints_at_training("flowers_train"), hints_at_training("trainer")
        (True, False)
    """
    reading = _told(name)
    return reading is not None and _PART_OF_WORD.get(reading[0]) == TRAIN


def may_be_a_class(name: str) -> bool:
    """Whether a part's name is as likely that of a class: "valid" beside "invalid"."""
    return name.casefold() in _ALSO_CLASSES


def is_stray(name: str) -> bool:
    """Whether a folder's name is one of those that lie beside data: samples, docs, predictions."""
    words = _words(name)
    return bool(words) and _STRAY.issuperset(word for word in words if word not in _COMPANIONS or word in _STRAY)


def is_unlabelled(name: str) -> bool:
    """Whether a name says that what it holds has no label: unsup, unlabelled."""
    return name.casefold() in _UNLABELLED


def is_no_class(name: str) -> bool:
    """Whether a name can hardly be that of a class: images, test, unlabelled."""
    words = _words(name)
    return (
        is_unlabelled(name) or name.casefold() in ("unknown", "0") or _COMPANIONS.issuperset(words) or bool(_told(name))
    )


def is_of_detection(names: Iterable[str]) -> bool:
    """Whether folders are those of images with boxes or masks: images beside labels, annotations or masks.

    Example:
        >>> is_of_detection(["Images", "labels"]), is_of_detection(["masks", "no masks"])
        (True, False)
    """
    words = {name.casefold().rstrip("s") for name in names}
    beside = {"label", "annotation", "mask", "bboxe", "xml", "trimap"}
    return bool(words & {"image", "img", "picture", "jpegimage"}) and bool(words & beside)


def _words(name: str) -> list[str]:
    whole = re.sub(r"(?i)h(o|e)ld[ _.-]?out", r"h\1ldout", name)
    return [word.casefold() for word in re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", whole))]


def _told(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The only word of a name that means a part, and the others."""
    words = _words(name)
    hits = [(i, match[1]) for i, word in enumerate(words) if (match := _GLUED.fullmatch(word))]
    if len(hits) != 1:
        return None
    place, word = hits[0]
    return word, (*words[:place], *words[place + 1 :])
