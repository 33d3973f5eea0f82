"""rank: which module is worth adapting, before anything is trained."""

from __future__ import annotations

import functools
import json
import os
import platform
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.choosing.transferability import h_score, logme
from tlkit.core.errors import InputError
from tlkit.core.examples import Examples, Splits
from tlkit.core.files import cache_dir, sha256_bytes, write_atomic
from tlkit.core.progress import Progress, shown
from tlkit.core.workers import Pool, pool
from tlkit.hub import resolving

if TYPE_CHECKING:
    from tlkit.choosing.conversion import Conversion
    from tlkit.layer.hub_layer import HubLayer
    from tlkit.model.partition import Front

FORMAT = "2"  # part of the name of a kept row: raise it when a figure in it is computed in another way
MOST_OPEN_BYTES = 1 << 30  # of weights: modules that are more together are opened once more when it is their turn
TRIED = 8  # training examples by which it is checked whether a module takes the data


@dataclass(frozen=True)
class Ranked:
    """One module.

    Attributes:
        handle: What names it.
        logme: `transferability.logme` of its frozen features; higher is better.
        h_score: `transferability.h_score`, or None where targets are no class numbers.
        dimensions: Of a feature vector.
        parameters: Count of its weights.
        megabytes: Of its float32 TFLite file, or None where it does not convert or was not tried.
        latency_ms: Milliseconds that LiteRT takes for one example with two threads, or None.
        converts: Whether it converts with built-in operations alone; None where that was not tried.
        seconds: What the features took when the row was made, or finding them in the cache.
    """

    handle: str
    logme: float
    h_score: float | None
    dimensions: int
    parameters: int
    megabytes: float | None
    latency_ms: float | None
    converts: bool | None
    seconds: float


@dataclass(frozen=True)
class Ranking:
    """Modules, the highest LogME first."""

    rows: tuple[Ranked, ...]

    @property
    def pareto(self) -> tuple[str, ...]:
        """Handles of which no other is both better by LogME and as quick; those without a latency count as slowest."""
        return tuple(row.handle for row in self.rows if not any(_beats(other, row) for other in self.rows))

    def plot(self, path: str | Path) -> Path:
        """Write a plot of LogME over latency with the Pareto front; modules without a latency are left out.

        Args:
            path: Of the plot: .png, .svg or .pdf.
        """
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        timed = sorted((row for row in self.rows if row.latency_ms is not None), key=lambda row: row.latency_ms or 0)
        best = [row for row in timed if row.handle in self.pareto]
        figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        axes.plot([r.latency_ms for r in best], [r.logme for r in best], color="#2b5fd9", drawstyle="steps-post")
        axes.scatter([r.latency_ms for r in timed], [r.logme for r in timed], color="#2b5fd9")
        widest = 1.1 * max((row.latency_ms or 0 for row in timed), default=1.0)
        for row in timed:
            side = "left" if (row.latency_ms or 0) < widest / 2 else "right"
            axes.annotate(
                _short(row.handle), (row.latency_ms or 0, row.logme), (0, 6), textcoords="offset points", ha=side
            )
        axes.margins(y=0.2)
        axes.set(xlim=(0, widest), xlabel="milliseconds an example in LiteRT, 2 threads", ylabel="LogME")
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        return Path(path)

    def __str__(self) -> str:
        lines = [f"{'module':<32} {'LogME':>8} {'H-score':>8} {'size':>9} {'latency':>10}  TFLite"]
        for row in self.rows:
            score = "-" if row.h_score is None else f"{row.h_score:.3f}"
            size = "-" if row.megabytes is None else f"{row.megabytes:.1f} MB"
            latency = "-" if row.latency_ms is None else f"{row.latency_ms:.1f} ms"
            converts = {True: "converts", False: "does not convert", None: "not tried"}[row.converts]
            lines.append(f"{_short(row.handle):<32} {row.logme:8.3f} {score:>8} {size:>9} {latency:>10}  {converts}")
        return "\n".join(lines)


