"""The command line: one function a command, all trouble as one sentence.

Exit codes: 0 done; 1 a gate failed or training had to stop; 2 it could not be done, the sentence says why and what to
do; 129, 130, 143 ended by SIGHUP, Ctrl-C, SIGTERM.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import importlib.util
import inspect
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tlkit import cluster
from tlkit.cli import placing
from tlkit.cluster import joining, placement
from tlkit.core import quick, terminal
from tlkit.core.errors import InputError, TlkitError
from tlkit.core.files import url_of
from tlkit.core.flags import cli, defaults, flat
from tlkit.core.naming import TRUST
from tlkit.core.progress import shown
from tlkit.core.remote import local

COMMANDS = {
    "demo": "the main job on the bundled data and a zoo module",
    "doctor": "is this environment sound",
    "zoo": "list the modules that pip can install; build one: tlkit zoo NAME",
    "inspect": "what is inside a module: tlkit inspect HANDLE",
    "recipes": "list the recipes",
    "new": "copy a recipe into your folder: tlkit new RECIPE",
    "run": "run a recipe by name or path, or replay a run.json: tlkit run RECIPE [--flags]",
    "tune": "search for a recipe's settings: tlkit tune RECIPE --space lr[0]=1e-4:1e-2:log --trials 100",
    "predict": "try a result: tlkit predict RUN FILE... [--top 5]",
    "export": "export again without training: tlkit export RUN --formats float16 int8",
    "cache": "what is cached, how large; clear it: tlkit cache [clear]",
}
ELSEWHERE = {  # words that people try, and what does it here
    "compare": "export compares each file with its model, and `tlkit.transfer_check` compares modules",
    "evaluate": "training judges a run; `tlkit.evaluate(run.model, run.task, examples)` does on other data",
    "explain": "`tlkit predict RUN FILE... --explain FOLDER` writes pictures of why",
    "fit": "`tlkit run RECIPE` trains",
    "train": "`tlkit run RECIPE` trains",
}
WRITTEN = ("out", "storage", "to")  # arguments that name what is written
FLAGS = {
    "--fresh": "start over, whatever the run's folder holds",
    "--offline": "download nothing",
    "--trust": "load modules that the scan refuses; import your own code, from the working folder too",
    "--debug": "show tracebacks, and what TensorFlow says of itself",
    "--json": "print the result as JSON",
}

_STDOUT: contextvars.ContextVar[TextIO | None] = contextvars.ContextVar("stdout", default=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `tlkit`; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    flags = {a for a in args if a in FLAGS}
    args = [a for a in args if a not in FLAGS]
    if not args or args[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if args[0] == "--version":
        print(_version())
        return 0
    if argv is None and "--debug" not in flags:
        terminal.hush()
    for stream in (sys.stdout, sys.stderr):  # labels and file names may hold what the terminal's encoding lacks
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    arrived: list[int] = []
    try:
        with _signals_interrupt(arrived), _json_alone(flags, args):
            return _dispatch(args[0], args[1:], flags)
    except BrokenPipeError:  # whoever read the output has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in flags:
            traceback.print_exc()
        if arrived or isinstance(error, KeyboardInterrupt):
            number = _interrupted(arrived[0] if arrived else signal.SIGINT)
            if "--debug" not in flags:
                _drop_half_made(error)
            return number
        return _failed(error, flags)


@contextlib.contextmanager
def _json_alone(flags: set[str], args: Sequence[str]) -> Iterator[None]:
    """Send whatever is written to stdout to stderr, where JSON was asked for; `_print_json` alone writes to stdout."""
    if "--json" not in flags or {"-h", "--help"} & set(args):
        yield
        return
    token = _STDOUT.set(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _STDOUT.reset(token)


@contextlib.contextmanager
def _signals_interrupt(arrived: list[int]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: unfinished files are removed, workers end."""

    def interrupt(number: int, _frame: Any) -> None:
        if not arrived:  # a second one must not break off the tidying up
            arrived.append(number)
            raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        names = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
        usual = [n for n in names if n is not None and signal.getsignal(n) is signal.SIG_DFL]  # nohup ignores SIGHUP
        before = {number: signal.signal(number, interrupt) for number in usual}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupted(number: int) -> int:
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"tlkit: {how}; what was finished is kept.", file=sys.stderr)
    return 128 + number


