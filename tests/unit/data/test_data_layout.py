"""Folder layouts as people have them: what is a class, what is a part, what is left out, and what is asked."""

from __future__ import annotations

import pytest

from tlkit.core.errors import InputError
from tlkit.data.listing import class_folders
from tlkit.data.part_names import part_names


def tree(root, *names):
    """Files by name, three for "train/cat/*" and so on."""
    for name in names:
        for i in range(3) if name.endswith("*") else [""]:
            path = root / name.replace("*", f"{i}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def parts_of(listing):
    counts = {}
    for file in listing.files:
        counts[file.part, file.label] = counts.get((file.part, file.label), 0) + 1
    return counts


def divided(*parts):
    return {(part, label): 3 for part in parts for label in ("cat", "dog")}


def classes(*parts):
    return [f"{part}/{label}/*" for part in parts for label in ("cat", "dog")]


@pytest.mark.parametrize("beside", ["test", "Test", "testing", "test1", "seg_test", "holdout", "Hold-Out", "eval"])
@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "train_images", "x_train", "TrainData"])
def test_an_unlabelled_test_beside_training_classes_is_left_out_with_a_note(tmp_path, train, beside):
    listing = class_folders(tree(tmp_path, *classes(train), f"{beside}/*"))
    assert parts_of(listing) == divided(0)
    assert listing.notes == (
        f"The folder is divided already: {train!r} is training.",
        f"Left out: {beside!r} (3 files without labels).",
    )


@pytest.mark.parametrize("name", ["samples", "docs", "predictions", "sample_submission", "horses", "seg_pred"])
def test_strange_folders_beside_the_parts_are_no_classes(tmp_path, name):
    listing = class_folders(tree(tmp_path, *classes("train", "valid", "test"), f"{name}/*", "__MACOSX/*"))
    assert parts_of(listing) == divided(0, 1, 2)
    assert (
        listing.notes[0] == "The folder is divided already: 'train' is training, 'valid' is validation, 'test' is test."
    )
    assert listing.notes[1:] == (f"Left out: {name!r} (3 files).",)


def test_doubly_nested_parts_are_unwrapped(tmp_path):
    names = classes("seg_train/seg_train", "seg_test/seg_test")
    listing = class_folders(tree(tmp_path, *names, "seg_pred/seg_pred/*"))
    assert parts_of(listing) == divided(0, 2)
    assert listing.notes == (
        "The folder is divided already: 'seg_train/seg_train' is training, 'seg_test/seg_test' is test.",
        "Left out: 'seg_pred' (3 files).",
    )


@pytest.mark.parametrize("inner", ["test", "images", "unknown"])
def test_a_folder_around_unlabelled_tests_is_no_class(tmp_path, inner):
    listing = class_folders(tree(tmp_path, *classes("train"), f"test/{inner}/*"))
    assert parts_of(listing) == divided(0)
    assert listing.notes[-1] == "Left out: 'test' (3 files without labels)."


def test_parts_with_a_name_in_common_are_recognised(tmp_path):
    assert parts_of(class_folders(tree(tmp_path, *classes("pets_train", "pets_test")))) == divided(0, 2)


def test_parts_one_level_down_are_found(tmp_path):
    listing = class_folders(tree(tmp_path, *classes("dataset/train", "dataset/val"), "docs/readme.txt"))
    assert parts_of(listing) == divided(0, 1)
    assert listing.notes[0] == "The data were found in 'dataset'."
    assert "Left out: 'docs' (1 file)." in listing.notes


def test_the_usual_layout_needs_no_note(tmp_path):
    assert class_folders(tree(tmp_path, *classes("train", "val", "test"))).notes == ()


def test_each_class_may_be_divided(tmp_path):
    names = [f"{label}/{part}/*" for label in ("cat", "dog") for part in ("train", "test")]
    listing = class_folders(tree(tmp_path, *names))
    assert parts_of(listing) == divided(0, 2)
    assert listing.notes == ("Each class is divided already: its train, val and test folders are the parts.",)
    with pytest.raises(InputError, match=r"'cat', 'dog' in .* hold training and test folders, and 'eel' none"):
        class_folders(tree(tmp_path, "eel/*"))


def test_classes_beside_a_divided_test_are_the_training_part(tmp_path):
    listing = class_folders(tree(tmp_path, "cat/*", "dog/*", *classes("test")))
    assert parts_of(listing) == divided(0, 2)
    assert listing.notes == ("'cat', 'dog' are taken for training, 'test' is test.",)


def test_what_says_that_it_has_no_label_is_left_out(tmp_path):
    names = [*classes("train", "test"), "train/unsup/*"]
    listing = class_folders(tree(tmp_path / "imdb", *names))
    assert listing.labels == ("cat", "dog")
    assert listing.notes[-1] == "'train/unsup' is left out: its name says that what it holds has no label."
    assert class_folders(tree(tmp_path / "flat", "cat/*", "dog/*", "unlabeled/*")).labels == ("cat", "dog")


