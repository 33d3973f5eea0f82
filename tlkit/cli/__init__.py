"""The command line: `tlkit`."""

from tlkit.cli.commands import main

__all__ = ["main"]
