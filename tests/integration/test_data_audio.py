"""Folders, tables and arrays of sounds, sound and broken, to Splits."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tlkit.core.errors import InputError, OfflineError
from tlkit.core.examples import ArraySpec, Examples, Splits
from tlkit.data import audio
from tlkit.datasets import spoken

RATE = 16_000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav8": ("WAV", "PCM_U8"),
    "wav24": ("WAV", "PCM_24"),
    "wavf": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path_factory.getbasetemp() / "audio-cache"))


def tone(hertz: float = 440, seconds: float = 0.25, rate: int = RATE, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def write(path: Path, x: np.ndarray, rate: int = RATE) -> Path:
    """16 bit WAV by the standard library, so that soundfile is not judge of itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if x.ndim == 1 else x.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(x * 32767).astype("<i2").tobytes())
    return path


def class_folders(root: Path, counts: dict[str, int], seconds: float = 0.25) -> Path:
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write(root / name / f"{i:02}.wav", tone(200 + 40 * i + 13 * number, seconds))
    return root


def load(folder: Path, **arguments) -> Splits:
    return audio.from_folder(folder, **{"seconds": 0.25, "progress": False, **arguments})


def parts(splits: Splits) -> tuple[Examples, Examples, Examples]:
    return splits.train, splits.val, splits.test


def ids(splits: Splits) -> list[str]:
    return sorted(name for part in parts(splits) for name in part.ids)


def everything(splits: Splits) -> dict[str, np.ndarray]:
    return {name: part.inputs[i] for part in parts(splits) for i, name in enumerate(part.ids)}


def quarantined(splits: Splits) -> dict[str, str]:
    return {left_out.name: left_out.reason for left_out in splits.quarantine}


def frequency(x: np.ndarray) -> int:
    """Of the strongest tone, in Hz, at RATE."""
    return int(np.abs(np.fft.rfft(x, RATE)).argmax())


# --- folders


def test_class_folders_become_stratified_splits(tmp_path):
    class_folders(tmp_path, {"cat": 20, "ant": 10})
    splits = load(tmp_path)
    assert splits.labels == ("ant", "cat")
    assert len(ids(splits)) == 30
    assert np.bincount(splits.train.target_array).tolist() == [7, 14]
    for part in parts(splits):
        assert part.target_array.dtype == np.int32 and np.bincount(part.target_array).min() >= 1
        for i, name in enumerate(part.ids):
            assert splits.labels[part.target_array[i]] == name.split("/")[0]
            x = part.inputs[i]
            assert (x.dtype, x.shape) == (np.float32, (4000,))
            with wave.open(str(tmp_path / name)) as file:
                expected = np.frombuffer(file.readframes(4000), "<i2") / 32768
            np.testing.assert_allclose(x, expected, atol=1e-7)
            assert part.digests[i] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert splits.train.inputs.spec == ArraySpec((4000,), "float32")
    read = splits.train.pipeline.get("audio")
    assert (read["sample_rate"], read["samples"], read["resample"], read["trim_db"]) == (16000, 4000, "soxr,HQ", None)
    assert (splits.quarantine, splits.duplicates, splits.notes, splits.train.groups) == ((), (), (), ())


def test_sounds_have_the_layouts_and_links_of_pictures(tmp_path):
    class_folders(tmp_path / "train", {"a": 6, "b": 6})
    class_folders(tmp_path, {"holdout": 2})
    (tmp_path / "train" / "a" / "loop.wav").symlink_to("loop.wav")
    splits = load(tmp_path)
    assert splits.labels == ("a", "b")
    assert [left_out.reason for left_out in splits.quarantine] == [
        "it cannot be read: Too many levels of symbolic links"
    ]
    assert "Left out: 'holdout' (2 files without labels)." in splits.notes


