"""Sample data out of Debian packages: as installed, or fetched with apt-get into the cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tlkit.core.errors import InputError, OfflineError
from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.packages import is_offline


def folder(package: str, inside: str, what: str) -> Path:
    """Where a package's files are.

    Args:
        package: Its name; none of its programs is run.
        inside: Folder of the files, relative to the root: "usr/share/...".
        what: What they are, in the plural, for messages: "The recorded digits".

    Raises:
        InputError: If the package is neither installed nor can be fetched.
    """
    installed = Path("/") / inside
    if installed.is_dir():
        return installed

    def fill(fresh: Path) -> None:
        _fetch(package, inside, what, fresh)

    return kept_folder(cache_dir() / "samples" / package, fill) / inside


def _fetch(package: str, inside: str, what: str, target: Path) -> None:
    missing = f"{what} are missing: `apt-get install {package}`"
    if is_offline(None):
        raise OfflineError(f"{missing}, since nothing may be downloaded here (TLKIT_OFFLINE).")
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise InputError(f"{missing}, or, where there is no apt-get, copy its files to {'/' + inside!r}.")
    fetched = subprocess.run(["apt-get", "download", package], cwd=target, capture_output=True, text=True, check=False)
    archives = list(target.glob("*.deb"))
    if fetched.returncode or not archives:
        why = (fetched.stderr.strip() or "it does not say why").splitlines()[-1]
        raise InputError(f"{missing}, since apt-get could not download it: {why}")
    subprocess.run(["dpkg", "-x", str(archives[0]), str(target)], capture_output=True, check=True)
    archives[0].unlink()
