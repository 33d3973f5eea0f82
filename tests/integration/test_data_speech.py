"""Recordings with texts, sound and broken, to Splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tlkit.core.errors import DownloadError, InputError, OfflineError
from tlkit.data import speech
from tlkit.data.audio_decode import Limits
from tlkit.datasets import prompts

RATE, WORDS = 16_000, ("low", "mid", "high")
HERTZ = dict(zip(WORDS, (300, 900, 2700), strict=True))
pytestmark = pytest.mark.usefixtures("module_cache")


def said(text: str, *, each: float = 0.2, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone for each word, with breaks."""
    rng, time = np.random.default_rng(seed), np.arange(round(each * rate)) / rate
    parts = [np.r_[0.3 * np.sin(2 * np.pi * HERTZ[word] * time), np.zeros(rate // 20)] for word in text.split()]
    return (np.concatenate(parts) + rng.normal(0, 0.003, sum(map(len, parts)))).astype(np.float32)


def texts(count: int = 18) -> list[str]:
    rng = np.random.default_rng(1)
    return [" ".join(rng.choice(WORDS, 1 + i % 3)) for i in range(count)]


def table(folder: Path, rows: list[tuple[str, str, str]], header: str = "path,text,speaker") -> Path:
    file = folder / "clips.csv"
    file.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return file


def recorded(folder: Path, count: int = 18) -> list[tuple[str, str, str]]:
    rows = []
    for i, text in enumerate(texts(count)):
        soundfile.write(folder / f"{i:02}.wav", said(text, seed=i), RATE)
        rows.append((f"{i:02}.wav", text, f"speaker-{i % 6}"))
    return rows


def read(folder: Path, rows, **options):
    return speech.from_csv(table(folder, rows), **({"window_s": 1.0, "progress": False} | options))


def test_no_text_is_in_two_parts_and_the_window_is_full(tmp_path):
    splits = read(tmp_path, recorded(tmp_path))
    parts = [set(part.columns["text"].texts) for part in (splits.train, splits.val, splits.test)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2]) and all(parts)
    assert splits.train.inputs.spec.shape == (RATE,) and splits.labels == ()
    wave = splits.train.inputs[0]
    length = len(said(splits.train.columns["text"][0]))
    assert np.abs(wave[:length]).max() > 0.2 and not wave[length:].any()
    assert "".join(map(chr, splits.train.targets[0])) == splits.train.columns["text"][0]
    assert splits.fingerprint == read(tmp_path, recorded(tmp_path)).fingerprint


def test_words_and_characters_are_numbers_of_a_vocabulary(tmp_path):
    rows = recorded(tmp_path)
    splits = read(tmp_path, rows, vocabulary="words")
    assert splits.labels == tuple(sorted(WORDS))
    assert " ".join(splits.labels[i - 1] for i in splits.train.targets[0]) == splits.train.columns["text"][0]
    letters = read(tmp_path, rows, vocabulary="characters")
    assert "".join(letters.labels[i - 1] for i in letters.test.targets[0]) == letters.test.columns["text"][0]
    assert read(tmp_path, rows, vocabulary=[*WORDS, "more"]).labels == (*WORDS, "more")
    with pytest.raises(InputError, match="not in `vocabulary`, 'high' first"):
        read(tmp_path, rows, vocabulary=["low", "mid"])
    with pytest.raises(InputError, match='`vocabulary` must be "characters", "words"'):
        read(tmp_path, rows, vocabulary="letters")


def test_speakers_stay_together_and_shared_texts_are_told(tmp_path):
    splits = read(tmp_path, recorded(tmp_path), groups="speaker")
    owners = [set(part.groups) for part in (splits.train, splits.val, splits.test)]
    assert not (owners[0] & owners[1] or owners[0] & owners[2])
    assert any("texts of the training part are also in" in note for note in splits.notes)


def test_what_cannot_be_learned_from_is_left_out_by_name_and_reason(tmp_path):
    rows = recorded(tmp_path)
    wave = said("low mid")
    bad = {
        "silent.wav": (np.zeros(8000, "f4"), RATE, "low", "silent: its peak is 0"),
        "clipped.wav": (np.sign(wave), RATE, "low mid", "clipped: "),
        "empty.wav": (wave, RATE, "...", "no text: what is said"),
        "long.wav": (np.tile(wave, 40), RATE, "low", "20.0 s long, and a window holds 1 s: cut it"),
        "slow.wav": (wave[:3000], 4000, "low mid", "its sample rate is 4000 Hz"),
        "other.wav": (wave[:4000], RATE, "low mid high " * 9, "characters a second of sound"),
    }
    for name, (sound, rate, text, _) in bad.items():
        soundfile.write(tmp_path / name, sound, rate)
        rows.append((name, text, ""))
    (tmp_path / "no.wav").write_text("no sound at all")
    splits = read(tmp_path, [*rows, ("no.wav", "low", "")], limits=Limits(max_clipped=0.3))
    reasons = {left_out.name: left_out.reason for left_out in splits.quarantine}
    assert set(reasons) == {*bad, "no.wav"}
    for name, (*_, reason) in bad.items():
        assert reason in reasons[name], reasons[name]
    with pytest.raises(InputError, match="7 of 25 recordings cannot be used"):
        read(tmp_path, [*rows, ("no.wav", "low", "")], limits=Limits(max_clipped=0.3), strict=True)


def test_a_header_that_claims_a_day_is_not_decoded(tmp_path, monkeypatch):
    rows = recorded(tmp_path)
    soundfile.write(tmp_path / "day.flac", np.zeros(RATE, "f4"), RATE)
    library = speech.decode.library

    class Day:
        def __getattr__(self, name):
            return getattr(library("soundfile"), name)

        def info(self, path):
            about = library("soundfile").info(path)
            if path.endswith("day.flac"):
                about.frames = 100_000 * RATE
            return about

    monkeypatch.setattr(speech.decode, "library", lambda name: Day() if name == "soundfile" else library(name))
    splits = read(tmp_path, [*rows, ("day.flac", "low", "")])
    assert "100,000.0 s long, and a window holds 1 s" in splits.quarantine[0].reason


def test_folders_with_texts_beside_sounds(tmp_path):
    for i, text in enumerate(texts(12)):
        speaker = tmp_path / f"speaker-{i % 4}"
        speaker.mkdir(exist_ok=True)
        soundfile.write(speaker / f"{i}.flac", said(text, seed=i), RATE)
        if i < 8:
            (speaker / f"{i}.txt").write_text(f"{text}\n")
        elif i < 11:
            with (speaker / "a.trans.txt").open("a") as file:
                file.write(f"{i} {text.upper()}\n")
    splits = speech.from_folder(tmp_path, window_s=1, progress=False)
    assert sum(map(len, (splits.train, splits.val, splits.test))) == 11
    assert [left_out.reason for left_out in splits.quarantine] == ["no text: 11.txt is not beside it"]
    by_speaker = speech.from_folder(tmp_path, window_s=1, progress=False, groups="folder")
    assert {name.split("/")[0] for name in by_speaker.train.ids} == set(by_speaker.train.groups)
    with pytest.raises(InputError, match='`groups` of a folder must be "text", "folder"'):
        speech.from_folder(tmp_path, groups="speaker")


def test_tables_and_folders_that_are_none(tmp_path):
    rows = recorded(tmp_path)
    with pytest.raises(InputError, match="The table has no column 'text': it has 'path', 'said'"):
        speech.from_csv(table(tmp_path, [row[:2] for row in rows], "path,said"))
    with pytest.raises(InputError, match="1 of 1 files of the table are not there"):
        read(tmp_path, [("gone.wav", "low", "")])
    with pytest.raises(InputError, match="holds 18 sounds and no text of any"):
        speech.from_folder(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        speech.from_folder(tmp_path / "gone")
    for options, sentence in (
        ({"window_s": 0}, "`window_s` must lie in 0.1 to 3,600 s"),
        ({"sample_rate": 1.5}, "`sample_rate` must be a whole number of Hz"),
        ({"limits": 3}, "`limits` must be data.audio.Limits"),
    ):
        with pytest.raises(InputError, match=sentence):
            read(tmp_path, rows, **options)


def test_json_lines_and_parts_of_a_column(tmp_path):
    rows = recorded(tmp_path)
    lines = [
        json.dumps({"path": path, "text": text, "part": ("train", "val", "test")[i % 3]})
        for i, (path, text, _) in enumerate(rows)
    ]
    (tmp_path / "clips.jsonl").write_text("\n".join(lines))
    splits = speech.from_csv(tmp_path / "clips.jsonl", split="part", window_s=30, progress=False)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [6, 6, 6]
    assert any("a shorter `window_s` costs less" in note for note in splits.notes)


def test_prompts_have_texts():
    try:
        splits = prompts.asterisk(seed=1)
    except (InputError, DownloadError, OfflineError) as error:
        pytest.skip(f"needs the network once: {error}")
    assert sum(map(len, (splits.train, splits.val, splits.test))) > 230
    assert any("hold nothing above 4000 Hz" in note for note in splits.notes)
    assert all(len(text.split()) > 1 for text in splits.test.columns["text"].texts)
