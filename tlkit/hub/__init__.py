"""From a handle to a checked, loaded module. Importing this imports no TensorFlow."""

from tlkit.hub.loading import Module, is_restored, open_module, pack, saved, unpack, variables
from tlkit.hub.resolving import resolve
from tlkit.hub.scanning import Finding, Scan, check, scan

__all__ = [
    "Finding",
    "Module",
    "Scan",
    "check",
    "is_restored",
    "open_module",
    "pack",
    "resolve",
    "saved",
    "scan",
    "unpack",
    "variables",
]
