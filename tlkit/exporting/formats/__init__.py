"""The formats of exported files that tlkit brings, each by the name that `formats=` takes.

A new format is one new file and one line here; your own is a `tlkit.Format` in a module of yours.
"""

from tlkit.exporting.formats.pages import web, web_int8
from tlkit.exporting.formats.serving import saved_model
from tlkit.exporting.formats.tflite import dynamic, float16, float32, int8, weight_only

__all__ = ["saved_model", "float32", "float16", "dynamic", "weight_only", "int8", "web", "web_int8"]  # noqa: RUF022 (in this order)
WHEN_ASKED = ("weight_only", "web", "web_int8")  # written only where they are named