def _drop_half_made(error: BaseException | None) -> None:
    """Let go of what the interrupted calls hold: objects of TensorFlow that were half made print a traceback then."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__
    finally:
        sys.unraisablehook = before


def _failed(error: Exception, flags: set[str]) -> int:
    from tlkit.core.files import cache_dir
    from tlkit.core.trouble import explained

    sentence, code = explained(error, cache_dir()), error.exit_code if isinstance(error, TlkitError) else 2
    print(f"tlkit: {sentence}", file=sys.stderr)
    if "--json" in flags:
        _print_json({"error": sentence, "exit_code": code})
    return code


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    wide = max(map(len, FLAGS))
    flags = "\n".join(f"  {name:<{wide}}  {text}" for name, text in FLAGS.items())
    return (
        "usage: tlkit COMMAND [...]\n\nAny pretrained module in, your task out, on the phone, with proof.\n\n"
        f"commands:\n{commands}\n\nflags of every command:\n{flags}\n\n`tlkit COMMAND --help` shows a command's own."
    )


def _version() -> str:
    from tlkit import __version__

    return f"tlkit {__version__}"


def _dispatch(command: str, args: list[str], flags: set[str]) -> int:
    if command not in COMMANDS:
        instead = f"; {ELSEWHERE[command]}" if command in ELSEWHERE else ""
        raise InputError(f"There is no command {command!r}{instead}; `tlkit --help` lists them.")
    if "--offline" in flags:
        os.environ["TLKIT_OFFLINE"] = "1"
    if "--trust" in flags:
        os.environ[TRUST] = "1"
        sys.path.append(str(Path.cwd()))  # one's own modules; last, so that they hide no other
    function: Callable[[list[str], set[str]], int] = globals()[f"_{command}"]
    return function(args, flags)


def _parsed(function: Callable[..., Any], command: str, args: list[str]) -> dict[str, Any]:
    """Arguments of `function` out of the command line, with its docstring as help; a recipe's URLs as copies here.

    Raises:
        InputError: If another command is given a URL for a path: it may write there.
    """

    @functools.wraps(function)
    def capture(*values: Any, **named: Any) -> dict[str, Any]:
        return dict(inspect.signature(function).bind(*values, **named).arguments)

    options = dict(cli(capture, prog=f"tlkit {command}", args=args))
    if function.__module__ == __name__:
        _check_here(options, command)
        return options
    copied = {n: local(v) for n, v in options.items() if n not in WRITTEN and isinstance(v, Path) and url_of(v)}
    return options | copied


def _check_here(options: Mapping[str, Any], command: str) -> None:
    paths = (path for value in options.values() for path in (value if isinstance(value, list | tuple) else (value,)))
    url = next((url_of(path) for path in paths if isinstance(path, Path) and url_of(path)), None)
    if url is not None:
        raise InputError(f"`tlkit {command}` takes paths of this host: copy {url} here, and give the copy.")


def _print_json(value: Any) -> None:
    """Print strict JSON; a score that is no number is null."""
    from tlkit.report.records import plain_json

    print(json.dumps(plain_json(value), indent=1, allow_nan=False), file=_STDOUT.get())


# -- commands


def _demo(args: list[str], flags: set[str]) -> int:
    def demo(out: Path = Path("runs/demo"), module: str = "zoo:efficientnet-lite0", seed: int = 0) -> None:
        """Adapt a zoo module to the bundled images (emoji10, Noto style), always from the start.

        Args:
            out: Folder of the run.
            module: Handle of the module.
            seed: Of the split, the head and the order of images.
        """

    options = _parsed(demo, "demo", args)
    from tlkit.datasets import samples

    folder = samples.folder("emoji10", "noto")
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return _run(["image_classification", "--data", str(folder), *words], flags | {"--fresh"})


def _doctor(args: list[str], flags: set[str]) -> int:
    _no_arguments("doctor", args)
    from tlkit.cli import doctor

    findings = doctor.doctor()
    if "--json" in flags:
        _print_json([vars(f) for f in findings])
    else:
        print("\n".join(doctor.lines(findings)))
    return 1 if any(f.status == "fail" for f in findings) else 0


def _zoo(args: list[str], flags: set[str]) -> int:
    def zoo(name: str | None = None, /) -> None:
        """List the modules that pip can install, or build one and print its folder last.

        Args:
            name: Name of a module, as the list gives it.
        """

    name = _parsed(zoo, "zoo", args).get("name")
    from tlkit import zoo as shelf

    if name is not None:
        folder = shelf.folder(name.removeprefix("zoo:"))
        if "--json" in flags:
            _print_json({"folder": str(folder)})
        else:
            print(folder)
        return 0
    cards = shelf.cards()
    if "--json" in flags:
        _print_json({name: card.to_json() for name, card in cards.items()})
        return 0
    from tlkit.report.terminal import zoo_table

    _print_rich(zoo_table(cards))
    return 0


def _inspect(args: list[str], flags: set[str]) -> int:
    def inspect(handle: str, /, signature: str | None = None, convert: bool = True) -> None:
        """Show what is inside a module.

        Args:
            handle: Folder, archive, URL, kaggle:..., or zoo:NAME.
            signature: Signature to look at instead of `__call__`.
            convert: Try whether it converts to TFLite builtins.
        """

    options = _parsed(inspect, "inspect", args)
    quick.start()
    from tlkit.choosing import inspection

    inspected = inspection.inspect_module(options.pop("handle"), **options)
    if "--json" in flags:
        _print_json(inspection.to_dict(inspected))
    else:
        _print_rich(inspection.rendered(inspected))
    return 0


def recipe_folder() -> Path:
    """Folder of the recipes: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "recipes"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "recipes"


