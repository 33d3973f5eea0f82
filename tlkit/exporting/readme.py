"""README.md of an export: a model card in the hub's convention, whose names and shapes are those of the files.

Source: the metadata at the top are those of huggingface.co/docs/hub/model-cards; the sections follow Mitchell et al.
2019, arXiv:1810.03993.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped, unused-ignore]

from tlkit.core.errors import InputError
from tlkit.core.examples import Examples
from tlkit.core.files import write_atomic
from tlkit.core.format import Format
from tlkit.core.naming import found
from tlkit.core.run import Run, caution
from tlkit.exporting.describing import describe
from tlkit.formats import tflite_metadata
from tlkit.layer.lookup import backbone_of
from tlkit.modalities.prepare import modality_of

README = "README.md"
MARK = "library_name: tlkit\n"
FEW = 10  # test examples of a label below which nothing is known of it
MOST_NAMED = 20  # labels
_JS = {"float32": "Float32Array", "int32": "Int32Array", "uint8": "Uint8Array", "int8": "Int8Array"}
_C = {"float32": "float", "float64": "double", "bool": "uint8_t"}
Record = Mapping[str, Any]


@dataclass(frozen=True)
class TensorOf:
    """A tensor of a file's signature, for the lines that call it.

    Attributes:
        name: In the signature.
        dtype: NumPy's name of it.
        shape: Batch axis included; None is any size.
        says: What it is, in a sentence, or "".
        labels: File that names the places of its last axis, or "".
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    says: str = ""
    labels: str = ""

    @property
    def size(self) -> int:
        """Its numbers; of any size counts as 1."""
        return int(np.prod([size or 1 for size in self.shape], dtype=np.int64))

    @property
    def bytes(self) -> int:
        """Of all its numbers."""
        kind = self.dtype if self.dtype not in ("string", "object", "bytes", "") else "uint8"
        return self.size * np.dtype(kind).itemsize


