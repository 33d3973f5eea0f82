"""The record of a run: `write` for people (one HTML file), `run_json` for machines."""

from tlkit.report.page import write
from tlkit.report.records import run_json

__all__ = ["run_json", "write"]
