"""Forecast series: a table of times and values becomes quantiles of the next values, and a file that makes them.

tlkit run forecasting --data table.csv --horizon 12 --season-length 12 --out runs/forecast
"""

from __future__ import annotations

from pathlib import Path

import tlkit


def main(
    data: Path | None = None,
    horizon: int = 12,
    season_length: int | None = None,
    module: str = "zoo:forecaster",
    out: Path = Path("runs/forecasting"),
    time: str = "time",
    value: tuple[str, ...] = ("value",),
    series: str | None = None,
    quantiles: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    origins: int = 5,
    stride: int | None = None,
    calendar: bool = False,
    zero_shot: bool = False,
    seed: int = 0,
    export: tlkit.flags.Export = tlkit.flags.Export(),
) -> tlkit.Run:
    """Adapt a forecaster to the history of one or many series, judge it by rolling origins, and export it.

    Whether it is tuned is decided by the length of the history, and said: with a short one zoo:forecaster stays
    zero-shot, and of a module that makes no forecasts of its own the head alone is learned. Beside its
    scores stand those of the seasonal naive forecast, and with the extra `series` those of AutoETS and AutoTheta.

    Args:
        data: Table (CSV, TSV, JSONL, Parquet) with a column of times and one of values, regular in time;
            without it, made-up monthly sales.
        horizon: Steps ahead.
        season_length: Steps of a season, such as 12 of months; 1 is none. Without it, the commonest by the step of the
            times, which is noted.
        module: Handle of the module: zoo:NAME, a folder, a .tar.gz, a URL, kaggle:...
        out: Folder of the run.
        time: Name of the column of times.
        value: Name of the column of values; several are a series each.
        series: Name of the column that tells several series apart; without it, "series" where there is one.
        quantiles: Levels to forecast, ascending, with 0.5.
        origins: Cutoffs at the end of each series that are tested.
        stride: Steps between two of them; without it, half of the horizon.
        calendar: Cut all series at the same dates, not each from its own end.
        zero_shot: Never tune, however long the history is; for modules that make forecasts of their own.
        seed: Of the order of windows.
        export: Which files to write.
    """
    if data is None and (origins, stride, calendar) != (5, None, False):
        raise tlkit.InputError(
            "`origins`, `stride` and `calendar` divide a table of your own: give --data, or leave them out."
        )
    if data is None:
        splits = tlkit.datasets.made_series.sales(horizon, season_length or 12, seed=seed)
    else:
        splits = tlkit.data.series.history(
            data, horizon, season_length, time=time, value=value, series=series, origins=origins, stride=stride,
            calendar=calendar,
        )  # fmt: skip
    season_length = tlkit.data.series.season_length_of(splits)
    task = tlkit.tasks.forecast(horizon, quantiles, season_length, zero_shot=zero_shot)
    run = tlkit.finetune(module, task, splits, out=out, seed=seed)
    return tlkit.export(run, formats=export.formats, max_drop=export.max_drop)


if __name__ == "__main__":
    tlkit.flags.cli(main)
