"""Read a SavedModel before it is loaded, and say what it would do besides computing.

A SavedModel is a program: TensorFlow runs what it says with the rights of the user, partly while it is being loaded.
The scan reads saved_model.pb as data. It refuses what is known to reach out (files, network, processes, Python), and
warns of what it does not know, so that a new operation is not taken for a harmless one.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit.core.errors import InputError, UnsafeModuleError
from tlkit.core.naming import trusted
from tlkit.hub import opsets
from tlkit.hub.dataflow import Place, Program, read_program
from tlkit.hub.flaws import MOST_NODES, where
from tlkit.hub.origins import ASSET, licensed_checkpoints, origins
from tlkit.hub.unpacking import safe_parts
from tlkit.hub.wire import holds_more_than

_SMALL_BYTES = 24 << 20  # of a saved_model.pb; the graphs of most modules stay below
_LIBRARIES = (".so", ".dll", ".dylib", ".exe")
_SCRIPTS = (".py", ".pyc", ".sh", ".bat", ".ps1", ".pkl", ".pickle", ".joblib")


@dataclass(frozen=True)
class Finding:
    """One thing that the scan objects to.

    Attributes:
        level: "denied", or "unknown" for what may be harmless.
        what: The operation, or the file.
        where: Node and function, or "" for a file.
        reason: What it does.
    """

    level: str
    what: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.what}{f' ({self.where})' if self.where else ''} {self.reason}"


@dataclass(frozen=True)
class Scan:
    """What a SavedModel would do besides computing.

    Attributes:
        findings: What is denied and what is unknown, each once.
        operations: How often each operation stands in the graph and its functions.
        missing: Operations of packages that this process has not loaded, such as tensorflow_text.
    """

    findings: tuple[Finding, ...]
    operations: Mapping[str, int]
    missing: tuple[str, ...] = ()

    @property
    def denied(self) -> tuple[Finding, ...]:
        """What makes `check` refuse the module."""
        return tuple(f for f in self.findings if f.level == "denied")

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """What makes `check` warn."""
        return tuple(f for f in self.findings if f.level == "unknown")


def check(folder: str | os.PathLike[str], trust: bool = False, *, what: str | None = None) -> Scan:
    """Scan a module that is about to be loaded.

    Args:
        folder: The SavedModel.
        trust: Whether to load it whatever the scan finds; TLKIT_TRUST=1 in the environment means it too.
        what: What it is called in an error; None names the folder.

    Raises:
        UnsafeModuleError: If something in it is denied.
        InputError: If it is no SavedModel.
    """
    findings = scan(folder)
    if trusted(trust):
        return findings
    name = what or f"The module in {os.fspath(folder)}"
    if findings.denied:
        raise UnsafeModuleError(
            f"{name} is refused: {_listed(findings.denied)}. If you made it, or have read what it does, pass "
            "trust=True (on the command line --trust, for a .keras file TLKIT_TRUST=1)."
        )
    if findings.unknown:
        warnings.warn(
            f"{name} holds what tlkit does not know to be harmless: {_listed(findings.unknown)}.", stacklevel=2
        )
    return findings


def scan(folder: str | os.PathLike[str]) -> Scan:
    """Read a SavedModel without loading it, and list what is unsafe about it.

    Graph, functions (initializers and savers too), assets and the files beside them are looked at.

    Args:
        folder: The SavedModel.

    Returns:
        The findings; none for a module that only computes.

    Raises:
        InputError: If there is no SavedModel, or it cannot be read.
    """
    root = Path(folder)
    programs = [read_program(meta) for model in _models(root) for meta in model.meta_graphs]
    counts = Counter(op for p in programs for op in _used(p))
    findings = [*_files(root), *(f for p in programs for f in (*_assets(p), *_operations(p)))]
    missing = sorted(op for op in counts if opsets.is_text_op(op) and _definition(op) is None)
    return Scan(tuple(dict.fromkeys(findings)), dict(counts), tuple(missing))


def _used(program: Program) -> Iterator[str]:
    nodes = (node for body in program.bodies.values() for node in body.nodes.values())
    return (node.op for node in nodes if node.op not in program.bodies)


def _listed(findings: tuple[Finding, ...], most: int = 3) -> str:
    more = f"; and {len(findings) - most} more" if len(findings) > most else ""
    return "; ".join(str(f) for f in findings[:most]) + more


def _models(root: Path) -> Iterator[Any]:
    """Both forms, where both are there: TensorFlow chooses the binary one, other programs may not."""
    from google.protobuf import message, text_format  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import saved_model_pb2

    binary, text = root / "saved_model.pb", root / "saved_model.pbtxt"
    if not binary.is_file() and not text.is_file():
        raise InputError(f"{root} holds no SavedModel: there is no saved_model.pb in it.")
    try:
        if binary.is_file():
            data = binary.read_bytes()
            _refuse_bomb(binary, data, saved_model_pb2.SavedModel.DESCRIPTOR)
            yield _with_graphs(binary, saved_model_pb2.SavedModel.FromString(data))
        if text.is_file():
            yield _with_graphs(text, text_format.Parse(text.read_text("utf-8"), saved_model_pb2.SavedModel()))
    except (message.DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{root} holds a saved_model.pb that cannot be read; it is damaged, or none.") from error


def _refuse_bomb(path: Path, data: bytes, descriptor: Any) -> None:
    """A large file of tiny messages would fill the memory while it is read; a small one cannot."""
    if len(data) > _SMALL_BYTES and holds_more_than(data, descriptor, 5 * MOST_NODES):
        raise UnsafeModuleError(f"{path} holds more than {5 * MOST_NODES} parts, more than a module does: refused.")


def _with_graphs(path: Path, model: Any) -> Any:
    if not model.meta_graphs:
        raise InputError(f"{path} holds no graph; it is damaged.")
    graphs = [meta.graph_def for meta in model.meta_graphs]
    nodes = sum(len(g.node) + sum(len(f.node_def) for f in g.library.function) for g in graphs)
    if nodes + sum(len(meta.object_graph_def.nodes) for meta in model.meta_graphs) > MOST_NODES:
        raise UnsafeModuleError(f"{path} holds more than {MOST_NODES} nodes, more than a module does: refused.")
    return model


def _files(root: Path) -> Iterator[Finding]:
    for base, folders, names in os.walk(root):
        for name in sorted((*folders, *names)):
            path = Path(base, name)
            shown = path.relative_to(root).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield Finding("denied", shown, "", "is a symbolic link, which may lead out of the module")
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                yield Finding("denied", shown, "", "is no plain file")
            elif name == "saved_model.cpb":
                yield Finding("denied", shown, "", "is a SavedModel in pieces, which cannot be scanned")
            elif path.suffix in _LIBRARIES or ".so." in name:
                yield Finding("denied", shown, "", "is machine code beside the model")
            elif path.suffix in _SCRIPTS:
                yield Finding("unknown", shown, "", "is code beside the model; it is not run")


def _assets(program: Program) -> Iterator[Finding]:
    for name in program.files:
        try:
            safe_parts(name)
        except UnsafeModuleError:
            yield Finding("denied", f"the asset {name!r}", "", "leaves the module's folder")


def _operations(program: Program) -> Iterator[Finding]:
    yield from (Finding("denied", *flaw) for flaw in program.flaws)
    licensed, vocabularies = licensed_checkpoints(program), _vocabularies(program)
    for body in program.bodies.values():
        for node in body.nodes.values():
            place = (body.name, node.name)
            if place in vocabularies:
                verdict = _vocabulary_verdict(vocabularies[place])
            elif node.op in opsets.CHECKPOINT_WRITERS | opsets.CHECKPOINT_READERS:
                verdict = None if place in licensed else _CHECKPOINT_VERDICTS[node.op in opsets.CHECKPOINT_WRITERS]
            else:
                verdict = _verdict(program, node)
            if verdict is not None:
                yield Finding(verdict[0], node.op, where(*place), verdict[1])


_CHECKPOINT_VERDICTS = {
    True: ("denied", "writes a checkpoint outside the saver, or to another file than it is given"),
    False: ("denied", "reads a checkpoint outside the saver, or from another file than it is given"),
}

# Operations that are harmless as long as an attribute keeps to these values (the first is the default).
_BY_ATTRIBUTE = {
    "PrintV2": ("output_stream", ("", *opsets.PRINT_STREAMS), "writes files"),
    "DecodeProtoV2": ("descriptor_source", ("", "local://"), "reads files"),
    "EncodeProto": ("descriptor_source", ("", "local://"), "reads files"),
    "FixedUnigramCandidateSampler": ("vocab_file", ("",), "reads files"),
}


def _verdict(program: Program, node: Any) -> tuple[str, str] | None:
    """Level and reason, or None for an operation that is fine."""
    op = node.op
    if op in opsets.DENIED:
        return "denied", opsets.DENIED[op]
    if op in _BY_ATTRIBUTE:
        name, fine, reason = _BY_ATTRIBUTE[op]
        value = node.attr[name].s.decode("utf-8", "replace") if name in node.attr else ""
        return None if value in fine else ("denied", reason)
    if op in program.bodies or opsets.is_text_op(op):
        return None
    return _unlisted_verdict(op)


def _vocabularies(program: Program) -> dict[Place, frozenset[str]]:
    """What the file of each table that reads one may be."""
    files = {
        (body.name, node.name): (body.name, [*node.input, "", ""][opsets.VOCABULARIES[node.op]])
        for body in program.bodies.values()
        for node in body.nodes.values()
        if node.op in opsets.VOCABULARIES
    }
    may_be = origins(program, files.values())
    return {place: may_be[tensor] for place, tensor in files.items()}


def _vocabulary_verdict(may_be: frozenset[str]) -> tuple[str, str] | None:
    if may_be == {ASSET}:
        return None
    names = " or ".join(sorted(may_be - {ASSET})) or "nothing that can be followed"
    return "denied", f"reads a file that is not one of the module's assets (its name is {names})"


def _unlisted_verdict(op: str) -> tuple[str, str] | None:
    definition = _definition(op)
    if definition is None:
        return "unknown", "is an operation that this TensorFlow does not have"
    if definition.is_stateful and not opsets.is_harmless_stateful(op):
        return "unknown", "has effects that are not on the list of harmless ones"
    return None


def _definition(op: str) -> Any | None:
    from tlkit.graph.registry import op_definition

    return op_definition(op)