def test_loose_files_beside_class_folders_are_noted(tmp_path):
    listing = class_folders(tree(tmp_path, *classes("train"), "train/*", "train/labels.csv"))
    assert listing.notes == ("3 files that lie beside the class folders of 'train' are left out.",)


def test_a_single_loose_file_is_noted_in_the_singular(tmp_path):
    listing = class_folders(tree(tmp_path, "cat/*", "dog/*", "notes.txt"))
    assert listing.notes == ("One file that lies beside the class folders is left out.",)


@pytest.mark.parametrize("name", ["train", "valid", "test_tube", "train_station"])
def test_a_class_may_be_named_as_a_part(tmp_path, name):
    listing = class_folders(tree(tmp_path, f"{name}/*", "car/*", "bus/*"))
    assert listing.labels == tuple(sorted(("bus", "car", name)))
    assert bool(listing.notes) == ("_" not in name)
    assert not listing.notes or listing.notes[0].startswith(f"{name!r} is taken as a class")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/*", "test/*"], r"'test', 'train' in .* hold files and no class folders, so nothing says the labels"),
        (["Training/*", "val/*", "train.csv"], "if 'train.csv' names the labels, read it with from_csv"),
        (["train/*", "samples/*"], r"'train' in .* holds files and no class folders"),
        (["train/*", *classes("test")], "hold files and no class folders"),
        (["train/*", "test/*", "car/*", "bus/*"], "can be read in two ways: 'test', 'train' are named as parts"),
        (["test/*", "cat/*", "dog/*"], "can be read in two ways: 'test' beside 'cat', 'dog' may be a class"),
        (["train/steam/*", "train/diesel/*", "car/*", "bus/*"], "'train' holds class folders as a training part does"),
        (classes("val", "test"), "holds 'test', 'val' and no training folder"),
        (["test/*"], "holds 'test' and no training folder"),
        ([*classes("flowers_train"), *classes("other")], "'flowers_train' in .* is named as a training part"),
        ([*classes("noto/train"), *classes("apple/train")], "'apple', 'noto' in .* hold a training folder each"),
        (classes("flower_photos"), "did you mean '.*/flower_photos', which holds 'cat', 'dog'"),
        (classes("wrap/flower_photos"), "did you mean '.*/wrap/flower_photos', which holds 'cat', 'dog'"),
        (classes("data"), "did you mean '.*/data', which holds 'cat', 'dog'"),
        (classes("samples/images"), "did you mean '.*/samples/images', which holds 'cat', 'dog'"),
        ([*classes("flower_photos"), "samples/*"], "did you mean '.*/flower_photos'"),
        (["images/*", "labels/*"], "'images', 'labels' in .* look like pictures with boxes or masks"),
        (["train/images/*", "train/labels/*"], "look like pictures with boxes or masks"),
        (["images/train/*", "images/val/*", "labels/train/*", "labels/val/*"], "look like pictures with boxes"),
    ],
)
def test_a_layout_that_can_be_read_in_two_ways_is_refused_by_name(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        class_folders(tree(tmp_path, *names))


@pytest.mark.parametrize("parts", [("fold1", "fold2"), ("Trainingsdaten", "Testdaten"), ("2019", "2020", "2021")])
def test_folders_that_hold_the_same_folders_are_classes_with_a_note(tmp_path, parts):
    listing = class_folders(tree(tmp_path, *classes(*parts), f"{parts[0]}/eel/*"))
    assert listing.labels == tuple(sorted(parts))
    assert "are taken as classes, though each of them holds 'cat', 'dog': if these are the classes" in listing.notes[0]
    other = class_folders(tree(tmp_path / "other", "animal/cat/*", "animal/dog/*", "plant/oak/*", "plant/elm/*"))
    assert other.labels == ("animal", "plant") and other.notes == ()


def test_links_that_lead_to_themselves_are_listed_as_files(tmp_path):
    tree(tmp_path, "a/*", "b/*")
    (tmp_path / "a" / "x.png").symlink_to("y.png")
    (tmp_path / "a" / "y.png").symlink_to("x.png")
    (tmp_path / "loop").symlink_to("loop")
    assert [file.name for file in class_folders(tmp_path).files if file.label == "a"][-2:] == ["a/x.png", "a/y.png"]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nosuchuser/x"])
def test_a_folder_with_an_odd_name_is_refused(name):
    with pytest.raises(InputError, match=r"The folder .* cannot be read: "):
        class_folders(name)


def test_eval_is_a_test_or_the_validation_beside_one():
    assert part_names(["train", "eval"])["eval"] == 2
    assert part_names(["train", "eval", "test"])["eval"] == 1
    assert "eval" not in part_names(["train", "val", "eval", "test"])
