import dataclasses

from tlkit.core.export_table import table
from tlkit.core.run import Exported

GOOD = Exported("float32", "model.tflite", 13_412_076, 6.34, 1.2e-6, 1.0, 0.76, 0.0, passed=True)
BAD = Exported(
    "int8", "model_int8.tflite.failed", 3_898_280, 2.1, 0.3, 0.85, 0.7, -0.06, passed=False, failure="too far"
)
NONE = Exported("dynamic", "model_dynamic.tflite", 0, 0.0, 0.0, 0.0, 0.0, 0.0, passed=False, failure="needs Foo")


def test_columns_line_up_and_failures_are_told():
    lines = table([dataclasses.asdict(row) for row in (GOOD, BAD, NONE)]).splitlines()
    assert len(lines) == 6
    assert len({line.index(word) for line, word in zip(lines[1:4], ("passed", "FAILED", "FAILED"), strict=True)}) == 1
    assert lines[1].split() == ["model.tflite", "13.41", "6.3", "1e-06", "1.000", "0.760", "+0.0", "passed"]
    assert lines[2].split()[0] == "model_int8.tflite"
    assert lines[3].split() == ["model_dynamic.tflite", *"------", "FAILED"]
    assert lines[4] == "int8: too far; kept aside as model_int8.tflite.failed."
    assert lines[5] == "dynamic: needs Foo; nothing was written."