def write_readme(run: Run, record: Record, folder: Path) -> Path | None:
    """Write README.md beside the files of an export; of files that did not pass it says nothing.

    Args:
        run: What was exported.
        record: Of the run, as run.json has it.
        folder: Where the files are.

    Returns:
        Its path; None where no file passed, and an earlier README then goes.
    """
    rows = [row for row in record["exports"] if row["passed"] and (folder / row["file"]).exists()]
    if not rows:
        (folder / README).unlink(missing_ok=True)
        return None
    rows = [row | {"latency_ms": row["latency_ms"] or 0.0} for row in rows]
    name, module = folder.resolve().name or "model", _module(run)
    parts = list(_parts(run, rows, name))
    text = _environment().get_template("readme.md.j2").render(
        front=_front(name, run, record, module),
        name=name,
        task=f"Task {run.task.name!r} on {run.data.test.modality} inputs",
        module=module,
        report=(folder / "report.html").exists(),
        data=record["data"],
        command=record.get("command", ""),
        scores=list(_scores(record)),
        limits=list(_limits(run, record, rows, module)),
        rows=rows,
        checked_on=rows[0].get("checked_on", "test"),
        parts=parts,
        ask=_asked(run, rows),
    )  # fmt: skip
    write_atomic(folder / README, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")
    return folder / README


def is_written(folder: Path) -> bool:
    """Whether the folder's README is one that `write_readme` wrote."""
    try:
        with open(folder / README, encoding="utf-8") as file:
            return MARK in file.read(4096)
    except (OSError, ValueError):
        return False


# -- where it came from, and what is known of it


def _module(run: Run) -> dict[str, Any]:
    """What the module's own card says of it; {} of a model without one."""
    layer = backbone_of(run.model)
    if layer is None:
        return {}
    facts = {word: layer.card.get(word) or "" for word in ("licence", "credits", "source")}
    return {"handle": layer.handle, "sha256": layer.sha256, **facts}


def _front(name: str, run: Run, record: Record, module: Record) -> str:
    """The metadata that the hub reads, as YAML."""
    headline = (record["details"].get("headline") or {}).get("name")  # others may be those of what it is compared with
    scores = [score for score in _scores(record) if headline in (None, score["name"])]
    results = {
        "task": {"type": run.task.name},
        "dataset": {"name": f"test split, {record['data']['test']} examples", "type": record["data"]["fingerprint"]},
        "metrics": [
            {"type": score["name"], "value": score["number"],
             "name": f"{score['name']}, 95 % interval {score['interval']}" if score["interval"] else score["name"]}
            for score in scores
        ],
    }  # fmt: skip
    facts = {
        "license": str(module.get("licence") or "unknown").lower(),
        "library_name": "tlkit",
        "base_model": module.get("handle"),
        "tags": list(dict.fromkeys(("tlkit", "litert", run.task.name, run.data.test.modality))),
        "metrics": [score["name"] for score in scores],
        "model-index": [{"name": name, "results": [results]}] if scores else None,
    }
    stated = {key: value for key, value in facts.items() if value}
    return str(yaml.safe_dump(stated, sort_keys=False, allow_unicode=True, width=120))


def _scores(record: Record) -> Iterator[dict[str, Any]]:
    scores = record["scores"]
    for name, value in scores.items():
        if value is None or re.search(r"_(low|high)$", name):
            continue
        low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
        interval = "" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        yield {"name": name, "number": float(value), "value": f"{value:.4g}", "interval": interval}


def _limits(run: Run, record: Record, rows: Sequence[Record], module: Record) -> Iterator[str]:
    """What the record gives no right to expect."""
    data, labels = record["data"], run.task.labels
    if labels:
        listed = ", ".join(labels[:MOST_NAMED]) + (
            f" and {len(labels) - MOST_NAMED} more" if labels[MOST_NAMED:] else ""
        )
        yield f"For anything but these {len(labels)} labels: {_cell(listed)}. What is none of them may still get one."
    yield (
        f"For {run.data.test.modality} inputs from elsewhere than those of the data above (other devices, people, "
        "places, languages): nothing was measured there."
    )
    rare_labels = [row["label"] for row in data.get("balance", ()) if row["test"] < FEW]
    if rare_labels and data.get("test"):
        listed = ", ".join(rare_labels[:MOST_NAMED]) + (" and others" if rare_labels[MOST_NAMED:] else "")
        yield f"Where it matters how good it is at {_cell(listed)}: fewer than {FEW} test examples each."
    for sentence in dict.fromkeys(caution(row.get("checked_on", "test")) for row in rows):
        if sentence is not None:
            yield sentence
    if data.get("duplicates"):
        yield "As proof of the scores above: some examples lie in more than one split, which flatters them."
    yield from () if run.task.deployment is None else run.task.deployment.limits
    if module and not module["licence"]:
        yield "To be passed on, before you know the licence of the module: it is not written down here."
    yield "To decide about people (health, work, credit, police) by itself: its mistakes were not judged for that."


# -- the files, by their own signatures


def _parts(run: Run, rows: Sequence[Record], name: str) -> Iterator[dict[str, Any]]:
    """One part for the files that are called alike."""
    by_calls: dict[str, list[tuple[Format, Record]]] = {}
    for row in rows:
        format = _format(row["format"])
        if format is not None and format.calls and row.get("signatures"):
            by_calls.setdefault(format.calls, []).append((format, row))
    for alike in sorted(by_calls.values(), key=lambda group: group[0][0].serves):  # servers last
        yield _part(run, alike, name)


def _format(name: str) -> Format | None:
    try:
        return found(name, Format, "exporting.formats", trust=False)
    except InputError:
        return None  # a user's own, of a module that this process did not import


def _part(run: Run, alike: Sequence[tuple[Format, Record]], name: str) -> dict[str, Any]:
    format, row = alike[0]
    (signature, specs), *other_signatures = row["signatures"].items()
    tensors = _tensors(run, specs, serves=format.serves)
    looped = None if format.serves else _looped(run, format, row)
    template, names = looped or (format.calls, {})
    calls = _environment().from_string(template).render(
        file=row["file"],
        stem=Path(row["file"]).stem,
        name=re.sub(r"\W+", "_", name),
        signature=signature,
        signatures=list(row["signatures"]),
        reading=functools.partial(_reading, run.data.test, tensors["inputs"]),
        **tensors,
        **names,
    )  # fmt: skip
    return {
        "title": f"Calling `{row['file']}`",
        "others": [{"file": other["file"], "differs": _differs(row, other)} for _, other in alike[1:]],
        "signature": signature,
        "further": [_listed(key, other) for key, other in other_signatures],
        "steps": any("logits" in specs["outputs"] for _, specs in other_signatures),
        "loop": run.task.deployment is not None and looped is None and not format.serves,
        "calls": calls.strip(),
        **tensors,
    }


def _listed(name: str, specs: Record) -> dict[str, Any]:
    """A signature in a line of a table."""
    return {"name": name, **{kind: ", ".join(_in_words(specs[kind])) for kind in ("inputs", "outputs")}}


def _in_words(specs: Mapping[str, Record]) -> Iterator[str]:
    """Tensors with dtypes and shapes; those that differ in the number at their end alone, such as caches, as one.

    Example:
        >>> list(_in_words({f"k_{n}": {"dtype": "float32", "shape": [None, 8]} for n in range(3)}))
        ['`k_0` to `k_2` float32 (any, 8)']
    """
    alike: dict[Any, list[str]] = {}
    for name, spec in specs.items():
        alike.setdefault((re.sub(r"\d+$", "", name), spec["dtype"], _shape(spec["shape"])), []).append(name)
    for (_, dtype, shape), names in alike.items():
        names.sort(key=len)
        yield f"`{names[0]}` {f'to `{names[-1]}` ' if len(names) > 1 else ''}{dtype} {shape}"


def _shape(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _looped(run: Run, format: Format, row: Record) -> tuple[str, Mapping[str, Any]] | None:
    """How clients go through the loop that an answer of a file takes: a template, and names for it."""
    deployment = run.task.deployment
    if deployment is None or deployment.calls is None or not format.looped:
        return None
    signatures = {name: _tensors(run, specs, serves=False) for name, specs in row["signatures"].items()}
    return deployment.calls(run.data.test, signatures, describe(run, run.data.test).files)


def _tensors(run: Run, specs: Record, *, serves: bool) -> dict[str, list[TensorOf]]:
    """Inputs and outputs of a signature, with what the file's metadata say of them."""
    about = describe(run, run.data.test)
    tables = {"inputs": {} if serves else about.inputs, "outputs": about.outputs}
    return {
        kind: [
            TensorOf(
                key, spec["dtype"], tuple(spec["shape"]), _said(tables[kind].get(key)), _labels(tables[kind].get(key))
            )
            for key, spec in specs[kind].items()
        ]
        for kind in tables
    }


def _said(table: Mapping[int, Any] | None) -> str:
    return str(table[1]) if table and len(table) > 1 else ""


def _labels(table: Mapping[int, Any] | None) -> str:
    """The file that names the places of a tensor's last axis."""
    return next((str(file[0]) for file in (table or {}).get(6, ()) if tflite_metadata.names_axis(file)), "")


def _differs(row: Record, other: Record) -> str:
    """How another file's inputs differ from the first one's."""
    first, second = (next(iter(file_row["signatures"].values()))["inputs"] for file_row in (row, other))
    changed = [f"`{name}` as {spec['dtype']}" for name, spec in second.items() if spec != first.get(name)]
    return ", ".join(changed)


def _reading(examples: Examples, inputs: Sequence[TensorOf], language: str) -> str:
    """The lines that make `inputs`: the modality's own, or zeros of these shapes."""
    lines = _environment().from_string(modality_of(examples).calls.get(language, _ZEROS[language]))
    return "\n" + str(lines.render(inputs=inputs, settings=dict(examples.pipeline.steps))).strip() + "\n"


def _asked(run: Run, rows: Sequence[Record]) -> str:
    """The file that `tlkit.predict` can be given alone."""
    formats = ((row["file"], _format(row["format"])) for row in rows)
    files = [file for file, format in formats if format is not None and not format.serves]
    return files[0] if files and modality_of(run.data.test).parse is not None else ""


_PYTHON_ZEROS = """
inputs = {
{% for input in inputs %}
{% if input.dtype in ("string", "object", "bytes") %}
    {{ input.name|string_of }}: np.array(["a text"]),
{%- else %}
    {{ input.name|string_of }}: np.zeros({{ input.shape|filled }}, np.{{ input.dtype }}),
{%- endif %}
{%- if input.says %}  # {{ input.says }}{% endif %}

{% endfor %}
}
"""
_KOTLIN_ZEROS = """
val inputs = mapOf<String, Any>(
{% for input in inputs %}
    {{ input.name|string_of }} to ByteBuffer.allocateDirect({{ input.bytes }}).order(ByteOrder.nativeOrder()),
{%- if input.says %}  // {{ input.dtype }} {{ input.shape|list }}: {{ input.says }}{% endif %}

{% endfor %}
)
"""
_SWIFT_ZEROS = """
let inputs = [
{% for input in inputs %}
    {{ input.name|string_of }}: Data(count: {{ input.bytes }}),
{%- if input.says %}  // {{ input.dtype }} {{ input.shape|list }}: {{ input.says }}{% endif %}

{% endfor %}
]
"""
_ZEROS = {"python": _PYTHON_ZEROS, "kotlin": _KOTLIN_ZEROS, "swift": _SWIFT_ZEROS}


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown; names from data go through `cell`, `code` and `string_of`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "string_of": functools.partial(json.dumps, ensure_ascii=False),
        "js_array": lambda dtype: _JS.get(dtype, "Float32Array"),
        "c_type": lambda dtype: _C.get(dtype, f"{dtype}_t"),
        "shape": _shape,
        "filled": lambda shape: tuple(size or 1 for size in shape),
        "cell": _cell,
        "code": lambda text: " ".join(str(text).replace("`", "'").replace("|", r"\|").split()),
    }
    return environment


def _cell(text: str) -> str:
    """A text from elsewhere in a line of Markdown: no line breaks, columns, tags or code of its own."""
    return re.sub(r"([|`<>*_\[\]])", r"\\\1", " ".join(str(text).split()))
