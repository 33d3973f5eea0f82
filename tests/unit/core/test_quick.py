"""TensorFlow starts without what only parts of Keras need; those packages stay importable."""

import subprocess
import sys

import pytest


def test_what_keras_would_import_is_left_out_and_can_be_imported_later():
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    code = (
        "import sys; from tlkit.core import quick; quick.start();"
        "assert 'tensorflow' in sys.modules and 'keras' in sys.modules;"
        "assert not set(quick.UNUSED) & set(sys.modules), set(quick.UNUSED) & set(sys.modules);"
        "import matplotlib.figure, pandas, scipy.sparse, sklearn;"
        "quick.start(); assert sys.modules['sklearn'] is sklearn"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_garbage_is_collected_as_before_and_nothing_stays_hidden():
    code = (
        "import gc, sys; from tlkit.core import quick\n"
        "for switch, state in ((gc.disable, False), (gc.enable, True)):\n"
        "  switch()\n"
        "  with quick.lean(): assert not gc.isenabled() and sys.modules['pandas'] is None\n"
        "  assert gc.isenabled() is state and not set(quick.UNUSED) & set(sys.modules)\n"
        "try:\n"
        "  with quick.lean(): import no_such_package\n"
        "except ImportError: pass\n"
        "assert gc.isenabled() and not set(quick.UNUSED) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