def _recipes(args: list[str], flags: set[str]) -> int:
    _no_arguments("recipes", args)
    descriptions = {p.stem: _first_line(p) for p in _recipe_files()}
    if "--json" in flags:
        _print_json(descriptions)
        return 0
    for name, text in descriptions.items():
        print(f"{name:<24} {text}")
    return 0


def _recipe_files() -> list[Path]:
    return sorted(p for p in recipe_folder().glob("*.py") if not p.name.startswith("_"))


def _first_line(path: Path) -> str:
    import ast

    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def _new(args: list[str], flags: set[str]) -> int:
    def new(recipe: str, /, to: Path = Path()) -> None:
        """Copy a recipe into your folder, to be changed.

        Args:
            recipe: Name of a recipe.
            to: Folder that gets the copy.
        """

    options = _parsed(new, "new", args)
    source = _recipe_path(options["recipe"])
    target = Path(options.get("to", Path())) / source.name
    if target.exists():
        raise InputError(f"{target} is already there; move it away, or choose another folder with --to.")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if "--json" in flags:
        _print_json({"recipe": str(target)})
    else:
        print(f"{target}: edit it, then `tlkit run {target} --help`")
    return 0


def _recipe_path(name: str) -> Path:
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise InputError(f"There is no recipe file {name}; `tlkit recipes` lists those that come with tlkit.")
        return Path(name)
    path = recipe_folder() / f"{name}.py"
    if not path.is_file():
        have = ", ".join(p.stem for p in _recipe_files())
        raise InputError(f"There is no recipe {name!r}; there are: {have}. A file of your own: ./{name}.py.")
    return path