def test_the_split_is_the_same_in_another_place_and_another_process(tmp_path):
    class_folders(tmp_path / "one", {"a": 9, "b": 9}, seconds=0.6)
    (tmp_path / "two").symlink_to(tmp_path / "one")
    first = load(tmp_path / "one")
    assert load(tmp_path / "one").train.ids == first.train.ids
    assert load(tmp_path / "two").fingerprint == first.fingerprint
    assert load(tmp_path / "one", seed=1).train.ids != first.train.ids
    code = (
        "import sys; from tlkit.data import audio;"
        f"print(audio.from_folder({str(tmp_path / 'one')!r}, seconds=0.25, progress=False).fingerprint);"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == first.fingerprint


def test_split_folders_are_kept_and_a_missing_one_is_taken_out_of_training(tmp_path):
    class_folders(tmp_path / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "test", {"a": 3, "b": 3})
    splits = load(tmp_path)
    assert [len(part) for part in parts(splits)] == [32, 8, 6]
    assert all(name.startswith("test/") for name in splits.test.ids)


@pytest.mark.parametrize("kind", FORMATS)
def test_all_formats_are_read_alike(tmp_path, kind):
    class_folders(tmp_path, {"a": 4, "b": 4}, seconds=1.0)
    rate = 48_000 if kind == "opus" else 44_100
    format_, subtype = FORMATS[kind]
    soundfile.write(tmp_path / "a" / "x.bin", tone(1000, 2.0, rate), rate, format=format_, subtype=subtype)
    splits = load(tmp_path, seconds=0.5)
    windows = {name: x for name, x in everything(splits).items() if name.startswith("a/x.bin")}
    assert sorted(windows) == [f"a/x.bin@{start}s" for start in ("0.000", "0.500", "1.000", "1.500")]
    for x in windows.values():
        assert frequency(x) == pytest.approx(1000, abs=1)
        assert np.sqrt(np.mean(x**2)) == pytest.approx(0.5 / np.sqrt(2), abs=0.02)
    assert splits.quarantine == ()


@pytest.mark.parametrize("kind", FORMATS)
def test_windows_are_what_the_whole_sound_holds_in_any_order(tmp_path, kind):
    rate = 48_000 if kind == "opus" else 22_050
    format_, subtype = FORMATS[kind]
    noise = np.cumsum(np.random.default_rng(0).uniform(-0.02, 0.02, 6 * rate)) % 0.8 - 0.4
    for label in "ab":
        (tmp_path / label).mkdir()
        soundfile.write(tmp_path / label / "x.bin", noise, rate, format=format_, subtype=subtype)
    examples = load(tmp_path, seconds=0.5, hop=0.2, split=(1, 0, 0), sample_rate=rate).train
    whole, _ = soundfile.read(tmp_path / "a" / "x.bin", dtype="float32")
    first = [examples.inputs[i] for i in range(len(examples))]
    again = {i: examples.inputs[i] for i in np.random.default_rng(1).permutation(len(examples)).tolist()}
    for i, name in enumerate(examples.ids):
        start = round(float(name.partition("@")[2].rstrip("s")) * rate)
        np.testing.assert_allclose(first[i], np.clip(whole[start : start + len(first[i])], -1, 1), atol=1e-6)
        np.testing.assert_array_equal(first[i], again[i])


# --- rates, channels, windows


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_all_rates_are_resampled_to_one(tmp_path, rate):
    class_folders(tmp_path, {"a": 4, "b": 4})
    write(tmp_path / "a" / "x.wav", tone(1000, 0.25, rate), rate)
    splits = load(tmp_path)
    x = everything(splits)["a/x.wav"]
    assert x.shape == (4000,) and frequency(x) == pytest.approx(1000, abs=2)
    low = "1 of 9 sounds were recorded below 16000 Hz, down to {} Hz: they hold nothing above {} Hz, which a model can "
    expected = (low.format(rate, rate // 2) + "mistake for a difference of class.",) if rate < RATE else ()
    assert splits.notes == expected


def test_channels_are_mixed_to_their_mean(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    write(tmp_path / "a" / "x.wav", np.stack([tone(300), tone(2000)], axis=1))
    np.testing.assert_allclose(everything(load(tmp_path))["a/x.wav"], (tone(300) + tone(2000)) / 2, atol=1e-4)


def test_short_sounds_are_padded_and_long_ones_cut(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    write(tmp_path / "a" / "short.wav", tone(seconds=0.1))
    write(tmp_path / "a" / "long.wav", tone(seconds=1.1))
    write(tmp_path / "a" / "bit.wav", tone(seconds=1.3))
    sounds = everything(load(tmp_path, seconds=0.5))
    assert (sounds["a/short.wav"][1600:] == 0).all() and np.abs(sounds["a/short.wav"][:1600]).max() > 0.4
    assert [name for name in sorted(sounds) if "long" in name] == [f"a/long.wav@0.{ms}00s" for ms in "05"]
    assert [name for name in sorted(sounds) if "bit" in name] == [f"a/bit.wav@0.{ms}00s" for ms in "058"]
    np.testing.assert_allclose(sounds["a/bit.wav@0.800s"], tone(seconds=1.3)[12_800:20_800], atol=1e-4)
    first = load(tmp_path, seconds=0.5, windows="first")
    assert len(ids(first)) == 11 and first.train.groups == ()
    assert len([name for name in ids(load(tmp_path, seconds=0.5, hop=0.1)) if "long" in name]) == 7


def test_windows_of_a_sound_stay_on_one_side_and_have_digests_of_their_own(tmp_path):
    class_folders(tmp_path, {"a": 12, "b": 12}, seconds=1.0)
    splits = load(tmp_path, hop=0.125)
    sides = [{name.partition("@")[0] for name in part.ids} for part in parts(splits)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 24
    assert [set(part.groups) for part in parts(splits)] == sides
    digests = [digest for part in parts(splits) for digest in part.digests]
    assert len(set(digests)) == len(digests) == 24 * 7
    assert splits.duplicates == ()


def test_windows_of_a_speaker_stay_on_one_side(tmp_path):
    for label in "ab":
        for speaker in range(8):
            for take in range(2):
                write(tmp_path / label / f"{speaker}-{take}.wav", tone(300 + 90 * speaker + 7 * take, 0.6))
    splits = load(tmp_path, groups=lambda name: Path(name).stem.split("-")[0])
    sides = [set(part.groups) for part in parts(splits)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 8
    for part in parts(splits):
        assert all(
            Path(name).stem.split("-")[0] == speaker for name, speaker in zip(part.ids, part.groups, strict=True)
        )


def test_silent_windows_are_left_out_and_counted(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    pause = np.concatenate([tone(seconds=0.5), np.zeros(16_000, np.float32), tone(seconds=0.5)])
    write(tmp_path / "a" / "pause.wav", pause)
    splits = load(tmp_path, seconds=0.5)
    assert [name for name in ids(splits) if "pause" in name] == ["a/pause.wav@0.000s", "a/pause.wav@1.500s"]
    assert splits.notes == ("Silent windows were left out: 2, in 1 of 9 sounds.",)
    write(tmp_path / "a" / "late.wav", pause[8000:])
    assert quarantined(load(tmp_path, seconds=0.5, windows="first")) == {
        "a/late.wav": "silent in its first 0.5 s: below -60 dBFS"
    }


# --- what is broken or odd


def test_bad_files_are_quarantined_by_name_and_reason_and_the_rest_goes_on(tmp_path):
    class_folders(tmp_path, {"a": 8, "b": 8})
    a, b = tmp_path / "a", tmp_path / "b"
    for kind in ("wav", "flac", "ogg", "opus", "mp3", "aiff"):
        format_, subtype = FORMATS[kind]
        rate = 48_000 if kind == "opus" else 22_050
        soundfile.write(a / "whole.bin", tone(700, 5.0, rate), rate, format=format_, subtype=subtype)
        content = (a / "whole.bin").read_bytes()
        (a / f"cut.{kind}").write_bytes(content[: len(content) * 6 // 10])
    (a / "whole.bin").unlink()
    (a / "empty.wav").touch()
    (a / "header.wav").write_bytes(write(tmp_path / "h.wav", tone(seconds=0)).read_bytes())
    (a / "text.wav").write_text("hello, this is no sound " * 40)
    (a / "page.mp3").write_text("<html>not found</html>" * 20)
    (a / "text.gsm").write_text("hello, this is no sound " * 40)
    (a / "text.raw").write_text("hello, this is no sound " * 40)
    (a / "film.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(600))
    write(b / "silent.wav", tone(seconds=1, peak=0.0003))
    write(b / "zeros.wav", np.zeros(4000, np.float32))
    write(b / "clipped.wav", np.clip(tone(peak=2), -1, 1))
    write(b / "slow.wav", tone(400, rate=4000), 4000)
    odd = tone()
    odd[1600] = np.nan
    soundfile.write(b / "nan.wav", odd, RATE, subtype="FLOAT")
    soundfile.write(b / "big.wav", tone() * 20_000, RATE, subtype="FLOAT")
    (b / "link.wav").symlink_to("nowhere.wav")
    (b / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    splits = load(tmp_path)
    reasons = quarantined(splits)
    expected = {
        "a/cut.wav": r"truncated: \d+ bytes are missing at its end",
        "a/cut.flac": r"damaged or truncated after \d\.\d\d of 5\.00 s: .*flac decoder lost sync",
        "a/cut.ogg": r"truncated: \d+ bytes are missing at its end",
        "a/cut.opus": r"truncated: \d+ bytes are missing at its end",
        "a/cut.mp3": r"truncated: it holds [23]\.\d\d of 5\.\d\d s",
        "a/cut.aiff": r"truncated: \d+ bytes are missing at its end",
        "a/empty.wav": r"empty: it has 0 bytes",
        "a/header.wav": r"empty: it has no samples",
        "a/text.wav": r"it holds text, not sound",
        "a/page.mp3": r"it holds HTML, not sound: probably the page of a failed download",
        "a/text.gsm": r"it holds text, not sound",
        "a/text.raw": r"it holds text, not sound",
        "a/film.m4a": r"it holds AAC, video or WMA, which cannot be read here: convert it to WAV or FLAC",
        "b/silent.wav": r"silent: its peak is -70 dBFS, below -60 dBFS",
        "b/zeros.wav": r"silent: its peak is 0, below -60 dBFS",
        "b/clipped.wav": r"clipped: 6\d\.\d% of its samples are at full scale, above 5\.0%",
        "b/slow.wav": r"its sample rate is 4000 Hz, and must lie in 8000 to 768000 Hz",
        "b/nan.wav": r"NaN or infinite samples, the first at 0\.10 s",
        "b/big.wav": r"its samples reach 10000: scale floats to -1 to 1",
        "b/link.wav": r"a link to a file that is not there",
        "b/noise.mp3": r"its content is no sound that can be read \(WAV, FLAC, OGG, MP3, AIFF\)",
    }
    assert set(reasons) == set(expected)
    for name, reason in expected.items():
        assert re.fullmatch(reason, reasons[name]), (name, reasons[name])
    assert len(ids(splits)) == 16
    with pytest.raises(
        InputError, match=r"^21 of 37 sounds cannot be used: 'a/cut.aiff' \(truncated: .* and 18 more\."
    ):
        load(tmp_path, strict=True)


def test_an_mp3_that_would_be_read_in_part_is_quarantined(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    rates = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    changing = np.concatenate([tone(seconds=2), np.random.default_rng(0).uniform(-0.4, 0.4, 8 * RATE)])
    soundfile.write(tmp_path / "a" / "x.mp3", changing, RATE, **rates)
    content = (tmp_path / "a" / "x.mp3").read_bytes()
    assert load(tmp_path).quarantine == ()
    header = content.index(b"Xing")
    (tmp_path / "a" / "x.mp3").write_bytes(content[content.index(b"\xff", header + 120) :])
    reason = quarantined(load(tmp_path))["a/x.mp3"]
    assert re.fullmatch(r"its header lacks its length, so that \d\.\d\d of 10\.\d\d s would be read: .* FLAC", reason)


def test_a_class_of_silence_can_be_kept(tmp_path):
    class_folders(tmp_path, {"speech": 6})
    for i in range(6):
        write(tmp_path / "silence" / f"{i}.wav", np.zeros(4000 + i, np.float32))
    with pytest.raises(InputError, match="the class 'silence' has no usable example; 6 were left out"):
        load(tmp_path)
    splits = load(tmp_path, limits=audio.Limits(silence_dbfs=float("-inf")))
    assert (len(ids(splits)), splits.quarantine, splits.notes) == (12, (), ())


def test_limits_are_the_users(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    write(tmp_path / "a" / "quiet.wav", tone(peak=0.0004))
    write(tmp_path / "a" / "square.wav", np.clip(tone(peak=2), -1, 1))
    assert set(quarantined(load(tmp_path))) == {"a/quiet.wav", "a/square.wav"}
    assert load(tmp_path, limits=audio.Limits(silence_dbfs=-90, max_clipped=1)).quarantine == ()


def test_a_header_that_was_written_to_a_pipe_is_no_truncation(tmp_path):
    class_folders(tmp_path, {"a": 4, "b": 4})
    path = tmp_path / "a" / "00.wav"
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = content[place : place + 4] = (0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)
    assert load(tmp_path).quarantine == ()


def test_files_beside_sounds_are_passed_over(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    for name in ("a/Thumbs.db", "a/notes.txt", "b/.DS_Store", "a/LICENSE", "b/00.lab", "b/00.TextGrid", "a/cover.jpg"):
        (tmp_path / name).write_bytes(b"no sound")
    splits = load(tmp_path, strict=True)
    assert (len(ids(splits)), splits.quarantine) == (12, ())


def test_duplicates_across_splits_are_reported(tmp_path):
    for part in ("train", "val", "test"):
        class_folders(tmp_path / part, {"a": 3, "b": 3})
    for part in ("val", "test"):
        for path in (tmp_path / part).rglob("*.wav"):
            write(path, tone(float(1000 + len(str(path)) + hash_of(path))))
    shutil.copyfile(tmp_path / "train" / "a" / "00.wav", tmp_path / "test" / "a" / "same.wav")
    assert load(tmp_path).duplicates == (("test/a/same.wav", "train/a/00.wav"),)


def hash_of(path: Path) -> int:
    return int(hashlib.sha256(str(path).encode()).hexdigest()[:3], 16)


def test_wrong_arguments_are_refused_before_anything_is_read(tmp_path):
    class_folders(tmp_path, {"a": 3, "b": 3})
    for arguments, message in (
        ({"seconds": 1e6}, r"`seconds` must be at most 3,600, an hour"),
        ({"seconds": 0}, r"`seconds` must be 0.01 s or more. Received: seconds=0"),
        ({"seconds": float("inf")}, r"`seconds` must be 0.01 s or more"),
        ({"hop": -1}, r"`hop` must be 0.01 s or more. Received: hop=-1"),
        ({"windows": "some"}, r'`windows` must be "all" or "first". Received: windows=\'some\''),
        ({"sample_rate": 4000}, r"`sample_rate` must be a whole number of Hz in 8000 to 768000"),
        ({"sample_rate": 16e3}, r"`sample_rate` must be a whole number of Hz"),
        ({"split": (0.8, 0.2)}, r"`split` must be three shares"),
    ):
        with pytest.raises(InputError, match=message):
            load(tmp_path, **arguments)


def test_a_missing_package_is_named_before_anything_is_read(tmp_path, monkeypatch):
    class_folders(tmp_path, {"a": 3, "b": 3})
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(InputError, match=r"^Sounds need the package 'soxr'.*`pip install tlkit\[audio\]`\.$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds nothing: put the files of each class into a folder named after it"),
        (["only/x.wav", "only/y.wav"], "holds one class only, 'only': a classifier needs two"),
        (["a/x.wav", "a/y.wav", "a/z.wav", "b/bad"], r"the class 'b' has no usable example; 1 were left out: 'b/bad'"),
        (["a/bad", "b/bad"], "There is no usable example; 2 were left out"),
        (["a/x.wav", "b/y.wav"], "2 examples are too few: the .* part would be empty"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_refused(tmp_path, files, message):
    for i, name in enumerate(files):
        if name.endswith(".wav"):
            write(tmp_path / name, tone(300 + i))
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_the_preflight_says_what_it_found(tmp_path, capsys):
    class_folders(tmp_path, {"a": 6, "b": 6})
    (tmp_path / "a" / "bad.wav").touch()
    load(tmp_path, progress=True)
    pattern = r"tlkit: checked sounds in \d+\.\d s: 12 sound; left out 1: 'a/bad.wav' \(empty: it has 0 bytes\)\n"
    assert re.fullmatch(pattern, capsys.readouterr().err)


# --- reading


def test_reading_is_the_same_from_many_threads(tmp_path):
    class_folders(tmp_path, {"a": 8, "b": 8}, seconds=1.0)
    soundfile.write(tmp_path / "a" / "x.mp3", tone(500, 3.0, 44_100), 44_100)
    train = load(tmp_path, sample_rate=22_050).train
    alone = [train.inputs[i] for i in range(len(train))]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(train.inputs.__getitem__, list(range(len(train))) * 5))
    for i, x in enumerate(together):
        np.testing.assert_array_equal(x, alone[i % len(train)])


def test_augmentation_goes_with_training_alone_and_outside_the_fingerprint(tmp_path):
    class_folders(tmp_path, {"a": 6, "b": 6})
    splits = load(tmp_path, augment=audio.augmentation())
    assert splits.val.augment is None and splits.test.augment is None
    assert splits.train.augment(splits.train.inputs[0], 1).shape == (4000,)
    assert splits.fingerprint == load(tmp_path).fingerprint != load(tmp_path, seconds=0.2).fingerprint


@pytest.mark.parametrize("change", ["gone", "shorter"])
def test_a_file_that_changes_after_the_preflight_is_named(tmp_path, change):
    class_folders(tmp_path, {"a": 6, "b": 6})
    splits = load(tmp_path)
    path = tmp_path / splits.train.ids[0]
    path.unlink() if change == "gone" else write(path, tone(seconds=0.1))
    with pytest.raises(InputError, match=r"wav' was sound at the start and cannot be read now: "):
        splits.train.inputs[0]


# --- tables


def table(folder: Path, rows: list[str], header: str = "path,label") -> Path:
    for i, row in enumerate(rows):
        write(folder / row.split(",")[0], tone(200 + 31 * i))
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_names_files_classes_and_several_labels(tmp_path):
    rows = [f"clips/{i}.wav,{'ab'[i % 2]}" for i in range(12)]
    splits = audio.from_csv(table(tmp_path, rows), seconds=0.25, progress=False)
    assert (splits.labels, ids(splits)) == (("a", "b"), sorted(f"clips/{i}.wav" for i in range(12)))
    rows = [f"{i}.wav,{['red', 'red|round', '', 'round | big'][i % 4]}" for i in range(24)]
    several = audio.from_csv(table(tmp_path, rows), seconds=0.125, progress=False)
    assert several.labels == ("big", "red", "round")
    answers = [[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]]
    for name, row in zip(several.train.ids, several.train.target_array.tolist(), strict=True):
        assert row == answers[int(name.partition(".")[0]) % 4]


def test_columns_give_values_parts_and_speakers(tmp_path):
    rows = [f"{i}.wav,{i / 2},{['train', 'val', 'test'][i % 3]},p{i // 3}" for i in range(18)]
    path = table(tmp_path, rows, "path,x,part,speaker")
    splits = audio.from_csv(path, label=("x",), split="part", seconds=0.25, progress=False)
    assert splits.val.target_array.tolist() == [[i / 2] for i in (1, 4, 7, 10, 13, 16)]
    apart = audio.from_csv(path, label=("x",), groups="speaker", seconds=0.125, progress=False)
    sides = [set(part.groups) for part in parts(apart)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 6


def test_a_table_that_cannot_be_used_is_refused(tmp_path):
    write(tmp_path / "ok.wav", tone())
    (tmp_path / "table.csv").write_text("path,label\nok.wav,a\nx.wav,b\n")
    with pytest.raises(InputError, match=r"1 of 2 files of the table are not there: 'x.wav'"):
        audio.from_csv(tmp_path / "table.csv")
    with pytest.raises(InputError, match="The table has no column 'speaker'"):
        audio.from_csv(tmp_path / "table.csv", groups="speaker")


# --- arrays


def test_arrays_are_scaled_resampled_and_cut():
    waves = [np.rint(tone(500 + 20 * i, 1.0, 8000) * 32767).astype(np.int16) for i in range(20)]
    splits = audio.from_arrays(waves, np.arange(20) % 2, sample_rate=8000, labels=["even", "odd"], seconds=0.5)
    assert splits.labels == ("even", "odd") and len(ids(splits)) == 40
    for name, x in everything(splits).items():
        assert x.shape == (8000,)
        assert frequency(x) == pytest.approx(500 + 20 * int(name.partition("@")[0]), abs=1)
        assert np.abs(x).max() == pytest.approx(0.5, abs=0.05)


def test_arrays_with_their_own_test_part_and_bad_ones():
    waves = np.stack([tone(500 + 20 * i) for i in range(20)])
    splits = audio.from_arrays(waves, np.arange(20) % 2, sample_rate=RATE, test=(waves[:4], [0, 1, 0, 1]), seconds=0.25)
    assert [len(part) for part in parts(splits)] == [16, 4, 4]
    assert len(splits.duplicates) == 4
    waves[3] = 0
    again = audio.from_arrays(waves, np.arange(20) % 2, sample_rate=RATE, seconds=0.25)
    assert quarantined(again) == {"3": "silent: its peak is 0, below -60 dBFS"}


@pytest.mark.parametrize(
    ("sounds", "targets", "message"),
    [
        (np.ones((3, 400)), [0, 1], "There are 3 sounds and 2 targets for train"),
        (
            np.ones((3, 2, 400)),
            [0, 1, 0],
            r"Sound 0 must have the shape \(samples,\) or .*, not \(2, 400\)",
        ),
        (np.ones((3, 400), complex), [0, 1, 0], "Sound 0 must hold whole or floating numbers, not complex128"),
        (np.full((3, 400), 0.5), [0, 0, 0], "All 3 examples are of one class, '0'"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(sounds, targets, message):
    with pytest.raises(InputError, match=message):
        audio.from_arrays(sounds, targets, sample_rate=RATE)


# --- spoken digits


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_espeak_speaks_the_digits_once():
    folder = spoken.espeak_digits(accents=("en", "en-us"), speakers=("f1", "m2"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(spoken.WORDS)
    assert sorted(path.name for path in (folder / "six").iterdir()) == [
        "en+f1.wav", "en+m2.wav", "en-us+f1.wav", "en-us+m2.wav",
    ]  # fmt: skip
    before = (folder / "six" / "en+f1.wav").stat().st_mtime_ns
    assert spoken.espeak_digits(accents=("en", "en-us"), speakers=("f1", "m2")) == folder
    assert (folder / "six" / "en+f1.wav").stat().st_mtime_ns == before
    splits = audio.from_folder(folder, split=(1, 0, 0), progress=False)
    assert (len(splits.train), splits.quarantine) == (40, ())
    with pytest.raises(InputError, match=r"espeak-ng knows no variant 'f99': `espeak-ng --voices=variant` lists them"):
        spoken.espeak_digits(speakers=("f99",))
    with pytest.raises(InputError, match=r"`espeak-ng -v xx-no\+f1 .*` failed: .*voice does not exist"):
        spoken.espeak_digits(accents=("xx-no",), speakers=("f1",))


def test_digits_need_their_programs(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"the program espeak-ng, which is missing: `apt-get install espeak-ng`"):
        spoken.espeak_digits()
    monkeypatch.setattr(spoken, "_SOUNDS", "nowhere/at/all")
    with pytest.raises(InputError, match=r"missing: `apt-get install asterisk-core-sounds-en-wav`, or, where there"):
        spoken.asterisk_digits()
    monkeypatch.setenv("TLKIT_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"since nothing may be downloaded here \(TLKIT_OFFLINE\)"):
        spoken.asterisk_digits()


def test_a_fetch_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(spoken, "_SOUNDS", "nowhere/at/all")
    monkeypatch.setattr(spoken, "_PACKAGE", "no-such-package-at-all")
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip("needs apt-get and dpkg")
    with pytest.raises(InputError, match=r"since apt-get could not download it: E: Unable to locate package"):
        spoken.asterisk_sounds()


@pytest.mark.parametrize(
    ("accents", "speakers"),
    [(("en", "en-us"), spoken.SPEAKERS[:5]), pytest.param(spoken.ACCENTS, spoken.SPEAKERS, marks=pytest.mark.slow)],
)
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_synthetic_speakers_train_and_a_real_one_tests(accents, speakers):
    try:
        spoken.asterisk_digits()
    except InputError as error:
        pytest.skip(str(error))
    splits = spoken.digits(accents=accents, speakers=speakers)
    clips = 10 * len(accents) * len(speakers)
    assert [len(part) for part in parts(splits)] == [0.8 * clips, 0.2 * clips, 10]
    assert splits.labels == spoken.WORDS
    assert splits.test.target_array.tolist() == [spoken.WORDS.index(name.split("/")[1]) for name in splits.test.ids]
    assert set(splits.train.groups) & set(splits.val.groups) == set()
    assert (splits.quarantine, splits.duplicates) == ((), ())
    assert len(splits.notes) == 1 and f"10 of {clips + 10} sounds were recorded below 16000 Hz" in splits.notes[0]


# --- TensorFlow Datasets


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_a_builder_of_sounds(file_format, tmp_path):
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "audio": tfds.features.Audio(sample_rate=8000),
                "bare": tfds.features.Audio(),
                "label": tfds.features.ClassLabel(names=["low", "high"]),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples(0), "test": self._generate_examples(20)}

        def _generate_examples(self, start):
            for i in range(start, start + 12):
                x = np.rint(32767 * tone(200 + 300 * (i % 2) + 7 * i, 0.25, 8000)).astype(np.int64) * (i != 5)
                yield i, {"audio": x, "bare": x, "label": i % 2}

    builder = Tiny(data_dir=str(tmp_path), file_format=file_format)
    builder.download_and_prepare()
    splits = audio.from_tfds(builder.data_dir, seconds=0.25, split=(0.8, 0.2, 0), progress=False)
    assert splits.labels == ("low", "high")
    assert [left_out.reason.split(":")[0] for left_out in splits.quarantine] == ["silent"]
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (11, 12)
    assert splits.train.inputs.spec == ArraySpec((4000,), "float32")  # resampled from 8 kHz
    spectrum = np.abs(np.fft.rfft(splits.train.inputs[0]))
    assert 0.45 < np.abs(splits.train.inputs[0]).max() < 0.55
    assert 190 < 4 * spectrum.argmax() < 700
    with pytest.raises(InputError, match="The feature 'bare' does not say its sample rate; give it in Hz: rate=16000"):
        audio.from_tfds(builder.data_dir, audio="bare", progress=False)
    with pytest.raises(InputError, match="The feature 'label' of 'tiny' is no audio"):
        audio.from_tfds(builder.data_dir, audio="label", progress=False)
