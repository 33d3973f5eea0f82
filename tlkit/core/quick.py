"""Start TensorFlow and Keras without what Keras imports for parts of itself that no command uses."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

# What TensorFlow and Keras try to import for parts of themselves, where it is installed: keras.wrappers, visualization,
# arrays that come as data frames, notebooks, sparse matrices. pandas alone takes 2.4 of 27 s of `python -X importtime`.
UNUSED = ("sklearn", "matplotlib", "pandas", "scipy", "cv2", "IPython")

import_seconds = 0.0  # what loading tlkit's public names took so far: a run's record has it on a line of its own


def start() -> None:
    """Import TensorFlow and Keras; a later import of the packages that were kept from them succeeds.

    In this process `keras.wrappers`, `keras.visualization` and Keras' own `fit` on data frames then say that theirs are
    missing, so it serves only processes of tlkit's own code.
    """
    with lean():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """Import TensorFlow inside without the packages it needs for nothing, and without a search for garbage meanwhile:
    300,000 objects that stay would be looked through 12 times.

    No other thread may import meanwhile: it would not find those packages.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    hidden, collects = [name for name in UNUSED if name not in sys.modules], gc.isenabled()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes the import an ImportError
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        for name in hidden:
            sys.modules.pop(name, None)
