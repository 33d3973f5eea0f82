"""tune: search for settings of a run. Trials share the module, what is frozen of it, and traced steps."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import os
import re
import sqlite3
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tlkit.core import flags
from tlkit.core import space as spaces
from tlkit.core.brief import value_of
from tlkit.core.errors import InputError, TlkitError, TrainingError
from tlkit.core.examples import Splits
from tlkit.core.files import held
from tlkit.core.identity import known
from tlkit.core.naming import import_path
from tlkit.core.progress import Progress, shown
from tlkit.core.run import Run
from tlkit.core.space import Range, Space
from tlkit.core.task import Task
from tlkit.core.trials import Keep, PrunedError, Trial, content_of, trying
from tlkit.core.trouble import first_line
from tlkit.core.workers import CONFIG, pool, workers_named
from tlkit.runs import invocation
from tlkit.runs.folder import save_record
from tlkit.tasks.recording import told_apart

STUDY, STORAGE = "tlkit", "trials.sqlite"
SQLITE = "sqlite:///"  # as Optuna's users write it
CONSTANTS = (str, int, float, tuple, os.PathLike, Splits, Task)  # of what a function refers to; lists may be its notes
NOT_COMPARED = {"out", "progress", *(field.name for field in fields(flags.Export))}  # no figure depends on them
STARTUP, WARMUP = 5, 2  # trials, and epochs of each, before any is given up
MISSING = "The search needs Optuna, which is not installed: pip install 'tlkit[tune]'."


@dataclass(frozen=True, eq=False)
class _Search:
    """What all trials are about."""

    optuna: Any
    make_run: Callable[..., Any]
    given: Mapping[str, Any]
    space: Space
    path: Path
    study: Any
    keep: Keep
    progress: Progress

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of `make_run`, for the values of a trial."""
        return spaces.arguments(values, self.given)

    def complete(self) -> list[Any]:
        """Trials that came to an end."""
        return list(self.study.get_trials(states=(self.optuna.trial.TrialState.COMPLETE,)))

    def fail(self, optuna_trial: Any) -> None:
        """Write down that a trial has no result."""
        self.study.tell(optuna_trial, state=self.optuna.trial.TrialState.FAIL)


