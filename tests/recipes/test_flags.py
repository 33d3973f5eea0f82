"""Flags of the recipes: their names and defaults are a promise, wherever their records live."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import tlkit
from tlkit.cli import commands
from tlkit.core import flags
from tlkit.core.errors import InputError
from tlkit.runs import options

HERE = Path(__file__).parents[2] / "recipes"
USUAL = json.loads((Path(__file__).parent / "flags.json").read_text())  # by recipe: its flags, and their defaults


def main_of(name):
    return commands._recipe_main(HERE / f"{name}.py")


def plain(value):
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def test_every_recipe_is_listed():
    assert {path.stem for path in HERE.glob("*.py")} == set(USUAL)


@pytest.mark.parametrize("name", USUAL)
def test_flags_and_defaults_stay(name):
    words = [word for flag in ("data", "items") if USUAL[name].get(flag) == "here" for word in (f"--{flag}", "here")]
    seen = commands._parsed(main_of(name), f"run {name}", words)
    defaults = {flag: plain(value) for flag, value in flags.flat(seen).items()}
    assert defaults == USUAL[name]


@pytest.mark.parametrize("name", ["text_classification", "music_tagging", "domain_adaptation"])
def test_help_shows_each_flag_without_a_prefix(name, capsys):
    with pytest.raises(SystemExit):
        flags.cli(main_of(name), args=["--help"])
    shown = capsys.readouterr().out
    assert all(f"--{flag.replace('_', '-')}" in shown for flag in USUAL[name]) and "--fit." not in shown


def test_a_recipe_file_parses_the_same_flags(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--epochs", "1", "2", "--max-drop", "0.5", "--unfrozen", "0"])

    def main(fit: tlkit.flags.Fit = tlkit.flags.Fit(seed=3), export: tlkit.flags.Export = tlkit.flags.Export()):
        return fit, export

    fit, export = flags.cli(main)
    assert fit == flags.Fit(epochs=(1, 2), unfrozen=0.0, seed=3) and export == flags.Export(max_drop=0.5)


def recipe(
    data: str, k: int = 1, fit: flags.Fit = tlkit.flags.Fit(seed=3), export: flags.Export = tlkit.flags.Export()
):
    return data, k, fit, export


def test_call_takes_flags_by_name():
    arguments = flags.call(recipe, data="x", epochs=(1, 0), formats=("int8",))
    assert arguments == ("x", 1, flags.Fit(epochs=(1, 0), seed=3), flags.Export(formats=("int8",)))
    assert flags.call(recipe, data="x", k=2, fit=flags.Fit())[1:3] == (2, flags.Fit())


def test_call_names_an_unknown_flag_and_those_that_there_are():
    with pytest.raises(InputError, match=r"no flag 'epoch'; its flags are: data, k, epochs, lr, .*max_drop"):
        flags.call(recipe, data="x", epoch=3)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"fit": flags.Fit(epochs=(0, 0))}, "Nothing would be trained"),
        ({"fit": flags.Fit(lr=(0.0, 1e-3))}, "`lr` of a Phase"),
        ({"fit": flags.Fit(unfrozen=2.0)}, "`unfrozen` of a Phase"),
        ({"fit": flags.Fit(batch_size=0)}, "batch_size"),
        ({"export": flags.Export(formats=("onnx",))}, "onnx"),
        ({"export": flags.Export(max_drop=-1.0)}, "max_drop"),
    ],
)
def test_fields_of_records_are_checked_before_the_data_are_read(record, message):
    with pytest.raises(InputError, match=message):
        options.check(recipe, record)
