"""What tlkit raises: each message is one sentence that names the thing and the fix."""

from typing import Any


class TlkitError(Exception):
    """Base of all errors that tlkit raises on purpose; the command line prints the message alone."""

    exit_code = 2


class InputError(TlkitError, ValueError):
    """Something the user gave (a handle, a file, an argument) cannot be used as it is."""

    _keras_call_info_injected = True  # Keras prints its own story around an error in a layer's call that lacks this


class UnsafeModuleError(InputError):
    """A module holds an operation that reads or writes files, opens connections or runs code."""


class OfflineError(InputError):
    """Something would have to be downloaded, and downloads are switched off."""


class DownloadError(InputError):
    """A download failed after all retries, or what came back is not a module."""


class TrainingError(TlkitError, RuntimeError):
    """Training had to stop: a loss that is not finite, or frozen weights that moved."""

    exit_code = 1


class GateError(TlkitError, RuntimeError):
    """An exported file disagrees with the model; the files that agree have been written.

    Attributes:
        exports: One `Exported` a file, those that agree too.
    """

    exit_code = 1

    def __init__(self, message: str, exports: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.exports = exports
