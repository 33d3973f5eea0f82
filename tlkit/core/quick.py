"""Start TensorFlow and Keras without what Keras imports for parts of itself that no command uses."""

from __future__ import annotations

import sys

# For keras.wrappers and keras.visualization, where they are installed: 5 of the 13 s that `import tensorflow` took on
# two slow cores with scikit-learn (and with it scipy.stats) and matplotlib beside it.
UNUSED = ("sklearn", "matplotlib")

import_seconds = 0.0  # what loading tlkit's public names took so far: a run's record has it on a line of its own


def start() -> None:
    """Import TensorFlow and Keras; a later import of the packages that were kept from Keras succeeds.

    No other thread may import meanwhile: it would not find those packages. In this process `keras.wrappers` and
    `keras.visualization` then say that theirs are missing, so it serves only processes of tlkit's own code.
    """
    if "tensorflow" in sys.modules:
        return
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes the import an ImportError
    try:
        import tensorflow  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
