"""Folders, tables and arrays of images, sound and broken, to Splits."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from changing import reread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tlkit.core.errors import InputError
from tlkit.core.examples import ArraySpec, Splits
from tlkit.data import image, pixels
from tlkit.data.splitting import SHARES
from tlkit.datasets import samples

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "data-cache"))


def picture(size: tuple[int, int] = (12, 16)) -> np.ndarray:
    return RNG.integers(0, 256, (*size, 3), dtype=np.uint8)


def write(path: Path, values: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if values is None else values).save(path, "PNG")
    return path


def class_folders(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for i in range(count):
            write(root / name / f"{i:02}.png")
    return root


def ids(splits: Splits) -> list[str]:
    return sorted(name for part in (splits.train, splits.val, splits.test) for name in part.ids)


def quarantined(splits: Splits) -> dict[str, str]:
    return {left_out.name: left_out.reason for left_out in splits.quarantine}


# --- folders


def white_of(splits):
    return splits.train.pipeline.get("image")["white"]


def test_class_folders_become_stratified_splits(tmp_path):
    class_folders(tmp_path, {"cat": 20, "ant": 10})
    splits = image.from_folder(tmp_path, progress=False)
    assert splits.labels == ("ant", "cat")
    assert [np.bincount(part.target_array).tolist() for part in (splits.train, splits.val, splits.test)] in (
        [[7, 14], [2, 3], [1, 3]],
        [[7, 14], [1, 3], [2, 3]],
    )
    for part in (splits.train, splits.val, splits.test):
        assert part.target_array.dtype == np.int32
        for i, name in enumerate(part.ids):
            assert splits.labels[part.target_array[i]] == name.split("/")[0]
            np.testing.assert_array_equal(part.inputs[i], np.asarray(Image.open(tmp_path / name)))
            assert part.digests[i] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert splits.train.inputs.spec == ArraySpec((None, None, 3), "uint8")
    assert (splits.quarantine, splits.duplicates, splits.notes) == ((), (), ())


def test_the_split_is_the_same_in_another_place_and_another_process(tmp_path):
    class_folders(tmp_path / "one", {"a": 9, "b": 9})
    (tmp_path / "two").symlink_to(tmp_path / "one")
    first = image.from_folder(tmp_path / "one", progress=False)
    assert image.from_folder(tmp_path / "two", progress=False).fingerprint == first.fingerprint
    assert image.from_folder(tmp_path / "one", seed=1, progress=False).train.ids != first.train.ids
    code = (
        "import sys; from tlkit.data import image;"
        f"print(image.from_folder({str(tmp_path / 'one')!r}, progress=False).fingerprint);"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == first.fingerprint


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation", "TEST"), ("train", "dev", "test")]
)
def test_split_folders_are_kept(tmp_path, names):
    for name, count in zip(names, (6, 2, 3), strict=True):
        class_folders(tmp_path / name, {"a": count, "b": count})
    splits = image.from_folder(tmp_path, progress=False)
    assert splits.labels == ("a", "b")
    for part, name in zip((splits.train, splits.val, splits.test), names, strict=True):
        assert {file.split("/")[0] for file in part.ids} == {name}


def test_a_missing_split_is_taken_out_of_training(tmp_path):
    class_folders(tmp_path / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "test", {"a": 3, "b": 3})
    splits = image.from_folder(tmp_path, progress=False)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (32, 8, 6)
    assert all(name.startswith("train/") for name in (*splits.train.ids, *splits.val.ids))


def test_classes_named_train_and_car_are_classes(tmp_path):
    class_folders(tmp_path, {"train": 4, "car": 4})
    assert image.from_folder(tmp_path, progress=False).labels == ("car", "train")


def test_an_unlabelled_test_beside_training_folders_is_left_out(tmp_path):
    class_folders(tmp_path / "train", {"cat": 6, "dog": 6})
    for i in range(4):
        write(tmp_path / "test" / f"{i}.png")
    splits = image.from_folder(tmp_path, progress=False)
    assert splits.labels == ("cat", "dog") and len(ids(splits)) == 12
    assert splits.notes[:2] == (
        "The folder is divided already: 'train' is training.",
        "Left out: 'test' (4 files without labels).",
    )


def test_a_link_that_leads_to_itself_is_quarantined(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "a" / "x.png").symlink_to("y.png")
    (tmp_path / "a" / "y.png").symlink_to("x.png")
    reason = "it cannot be read: Too many levels of symbolic links"
    assert quarantined(image.from_folder(tmp_path, progress=False)) == {"a/x.png": reason, "a/y.png": reason}


def test_groups_stay_on_one_side(tmp_path):
    for style in ("pen", "ink"):
        class_folders(tmp_path, {"a": 0, "b": 0})
        for label in "ab":
            for i in range(12):
                write(tmp_path / label / f"{i}-{style}.png")
    splits = image.from_folder(tmp_path, groups=lambda name: name.rsplit("-", 1)[0], progress=False)
    sides = [set(part.groups) for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 24
    assert all(np.bincount(part.target_array).min() >= 2 for part in (splits.train, splits.val, splits.test))


# --- what is broken or odd


def test_bad_files_are_quarantined_by_name_and_reason_and_the_rest_goes_on(tmp_path):
    class_folders(tmp_path, {"a": 8, "b": 8})
    jpeg = tmp_path / "a" / "photo.jpg"
    Image.fromarray(picture((40, 60))).save(jpeg)
    (tmp_path / "a" / "cut.jpg").write_bytes(jpeg.read_bytes()[:500])
    (tmp_path / "a" / "empty.jpg").touch()
    (tmp_path / "a" / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "b" / "link.png").symlink_to("nowhere.png")
    (tmp_path / "b" / "huge.png").write_bytes(huge_png())
    (tmp_path / "b" / "data.bin").write_bytes(b"\1\2\3")
    odd = os.fsencode(tmp_path / "b") + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes((tmp_path / "b" / "00.png").read_bytes())
    splits = image.from_folder(tmp_path, progress=False)
    assert {name: reason[:9] for name, reason in quarantined(splits).items()} == {
        "a/cut.jpg": "truncated",
        "a/empty.jpg": "empty: it",
        "a/page.jpg": "it holds ",
        "b/link.png": "a link to",
        "b/huge.png": "oversized",
        "b/data.bin": "its conte",
        "b/caf\\xe9.png": "its name ",
    }
    assert len(ids(splits)) == 17
    assert all(len(part.inputs[0].shape) == 3 for part in (splits.train, splits.val, splits.test))
    with pytest.raises(
        InputError, match=r"^1 of 24 images cannot be used: 'b/caf.*its name is not UTF-8.*strict=False"
    ):
        image.from_folder(tmp_path, strict=True, progress=False)
    Path(os.fsdecode(odd)).unlink()
    with pytest.raises(InputError, match=r"^6 of 23 images .*'a/cut.jpg' \(truncated: .*\), .* and 3 more\."):
        image.from_folder(tmp_path, strict=True, progress=False)


def huge_png() -> bytes:
    """A header of 72 million pixels, and nothing behind it."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 9000, 8000, 8, 2, 0, 0, 0), b"IDAT", b"IEND"]
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_files_that_never_were_images_are_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    for name in ("a/Thumbs.db", "a/notes.txt", "b/.DS_Store", "b/._00.png", "b/.hidden/x.png", "a/LICENSE", "b/x.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    class_folders(tmp_path, {".cache": 3, "__MACOSX": 3})
    (tmp_path / "readme.md").write_text("about")
    splits = image.from_folder(tmp_path, strict=True, progress=False)
    assert (len(ids(splits)), splits.quarantine, splits.labels) == (12, (), ("a", "b"))


def test_content_counts_and_not_the_ending(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "a" / "00.png").rename(tmp_path / "a" / "00.jpg")
    (tmp_path / "a" / "01.png").rename(tmp_path / "a" / "no ending")
    Image.fromarray(picture()).save(tmp_path / "b" / "x.png", "WEBP")
    Image.fromarray(picture()).save(tmp_path / "b" / "y.tiff")
    assert {"a/00.jpg", "a/no ending", "b/x.png", "b/y.tiff"} < set(ids(image.from_folder(tmp_path, progress=False)))


def test_folders_below_a_class_and_links_are_followed_and_loops_end(tmp_path):
    class_folders(tmp_path / "data", {"a": 4, "b": 4})
    class_folders(tmp_path / "elsewhere", {"more": 3})
    (tmp_path / "data" / "a" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "data" / "b" / "loop").symlink_to(tmp_path / "data" / "b")
    write(tmp_path / "data" / "b" / "deep" / "er" / "x.png")
    names = ids(image.from_folder(tmp_path / "data", progress=False))
    assert {"a/linked/00.png", "b/deep/er/x.png"} < set(names)
    assert len(names) == 12


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30),
        min_size=3,
        max_size=6,
        unique=True,
    )
)
def test_odd_names_are_read(names, tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    for label in ("a b", "ключ 🗝"):
        for name in names:
            write(root / label / f"x{name}"[:60])
    expected = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    splits = image.from_folder(root, progress=False)
    assert set(ids(splits)) == expected
    assert splits.labels == ("a b", "ключ 🗝")
    assert splits.fingerprint


def test_duplicates_across_splits_and_contradictions_are_reported(tmp_path):
    same, other = picture(), picture()
    for part in ("train", "val", "test"):
        class_folders(tmp_path / part, {"a": 3, "b": 3})
    write(tmp_path / "train" / "a" / "x.png", same)
    write(tmp_path / "test" / "a" / "y.png", same)
    write(tmp_path / "train" / "a" / "twice 1.png", other)
    write(tmp_path / "train" / "b" / "twice 2.png", other)
    splits = image.from_folder(tmp_path, progress=False)
    assert splits.duplicates == (("test/a/y.png", "train/a/x.png"),)
    assert splits.notes == (
        "One content appears under different labels, so at least one label is wrong: "
        "'train/a/twice 1.png' and 'train/b/twice 2.png'.",
    )


def test_a_class_without_test_examples_is_noted(tmp_path):
    class_folders(tmp_path, {"a": 10, "b": 10, "rare": 1})
    splits = image.from_folder(tmp_path, progress=False)
    assert "rare/00.png" in splits.train.ids
    assert splits.notes == (
        "The val part has no example of the class 'rare'.",
        "The test part has no example of the class 'rare'.",
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds nothing: put the files of each class into a folder named after it"),
        (["x.png", "y.png"], "holds 2 files, but no folders: put the files"),
        (["only/x.png", "only/y.png"], "holds one class only, 'only': a classifier needs two"),
        (["a/x.png", "b/"], "too few for 2 classes: the class 'b' has no usable example"),
        (["a/x.png", "a/y.png", "b/", "c/"], "too few for 3 classes: the class 'b' and 1 more have no usable example"),
        (
            ["a/x.png", "a/y.png", "a/z.png", "b/"],
            "^the class 'b' has no usable example. Add some, or remove the class",
        ),
        (["a/x.png", "a/y.png", "b/notes.txt"], "the class 'b' has no usable example"),
        (
            ["a/x.png", "a/y.png", "b/bad.png"],
            r"the class 'b' has no usable example; 1 were left out: 'b/bad.png' \(empty",
        ),
        (["a/bad.png", "b/bad.png"], "There is no usable example; 2 were left out"),
        (["a/", "b/"], r"The class folders of '.*' \(a, b\) hold no files"),
        (["a/x.png", "b/y.png"], "2 examples are too few: the .* part would be empty"),
        (["train/a/x.png", "test/b/x.png"], "'b' has no training example"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_refused(tmp_path, files, message):
    for name in files:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        elif name.endswith("x.png") or name.endswith("y.png") or name.endswith("z.png"):
            write(tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    with pytest.raises(InputError, match=message):
        image.from_folder(tmp_path, split=(0.7, 0.15, 0) if "train" in message else SHARES, progress=False)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder '.*nowhere'"):
        image.from_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"x.png' is a file: give the folder"):
        image.from_folder(write(tmp_path / "x.png"))
    class_folders(tmp_path, {"a": 2})
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).mkdir()
    with pytest.raises(InputError, match=r"The name of the class folder 'caf\\\\xe9' is not UTF-8"):
        image.from_folder(tmp_path)


def test_wrong_arguments_are_refused_before_anything_is_read(tmp_path):
    class_folders(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(InputError, match="`image_size` must be positive"):
        image.from_folder(tmp_path, image_size=0)
    with pytest.raises(InputError, match="1000000 x 1000000 pixels are too many"):
        image.from_folder(tmp_path, image_size=10**6)
    with pytest.raises(InputError, match="`background` must be three numbers"):
        image.from_folder(tmp_path, background=(0, 0, 256))
    with pytest.raises(InputError, match="`split` must be three shares"):
        image.from_folder(tmp_path, split=(0.8, 0.2))


def test_the_preflight_says_what_it_found(tmp_path, capsys):
    class_folders(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "a" / "bad.png").touch()
    image.from_folder(tmp_path)
    line = capsys.readouterr().err
    pattern = r"tlkit: checked images in \d+\.\d s: 12 sound; left out 1: 'a/bad.png' \(empty: it has 0 bytes\)\n"
    assert re.fullmatch(pattern, line)


# --- sizes


def test_sizes_are_decided_early_or_late_and_always_from_the_source(tmp_path):
    class_folders(tmp_path, {"a": 10, "b": 10})
    early = image.from_folder(tmp_path, image_size=(6, 8), progress=False)
    late = image.resized(image.from_folder(tmp_path, progress=False), (6, 8))
    again = image.resized(image.resized(early, 3), (6, 8))
    assert early.fingerprint == late.fingerprint == again.fingerprint
    assert early.train.inputs.spec == late.train.inputs.spec == ArraySpec((6, 8, 3), "uint8")
    few = image.resized(Splits(late.train.subset([3, 1]).subset([1]), late.val, late.test), 5)
    path = tmp_path / late.train.ids[1]
    np.testing.assert_array_equal(
        few.train.inputs[0], np.asarray(Image.open(path).resize((5, 5), Image.Resampling.BILINEAR))
    )
    for i in range(len(early.test)):
        np.testing.assert_array_equal(early.test.inputs[i], late.test.inputs[i])
        np.testing.assert_array_equal(early.test.inputs[i], again.test.inputs[i])
    assert image.resized(late, 5).fingerprint != late.fingerprint
    assert late.train.pipeline.steps == (
        (
            "image",
            {
                "version": pixels.VERSION,
                "size": [6, 8],
                "resize": "stretch,bilinear,antialias",
                "background": [255] * 3,
                "white": None,
            },
        ),
    )


def test_readers_of_others_are_resized_behind_them(tmp_path):
    import dataclasses

    class_folders(tmp_path, {"a": 6, "b": 6})
    splits = image.from_folder(tmp_path, progress=False)
    grey = reread(splits.train, lambda i: splits.train.inputs[i] // 2)
    assert image.resized(dataclasses.replace(splits, train=grey), 7).train.inputs[0].shape == (7, 7, 3)
    text = reread(grey, spec=ArraySpec((), "string"))
    with pytest.raises(InputError, match="Only images"):
        image.resized(dataclasses.replace(splits, train=text), 7)


def test_reading_is_the_same_from_many_threads(tmp_path):
    class_folders(tmp_path, {"a": 20, "b": 20})
    train = image.from_folder(tmp_path, image_size=32, progress=False).train
    alone = [train.inputs[i] for i in range(len(train))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(train.inputs.__getitem__, list(range(len(train))) * 5))
    for i, x in enumerate(together):
        np.testing.assert_array_equal(x, alone[i % len(train)])


def test_augmentation_goes_with_training_alone_and_outside_the_fingerprint(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    splits = image.from_folder(tmp_path, image_size=16, augment=image.augmentation(), progress=False)
    assert splits.val.augment is None and splits.test.augment is None
    assert splits.train.augment(splits.train.inputs[0], 1).shape == (16, 16, 3)
    assert splits.fingerprint == image.from_folder(tmp_path, image_size=16, progress=False).fingerprint


def test_a_file_that_vanishes_after_the_preflight_is_named(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    splits = image.from_folder(tmp_path, progress=False)
    (tmp_path / splits.train.ids[0]).unlink()
    with pytest.raises(InputError, match=r"png' was sound at the start and cannot be read now"):
        splits.train.inputs[0]


# --- tables


def table(folder: Path, rows: list[str], header: str = "path,label") -> Path:
    for row in rows:
        if not (folder / row.split(",")[0]).exists():
            write(folder / row.split(",")[0])
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_names_files_and_classes(tmp_path):
    rows = [f"pics/{i}.png,{'ab'[i % 2]}" for i in range(12)]
    splits = image.from_csv(table(tmp_path, rows), progress=False)
    assert splits.labels == ("a", "b")
    assert ids(splits) == sorted(f"pics/{i}.png" for i in range(12))
    name, target = splits.test.ids[0], splits.test.target_array[0]
    assert f"{name},{splits.labels[target]}" in rows


def test_several_labels_make_multi_label_targets(tmp_path):
    rows = [f"{i}.png,{['red', 'red|round', '', 'round | big'][i % 4]}" for i in range(24)]
    splits = image.from_csv(table(tmp_path, rows), progress=False)
    assert splits.labels == ("big", "red", "round")
    where = {name: splits.train.target_array[i].tolist() for i, name in enumerate(splits.train.ids)}
    answers = [[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]]
    assert all(row == answers[int(name.removesuffix(".png")) % 4] for name, row in where.items())
    assert splits.train.target_array.dtype == np.float32


def test_columns_give_values_parts_and_groups(tmp_path):
    rows = [f"{i}.png,{i / 2},{i},{['train', 'val', 'test'][i % 3]},p{i // 6}" for i in range(18)]
    path = table(tmp_path, rows, "path,x,y,part,patient")
    splits = image.from_csv(path, label=("x", "y"), split="part", groups="patient", progress=False)
    assert splits.labels == ("x", "y")
    assert splits.val.target_array.tolist() == [[i / 2, i] for i in (1, 4, 7, 10, 13, 16)]
    assert splits.notes == ("3 groups lie in more than one part, as the source divides them: 'p0' first.",)
    apart = image.from_csv(path, label=("x",), groups="patient", progress=False)
    assert {len(set(part.groups)) for part in (apart.train, apart.val, apart.test)} == {1}


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("file,label\nx.png,a\n", {}, "The table has no column 'path': it has 'file', 'label'"),
        ("path,class\nx.png,a\n", {}, "The table has no column 'label': it has 'path', 'class'"),
        (
            "path,label\nx.png,a\ny.png,b\n",
            {},
            "2 of 2 files of the table are not there: 'x.png', 'y.png'. Relative paths",
        ),
        ("path,label\nok.png,a\nok.png,b\n", {}, "Rows 2 and 3 of the table both name 'ok.png'"),
        ("path,label\nok.png,a\nx.png,\n", {}, "Row 3 of the table has no label"),
        ("path,label\nok.png,a,b\n", {}, "Row 2 of '.*' has 3 cells, and the header has 2"),
        ("path,label\n", {}, "holds no rows"),
        ("", {}, "holds no rows"),
        ("path,label\nok.png,a\n", {}, "All 1 examples are of one class, 'a'"),
        ("path,x\nok.png,a\n", {"label": ("x",)}, "Row 2 of the table holds no finite number in column 'x': 'a'"),
        ("path,label,s\nok.png,a,both\n", {"split": "s"}, "Row 2 of the table names the part 'both'"),
        ("path,label\nok.png,a\n", {"groups": "patient"}, "The table has no column 'patient'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, content, arguments, message):
    write(tmp_path / "ok.png")
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        image.from_csv(tmp_path / "table.csv", progress=False, **arguments)


def test_a_table_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"The table '.*none.csv' cannot be read: No such file"):
        image.from_csv(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("encoding", "note"), [("utf-8-sig", ""), ("utf-16", ""), ("cp1252", "is not UTF-8 and was read as cp1252")]
)
def test_tables_of_excel_are_read_with_a_note(tmp_path, encoding, note):
    rows = [f"café {i}.png;{'ab'[i % 2]}" for i in range(12)]
    for row in rows:
        write(tmp_path / row.split(";")[0])
    path = tmp_path / "table.csv"
    path.write_bytes("\r\n".join(["path;label", *rows]).encode(encoding))
    splits = image.from_csv(path, progress=False)
    assert ids(splits) == sorted(row.split(";")[0] for row in rows) and splits.labels == ("a", "b")
    assert [sentence for sentence in splits.notes if "semicolons" in sentence] and any(
        note in sentence for sentence in splits.notes
    )
    assert image.from_csv(path, encoding=encoding, separator=";", progress=False).notes == ()


def test_paths_of_windows_and_names_without_ending_are_found(tmp_path):
    for i in range(12):
        write(tmp_path / "sub" / f"{i:03}.png")
    path = tmp_path / "table.csv"
    names = [f"sub\\{i:03}.png" if i % 3 else f"sub/{i:03}" for i in range(12)]
    path.write_text("path,label\n" + "\n".join(f"{name},{'ab'[i % 2]}" for i, name in enumerate(names)))
    splits = image.from_csv(path, progress=False)
    assert ids(splits) == sorted(names)
    assert splits.notes == (
        "4 of 12 files were found after adding the ending of their names.",
        "8 of 12 files were found after turning the slashes of Windows.",
    )
    write(tmp_path / "sub" / "000.jpg")
    with pytest.raises(InputError, match="1 of 12 files of the table are not there: 'sub/000'"):
        image.from_csv(path, progress=False)


def test_an_open_quote_in_a_table_of_pictures_is_refused(tmp_path):
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(12)]
    path = table(tmp_path, rows)
    path.write_text(path.read_text().replace("3.png,b", '3.png,"b'))
    with pytest.raises(InputError, match="a quote that opens in line 5 is not closed"):
        image.from_csv(path, progress=False)


def test_a_broken_file_of_a_table_is_quarantined(tmp_path):
    path = table(tmp_path, [f"{i}.png,{'ab'[i % 2]}" for i in range(12)])
    (tmp_path / "3.png").write_bytes(b"")
    assert quarantined(image.from_csv(path, progress=False)) == {"3.png": "empty: it has 0 bytes"}


@pytest.mark.parametrize(
    ("cells", "kind", "note"),
    [
        ([f"{i % 2},{1 - i % 2}" for i in range(12)], "i", "hold exactly one 1 in each row, and are read as classes"),
        ([f"{i % 2},1" for i in range(12)], "f", "hold 0 and 1 alone, and are read as labels"),
    ],
)
def test_columns_of_0_and_1_are_classes_or_labels(tmp_path, cells, kind, note):
    path = table(tmp_path, [f"{i}.png,{cell}" for i, cell in enumerate(cells)], "path,cat,dog")
    splits = image.from_csv(path, label=["cat", "dog"], progress=False)
    assert splits.train.target_array.dtype.kind == kind and splits.labels == ("cat", "dog")
    assert note in splits.notes[0]


def test_numbers_to_predict_are_not_taken_for_classes(tmp_path):
    path = table(tmp_path, [f"{i}.png,{0.37 * i:.2f},{i % 2},{i}" for i in range(12)], "path,age,flag,name")
    for column in ("age", "name"):
        with pytest.raises(InputError, match=rf"12 different numbers .* no classes: .* label=\['{column}'\]"):
            image.from_csv(path, label=column, progress=False)
    assert image.from_csv(path, label="flag", progress=False).notes == ()
    rated = table(tmp_path, [f"{i}.png,{i % 3 / 2}" for i in range(24)], "path,score")
    assert (
        "3 different numbers of the column 'score' are taken as classes"
        in image.from_csv(rated, label="score", progress=False).notes[0]
    )


# --- arrays


def test_arrays_are_read_as_they_are(tmp_path):
    images = RNG.integers(0, 256, (20, 8, 9, 3), dtype=np.uint8)
    splits = image.from_arrays(images, np.arange(20) % 2, labels=["even", "odd"])
    for part in (splits.train, splits.val, splits.test):
        for i, name in enumerate(part.ids):
            np.testing.assert_array_equal(part.inputs[i], images[int(name)])
            assert part.target_array[i] == int(name) % 2
    assert splits.labels == ("even", "odd")


def test_arrays_of_many_sizes_and_kinds_are_made_alike():
    images = [picture((4 + i, 5)) for i in range(8)] + [np.zeros((4, 4), np.uint8), np.full((3, 3, 4), 200.4)] * 2
    splits = image.from_arrays(images, ["a", "b"] * 6, image_size=6)
    assert {part.inputs[i].shape for part in (splits.train, splits.val, splits.test) for i in range(len(part))} == {
        (6, 6, 3)
    }


def test_arrays_with_their_own_test_part():
    x, y = RNG.integers(0, 256, (20, 4, 4), dtype=np.uint8), (np.arange(20) % 2)[:, None]
    splits = image.from_arrays(x, y, test=(x[:4], y[:4]))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (16, 4, 4)
    assert len(splits.duplicates) == 4


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (np.zeros((3, 4, 4, 3), np.uint8), [0, 1], "There are 3 images and 2 targets for train"),
        (3, [0, 1], "The images for train must be a sequence, one an example. Received: 3"),
        (np.array(3), [0, 1], "The images for train must be a sequence"),
        (np.zeros((2, 4, 4, 3), np.uint8), 1, "The targets for train must be a sequence, one an example. Received: 1"),
        (np.zeros((2, 4, 4, 3), np.uint8), [[0, 1], [1]], "All targets must have the same length"),
        (np.zeros((3, 4, 4, 2), np.uint8), [0, 1, 0], "Image 0 cannot be used: an image must have the shape"),
        (
            np.full((3, 4, 4, 3), -5),
            [0, 1, 0],
            "Image 0 cannot be used: its values must lie in 0 to 255, not in -5 to -5",
        ),
        (np.full((3, 4, 4, 3), 0.5), [0, 1, 0], "All images hold floats in 0 to 1.*multiply them by 255"),
        (np.zeros((3, 4, 4, 3), np.uint8), [0, 0, 0], "All 3 examples are of one class, '0'"),
        (np.zeros((3, 4, 4, 3), np.uint8), [0, 2, 0], "No example has class number 1"),
        (np.zeros((0, 4, 4, 3), np.uint8), np.zeros((0,), int), "There is no usable example"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(images, targets, message):
    with pytest.raises(InputError, match=message):
        image.from_arrays(images, targets)


# --- samples


def test_emoji10_is_whole_and_divided():
    splits = samples.emoji10()
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [213, 45, 45]
    assert splits.labels[:3] == ("bird", "building", "clothing")
    assert len(splits.labels) == 10
    assert (splits.quarantine, splits.duplicates, splits.notes) == ((), (), ())
    assert splits.train.inputs[0].shape == (64, 64, 3)
    assert samples.folder("emoji10", "noto").joinpath(splits.train.ids[0]).is_file()
    assert (splits.train.inputs[0][0, 0] == 255).all()  # alpha on white


def test_both_styles_of_an_emoji_stay_on_one_side():
    splits = samples.emoji10("both")
    sides = [set(part.groups) for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 303
    assert len(ids(splits)) == 606
    assert len(splits.labels) == 10


def test_the_licences_travel_along():
    folder = Path(samples.__file__).parent / "bundled"
    assert "Apache License" in (folder / "LICENSES" / "Apache-2.0.txt").read_text()
    assert "Twitter, Inc. and other contributors" in (folder / "LICENSES" / "CC-BY-4.0.txt").read_text()
    assert "emoji-datasource-google 16.0.0" in (folder / "NOTICE.md").read_text()


def test_unknown_samples_are_refused():
    with pytest.raises(InputError, match="There is no sample 'cifar'"):
        samples.folder("cifar")
    with pytest.raises(InputError, match='`style` must be "noto", "twemoji" or "both"'):
        samples.emoji10("apple")


def test_the_shelf_is_lazy_and_says_what_it_holds():
    from tlkit import data

    assert data.image is image
    assert {"image", "text"} <= set(dir(data))
    with pytest.raises(AttributeError, match=r"tlkit\.data has no 'video'; it has .*audio, .*image, .*text"):
        _ = data.video


# More than 8 bits


def deep_folder(root, scale, count=12, peak=4095):
    """Pictures of 12 bits in PNGs of 16: two classes, a bright and a dark one."""
    for i in range(count):
        values = np.random.default_rng(i).normal(1500 + 900 * (i % 2), 60, (6, 5)).clip(0, peak)
        values[0, 0] = peak
        path = root / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values * scale).astype(np.uint16)).save(path)
    return root


def test_12_bits_in_16_are_read_as_12_and_noted(tmp_path):
    twelve = image.from_folder(deep_folder(tmp_path / "12", 1), progress=False)
    sixteen = image.from_folder(deep_folder(tmp_path / "16", 65535 / 4095), progress=False)
    assert "No pixel of the 12 pictures of 16 bits is above 4,095: they are read as 12 bits" in twelve.notes[-1]
    assert not any("bits" in note for note in sixteen.notes)
    for part in ("train", "val", "test"):
        for i in range(len(getattr(twelve, part))):
            pair = (getattr(splits, part).inputs[i].astype(int) for splits in (twelve, sixteen))
            np.testing.assert_allclose(*pair, atol=1)
    assert white_of(twelve) == 4095 and white_of(sixteen) is None
    assert white_of(image.resized(twelve, 4)) == 4095


def test_a_dark_picture_is_scaled_as_the_others_are(tmp_path):
    root = deep_folder(tmp_path, 1)
    Image.fromarray(np.full((6, 5), 90, np.uint16)).save(root / "a" / "dark.png")
    splits = image.from_folder(root, progress=False, split=(0.6, 0.2, 0.2))
    (dark,) = (
        e.inputs[e.ids.index("a/dark.png")] for e in (splits.train, splits.val, splits.test) if "a/dark.png" in e.ids
    )
    assert np.unique(dark).tolist() == [round(90 * 255 / 4095)]


def test_what_is_white_can_be_said(tmp_path):
    root = deep_folder(tmp_path, 1)
    splits = image.from_folder(root, progress=False, pixel_max=65535)
    assert splits.notes == () and max(splits.train.inputs[i].max() for i in range(len(splits.train))) == 15
    Image.fromarray(np.full((6, 5), 0.5, np.float32)).save(root / "a" / "float.tif")
    left_out = image.from_folder(root, progress=False).quarantine
    assert [q.name for q in left_out] == ["a/float.tif"] and "pixel_max=1.0" in left_out[0].reason
    assert image.from_folder(root, progress=False, pixel_max=1.0).quarantine == ()
    with pytest.raises(InputError, match="`pixel_max` must be the value that is white"):
        image.from_folder(root, pixel_max=0)


def test_arrays_of_12_bits_ask_what_is_white():
    values = (np.random.default_rng(0).random((12, 4, 4, 3)) * 4095).astype(np.uint16)
    with pytest.raises(InputError, match=r"Image 0 cannot be used.*pixel_max=4095, if these are 12 bits"):
        image.from_arrays(values, np.arange(12) % 2)
    splits = image.from_arrays(values, np.arange(12) % 2, pixel_max=4095)
    expected = np.rint(values[int(splits.train.ids[0])] * (255 / 4095))
    np.testing.assert_array_equal(splits.train.inputs[0], expected)
    unit = image.from_arrays(values / 4095, np.arange(12) % 2, pixel_max=1)
    np.testing.assert_array_equal(unit.train.inputs[0], expected)
    assert white_of(splits) and white_of(unit) is None  # files of these had 8 bits


def test_a_single_file_is_read_as_the_training_pictures_were(tmp_path):
    from tlkit.modalities.image import _decoded

    root = deep_folder(tmp_path, 1)
    splits = image.from_folder(root, progress=False, image_size=(6, 5))
    Image.fromarray(np.full((6, 5), 90, np.uint16)).save(tmp_path / "dark.png")
    read, _ = _decoded(tmp_path / "dark.png", splits.train.pipeline.get("image"))
    assert np.unique(np.asarray(read)).tolist() == [round(90 * 255 / 4095)]
    assert white_of(splits) == 4095