def tune(
    make_run: Callable[..., Any],
    space: Mapping[str, Any] | None = None,
    *,
    trials: int = 100,
    storage: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Search for the settings of a run, and make the run with the best of them.

    A trial is a call of `make_run` in which `finetune` trains and validates, and neither tests nor saves, so that the
    test examples decide nothing; what is exported in it is not. Trials on the same module, task and data share the
    opened module, the features of its frozen part, and traced steps: those that differ in rates and epochs alone take
    what their steps take. The next values come from a tree of Parzen estimators; a trial whose best figure so far is
    below the median of earlier ones at the same epoch is given up. Inside `tlkit.cluster.ray` as many trials run at a
    time as there are workers.

    Args:
        make_run: A function that calls `finetune`, or `fit`, and gives back its run; a recipe's `main` is one.
        space: `Range` or a list of choices by argument; "lr[0]" is the first item of the tuple `lr`. None takes the
            arguments that are annotated as `Annotated[float, Range(...)]`, `Literal[...]` or `bool`.
        trials: How many there are in all, those included that `storage` holds already.
        storage: SQLite file of the trials; a search that was stopped goes on from it. None is "trials.sqlite" in the
            folder `out` of `given` or of the function's own default, and without one "runs/trials.sqlite".
        given: All other arguments of `make_run`, fields of records among its defaults by their names.
        seed: Of the search; that of the runs is theirs.
        progress: Where progress goes; None shows it.

    Returns:
        The run of the best settings: trained once more, tested, saved. Its record and report show the trials.

    Raises:
        InputError: If Optuna is missing, the space does not fit the function, `storage` holds another search, nothing
            tells which trial is better, or TF_CONFIG names several workers.

    Example:
        >>> def adapt(lr: float, unfrozen: float) -> tlkit.Run:
        ...     phases = tlkit.plans.two_phase(lr=(lr, lr / 10), unfrozen=unfrozen)
        ...     return tlkit.finetune("zoo:efficientnet-lite0", task, data, phases, out="runs/best")
        >>> space = {"lr": tlkit.Range(1e-3, 1e-1, log=True), "unfrozen": [0.1, 0.25]}
        >>> run = tlkit.tune(adapt, space, trials=50)  # doctest: +SKIP

    Source: Bergstra et al. 2011, NeurIPS 24 (the estimators); Golovin et al. 2017, KDD (the median rule); Akiba et al.
    2019, arXiv:1907.10902 (Optuna).
    """
    optuna = _optuna()
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise InputError(f"`trials` must be 1 or more. Received: trials={trials!r}.")
    if workers_named() > 1:
        raise InputError(
            f"{CONFIG} names several workers, each of which would make a search of its own: unset it, and share trials "
            "out with `--ray HOST:PORT`, or inside tlkit.cluster.ray."
        )
    dimensions, options = spaces.space_of(make_run, space), _given(make_run, given or {})
    _check(make_run, dimensions, options)
    path = storage_of(storage, options)
    with held(path.parent):
        study = _study(optuna, path, dimensions, _facts(make_run, dimensions, options), seed)
        search = _Search(optuna, make_run, options, dimensions, path, study, Keep(), progress or shown())
        _tried(search, trials)
        return _finished(search)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError(MISSING) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _given(make_run: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known of the arguments before a trial: defaults, and what is given."""
    return {**flags.flat(flags.defaults(make_run)), **given}


def _check(make_run: Callable[..., Any], space: Space, given: Mapping[str, Any]) -> None:
    """Refuse a space that names no argument, and arguments that nobody gives."""
    parameters = inspect.signature(make_run).parameters
    names = {**dict.fromkeys(parameters), **given}
    for name in space:
        placed = spaces.PLACE.fullmatch(name)
        if (name if placed is None else placed["name"]) not in names:
            raise InputError(f"`{name}` of the space is no argument of the run; its arguments are: {', '.join(names)}.")
    for values in spaces.corners(space):
        arguments = spaces.arguments(values, given)
        needed = [p.name for p in parameters.values() if p.default is p.empty and p.name not in arguments]
        if needed:
            raise InputError(f"The run needs `{needed[0]}`: put it into the space, or into `given`.")


def storage_of(storage: str | Path | None, given: Mapping[str, Any]) -> Path:
    """The file of a search: what is named, also as Optuna's "sqlite:///study.db", or one in the folder of the run.

    Raises:
        InputError: If it is the address of another database.
    """
    if storage is not None:
        file = str(storage).removeprefix(SQLITE)
        if re.match(r"[\w+]{2,}:/", file):
            raise InputError(f"`storage` must be a file, which SQLite writes. Received: storage={str(storage)!r}.")
        return Path(file)
    return Path(given.get("out") or "runs") / STORAGE


def _facts(make_run: Callable[..., Any], space: Space, given: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """What figures depend on besides the space: by name the hash of a value, and what people read of it.

    Arguments, and the constants that the function refers to. Values whose state cannot be seen are left out.
    """
    first = {
        name: axis.low if isinstance(axis, Range) else min(axis, key=spaces.text_of) for name, axis in space.items()
    }
    fixed = spaces.arguments(first, given)
    function = inspect.unwrap(make_run)
    if inspect.isfunction(function):
        outer = inspect.getclosurevars(function)
        constants = {**outer.globals, **outer.nonlocals}
        fixed |= {name: value for name, value in constants.items() if isinstance(value, CONSTANTS)}
        if import_path(function) is None:
            code = function.__code__
            written = [c for c in code.co_consts if not isinstance(c, types.CodeType) and c != function.__doc__]
            fixed |= {function.__name__: tuple(written)}
    digests = {name: _digest(value) for name, value in fixed.items() if name not in NOT_COMPARED}
    return {name: (digest, value_of(fixed[name])) for name, digest in digests.items() if digest is not None}


def _digest(value: Any) -> str | None:
    if isinstance(value, Splits):
        return content_of(value)
    if isinstance(value, Task):
        return known(value.made_by) if told_apart(value.made_by) else None
    return known(value)


def _check_same(study: Any, path: Path, space: Space, facts: Mapping[str, tuple[str, str]]) -> None:
    """Refuse to go on with a search over another space, or of other runs.

    Raises:
        InputError: If figures of before and of now could not be compared.
    """
    space_json = json.dumps({name: _comparable(name, setting) for name, setting in space.items()}, sort_keys=True)
    before = study.user_attrs.get("space", space_json)
    if before != space_json:
        raise InputError(f"{path} holds a search over another space ({before}): choose another storage.")
    stored = study.user_attrs.get("facts", facts)
    for name in sorted(set(stored) & set(facts)):
        if stored[name][0] != facts[name][0]:
            raise InputError(
                f"{path} holds a search with another `{name}` ({stored[name][1]}, and now {facts[name][1]}), so that "
                "figures cannot be compared: choose another storage."
            )
    study.set_user_attr("space", space_json)
    study.set_user_attr("facts", facts)


def _comparable(name: str, dimension: Range | tuple[Any, ...]) -> Any:
    """What tells dimensions apart; choices are the same in any order."""
    if isinstance(dimension, Range):
        return _written(dimension)
    return sorted(spaces.text_of(choice, name) for choice in dimension)


def _study(optuna: Any, path: Path, space: Space, facts: Mapping[str, tuple[str, str]], seed: int) -> Any:
    """The search in a file, or a new one; trials that a killed process left half done count as failed.

    Raises:
        InputError: If the file holds a search over another space or of other runs, or something else.
    """
    options = {"load_if_exists": True, "direction": "maximize", "pruner": _pruner(optuna)}
    try:
        tables = _tables(path)
        if tables and "studies" not in tables:
            raise InputError("it is a database of something else, so choose another storage.")
        if invocation.starts_over():
            with contextlib.suppress(KeyError):
                optuna.delete_study(storage=_address(path), study_name=STUDY)
        study = optuna.create_study(storage=_address(path), study_name=STUDY, **options)
    except Exception as error:  # whatever SQLAlchemy finds in a file
        raise InputError(f"{path} holds no search and cannot become one: {first_line(error)}") from error
    _check_same(study, path, space, facts)
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    study.sampler = optuna.samplers.TPESampler(seed=(seed + len(study.trials)) % 2**32)
    return study


def _tables(path: Path) -> set[str]:
    """Names of the tables in a database; none where there is no file."""
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _address(path: Path) -> str:
    from sqlalchemy.engine import URL  # of Optuna's own dependencies

    return URL.create("sqlite", database=str(path)).render_as_string()  # names may hold what a URL reads otherwise


def _pruner(optuna: Any) -> Any:
    return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP)


def _written(dimension: Range | tuple[Any, ...]) -> Any:
    if isinstance(dimension, Range):
        return {"low": dimension.low, "high": dimension.high, "log": dimension.log}
    return list(dimension)


def _tried(search: _Search, trials: int) -> None:
    """Make the trials that are still missing, here or in the processes of a pool."""
    before = len(search.study.trials)
    if before:
        search.progress.line(f"search  goes on behind {before} trials")
    optuna_trials: list[Any] = []

    def calls() -> Iterator[tuple[int, dict[str, Any]]]:
        for _ in range(before, trials):
            optuna_trials.append(search.study.ask())
            values = {name: _suggested(optuna_trials[-1], name, setting) for name, setting in search.space.items()}
            yield (
                optuna_trials[-1]._trial_id,
                values,
            )  # a private name of Optuna, which has no other way to a trial elsewhere

    for number, outcome in _made(search, calls(), optuna_trials):
        optuna_trial, place = optuna_trials[number], f"{before + number + 1} of {trials}, {outcome.seconds:.2f} s"
        values = _said(_values(search.space, optuna_trial.params))
        search.progress.line(f"trial   {place}: {values}: {_settled(search, optuna_trial, outcome)}")


def _made(
    search: _Search, calls: Iterable[tuple[int, dict[str, Any]]], optuna_trials: Sequence[Any]
) -> Iterator[tuple[int, _Outcome]]:
    """Number and outcome of each trial, as they end."""
    elsewhere = pool()
    if elsewhere is not None:
        reported = elsewhere.here(_Reports(search.path))
        yield from elsewhere.each(_Trials(search.make_run, search.given, reported), calls)
        return
    for number, (_, values) in enumerate(calls):
        try:
            report = functools.partial(_reported, optuna_trials[-1])
            outcome = _outcome_of(search.make_run, search.arguments(values), Trial(search.keep, report))
        except BaseException:
            search.fail(optuna_trials[-1])
            raise
        yield number, outcome


@dataclass(frozen=True)
class _Outcome:
    """What came of a trial; `merit` is None where nothing was trained, `error` why it failed.

    `monitor` has the name of the figure and "min" or "max".
    """

    seconds: float
    monitor: tuple[str, str]
    best: float | None
    merit: float | None
    epochs: int
    data: str
    pruned: bool = False
    error: Exception | None = None


def _outcome_of(make_run: Callable[..., Any], arguments: Mapping[str, Any], trial: Trial) -> _Outcome:
    """Run a trial."""
    pruned, failed = False, None
    started = time.perf_counter()
    try:
        with trying(trial):
            flags.call(make_run, **arguments)
    except PrunedError:
        pruned = True
    except Exception as error:  # whatever a model of these settings may raise, such as that memory ran out
        failed = error
    seconds, monitor = time.perf_counter() - started, trial.monitor or ("", "")
    return _Outcome(seconds, monitor, trial.best, trial.merit, trial.epochs, trial.data, pruned, failed)


@dataclass(eq=False)
class _Trials:
    """Runs trials in another process, which keeps what they share."""

    make_run: Callable[..., Any]
    given: Mapping[str, Any]
    reported: Callable[[int, int, float], bool]
    keep: Keep = field(default_factory=Keep)

    def __call__(self, trial: int, values: Mapping[str, Any]) -> _Outcome:
        def epoch_ended(epoch: int, merit: float) -> None:
            if self.reported(trial, epoch, merit):
                raise PrunedError

        outcome = _outcome_of(self.make_run, spaces.arguments(values, self.given), Trial(self.keep, epoch_ended))
        error = outcome.error
        if error is None or isinstance(error, TlkitError):
            return outcome
        sentence = _why(error)  # other errors may hold what cannot be sent
        return replace(outcome, error=TrainingError(sentence) if _of_settings(error) else RuntimeError(sentence))


@dataclass(eq=False)
class _Reports:
    """Writes down the epochs of trials that run elsewhere, and says which are given up; it runs where the file is."""

    path: Path

    @functools.cached_property
    def study(self) -> Any:
        """Opened once a process."""
        optuna = _optuna()
        return optuna.load_study(storage=_address(self.path), study_name=STUDY, pruner=_pruner(optuna))

    def __call__(self, trial: int, epoch: int, merit: float) -> bool:
        optuna_trial = _optuna().trial.Trial(self.study, trial)
        optuna_trial.report(merit, epoch)
        return bool(optuna_trial.should_prune())


def _settled(search: _Search, optuna_trial: Any, outcome: _Outcome) -> str:
    """Tell the search of an outcome, and say what came of it."""
    if outcome.error is not None:
        search.fail(optuna_trial)
        if not _of_settings(outcome.error) and not search.complete():
            raise outcome.error
        return f"failed. {_why(outcome.error)}"
    if outcome.pruned:
        _note(search, optuna_trial, outcome)
        search.study.tell(optuna_trial, state=search.optuna.trial.TrialState.PRUNED)
        return f"given up after {outcome.epochs} epochs"
    if outcome.merit is None:
        search.fail(optuna_trial)
        raise InputError("`make_run` trained nothing by which trials could be compared: it must call tlkit.finetune.")
    _note(search, optuna_trial, outcome)
    search.study.tell(optuna_trial, outcome.merit)
    best = search.study.best_trial.number == optuna_trial.number
    return f"{outcome.monitor[0]} {outcome.best:.4g}{', the best so far' if best else ''}"


def _of_settings(error: Exception) -> bool:
    """Whether a trial failed by its settings, so that another one may come to an end."""
    return isinstance(error, TrainingError | MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def _why(error: Exception) -> str:
    """The first line of what was raised; whose words they are, where they are not tlkit's."""
    line = first_line(error)
    return line if isinstance(error, TlkitError) or line == type(error).__name__ else f"{type(error).__name__}: {line}"


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _suggested(optuna_trial: Any, name: str, dimension: Range | tuple[Any, ...]) -> Any:
    if not isinstance(dimension, Range):
        texts = sorted(map(spaces.text_of, dimension))  # Optuna takes another order for another space
        return _value(optuna_trial.suggest_categorical(name, texts), dimension)
    suggest = optuna_trial.suggest_int if dimension.whole else optuna_trial.suggest_float
    return suggest(name, dimension.low, dimension.high, log=dimension.log)


def _reported(optuna_trial: Any, epoch: int, merit: float) -> None:
    optuna_trial.report(merit, epoch)
    if optuna_trial.should_prune():
        raise PrunedError


def _note(search: _Search, optuna_trial: Any, outcome: _Outcome) -> None:
    """Write down which figure it was.

    Raises:
        InputError: If earlier trials had other data or another figure.
    """
    optuna_trial.set_user_attr("figure", outcome.best)
    facts = {"monitor": outcome.monitor[0], "direction": outcome.monitor[1], "data": outcome.data}
    if any(search.study.user_attrs.get(name, value) != value for name, value in facts.items()):
        search.fail(optuna_trial)
        raise InputError(
            "The stored trials were made with other data or another task, so that figures cannot be compared: choose "
            "another storage."
        )
    for name, value in facts.items():
        search.study.set_user_attr(name, value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# -- the run


def _finished(search: _Search) -> Run:
    """The run of the best settings, with the search in its record.

    Raises:
        InputError: If no trial came to an end.
    """
    if not search.complete():
        raise InputError("No trial of the search came to an end, so there is no best one; see the failures above.")
    best = search.study.best_trial
    values = _values(search.space, best.params)
    search.progress.line(f"best    trial {best.number + 1}: {_said(values)}")
    going_on = search.study.user_attrs.get("finishing") == best.number
    search.study.set_user_attr("finishing", best.number)
    with invocation.starting(over=not going_on):
        run = flags.call(search.make_run, **search.arguments(values))
    if not isinstance(run, Run):
        raise InputError(f"`make_run` must give back a Run. Received: {type(run).__name__}.")
    return save_record(replace(run, record={**run.record, "search": _record(search)}))


def _values(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(params[name], setting) for name, setting in space.items()}


def _value(stored: Any, dimension: Range | tuple[Any, ...]) -> Any:
    if isinstance(dimension, Range):
        return stored
    return next(choice for choice in dimension if spaces.text_of(choice) == stored)


def _record(search: _Search) -> dict[str, Any]:
    """The search as plain data: the space, each trial, and how much each setting matters."""
    study, best = search.study, search.study.best_trial
    return {
        "monitor": study.user_attrs.get("monitor", ""),
        "lower_is_better": study.user_attrs["direction"] == "min",
        "space": {name: _written(setting) for name, setting in search.space.items()},
        "best": best.number,
        "trials": [_row(search.space, trial) for trial in study.trials],
        "importance": _importance(search),
    }


def _row(space: Space, trial: Any) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration is not None else None
    return {
        "number": trial.number,
        "state": {"COMPLETE": "complete", "PRUNED": "given up"}.get(trial.state.name, "failed"),
        "figure": trial.user_attrs.get("figure"),
        "values": _values(space, trial.params) if set(trial.params) == set(space) else {},
        "epochs": len(trial.intermediate_values),
        "seconds": seconds,
    }


def _importance(search: _Search) -> dict[str, float]:
    """Share of each setting in what makes good trials good; {} where too few trials tell.

    Source: Watanabe et al. 2023, arXiv:2304.10255 (PED-ANOVA).
    """
    complete, importance = search.complete(), search.optuna.importance
    if len(complete) < STARTUP or len({trial.value for trial in complete}) < 2:
        return {}
    shares = importance.get_param_importances(search.study, evaluator=importance.PedAnovaImportanceEvaluator())
    return {name: float(share) for name, share in shares.items() if math.isfinite(share)}