def _run(args: list[str], flags: set[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(
            "usage: tlkit run RECIPE [--flags of the recipe] [--ray local|HOST:PORT --workers 2]   "
            "(tlkit recipes lists them; RECIPE --help its flags)"
        )
        return 0
    if args[0].endswith(".json"):
        return _replay(Path(args[0]), args[1:], flags)
    where, args = placing.divided(args)
    if where is None or {"-h", "--help"} & set(args):
        record = _one_of_workers(args, flags)
    else:
        record = _on_ray(args, flags, where)
    if record is not None:
        _print_run(record, flags)
    return 0


def _on_ray(args: list[str], flags: set[str], where: dict[str, Any]) -> Any:
    """The record of a run that workers make together which Ray places; what cannot be meant is refused before."""
    _, options = _asked(args)
    finished = _finished(options.get("out"), ["run", *args], flags)
    if finished is not None:
        return finished
    with cluster.ray(**where) as workers:
        return workers.call(_one_of_workers, args, flags)


def _one_of_workers(args: list[str], flags: set[str]) -> Any:
    """The record of a run that this process makes, alone or as chief of the workers that TF_CONFIG names, else None."""
    with joining.joined() as worker:
        return _run_alone(args, flags) if worker == 0 else _run_beside(args, flags)


def _run_beside(args: list[str], flags: set[str]) -> None:
    """What a worker beside the chief does: the same work, without a word or a file."""
    recipe = _recipe_main(_recipe_path(args[0]))
    options = _parsed(recipe, f"run {args[0]}", args[1:])
    from tlkit.runs import folder as run_folder
    from tlkit.runs import invocation

    words, out = ["run", *args], options.get("out")
    if out is not None and "--fresh" not in flags and run_folder.finished(Path(out), words) is not None:
        return
    with invocation.invoked(words, fresh="--fresh" in flags):
        recipe(**options)


def _asked(args: list[str]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A recipe, and what is asked of it."""
    recipe = _recipe_main(_recipe_path(args[0]))
    options = _parsed(recipe, f"run {args[0]}", args[1:])
    if not args[0].endswith(".py"):  # one's own recipe may use all of Keras
        quick.start()
    from tlkit.runs import options as flags_of_recipes

    flags_of_recipes.check(recipe, options)
    return recipe, options


def _finished(out: Any, words: list[str], flags: set[str]) -> Any:
    """The record of the run that a folder holds already, made by these words; else None."""
    from tlkit.core.files import drop_lock
    from tlkit.runs import folder as run_folder

    if out is None or "--fresh" in flags or (finished := run_folder.finished(Path(out), words)) is None:
        return None
    print(f"{out} holds this run already; --fresh starts over.", file=sys.stderr)
    drop_lock(out)
    return finished


def _run_alone(args: list[str], flags: set[str]) -> Any:
    recipe, options = _asked(args)
    from tlkit.core.files import held
    from tlkit.runs import folder as run_folder

    out, words = options.get("out"), ["run", *args]
    if out is None:
        return _run_recipe(recipe, options, words, flags)
    if (finished := _finished(out, words, flags)) is not None:
        return finished
    with held(out):
        run_folder.check_folder(Path(out))
        return _run_recipe(recipe, options, words, flags)


def _run_recipe(recipe: Callable[..., Any], options: dict[str, Any], words: list[str], flags: set[str]) -> Any:
    from tlkit.exporting import workers
    from tlkit.runs import invocation

    if flat({**defaults(recipe), **options}).get("formats"):
        workers.start_ahead()
    with invocation.invoked(words, fresh="--fresh" in flags):
        return invocation.record_of(recipe(**options))


def _recipe_main(path: Path) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"{placement.RECIPE}{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "main", None)):
        raise InputError(f"{path} has no function `main`; its parameters are the flags of the recipe.")
    return module.main  # type: ignore[no-any-return]


def _replay(path: Path, further_flags: list[str], flags: set[str]) -> int:
    """Run the command that a run.json recorded; flags that follow it replace its own."""
    if not path.is_file():
        raise InputError(f"There is no file {path}; give a run.json that `tlkit run` wrote.")
    from tlkit.runs.folder import read_record

    words = read_record(path)["arguments"]
    if not words or words[0] not in ("run", "tune"):
        raise InputError(f"{path} was not written by `tlkit run`, so it cannot be replayed.")
    return (_run if words[0] == "run" else _tune)([*words[1:], *further_flags], flags)


def _tune(args: list[str], flags: set[str]) -> int:
    from tlkit.cli import searching

    if not args or args[0] in ("-h", "--help"):
        print(searching.USAGE)
        return 0
    if {"-h", "--help"} & set(args):
        return _run([args[0], "--help"], flags)
    where, args = placing.divided(args)
    search_flags, recipe_words = searching.divided(args[1:])
    options = searching.options(search_flags)
    recipe = _recipe_main(_recipe_path(args[0]))
    given = searching.given(recipe, _parsed(recipe, f"tune {args[0]}", recipe_words))
    quick.start()
    from tlkit.choosing import tuning
    from tlkit.core import space as spaces
    from tlkit.runs import invocation
    from tlkit.runs import options as flags_of_recipes

    for values in spaces.corners(options["space"]):
        flags_of_recipes.check(recipe, spaces.arguments(values, given))
    workers = contextlib.nullcontext() if where is None else cluster.ray(**where)
    with workers, invocation.invoked(["tune", *args], fresh="--fresh" in flags):
        run = tuning.tune(recipe, given=given, **options)
    _print_run(invocation.record_of(run), flags)
    return 0


def _print_run(record: Any, flags: set[str]) -> None:
    if "--json" in flags:
        _print_json(record)
        return
    from tlkit.report.terminal import run_table

    _print_rich(run_table(record))


def _predict(args: list[str], flags: set[str]) -> int:
    def predict(
        run: Path,
        files: tuple[Path, ...],
        /,
        top: int = 5,
        format: str | None = None,
        drawn: Path | None = None,
        explain: Path | None = None,
        method: str | None = None,
    ) -> None:
        """Try a result on files, from an exported file.

        Args:
            run: Folder of the run, or an exported file.
            files: What to predict.
            top: Labels shown for each.
            format: Which of the run's files to ask, by its format; the float32 file for phones unless given.
            drawn: Folder that gets a PNG of each image with its boxes, mask or points drawn in.
            explain: Folder that gets a PNG of each file that shows why the model says so; needs the run itself.
            method: Of `--explain`: integrated_gradients or occlusion; grad_cam unless given.
        """

    options = _parsed(predict, "predict", args)
    if not options.get("files"):
        raise InputError("`tlkit predict` needs a run and at least one file: tlkit predict RUN FILE...")
    from tlkit.exporting import predict as predict_files

    def bad(sentence: str) -> None:
        sentences.append(sentence)
        print(f"tlkit: {sentence}", file=sys.stderr)

    sentences: list[str] = []
    run, files = options.pop("run"), list(options.pop("files"))
    pictures, method = options.pop("explain", None), options.pop("method", None)
    method = _method_of(pictures, method)
    predictions = predict_files(run, files, **options, trust="--trust" in flags, bad=bad)
    if "--json" in flags:
        _print_json([dataclasses.asdict(p) for p in predictions])
    else:
        from tlkit.report.terminal import prediction_lines

        print("\n".join(prediction_lines(predictions)))
    if pictures is not None:
        _explain(run, files, pictures, method, sentences)
    return 2 if sentences else 0


def _explain(run: Path, files: list[Path], pictures: Path, method: str, told: list[str]) -> None:
    """Write the pictures of files, print their paths, and say what was not told when they were predicted."""
    from tlkit.explaining.explaining import explain_files

    def bad(sentence: str) -> None:
        if sentence not in told:
            print(f"tlkit: {sentence}", file=sys.stderr)

    for path in explain_files(run, files, pictures, method=method, bad=bad):
        print(path, file=sys.stderr)


def _method_of(pictures: Path | None, method: str | None) -> str:
    """How files are explained, checked before any work."""
    if pictures is None and method is None:
        return ""
    if pictures is None:
        raise InputError("`--method` says how --explain looks at files: name a folder for its pictures with --explain.")
    from tlkit.explaining.explaining import method_of

    return method_of(method or "grad_cam")


def _export(args: list[str], flags: set[str]) -> int:
    def export(
        run: Path, /, formats: tuple[str, ...] | None = None, out: Path | None = None, max_drop: float = 0.01
    ) -> None:
        """Export a run again, without training.

        Args:
            run: Folder of the run.
            formats: What to write, of saved_model, float32, float16, dynamic, weight_only and int8; all that the
                task can have but for weight_only unless given.
            out: Folder of the files; the run's own unless given.
            max_drop: Largest drop in accuracy that dynamic, weight_only and int8 files may show, as a share.
        """

    options = _parsed(export, "export", args)
    from tlkit.runs import export as finetuning_export
    from tlkit.runs import invocation

    folder = options.pop("out", None)
    progress = shown(to_stderr="--json" in flags)
    exported = finetuning_export.export(options.pop("run"), folder, **options, progress=progress)
    _print_run(invocation.record_of(exported), flags)
    return 0


def _cache(args: list[str], flags: set[str]) -> int:
    if args in (["-h"], ["--help"]):
        _no_arguments("cache", args)
    from tlkit.cli import cache

    if args not in ([], ["clear"]):
        raise InputError(f"`tlkit cache` takes nothing, or `clear`. Received: {' '.join(args)}.")
    if args:
        freed = cache.clear()
        if "--json" in flags:
            _print_json({"folder": str(cache.cache_dir()), "freed_bytes": freed, "left": cache.others()})
            return 0
        print(f"freed {freed / 1e6:.1f} MB")
        if left := cache.others():
            few = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
            print(f"left in {cache.cache_dir()}, as it is not tlkit's: {few}")
        return 0
    sizes = cache.sizes()
    if "--json" in flags:
        _print_json({"folder": str(cache.cache_dir()), "bytes": sizes})
        return 0
    print(cache.cache_dir())
    for name, size in sizes.items():
        print(f"  {name:<12} {size / 1e6:10.1f} MB")
    return 0


def _no_arguments(command: str, args: list[str]) -> None:
    if args in (["-h"], ["--help"]):
        print(f"usage: tlkit {command}   ({COMMANDS[command]})")
        raise SystemExit(0)
    if args:
        raise InputError(f"`tlkit {command}` takes no arguments. Received: {' '.join(args)}.")


def _print_rich(renderable: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(renderable)
