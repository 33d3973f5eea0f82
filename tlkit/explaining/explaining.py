"""explain: why a model says what it says of some examples."""

from __future__ import annotations

import functools
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.files import write_atomic
from tlkit.core.run import Run
from tlkit.explaining import methods, series
from tlkit.explaining.explanation import Explanation
from tlkit.explaining.outputs import Explained, Scored, explained
from tlkit.explaining.parts import Parts, parts_of, whole
from tlkit.explaining.words import PIECES, grouped, words_of
from tlkit.exporting.predicting import read_files
from tlkit.modalities.audio_shown import spectrogram
from tlkit.modalities.text_shown import TEXT
from tlkit.runs.folder import opened, save_record

METHODS = ("grad_cam", "integrated_gradients", "occlusion")
PATCHES = 12  # over the longer side of an image, or a sound's time
BANDS = 6  # of a sound's frequencies
SOUNDS = ("audio", "speech")  # modalities
WORST = 24  # mistakes that a report shows


@dataclass(frozen=True)
class _Asked:
    method: str
    label: str | None
    of: Scored | None
    depth: float | None
    steps: int | None
    objects: int
    local: bool = False  # of `Explained`
    text: str = ""  # of the example, where it has one


def explain(
    run: Run | str | Path,
    examples: Examples,
    *,
    method: str = "grad_cam",
    label: str | None = None,
    of: Callable[[Any], Any] | None = None,
    depth: float | None = None,
    steps: int | None = None,
    objects: int = 3,
) -> tuple[Explanation, ...]:
    """Say how much each place of examples counts for what the model says of them.

    Of labels and values the raw output is explained, of masks the mean output over the pixels of a class, of boxes the
    output of each object's label at the place that found it.

    Args:
        run: A run, or its folder.
        examples: As the run has them: `run.data.test.subset([0, 1])`; images, sounds, series, or texts in pieces or
            words.
        method: "grad_cam" weighs a map of features inside the module; "integrated_gradients" adds up gradients on the
            way from a black image, silence, or padding; "occlusion" hides one part after the other, and needs no
            gradient.
        label: The label that is asked for; None takes what the model says.
        of: Raw outputs of a batch -> a number of each example, differentiable; None takes what the task's outputs are.
        depth: Share of the module's depth, in (0, 1], at which "grad_cam" looks; None is the last map of features
            that has at least 7 places a side, if there is any.
        steps: Of "integrated_gradients", >= 1; None takes 20, 60 or 180, the first whose sum is off by at most 5 %.
            `Explanation.missing` says how exact they were.
        objects: Of boxes and masks, how many of an example at most.

    Returns:
        One for each example and object or value, in their order; examples without such an object are left out, and a
        warning says so.

    Raises:
        InputError: If there is no such method or label, the model has no such place, or it finds no such object in any
            example.

    Example:
        >>> found = tlkit.explain(run, run.data.test.subset([0, 1]), method="grad_cam")  # doctest: +SKIP
        >>> found[0].peak, Path("why.png").write_bytes(found[0].png())  # doctest: +SKIP

    Source: Selvaraju et al. 2017, arXiv:1610.02391; Sundararajan et al. 2017, arXiv:1703.01365; Zeiler and Fergus 2014,
    arXiv:1311.2901.
    """
    method_of(method)
    if (steps is not None and steps < 1) or objects < 1:
        raise InputError(f"`steps` and `objects` must be 1 or more. Received: steps={steps}, objects={objects}.")
    ready, settings = opened(run), _Asked(method, label, of, depth, steps, objects)
    by_example = [list(_of_example(ready, examples, index, settings)) for index in range(len(examples))]
    empty = [examples.ids[index] for index, explanations in enumerate(by_example) if not explanations]
    _tell_empty(empty, len(examples), label, functools.partial(warnings.warn, stacklevel=3))
    return tuple(itertools.chain.from_iterable(by_example))


def _tell_empty(empty: Sequence[str], count: int, label: str | None, tell: Callable[[str], Any]) -> None:
    """Tell in which of so many examples there is nothing to explain.

    Raises:
        InputError: If it is all of them.
    """
    where = f"{len(empty):,} of {count:,} examples, such as {empty[0]!r}" if empty else ""
    if empty and len(empty) == count:
        raise InputError(f"There is nothing to explain: the model finds no {label or 'object'} in {where}.")
    if empty:
        tell(f"The model finds no {label or 'object'} in {where}: they are left out.")