def rank(
    modules: Sequence[Any],
    data: Splits,
    *,
    convert: bool = True,
    batch_size: int = 32,
    input_range: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Rank modules by what a linear model could make of their frozen features, beside what they cost on a phone.

    Nothing is trained. Features of the training examples are computed once and kept, so that the module that is chosen
    starts with them; the row of a module that is a file is kept too, latency included, until its content, the data or
    the packages change. LogME and the H-score say how classes lie in frozen features; they do not know what tuning a
    module would change. Inside `tlkit.cluster.ray` modules that are files are shared out where `convert` is False.

    Args:
        modules: At least two handles, or what HubLayer takes as handle.
        data: Labelled splits; the training examples are used.
        convert: Whether to convert each module to TFLite, for its size and latency.
        batch_size: Examples at a time.
        input_range: Range of the pixels that those image modules take of which nothing says it.
        progress: Where progress goes; None shows it.

    Returns:
        A table that prints, with `pareto` and `plot(path)`.

    Raises:
        InputError: If there are fewer than two modules, or one cannot be ranked by the data, before any is.
    """
    if len(modules) < 2:
        raise InputError(f"There is nothing to rank: give two modules or more. Received: {len(modules)}.")
    if len(data.train) < 2:
        raise InputError(
            "Modules are ranked by the features of the training examples, two or more: give that split a share. "
            f"Received: {len(data.train)}."
        )
    _ = data.train.target_array  # what is no array cannot be ranked by
    display = progress or shown()
    _build(modules)
    files = [_file(module, data.train, convert, input_range) for module in modules]
    elsewhere = None if convert else pool()  # latencies of several hosts, or taken side by side, would not compare
    layers = _checked(modules, files, data, input_range, elsewhere)
    if elsewhere is not None:
        _made_elsewhere(elsewhere, modules, files, data, batch_size, input_range)
    rows = []
    for number, (module, file) in enumerate(zip(modules, files, strict=True)):
        stored = None if file is None else _kept(file, module)
        rows.append(stored or _ranked(layers.pop(number, module), data, convert, batch_size, input_range))
        if file is not None and stored is None:
            write_atomic(file, json.dumps(asdict(rows[-1])))
        display.line(f"{_short(rows[-1].handle)}: LogME {rows[-1].logme:.3f}")
    return Ranking(tuple(sorted(rows, key=lambda row: -row.logme)))


def _build(modules: Sequence[Any]) -> None:
    """Have those of the zoo at hand, two at a time: each is built in a process of its own, on one core."""
    handles = dict.fromkeys(module for module in modules if isinstance(module, str) and module.startswith("zoo:"))
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(resolving.locate, handles))


def _checked(
    modules: Sequence[Any],
    files: Sequence[Path | None],
    data: Splits,
    input_range: tuple[float, float] | None,
    elsewhere: Pool | None,
) -> dict[int, HubLayer]:
    """Layers by the place of their module, of those that have no row yet, as far as memory may hold them.

    Raises:
        InputError: If one of the modules cannot be ranked by the data.
    """
    layers: dict[int, HubLayer] = {}
    room = MOST_OPEN_BYTES
    if elsewhere is not None:
        check = functools.partial(_check, data=data, input_range=input_range)
        for _ in elsewhere.each(check, [(module,) for _, module in _missing(modules, files)]):
            pass
    for number, (module, file) in enumerate(zip(modules, files, strict=True)):
        if file is not None and (elsewhere or file in files[:number] or _kept(file, module) is not None):
            continue
        layer = _opened(module, data, input_range)
        room -= sum(4 * int(np.prod(v.shape)) for v in layer.weights)
        if room >= 0:
            layers[number] = layer
    return layers


def _opened(module: Any, data: Splits, input_range: tuple[float, float] | None) -> HubLayer:
    """The module as a layer, once a few training examples have shown that it takes them."""
    from tlkit.features.vectors import check_single, opened
    from tlkit.modalities.prepare import prepare

    layer = opened(module, input_range, data.train.inputs.spec)
    few = data.train.subset(range(min(TRIED, len(data.train))))
    weights = [(variable, np.array(variable)) for variable in layer.variables]
    check_single(prepare(replace(data, train=few, val=few, test=few), layer).train)
    for variable, value in weights:  # zoo:rocket takes its thresholds from all training series, not from few
        variable.assign(value)
    return layer


def _check(module: Any, data: Splits, input_range: tuple[float, float] | None) -> None:
    _opened(module, data, input_range)


def _made_elsewhere(
    processes: Pool,
    modules: Sequence[Any],
    files: Sequence[Path | None],
    data: Splits,
    batch_size: int,
    input_range: tuple[float, float] | None,
) -> None:
    """Let the processes of a pool make the rows of modules that are files."""
    missing = _missing(modules, files)
    work = functools.partial(_ranked, data=data, convert=False, batch_size=batch_size, input_range=input_range)
    for number, row in processes.each(work, [(module,) for _, module in missing]):
        write_atomic(missing[number][0], json.dumps(asdict(row)))


def _missing(modules: Sequence[Any], files: Sequence[Path | None]) -> list[tuple[Path, Any]]:
    """Where the rows are to lie that modules which are files have not yet, each once, with the module."""
    rows = {file: module for module, file in zip(modules, files, strict=True) if file is not None}
    return [(file, module) for file, module in rows.items() if _kept(file, module) is None]


def _file(module: Any, train: Examples, convert: bool, input_range: tuple[float, float] | None) -> Path | None:
    """Where the row of a module that is a file is kept: by its content and all else that decides the figures."""
    if not isinstance(module, str | os.PathLike):
        return None
    packages = [f"{name} {version(name)}" for name in ("tensorflow", "keras", "ai-edge-litert", "numpy", "tlkit")]
    machine = [platform.node(), platform.machine(), str(os.cpu_count())]  # a latency is this machine's alone
    content = (resolving.locate(module).sha256, train.fingerprint)
    key = sha256_bytes(FORMAT, *content, *packages, *machine, str(convert), str(input_range))
    return cache_dir() / "ranked" / f"{key}.json"


def _kept(file: Path, module: Any) -> Ranked | None:
    """The row that a file keeps; None where there is none yet, or a damaged one: it is made anew."""
    try:
        values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        row = Ranked(**values | {"handle": os.fspath(module)}) if isinstance(values, dict) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    figures = () if row is None else (row.logme, row.h_score, row.megabytes, row.latency_ms, row.seconds)
    return row if all(isinstance(figure, float | int | None) for figure in figures) else None


def _ranked(
    module: Any, data: Splits, convert: bool, batch_size: int, input_range: tuple[float, float] | None
) -> Ranked:
    from tlkit.features.vectors import opened, vectors
    from tlkit.modalities.prepare import prepare

    layer = opened(module, input_range, data.train.inputs.spec)
    examples = prepare(data, layer).train
    conversion = _conversion(layer, examples) if convert else None  # first: what is converted runs faster
    started = time.perf_counter()
    features = vectors(layer, examples, batch_size)
    seconds = time.perf_counter() - started
    targets = examples.target_array
    return Ranked(
        handle=layer.handle,
        logme=logme(features, targets),
        h_score=h_score(features, targets) if targets.ndim == 1 and targets.dtype.kind == "i" else None,
        dimensions=int(features.shape[1]),
        parameters=int(sum(np.prod(v.shape) for v in layer.weights)),
        megabytes=None if conversion is None or not conversion.converts else conversion.megabytes,
        latency_ms=None if conversion is None or not conversion.converts else conversion.latency_ms,
        converts=None if conversion is None else conversion.converts,
        seconds=seconds,
    )


def _conversion(layer: HubLayer, examples: Examples) -> Conversion:
    """The module converted as it computes its features, if that can be; else for examples of the first one's size."""
    from tlkit.choosing.conversion import try_conversion
    from tlkit.features import engines
    from tlkit.model.partition import front_of

    first = examples.inputs[0]
    front = front_of(layer, None, examples.inputs.spec, of_any_length="length" in examples.columns)
    if engines.fits_litert(front) and (conversion := _of_front(front, np.asarray(first, np.float32)[None])) is not None:
        return conversion
    shape = np.shape(next(iter(first.values())) if isinstance(first, dict) else first)
    size = shape[:2] if len(shape) == 3 else None
    return try_conversion(layer.resolved_object, layer.endpoint, size, open_size=max(1, shape[0] if shape else 1))


def _of_front(front: Front, example: np.ndarray) -> Conversion | None:
    """The conversion that also computes the features; None where it does not come about, or not near enough."""
    from tlkit.choosing.conversion import Conversion, latency_ms
    from tlkit.features import engines
    from tlkit.formats import tflite

    if engines.opener(front, 1)(engines.LITERT, example).name != engines.LITERT:
        return None
    file = engines.converted_file(front)
    milliseconds = latency_ms(tflite.open_tflite(file, threads=2), {engines.INPUT: example})
    return Conversion(True, megabytes=file.stat().st_size / 1e6, latency_ms=milliseconds)


def _beats(other: Ranked, row: Ranked) -> bool:
    """Whether another module is better in one and not worse in the other."""
    slow = float("inf")
    times = [slow if r.latency_ms is None else r.latency_ms for r in (other, row)]
    better = other.logme > row.logme or times[0] < times[1]
    return better and other.logme >= row.logme and times[0] <= times[1]


def _short(handle: str) -> str:
    return handle if len(handle) <= 32 else f"…{handle[-31:]}"
