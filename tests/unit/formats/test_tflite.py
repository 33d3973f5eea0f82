import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tlkit.formats.tflite import fitted, reason

ERROR = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite("StringLower"(...))):
'tf.StringLower' op is neither a custom op nor a flex op
<unknown>:0: error: 'tf.StringSplitV2' op is neither a custom op nor a flex op
<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select.
TF Select ops: StringLower, StringSplitV2
Details:
\ttf.StringLower(tensor<?x!tf_type.string>) -> (tensor<?x!tf_type.string>)"""


def test_the_missing_operations_are_named_once_each():
    message = reason("float16", ERROR)
    assert message.startswith("the model needs the StringLower, StringSplitV2 operations, which are no TFLite builtins")
    assert "formats=('saved_model',)" in message
    assert "\n" not in message


def test_any_other_failure_keeps_its_first_line():
    assert reason("int8", "\n  something broke\nsecond") == "the model does not convert to TFLite int8: something broke"
    assert "no reason" in reason("int8", "")


@pytest.mark.parametrize(("dtype", "scale", "zero", "given", "wanted"), [
    (np.uint8, 1.0, 0, [0, 255], [0, 255]),
    (np.int8, 1.0, -128, [0, 255], [-128, 127]),
    (np.uint8, 0.5, 10, [0, 200], [10, 255]),
    (np.float32, 0.0, 0, [0, 255], [0, 255]),
])  # fmt: skip
def test_inputs_are_quantised_as_the_file_says(dtype, scale, zero, given, wanted):
    quantised = fitted(np.array(given, np.uint8), {"dtype": dtype, "quantization": (scale, zero)})
    assert (quantised.dtype, quantised.tolist()) == (dtype, wanted)


def test_workers_and_predict_start_without_tensorflow():
    code = (
        "import sys, tlkit.exporting.worker, tlkit.exporting.predicting;"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(tlkit.__file__).parents[1])
