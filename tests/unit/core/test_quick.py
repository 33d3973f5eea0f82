"""TensorFlow starts without what only parts of Keras need; those packages stay importable."""

import subprocess
import sys

import pytest


def test_what_keras_would_import_is_left_out_and_can_be_imported_later():
    pytest.importorskip("sklearn")
    code = (
        "import sys; from tlkit.core import quick; quick.start();"
        "assert 'tensorflow' in sys.modules and 'keras' in sys.modules;"
        "assert 'sklearn' not in sys.modules and 'matplotlib' not in sys.modules;"
        "import matplotlib.figure, sklearn; quick.start(); assert sys.modules['sklearn'] is sklearn"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
