"""Series: regular steps or a sentence, windows that see no future, labelled series of one length."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from tlkit.core.errors import InputError
from tlkit.core.modality import FileInfo
from tlkit.core.seasons import lag_positions, window_length, windows_of
from tlkit.data import histories, series, timeline
from tlkit.data.histories import timelines
from tlkit.modalities.series import SERIES

DAYS = [f"2024-01-{day:02d}" for day in range(1, 31)]
N = list(range(30))
SPRING = [(3, d) for d in range(16, 32)] + [(4, d) for d in range(1, 15)]  # the clock goes forward on the last of March
AUTUMN = [f"2024-10-27 {hour:02d}:00" for hour in (*range(3), *range(2, 24))]  # and back at three, without a zone


def table(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


# -- times

NOTED = {
    "in order": (DAYS, N, None),
    "out of order": (DAYS[::-1], N[::-1], "sorted"),
    "twice the same": ([*DAYS, DAYS[3]], [*N, 3], "1 rows repeat a time"),
    "a gap": (DAYS[:3] + DAYS[4:], N[:3] + N[4:], "2024-01-04 first"),
    "a missing value": (DAYS, ["?" if i == 4 else i for i in N], "2024-01-05 first"),
    "ends missing": (DAYS, [None if i in (0, 29) else i for i in N], "2 steps without a value at its ends"),
    "missing of pandas": (DAYS, ["<NA>" if i == 4 else i for i in N], "2024-01-05 first"),
    "compact dates": ([day.replace("-", "") for day in DAYS], N, "such as 20240101 are read as dates"),
    "summer time": ([f"2024-{m:02d}-{d:02d}T00:00+0{1 + (m > 3)}:00" for m, d in SPRING], N, "are read as days"),
    "offsets": ([f"{day}T0{i % 2}:00+0{i % 2}:00" for i, day in enumerate(DAYS)], N, "brought to UTC"),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_is_odd_about_times_is_mended_and_noted(case):
    times, cells, note = NOTED[case]
    mended = timeline.regular("x", times, cells)
    np.testing.assert_array_equal(mended.values, np.arange(mended.values[0], mended.values[-1] + 1))
    assert (note is None) == (not mended.notes) and (note is None or note in mended.notes[-1])


REFUSED = {
    "no time": (["soon", *DAYS[1:]], N, "is no date or number"),
    "zones here and there": ([*DAYS[:-1], "2024-01-30T00:00Z"], N, "others have none"),
    "two values at a time": ([*DAYS, DAYS[3]], [*N, 4], "two values at 2024-01-04, 3 and 4"),
    "between two steps": ([*DAYS[:9], "2024-01-09 12:00", *DAYS[9:]], [*N, 1], "irregular steps: most are 1 day"),
    "too many gaps": (DAYS, [None if 5 <= i < 12 else i for i in N], "lacks 7 of 30 steps, 2024-01-06 first"),
    "a unit": (DAYS, ["3 kWh", *N[1:]], "has the unit 'kWh'"),
    "a word": (DAYS, ["much", *N[1:]], "is no number"),
    "infinite": (DAYS, ["inf", *N[1:]], "too large"),
    "huge": (DAYS, [1e35, *N[1:]], "too large"),
    "nothing": (DAYS, [None] * 30, "no value at all"),
    "two times": (DAYS[:2], N[:2], "too few to know its step"),
    "other counts": (DAYS, N[:-1], "30 times and 29 values"),
    "days first": (["31/01/2024", *DAYS[1:]], N, "write dates as 2024-03-31"),
    "numbers among dates": ([*DAYS[:-1], "5"], N, "plain numbers and others are dates: write all of them in one way"),
    "dates among numbers": ([*(f"2024{d:02d}" for d in range(1, 13)), "2025-01-01"], N[:13], "202401 and '2025-01-01'"),
    "compact dates among dates": ([*DAYS[:-1], "20240131"], N, "are plain numbers and others are dates"),
    "one stray time": ([*range(30), 2_000_000_000], [*N, 1], "lacks 1999999970 of 2000000001 steps, 30 first"),
    "no number among numbers": ([*range(29), "last"], N, "Time 30 of the series 'load' is no date or number"),
    "a decimal comma": (DAYS, ["3,5", *N[1:]], "is no number: write it as 1234.5"),
    "Python's thousands": (DAYS, ["1_0", *N[1:]], "is no number"),
    "weekends": ([day for i, day in enumerate(DAYS) if i % 7 < 5], N[:22], "as weekends are of prices"),
    "a sum below": ([*DAYS, "Total"], [*N, sum(N)], "is no date or number: write dates as 2024-03-31"),
    "the clock put back": (AUTUMN, list(range(25)), "or write times with their zone, where the clock was put back"),
    "minus infinite": (DAYS, [-np.inf, *N[1:]], "too large"),
    "lists in cells": (DAYS, [[1.0], *N[1:]], "is no number"),
    "percent": (DAYS, ["3%", *N[1:]], "has the unit '%'"),
    "hundreds of digits": (DAYS, [10**400, *N[1:]], "too large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_a_guess_is_refused_by_name(case):
    times, cells, says = REFUSED[case]
    with pytest.raises(InputError) as refused:
        timeline.regular("load", times, cells)
    assert says in str(refused.value)
    assert re.match(r"^[A-Z`].*[.!]$", str(refused.value))


STEPS = {
    "months": (["2024-01", "2024-02", "2024-03"], ["2024-04"]),
    "ends of months": (["2024-01-31", "2024-02-29", "2024-03-31"], ["2024-04"]),
    "quarters": (["2024Q1", "2024Q2", "2024Q3"], ["2024-10"]),
    "hours": (["2024-01-01 22:00", "2024-01-01 23:00", "2024-01-02 00:00"], ["2024-01-02 01:00:00"]),
    "numbers": (["7", "9", "11"], ["13"]),
    "seconds of Unix": (["1704067200", "1704070800", "1704074400"], ["1704078000"]),
    "hours of one zone": ([f"2024-01-01T{hour}:00+05:30" for hour in (20, 21, 22)], ["2024-01-01 23:00:00"]),
    "days of one zone": ([f"2024-01-0{day}T00:00+05:30" for day in (1, 2, 3)], ["2024-01-04"]),
    "months of one zone": ([f"2024-0{month}-01T00:00+05:30" for month in (1, 2, 3)], ["2024-04"]),
    "compact months": (["202411", "202412", "202501"], ["2025-02"]),
}


@pytest.mark.parametrize("case", STEPS)
def test_steps_ahead_have_names(case):
    times, ahead = STEPS[case]
    assert timeline.regular("x", times, [1, 2, 4]).ahead(1) == ahead


# -- histories


def wave(n=100, season=12):
    rng = np.random.default_rng(0)
    return (10 + np.sin(2 * np.pi * np.arange(n) / season) + rng.normal(0, 0.1, n)).astype(np.float32)


def test_cutoffs_are_those_of_rolling_origins():
    data = series.history({"a": wave()}, horizon=6, season_length=12, origins=3)
    assert data.test.ids == ("a@88", "a@91", "a@94")
    assert data.train.ids[0] == "a@12" and data.train.ids[-1] == "a@81"
    assert data.val.ids == ("a@82", "a@83", "a@84")
    np.testing.assert_array_equal(data.test.targets.values[-1], wave()[94:])
    np.testing.assert_array_equal(data.test.columns["history"][0], wave()[:88])


def test_no_window_sees_its_future():
    """Poison what lies behind a cutoff: inputs and columns of training and validation stay, byte for byte."""
    clean, poisoned = wave(), wave()
    data = series.history({"a": clean}, 6, 12, origins=3)
    for part, examples in (("train", data.train), ("val", data.val), ("test", data.test)):
        for i, name in enumerate(examples.ids):
            cutoff = int(name.partition("@")[2])
            poisoned = clean.copy()
            poisoned[cutoff:] = -(1e20 + np.arange(len(clean) - cutoff))
            again = getattr(series.history({"a": poisoned}, 6, 12, origins=3), part)
            np.testing.assert_array_equal(again.inputs[i], examples.inputs[i])
            np.testing.assert_array_equal(again.columns["naive"][i], examples.columns["naive"][i])


def test_training_and_validation_see_nothing_of_what_is_tested():
    clean, poisoned = wave(), wave()
    poisoned[88:] = 1e20  # the first cutoff that is tested
    data, again = (series.history({"a": values}, 6, 12, origins=3) for values in (clean, poisoned))
    for part in ("train", "val"):
        assert getattr(again, part).fingerprint == getattr(data, part).fingerprint
        for name in ("scale", "sigma", "naive"):
            np.testing.assert_array_equal(
                getattr(again, part).columns[name].values, getattr(data, part).columns[name].values
            )
    poisoned = clean.copy()
    poisoned[82:] = 1e20  # the validation
    again = series.history({"a": poisoned}, 6, 12, origins=3)
    assert again.train.fingerprint == data.train.fingerprint
    assert np.isnan(data.train.targets.values[-1]).sum() == 5, "what is not known is NaN"


def test_series_that_end_at_different_dates_are_noted_or_cut_at_the_same_dates():
    """Poison what lies behind the first cutoff in the calendar, in all series: nothing that is learned from changes."""
    pandas = pytest.importorskip("pandas")
    months = [f"{2012 + i // 12}-{1 + i % 12:02d}" for i in range(120)]
    spans = {"new": (20, 120), "ends early": (0, 114), "ended": (0, 90)}
    rows = [(name, i) for name, (start, end) in spans.items() for i in range(start, end)]
    first = 120 - 6 - 2 * 3

    def read(poison: float, calendar: bool):
        values = [poison * i if i >= first else float(wave(120)[i]) for _, i in rows]
        cells = {"time": [months[i] for _, i in rows], "series": [name for name, _ in rows], "value": values}
        return series.history(pandas.DataFrame(cells), 6, 12, origins=3, calendar=calendar)

    (note,) = [note for note in read(1, False).notes if "different dates" in note]
    assert "(ended 2019-06, new 2021-12), and each is cut from its own end" in note and "`calendar` cuts all" in note
    data, again = read(1, True), read(-1e10, True)
    for part in ("train", "val"):
        before, after = getattr(data, part), getattr(again, part)
        assert before.fingerprint == after.fingerprint and set(before.columns) == set(after.columns)
        for name in ("scale", "sigma", "naive", "history_length"):
            np.testing.assert_array_equal(after.columns[name].values, before.columns[name].values)
    assert data.test.ids == ("new@88", "new@91", "new@94", "ends early@108", "ends early@111")
    assert {name.partition("@")[0] for name in data.train.ids} == set(spans)
    assert np.isfinite(data.test.targets.values[-1]).sum() == 3, "three months are known behind 111"
    assert "1 of 3 series end before the test, and are trained on alone." in data.notes
    assert not any("different dates" in note for note in data.notes)


def test_a_cut_by_the_calendar_needs_times_and_values_before_it():
    with pytest.raises(InputError, match="`calendar` needs times, and arrays have none"):
        series.history({"a": wave()}, 6, 12, calendar=True)
    pandas = pytest.importorskip("pandas")
    spans = {"old": range(80), "late": range(60, 80)}
    rows = [(name, i) for name, steps in spans.items() for i in steps]
    cells = {"time": [i for _, i in rows], "series": [n for n, _ in rows], "value": [float(wave()[i]) for _, i in rows]}
    with pytest.raises(InputError, match="'late' has 8 values before the dates at which all are tested"):
        series.history(pandas.DataFrame(cells), 6, 4, origins=3, calendar=True)


def test_a_gap_shows_nothing_of_what_follows_it_and_is_no_truth():
    """Where values are filled along a line, a cutoff inside the gap knows the last value before it alone."""
    cells = wave().astype(object)
    cells[86:90] = None  # around the first cutoff that is tested
    data = series.history({"a": cells}, 6, 12, origins=3)
    assert data.test.ids[0] == "a@88"
    np.testing.assert_array_equal(data.test.inputs[0][-3:, 0], wave()[[85, 85, 85]])
    np.testing.assert_array_equal(data.test.columns["history"][0][-3:], wave()[[85, 85, 85]])
    np.testing.assert_array_equal(np.isnan(data.test.targets.values[0]), [True, True, False, False, False, False])
    assert not np.isnan(data.test.inputs[2][-40:]).any(), "behind it, the line is known"
    assert series.history({"a": cells}, 1, 12, origins=14).test.ids[:2] == ("a@90", "a@91"), "86 to 89 judge nothing"


def test_a_season_that_such_values_hardly_have_is_noted(tmp_path):
    months = [f"{2000 + i // 12}-{1 + i % 12:02d}" for i in range(100)]
    path = table(tmp_path / "t.csv", ["time", "value"], zip(months, wave(), strict=True))
    assert any("a season mostly has 12 steps" in note for note in series.history(path, 6, 7, origins=2).notes)
    assert not series.history(path, 6, 12, origins=2).notes


SEASONS = {  # steps of the times -> the season that is taken, and the words of the note
    "months": ([f"{2000 + i // 12}-{1 + i % 12:02d}" for i in range(100)], 12, "a month apart: a season of 12"),
    "quarters": ([f"{2000 + i // 4}Q{1 + i % 4}" for i in range(100)], 4, "a quarter apart: a season of 4"),
    "years": ([f"{1900 + i}-01-01" for i in range(100)], 1, "a year apart, which tells no season: none is taken"),
    "days": (np.arange("2024-01-01", "2024-04-10", dtype="datetime64[D]").tolist(), 7, "1 day apart: a season of 7"),
    "weeks": (np.arange("2024-01-01", "2025-11-30", 7, dtype="datetime64[D]").tolist(), 1, "for two seasons of 52"),
    "many weeks": (np.arange("2010-01-04", "2014-01-01", 7, dtype="datetime64[D]").tolist(), 52, "a season of 52"),
    "hours": ([f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00" for i in range(100)], 24, "1:00:00 apart: a season of 24"),
    "ten minutes": (
        [f"2024-01-{1 + i // 144:02d} {i % 144 // 6:02d}:{i % 6}0" for i in range(400)], 144, "a season of 144"
    ),
    "seconds": ([f"2024-01-01 00:{i // 60:02d}:{i % 60:02d}" for i in range(100)], 1, "0:00:01 apart, which tells no"),
    "numbers": (list(range(100)), 1, "Values have no dates, which tells no season: none is taken; `season_length`"),
}  # fmt: skip


@pytest.mark.parametrize("case", SEASONS)
def test_a_season_that_nobody_named_is_that_of_the_step_and_is_noted(case, tmp_path):
    times, length, words = SEASONS[case]
    path = table(tmp_path / "t.csv", ["time", "value"], zip(times, wave(len(times)), strict=True))
    data = series.history(path, 6, origins=2)
    assert series.season_length_of(data) == length
    assert [words in note for note in data.notes if "season" in note] == [True]
    named = series.history(path, 6, length, origins=2)
    assert named.notes == () and named.test.fingerprint == data.test.fingerprint


def test_what_is_no_history_has_no_season():
    labelled = series.from_arrays(np.random.default_rng(0).normal(size=(20, 8)), ["a", "b"] * 10)
    with pytest.raises(InputError, match=r"no histories: read them with `data\.series\.history`"):
        series.season_length_of(labelled)


def test_a_series_that_repeats_exactly_has_a_scale():
    data = series.history({"a": np.tile(np.arange(12.0), 9)}, 6, 12, origins=2)
    assert data.test.columns["scale"].values.tolist() == pytest.approx([3, 3], abs=0.05)
    assert "repeats each season exactly" in data.notes[-1]


def test_lags_never_lie_in_the_future_and_have_their_place_in_the_season():
    for season in (1, 4, 12, 52):
        places = lag_positions(24, season)
        assert places.min() >= 0 and places.max() < window_length(season)
        ahead = np.arange(24)[:, None] - (places - window_length(season))
        assert (ahead > 0).all() and (ahead % season == 0).all()


def test_many_or_long_series_give_a_bounded_count_of_windows(monkeypatch):
    monkeypatch.setattr(histories, "MOST_IN_ALL", 60)
    data = series.history({name: wave(90 if name == "a" else 40) for name in "abc"}, 2, 12, origins=1)
    assert [sum(name.startswith(f"{part}@") for name in data.train.ids) for part in "abc"] == [20, 20, 20]
    assert "a@85" in data.train.ids and "a@65" not in data.train.ids
    assert "Of 3 long series the latest 20 windows each are trained on." in data.notes
    monkeypatch.undo()
    assert not any("windows each" in note for note in series.history({"a": wave(90)}, 2, 12, origins=1).notes)


def test_windows_begin_with_what_is_not_there():
    past = windows_of(np.arange(5.0), np.array([0, 3]), 1)
    assert np.isnan(past[0]).all() and np.isnan(past[1, :-3]).all() and past[1, -3:].tolist() == [0, 1, 2]


def test_a_column_that_may_name_series_is_not_passed_over_in_silence(tmp_path):
    rows = [f"2024-01-{day:02d},{'a' if day < 11 else 'b'},{day}" for day in range(1, 21)]
    (tmp_path / "sales.csv").write_text("\n".join(["time,store,value", *rows]))
    _, notes, _ = timelines(tmp_path / "sales.csv", "time", "value", None)
    assert any("'store' is not read" in note and "series='store'" in note for note in notes)
    assert not timelines(tmp_path / "sales.csv", "time", "value", "store")[1]


def test_recordings_have_no_channel_of_a_nameless_index_and_name_the_others(tmp_path):
    for name in ("walk", "run"):
        (tmp_path / name).mkdir()
        for i in range(4):
            lines = [f"{row},{row}.5,7" for row in range(12)]
            (tmp_path / name / f"{i}.csv").write_text("\n".join([",x,person", *lines]))
    data = series.from_folder(tmp_path)
    assert data.train.inputs.spec.shape == (12, 2)
    assert any("'x', 'person' are the channels" in note for note in data.notes)


def test_long_and_wide_tables_are_the_same_series(tmp_path):
    months = [f"{2015 + i // 12}-{1 + i % 12:02d}" for i in range(80)]
    a, b = wave(80), wave(80)[::-1]
    long = table(
        tmp_path / "long.csv",
        ["time", "value", "series"],
        [[m, v, name] for name, values in (("a", a), ("b", b)) for m, v in zip(months, values, strict=True)],
    )
    wide = table(tmp_path / "wide.csv", ["time", "a", "b"], zip(months, a, b, strict=True))
    first = series.history(long, 6, 12, origins=2)
    second = series.history(wide, 6, 12, origins=2, value=("a", "b"))
    assert first.train.ids == second.train.ids
    np.testing.assert_allclose(first.train.inputs.values, second.train.inputs.values, rtol=1e-6)


def test_parquet_and_json_lines_are_tables(tmp_path):
    """Hours with their zone across the end of summer time, as Parquet types them and as JSON spells them."""
    import json
    from datetime import UTC, datetime, timedelta
    from zoneinfo import ZoneInfo

    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    hours = [datetime(2024, 10, 25, tzinfo=UTC) + timedelta(hours=i) for i in range(72)]
    values = np.sin(np.arange(72) / 4).tolist()
    typed = pa.table({"time": pa.array(hours, pa.timestamp("us", "Europe/Berlin")), "value": values})
    parquet.write_table(typed, tmp_path / "load.parquet")
    local = [hour.astimezone(ZoneInfo("Europe/Berlin")).isoformat() for hour in hours]
    lines = [json.dumps({"time": time, "value": value}) for time, value in zip(local, values, strict=True)]
    (tmp_path / "load.jsonl").write_text("\n".join(lines))
    read = [series.history(tmp_path / name, 6, 24, origins=2) for name in ("load.parquet", "load.jsonl")]
    for data in read:
        np.testing.assert_allclose(data.test.targets.values[-1], values[-6:], rtol=1e-6)
        assert not any("filled" in note for note in data.notes)
    assert "2 different offsets, and are brought to UTC" in read[1].notes[0]


def test_a_frame_of_pandas_is_a_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"value": wave()}, index=pandas.date_range("2020-01-01", periods=100, name="time"))
    assert series.history(frame, 6, 12, origins=2).test.ids == ("value@91", "value@94")


def test_a_series_that_is_held_out_is_tested_alone():
    data = series.history({"a": wave(), "b": wave() * 3}, 6, 12, origins=2, held_out=("b",))
    assert {name[0] for name in data.train.ids} == {"a"} == {name[0] for name in data.val.ids}
    assert {name[0] for name in data.test.ids} == {"a", "b"}


BAD = {
    "no column": (
        {"header": ["when", "value"]}, {},
        "no column 'time': it has 'when', 'value'; name the one that is meant, `time`.",
    ),
    "other capitals": ({"header": ["time", "Value"]}, {}, "'Value'; did you mean value='Value'?"),
    "nearly": ({"header": ["timestamp", "value"]}, {}, "did you mean time='timestamp'?"),
    "too short": ({"n": 30}, {}, "need 37: give a longer history, or lower `origins` or `horizon`"),
    "never changes": ({"values": [3] * 100}, {}, "never changes"),
    "horizon": ({}, {"horizon": 0}, "`horizon` must be a whole number"),
    "season": ({}, {"season_length": 1.5}, "`season_length` must be a whole number"),
    "origins": ({}, {"origins": 0}, "`origins` must be a whole number"),
    "held out": ({}, {"held_out": ("z",)}, "no such series"),
    "twice": ({}, {"value": ("value", "value")}, "`value` names a column twice"),
    "no values": ({}, {"value": ()}, "`value` must name a column, or be a list of columns. Received: value=()"),
    "values of None": ({}, {"value": None}, "`value` must name a column, or be a list of columns"),
    "a list of times": ({}, {"time": ["time"]}, "no column ['time']: it has 'time', 'value'"),
    "one column for two": ({}, {"series": "value"}, "'value' cannot name the series and hold their times or values"),
    "a header alone": ({"n": 0}, {}, "holds no rows: give a header and one row"),
    "stride": ({}, {"stride": 0}, "`stride` must be a whole number"),
    "constant before the test": ({"values": [3] * 88 + list(range(12))}, {"origins": 3}, "does not change before its"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_history_that_cannot_be_forecast_is_refused(case, tmp_path):
    file, options, says = BAD[case]
    n = file.get("n", 100)
    months = [f"{2000 + i // 12}-{1 + i % 12:02d}" for i in range(n)]
    values = file.get("values", wave(n).tolist())
    path = table(tmp_path / "t.csv", file.get("header", ["time", "value"]), zip(months, values, strict=True))
    with pytest.raises(InputError) as refused:
        series.history(path, **{"horizon": 6, "season_length": 12, **options})
    assert says in str(refused.value)


def test_a_column_that_is_called_series_but_for_its_capital_is_not_passed_over(tmp_path):
    rows = [[day, i, name] for i, day in enumerate(DAYS) for name in "ab"]
    with pytest.raises(InputError, match=r"no column 'series': it has .*; did you mean series='Series'\?"):
        series.history(table(tmp_path / "t.csv", ["time", "value", "Series"], rows), 2)


def test_series_of_other_steps_are_refused(tmp_path):
    rows = [[f"2024-01-{d:02d}", d, "daily"] for d in range(1, 29)]
    rows += [[f"20{y:02d}-01-01", y, "yearly"] for y in range(28)]
    with pytest.raises(InputError, match=r"series 'daily' are 1 day apart, and those of 'yearly' a year"):
        series.history(table(tmp_path / "t.csv", ["time", "value", "series"], rows), 2)


def test_what_float32_hardly_tells_apart_is_noted():
    data = series.history({"a": 1e9 + 200 * wave().astype(np.float64)}, 6, 12, origins=2)
    assert any("float32 hardly tells apart" in note for note in data.notes)


# -- labelled series


def test_series_of_other_lengths_are_stretched_and_noted():
    rows = [np.linspace(0, 1, length) for length in (8, 12, 8, 12, 8, 12, 8, 12)]
    data = series.from_arrays(rows, ["a", "b"] * 4, split=(0.5, 0.25, 0.25))
    assert data.train.inputs.spec.shape == (12, 1) and "stretched to 12" in data.notes[0]
    np.testing.assert_allclose(data.train.inputs[0][:, 0], np.linspace(0, 1, 12), atol=1e-6)


TS = """# a comment
@problemName Toy
@timeStamps false
@univariate false
@classLabel true up down
@data
1,2,3,4:0,0,1,1:up
4,3,2,1:1,1,0,0:down
"""


def headed(line):
    """The file with a line more in its header, in place of that of the same name but for classes."""
    return TS.replace("@univariate false\n", "" if "univariate" in line else "@univariate false\n").replace(
        "@data", f"{line}\n@data"
    )


def test_ts_files_are_read_line_by_line(tmp_path):
    body = TS + "".join(f"{i},2,3,4:0,0,1,1:up\n{i},3,2,1:1,1,0,0:down\n" for i in range(4))
    (tmp_path / "Toy_TRAIN.ts").write_text(body)
    (tmp_path / "Toy_TEST.ts").write_text(TS)
    data = series.from_folder(tmp_path, split=(0.7, 0.3, 0))
    assert data.labels == ("down", "up") and len(data.test) == 2 and data.train.inputs.spec.shape == (4, 2)
    np.testing.assert_array_equal(data.test.inputs[0], [[1, 0], [2, 0], [3, 1], [4, 1]])
    assert data.test.ids[0] == "Toy_TEST:7"


BAD_TS = {
    "no header": ("1,2,3:up\n", "it has no line @data"),
    "times": (TS.replace("@timeStamps false", "@timeStamps true"), "holds times beside values"),
    "no targets": (TS.replace("@classLabel true up down", "@classLabel false"), "has no targets"),
    "a class that is not named": (TS.replace(":up\n", ":left\n"), "the class 'left', which the header does not name"),
    "channels": (TS.replace("0,0,1,1:up", "0,0,1:up"), "channels of 3 and of 4 values"),
    "a word": (TS.replace("1,2,3,4", "1,2,x,4"), "Line 7 of 'Toy.ts' is no number"),
    "no series": (TS[: TS.index("1,2,3,4")], "no series behind @data"),
    "cut in the header": (TS[: TS.index("@classLabel")], "it has no line @data"),
    "cut in the values": (TS + "4,3", "Line 9 of 'Toy.ts' has no colon, as where a file was cut"),
    "cut before the class": (TS + "1,2,3,4:0,0,1,1:", "has no class behind its last colon: the file may be cut off"),
    "lengths against the header": (
        TS.replace("@data", "@equalLength true\n@data") + "1,2,3:0,0,1:up\n",
        "Line 10 of 'Toy.ts' has 3 values and line 8",
    ),
    "empty": ("", "empty: it has 0 bytes"),
    "one channel by the header": (headed("@univariate true"), "has 2 channels, and the header says @univariate true"),
    "channels by the header": (headed("@dimensions 3"), "has 2 channels, and the header says @dimensions 3"),
    "length by the header": (headed("@seriesLength 5"), "has 4 values, and the header says @seriesLength 5: correct"),
    "nothing missing": (
        headed("@missing false").replace("1,2,3,4", "1,?,3,4"),
        "lacks a value, and the header says @m",
    ),
    "two kinds of targets": (headed("@targetlabel true"), "has @classLabel true and @targetlabel true: say which"),
    "neither": (headed("@equalLength perhaps"), "says @equallength perhaps: write true or false"),
    "no count": (headed("@dimensions two"), "says @dimensions two: write a whole number"),
    "two lines": (headed("@classLabel true up left"), "says @classLabel twice: keep one of the lines"),
}


def test_headers_of_ts_files_that_agree_are_read(tmp_path):
    text = headed("@univariate false\n@dimensions\t2\n@equalLength true\n@seriesLength 4\n@missing false")
    (tmp_path / "Toy.ts").write_text(text)
    assert series.from_ts(tmp_path / "Toy.ts", split=(1, 0, 0)).train.inputs.spec.shape == (4, 2)
    text = headed("@equalLength false\n@seriesLength 9\n@missing true") + "1,?,3,4,5,6:0,0,1,0,0,0:up\n"
    (tmp_path / "Toy.ts").write_text(text)
    assert len(series.from_ts(tmp_path / "Toy.ts", split=(1, 0, 0)).train) == 3


def test_an_encoding_of_a_ts_file_that_was_guessed_is_noted(tmp_path):
    (tmp_path / "Toy.ts").write_bytes("# Mesuré à l'été, près de la forêt\n".encode("cp1252") + headed("").encode())
    assert any("was read as" in note for note in series.from_ts(tmp_path / "Toy.ts", split=(1, 0, 0)).notes)


@pytest.mark.parametrize("case", BAD_TS)
def test_a_file_that_is_no_ts_is_refused(case, tmp_path):
    text, says = BAD_TS[case]
    (tmp_path / "Toy.ts").write_text(text)
    with pytest.raises(InputError) as refused:
        series.from_ts(tmp_path / "Toy.ts")
    assert says in str(refused.value)


def test_wide_and_long_tables_of_labelled_series(tmp_path):
    rows = [[*np.round(np.sin(np.arange(6) + i), 4), "ab"[i % 2]] for i in range(12)]
    wide = series.from_table(table(tmp_path / "wide.csv", [*(f"t{i}" for i in range(6)), "label"], rows))
    flat = [[f"s{i:02d}", t, row[t], row[-1]] for i, row in enumerate(rows) for t in reversed(range(6))]
    path = table(tmp_path / "long.csv", ["id", "time", "value", "label"], flat)
    long = series.from_table(path, series="id")
    assert wide.labels == long.labels == ("a", "b")
    both = [np.sort(np.concatenate([p.inputs.values for p in (d.train, d.val, d.test)]), axis=0) for d in (wide, long)]
    np.testing.assert_allclose(*both, atol=1e-6)
    with pytest.raises(InputError, match="has several labels, a, c"):
        series.from_table(
            table(tmp_path / "two.csv", ["id", "time", "value", "label"], [*flat, ["s00", 9, 1, "c"]]), series="id"
        )


BAD_LONG = {
    "two rows at a time": ([["a", 3, 1, "x"], ["a", 3, 2, "x"]], "two rows at 3"),
    "no name": ([["", 3, 1, "x"]], "Row 12 of the table names no series"),
    "days first": ([["a", "31/01/2024", 1, "x"]], "is no date or number"),
}


@pytest.mark.parametrize("case", BAD_LONG)
def test_long_tables_whose_order_would_be_guessed_are_refused(case, tmp_path):
    rows, says = BAD_LONG[case]
    first = [[name, t, t, label] for name, label in (("b", "y"), ("c", "x")) for t in range(5)]
    with pytest.raises(InputError) as refused:
        series.from_table(table(tmp_path / "l.csv", ["id", "time", "value", "label"], [*first, *rows]), series="id")
    assert says in str(refused.value)


def test_levels_of_an_index_of_pandas_are_columns():
    pandas = pytest.importorskip("pandas")
    levels = pandas.MultiIndex.from_product([["a", "b"], pandas.date_range("2020-01-01", periods=60)])
    frame = pandas.DataFrame({"value": np.r_[wave(60), wave(60)[::-1]]}, index=levels.set_names(["series", "time"]))
    assert series.history(frame, 6, 12, origins=1).test.ids == ("a@54", "b@54")


def test_wide_parquet_is_read_and_a_series_in_a_cell_is_told_where_to_go(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {f"t{i}": np.sin(np.arange(12) + i) for i in range(5)} | {"label": ["a", "b"] * 6}
    parquet.write_table(pa.table(columns), tmp_path / "wide.parquet")
    assert series.from_table(tmp_path / "wide.parquet").train.inputs.spec.shape == (5, 1)
    parquet.write_table(pa.table({"label": ["a", "b"], "load": [[1.0, 2.0]] * 2}), tmp_path / "cells.parquet")
    with pytest.raises(InputError, match=r"'load' holds a whole series in each row: .*from_arrays\(list\(frame"):
        series.from_table(tmp_path / "cells.parquet")


def test_a_row_of_sums_is_noted(tmp_path):
    rows = [["ab"[i % 2], *np.sin(np.arange(5) + i)] for i in range(20)] + [["Total", 1, 2, 3, 4, 5]]
    data = series.from_table(table(tmp_path / "w.csv", ["label", *"12345"], rows))
    assert any("The last row, 22, holds 'Total' in the column 'label'" in note for note in data.notes)


def test_numbers_of_rows_are_no_step_and_dates_are_in_order(tmp_path):
    rows = [[i, *np.sin(np.arange(5) + i), "ab"[i % 2]] for i in range(24)]
    data = series.from_table(table(tmp_path / "w.csv", ["recording", *"12345", "label"], rows))
    assert data.train.inputs.spec.shape == (5, 1) and "'recording' names or counts the rows" in data.notes[0]
    days = ["2024-01-09", "2024-01-10", "2024-02-01"]
    flat = [[f"s{i}", day, k, "ab"[i % 2]] for i in range(8) for k, day in enumerate(days)]
    data = series.from_table(table(tmp_path / "l.csv", ["id", "time", "value", "label"], flat[::-1]), series="id")
    np.testing.assert_array_equal(data.train.inputs[0][:, 0], [0, 1, 2])
    assert any("8 series have irregular steps" in note for note in data.notes)


def wide_steps(tmp_path, header):
    rows = [[i * 10 + k for k in range(len(header) - 1)] + ["ab"[i % 2]] for i in range(24)]
    return series.from_table(table(tmp_path / "w.csv", header, rows), split=(1, 0, 0))


@pytest.mark.parametrize(
    ("header", "places", "says"),
    [
        (
            ["t1", "t10", "t2", "t3", "label"],
            [0, 2, 3, 1],
            "stand in the order 't1', 't10', 't2', ..., and are read in",
        ),
        (["2024-03", "2024-01", "2024-02", "label"], [1, 2, 0], "read in that of their names: '2024-01', '2024-02'"),
        (["age", "customer_id", "t1", "t2", "t3", "t4", "label"], [2, 3, 4, 5], "no steps of the series: 'age', left"),
        (["t-3", "t-2", "t-1", "label"], [0, 1, 2], "The 3 columns from 't-3' to 't-1' are the steps"),
        (
            ["start", "middle", "end", "label"],
            [0, 1, 2],
            "'start' to 'end' are the steps of the series, in the table's",
        ),
    ],
)
def test_the_order_of_steps_is_that_of_their_names(header, places, says, tmp_path):
    """t1, t10, t2 were taken as they stood, and ids and ages as steps."""
    data = wide_steps(tmp_path, header)
    np.testing.assert_array_equal(np.sort(data.train.inputs.values[:, :, 0], axis=0)[0], places)
    assert any(says in note for note in data.notes), data.notes
    assert not any("customer_id" in note for note in data.notes) or "'customer_id' names or counts" in data.notes[0]


def test_rows_of_a_wide_table_and_of_a_ts_file_are_predicted_one_by_one(tmp_path):
    """What was learned from such a file was told to have as many channels as it has steps."""
    data = wide_steps(tmp_path, ["t2", "t1", "t3", "label"])
    info = FileInfo(data.train.pipeline, {"series": (3, 1)})
    (tmp_path / "new.csv").write_text("t3,case,t1,t2\n3,a,1,2\n6,b,4,5\n")
    rows = SERIES.parse(tmp_path / "new.csv", info)
    np.testing.assert_array_equal(rows[0].inputs.values[0, :, 0], [1, 2, 3])
    assert rows[0].ids == (f"{tmp_path / 'new.csv'}, row 2",) and len(rows) == 2
    (tmp_path / "x.csv").write_text("x\n1\n2\n3\n")
    np.testing.assert_array_equal(SERIES.parse(tmp_path / "x.csv", info).inputs.values[0, :, 0], [1, 2, 3])
    (tmp_path / "Toy.ts").write_text(TS)
    rows = SERIES.parse(tmp_path / "Toy.ts", FileInfo(data.train.pipeline, {"series": (4, 2)}))
    np.testing.assert_array_equal(rows[1].inputs.values[0].T, [[4, 3, 2, 1], [1, 1, 0, 0]])
    assert rows[1].ids == (f"{tmp_path / 'Toy.ts'}, line 8",)


def test_shuffled_numbers_of_rows_are_no_step(tmp_path):
    numbers = np.random.default_rng(0).permutation(24)
    rows = [[number, *np.sin(np.arange(5) + i), "ab"[i % 2]] for i, number in enumerate(numbers.tolist())]
    data = series.from_table(table(tmp_path / "w.csv", ["case", *"abcde", "label"], rows))
    assert data.train.inputs.spec.shape == (5, 1) and "'case' names or counts the rows" in data.notes[0]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (["x_0", "x_1", "y_0", "y_1", "label"], "'x_0' and 'y_0' begin 2 numbered ones each, as of two channels"),
        (["t1", "t3", "t01", "label"], "'t1' and 't01' are one step by their names"),
        (["t-1", "t-3", "t-2", "label"], "are out of order, and their hyphens may say minus"),
    ],
)
def test_steps_whose_order_would_be_guessed_are_refused(header, says, tmp_path):
    with pytest.raises(InputError, match=says):
        wide_steps(tmp_path, header)


def test_recordings_in_class_folders(tmp_path):
    for label in ("walk", "run"):
        (tmp_path / label).mkdir()
        for i in range(6):
            rows = [[t, np.sin(t + i), i] for t in range(10)]
            table(tmp_path / label / f"{i}.csv", ["time", "x", "y"], rows)
    data = series.from_folder(tmp_path, split=(0.5, 0.25, 0.25))
    assert data.labels == ("run", "walk") and data.train.inputs.spec.shape == (10, 2)
    table(tmp_path / "run" / "7.csv", ["time", "x"], [[t, t] for t in range(10)])
    with pytest.raises(InputError, match=r"channels of 'run/7.csv' are 'x', and those of 'run/0.csv' are 'x', 'y'"):
        series.from_folder(tmp_path)
    table(tmp_path / "run" / "7.csv", ["time", "x", "y"], [[-t, t, t] for t in range(10)])
    with pytest.raises(InputError, match="are out of order in the column 'time'"):
        series.from_folder(tmp_path)


def test_channels_are_matched_by_their_names(tmp_path):
    """Columns in another order are the same channels, also of a file to predict; other columns are refused."""
    for label in ("walk", "run"):
        (tmp_path / label).mkdir()
        for i in range(6):
            header, cells = (["time", "x", "y"], [1, 7]) if i % 2 else (["time", "y", "x"], [7, 1])
            table(tmp_path / label / f"{i}.csv", header, [[t, *cells] for t in range(10)])
    data = series.from_folder(tmp_path, split=(0.5, 0.25, 0.25))
    assert data.train.pipeline.get("series")["names"] == ["y", "x"]
    expected = np.tile([7, 1], (10, 1))
    assert all((row == expected).all() for part in (data.train, data.val, data.test) for row in part.inputs.values)
    info = FileInfo(data.train.pipeline, {"series": (10, 2)})
    parsed = SERIES.parse(table(tmp_path / "new.csv", ["x", "y", "note"], [[1, 7, "a"]] * 10), info)
    np.testing.assert_array_equal(parsed.inputs.values[0], expected)
    with pytest.raises(InputError, match=r"has the columns 'x', 'z', and lacks 'y': the model takes the channels"):
        SERIES.parse(table(tmp_path / "new.csv", ["x", "z"], [[1, 7]] * 10), info)
    table(tmp_path / "walk" / "6.csv", ["time", "x", "z"], [[t, t, t] for t in range(10)])
    with pytest.raises(InputError, match=r"of 'walk/6.csv' are 'x', 'z', and those of 'run/0.csv' are 'y', 'x'"):
        series.from_folder(tmp_path)


def test_an_index_that_is_a_column_too_is_read_once_and_two_columns_of_a_name_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"time": pandas.date_range("2020-01-01", periods=100), "value": wave()})
    indexed = frame.set_index("time", drop=False)
    assert series.history(indexed, 6, 12, origins=2).test.ids == ("value@91", "value@94")
    twice = pandas.concat([frame, frame["value"]], axis=1)
    with pytest.raises(InputError, match="The DataFrame has two columns 'value'"):
        series.history(twice, 6, 12, origins=2)


BAD_ARRAYS = {
    "short": ([[1, 2]] * 4, "has 2 steps, and at least 3"),
    "gaps": ([[1, np.nan, np.nan, 2]] * 4, "lacks 2 of 4 values"),
    "infinite": ([[1, np.inf, 2, 3]] * 4, "too large"),
    "words": ([["a", "b", "c"]] * 4, "no number"),
    "ranks": (np.zeros((4, 3, 2, 1)), r"must be (steps,) or (steps, channels)"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_are_no_series_are_refused(case):
    rows, says = BAD_ARRAYS[case]
    with pytest.raises(InputError) as refused:
        series.from_arrays(rows, ["a", "b"] * 2)
    assert says in str(refused.value)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        series.from_folder(tmp_path / "none")
    for steps in (1, 2.7, np.inf):
        with pytest.raises(InputError, match="`steps` must be a whole number, 2 or more"):
            series.from_arrays(np.zeros((4, 5)), ["a", "b"] * 2, steps=steps)