def method_of(name: str) -> str:
    """The name of a method.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in METHODS:
        raise InputError(f"`method` must be one of {', '.join(METHODS)}. Received: method={name!r}.")
    return name


def _of_example(run: Run, examples: Examples, index: int, settings: _Asked) -> Iterator[Explanation]:
    inputs = examples.inputs.take(np.array([index]))
    raw = whole(run)(inputs)
    if settings.of is not None:
        subjects = [Explained("output", settings.of)]
    else:
        subjects = explained(run, raw, settings.label, settings.objects)
    look = _look(inputs, examples.modality)
    settings = replace(settings, text=str(examples.columns[TEXT][index]) if TEXT in examples.columns else "")
    for subject in subjects:
        explanation = look(run, inputs, subject.of, replace(settings, local=subject.local))
        output = float(np.asarray(subject.of(raw))[0])
        yield replace(
            explanation,
            id=examples.ids[index],
            label=subject.label,
            output=output,
            method=settings.method,
            box=subject.box,
        )


def _look(inputs: Any, modality: str) -> Callable[[Run, Any, Scored, _Asked], Explanation]:
    """How inputs of this shape are looked at; a row of numbers is a sound only where its modality says so."""
    by_axes = {3: _series, 4: _image, **({2: _sound} if modality in SOUNDS else {})}
    if (isinstance(inputs, Mapping) and PIECES in inputs) or _is_numbers(inputs):
        return _text
    if isinstance(inputs, Mapping) or inputs.ndim not in by_axes:
        kind = f"named {', '.join(inputs)}" if isinstance(inputs, Mapping) else f"of shape {inputs.shape[1:]}"
        raise InputError(
            f"Inputs {kind} and modality {modality!r} are no images, sounds, texts or series: they cannot be explained."
        )
    return by_axes[inputs.ndim]


def _series(run: Run, inputs: np.ndarray, of: Scored, settings: _Asked) -> Explanation:
    heat, missing = series.looked_at(whole(run), inputs, of, settings.method, settings.steps)
    return _found(heat, words=series.names(series.stretches(inputs.shape[1])), missing=missing)


def _is_numbers(inputs: Any) -> bool:
    """Whether an input is numbers of words."""
    return not isinstance(inputs, Mapping) and inputs.ndim == 2 and inputs.dtype.kind in "iu"


def _found(heat: np.ndarray, **fields: Any) -> Explanation:
    return Explanation("", "", 0.0, "", heat, **fields)


# -- images


def _image(run: Run, inputs: np.ndarray, of: Scored, settings: _Asked) -> Explanation:
    shown = _shown(inputs[0])
    if settings.method == "grad_cam":
        parts = parts_of(run, settings.depth, 4)
        heat = resized(methods.grad_cam(parts, inputs, of, local=settings.local), shown.shape[:2])
        return _found(heat, shown=shown, place=parts.place)
    if settings.method == "integrated_gradients":
        black = np.zeros_like(inputs[0], np.float32)
        heat, missing = methods.integrated_gradients(whole(run), inputs[0], black, of, settings.steps)
        return _found(heat.sum(axis=-1), shown=shown, missing=missing)
    return _found(_hidden_patches(run, inputs, of), shown=shown)


def _shown(image: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) of any image."""
    shown = image.astype(np.float64)
    if image.dtype != np.uint8:
        low, high = shown.min(), shown.max()
        shown = 255 * (shown - low) / max(high - low, 1e-9)
    return np.repeat(shown, 3, axis=-1).astype(np.uint8) if shown.shape[-1] == 1 else shown[..., :3].astype(np.uint8)


def resized(heat: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The heat at another size, smoothly.

    Args:
        heat: float32 (rows, columns).
        size: (height, width).
    """
    from PIL import Image

    return np.asarray(Image.fromarray(heat).resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float32)


def _hidden_patches(run: Run, inputs: np.ndarray, of: Scored) -> np.ndarray:
    """Each pixel's heat is the mean fall of the output over the grey patches that hide it."""
    height, width = inputs.shape[1:3]
    side = max(1, max(height, width) // (PATCHES // 2))
    step = max(1, side // 2)
    places = [(top, left) for top in range(0, height, step) for left in range(0, width, step)]
    grey = inputs.mean(axis=(1, 2), keepdims=True).astype(inputs.dtype)

    def hidden() -> Iterator[np.ndarray]:
        for top, left in places:
            copy = inputs.copy()
            copy[:, top : top + side, left : left + side] = grey
            yield copy

    falls = methods.occlusion(whole(run), inputs, hidden(), of)
    total, count = np.zeros((2, height, width), np.float32)
    for (top, left), fall in zip(places, falls, strict=True):
        total[top : top + side, left : left + side] += fall
        count[top : top + side, left : left + side] += 1
    return np.asarray(total / count, np.float32)


# -- sounds


def _sound(run: Run, inputs: np.ndarray, of: Scored, settings: _Asked) -> Explanation:
    """On the spectrogram: time to the right, frequency upwards."""
    shade = spectrogram(inputs[0])
    shown = np.repeat(shade[:, :, None], 3, axis=2)
    if settings.method == "grad_cam":
        parts, heat = _sound_cam(run, inputs, of, settings.depth)
        return _found(resized(heat, shade.shape), shown=shown, place=parts.place)
    if settings.method == "integrated_gradients":
        heat, missing = methods.integrated_gradients(
            whole(run), inputs[0], np.zeros_like(inputs[0], np.float32), of, settings.steps
        )
        return _found(heat, shown=shown, missing=missing)
    return _found(resized(_hidden_bands(run, inputs, of), shade.shape), shown=shown)


def _sound_cam(run: Run, inputs: np.ndarray, of: Scored, depth: float | None) -> tuple[Parts, np.ndarray]:
    """Heat (1, time), the mean over frequencies: which ones the places of a map stand for is not known."""
    try:
        parts = parts_of(run, depth, 4)
    except InputError:
        parts = parts_of(run, depth, 3)
    heat = methods.grad_cam(parts, inputs, of)
    return parts, np.atleast_2d(heat.mean(axis=1 - _time_axis(parts, inputs)) if heat.ndim == 2 else heat)


def _time_axis(parts: Parts, inputs: np.ndarray) -> int:
    """Which axis of a map is time: along it, what one noise changes moves when it sounds half a recording later."""
    half = inputs.shape[1] // 2
    noise = np.random.default_rng(0).normal(0, 0.1, half).astype(inputs.dtype)
    sounds = np.zeros((3, *inputs.shape[1:]), inputs.dtype)
    sounds[1, :half] = sounds[2, half : 2 * half] = noise
    silence, early, late = (np.asarray(parts.front(sound[None])[-1])[0] for sound in sounds)
    first, second = (np.abs(maps - silence).sum(axis=-1) for maps in (early, late))
    moved = [abs(_middle_along(first, axis) - _middle_along(second, axis)) for axis in (0, 1)]
    return int(np.argmax(moved))


def _middle_along(heat: np.ndarray, axis: int) -> float:
    """Where the middle of a heat (rows, columns) lies along an axis, in shares of its length."""
    places, sums = np.arange(heat.shape[axis]) / heat.shape[axis], heat.sum(axis=1 - axis)
    return float((places * sums).sum() / max(sums.sum(), 1e-9))


def _hidden_bands(run: Run, inputs: np.ndarray, of: Scored) -> np.ndarray:
    """float32 (BANDS, PATCHES), the highest frequencies first: a band of frequencies is silenced for a while."""
    edges = np.linspace(0, inputs.shape[1], PATCHES + 1).astype(int)

    def hidden() -> Iterator[np.ndarray]:
        for band in reversed(range(BANDS)):
            for start, end in itertools.pairwise(edges):
                copy = inputs.copy()
                spectrum = np.fft.rfft(copy[:, start:end])
                bins = np.linspace(0, spectrum.shape[1], BANDS + 1).astype(int)
                spectrum[:, bins[band] : bins[band + 1]] = 0
                copy[:, start:end] = np.fft.irfft(spectrum, end - start)
                yield copy

    return methods.occlusion(whole(run), inputs, hidden(), of).reshape(BANDS, PATCHES)


# -- texts


def _text(run: Run, inputs: Any, of: Scored, settings: _Asked) -> Explanation:
    """A number a word: of its pieces the sum, or the fall of the output without them."""
    words = words_of(run, inputs, settings.text)
    names = tuple(word.text for word in words)
    if settings.method == "occlusion":
        falls = methods.occlusion(whole(run), inputs, (word.hidden(inputs) for word in words), of)
        return _found(falls, words=names)
    steps = int((inputs[PIECES] if isinstance(inputs, Mapping) else inputs).shape[1])
    parts = parts_of(run, settings.depth, 3, first=settings.method != "grad_cam", steps=steps)
    if settings.method == "grad_cam":
        return _found(grouped(methods.grad_cam(parts, inputs, of), words), words=names, place=parts.place)
    value, baseline = (np.asarray(parts.front(batch)[-1])[0] for batch in (inputs, _padding(inputs)))
    before = parts.front(inputs)[:-1]

    def rest(at: Any) -> Any:
        import tensorflow as tf

        count = at.shape[0]
        many = tf.nest.map_structure(lambda array: np.repeat(np.asarray(array), count, axis=0), (before, inputs))
        return parts.rest((*many[0], at), many[1])

    heat, missing = methods.integrated_gradients(rest, value, baseline, of, settings.steps)
    return _found(grouped(heat.sum(axis=-1), words), words=names, place=parts.place, missing=missing)


def _padding(inputs: Any) -> Any:
    """The same inputs with padding in the place of each piece; the mask, which is no content, stays."""
    if not isinstance(inputs, Mapping):
        return np.zeros_like(inputs)
    return {name: array if "mask" in name else np.zeros_like(array) for name, array in inputs.items()}


# -- in the report, and of files


def explain_mistakes(run: Run | str | Path, *, method: str = "grad_cam", most: int = WORST) -> Run:
    """The run with an explanation of what it said of each of its worst mistakes, below it in the report.

    Args:
        run: A run that was tested, or its folder.
        method: As `explain` has it.
        most: Mistakes, at most.

    Raises:
        InputError: If its report shows no mistakes, or none of them is at hand.

    Example:
        >>> run = tlkit.explain_mistakes("runs/mine")  # doctest: +SKIP
    """
    ready = opened(run)
    details = ready.record.get("details", {}) if ready.evaluation is None else ready.evaluation.details
    names, test = _worst(details), ready.data.test
    positions = [test.ids.index(name) for name in names if name in test.ids][:most]
    if not positions:
        raise InputError("The run's report shows no mistakes whose examples are at hand, so that none is explained.")
    shown: dict[str, Any] = {}
    for explanation in explain(ready, test.subset(positions), method=method, objects=1):
        shown.setdefault(explanation.id, explanation.plain())
    return save_record(replace(ready, record={**ready.record, "explained": shown}))


def _worst(details: Mapping[str, Any]) -> list[str]:
    """Ids of the examples that the report shows as worst: mistakes, or images with their boxes, masks or points."""
    rows = (
        details.get("mistakes")
        or details.get("boxes")
        or (details.get("masks") or {}).get("images")
        or (details.get("keypoints") or {}).get("worst")
    )
    return [str(row["id"]) for row in rows or ()]


def explain_files(
    run: Run | str | Path,
    files: Sequence[str | Path],
    folder: str | Path,
    *,
    method: str = "grad_cam",
    bad: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write a PNG of each file that shows why the model says what it says of it.

    Args:
        run: A run, or its folder; an exported file has no places to look at.
        files: As `predict` takes them.
        folder: Gets the files; made where it is missing.
        method: As `explain` has it.
        bad: Is told in a sentence of each file that cannot be read, where None raises, and in how many the model finds
            no object, where None warns.

    Returns:
        Their paths.

    Raises:
        InputError: If `run` is no run, its inputs cannot be read from files, or the model finds an object in none.
    """
    method_of(method)
    ready = opened(run)
    settings = _Asked(method, None, None, None, None, objects=3)
    paths, names, empty = list[Path](), list[str](), list[str]()
    for file, examples in read_files(ready, files, bad):
        names.append(str(file))
        explanations = [e for index in range(len(examples)) for e in _of_example(ready, examples, index, settings)]
        empty += names[-1:] if not explanations else []
        for number, explanation in enumerate(explanations, start=1):
            name = re.sub(r"[^\w.-]+", "_", f"{Path(file).name[:60]}-{number}-{explanation.label[:40]}")
            paths.append(_unused(Path(folder) / f"{name}.png", paths))
            write_atomic(paths[-1], explanation.png())
    _tell_empty(empty, len(names), None, bad or functools.partial(warnings.warn, stacklevel=3))
    return paths


def _unused(path: Path, paths: Sequence[Path]) -> Path:
    """The path, with a number behind its name where another file of that name lies in another folder."""
    numbered = (path.with_name(f"{path.stem}_{number}.png") for number in itertools.count(2))
    return path if path not in paths else next(other for other in numbered if other not in paths)
