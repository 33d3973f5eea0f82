"""The docs tell the truth: blocks run, commands and flags exist, links resolve, messages are those of the code."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlkit
from tlkit.cli import commands, placing

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COLOURS = {
    "daisy": (240, 240, 220),
    "fern": (20, 120, 40),
    "iris": (70, 40, 180),
    "rose": (200, 20, 60),
    "tulip": (230, 160, 20),
}
SIZE = 32  # of the fixture module that stands in for the zoo's
ZOO = '"zoo:efficientnet-lite0"'


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def inline(path: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


# Python blocks


def write_module(folder: Path) -> Path:
    """A small module that tells colours apart: random convolutions with biases and tanh, so that features vary."""
    import keras

    from tlkit.formats import hub_module

    keras.utils.set_random_seed(0)
    wide = {"activation": "tanh", "bias_initializer": keras.initializers.RandomNormal(stddev=1.0)}
    conv = [
        keras.layers.Conv2D(64, 4, strides=4, kernel_initializer=keras.initializers.RandomNormal(stddev=0.3), **wide)
    ]
    conv += [keras.layers.Conv2D(64, 1, **wide) for _ in range(2)]
    pooling = [keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *conv, *pooling])
    hub_module.write_keras_model(model, folder, card={"input_range": [0.0, 1.0]})  # as the zoo's modules have one
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder as README supposes it: flower_photos with five classes, and a small module in the zoo's place."""
    root = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "flower_photos" / name).mkdir(parents=True)
        for i in range(24):
            pixels = np.clip(np.array(colour) + rng.normal(0, 12, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "flower_photos" / name / f"{i}.png")
    return root, write_module(root / "module")


def execute(source: str, module: Path, **names: object) -> dict[str, object]:
    space = dict(names)
    exec(compile(source.replace(ZOO, repr(str(module))), "<docs>", "exec"), space)
    return space


@pytest.fixture(scope="module")
def shown(place):
    """What README's first block leaves: the run of its three lines."""
    root, module = place
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return execute(blocks(ROOT / "README.md", "python")[0], module)


def test_the_three_lines(shown, place):
    folder = place[0] / "runs" / "classify"
    files = {"saved_model", "model.tflite", "model_int8.tflite", "labels.txt", "report.html", "run.json"}
    assert files <= {path.name for path in folder.iterdir()}
    assert shown["run"].scores["accuracy"] > 0.8


def test_the_layer_in_a_users_own_fit(place):
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3)).astype(np.float32)
    space = execute(blocks(ROOT / "README.md", "python")[1], place[1], images=images, labels=np.arange(8) % 5)
    assert space["model"].output_shape == (None, 5)


def test_phases(shown, place, monkeypatch):
    import keras

    data = tlkit.data.image.resized(shown["data"], SIZE)
    names = {"tlkit": tlkit, "keras": keras, "model": shown["run"].model, "task": shown["run"].task, "data": data}
    first, rate, second = blocks(ROOT / "docs" / "phases.md", "python")
    monkeypatch.chdir(place[0])
    assert 1e-6 < execute(rate, place[1], **names)["rates"].suggestion < 1
    assert [r.phase.unfrozen for r in execute(first, place[1], **names)["run"].phases] == [0.0, 0.25]
    assert execute(second, place[1], **names)["layer"].trainable


def test_choosing(place, monkeypatch):
    first, _ = blocks(ROOT / "docs" / "choosing.md", "python")
    monkeypatch.chdir(place[0])
    ranking = execute(first.replace("224", str(SIZE)).replace("56", "8"), place[1])["ranking"]
    assert len(ranking.rows) == 2 and ranking.pareto and (place[0] / "rank.png").is_file()


@pytest.mark.parametrize("client", ["ai_edge_litert", "mediapipe", "tensorflow"])
def test_clients_in_python(client, shown, place, monkeypatch, capfd):
    pytest.importorskip(client)
    if client == "mediapipe":
        pytest.importorskip("mediapipe.tasks.python.vision", reason="MediaPipe needs libEGL and libGLESv2")
    folder = shown["run"].folder
    monkeypatch.chdir(place[0] / folder)
    Image.new("RGB", (80, 60), COLOURS["rose"]).save("rose.jpg")
    (block,) = [b for b in blocks(ROOT / "docs" / "export.md", "python") if re.search(rf"(from|import) {client}", b)]
    execute(block, place[1])
    assert "rose" in capfd.readouterr().out


def chains(tree: ast.AST) -> list[str]:
    names = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [text for text in names if re.fullmatch(r"tlkit(\.\w+)+", text)]


def resolved(chain: str) -> Any:
    value: Any = tlkit
    for name in chain.split(".")[1:]:
        value = getattr(value, name) if hasattr(value, name) else importlib.import_module(f"{value.__name__}.{name}")
    return value


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_python_names_and_keywords_exist(path):
    sources = [*blocks(path, "python"), *(text for text in inline(path) if re.match(r"(\w+ = )?tlkit\.\w+", text))]
    for source in sources:
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue  # `tlkit.zoo: ...` and the like are prose
        for chain in set(chains(tree)) - {"tlkit.json"}:  # a file's name
            resolved(chain)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and chains(node.func)]
        for call in calls:
            parameters = inspect.signature(resolved(ast.unparse(call.func))).parameters
            assert {k.arg for k in call.keywords} <= set(parameters), source


def test_extending_shows_what_the_plugins_of_the_tests_are():
    plugins = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "extension").glob("plugin_*.py")]
    parts = [part.strip() for block in blocks(ROOT / "docs" / "extending.md", "py") for part in block.split("\n\n\n")]
    assert len(parts) > 10 and all(any(part in plugin for plugin in plugins) for part in parts)


# Commands


@pytest.fixture(scope="module")
def flags():
    """Command, of `run` with its recipe -> the flags that its --help lists, and those of every command."""
    flags_of = {}
    recipes = [f"run {path.stem}" for path in sorted((ROOT / "recipes").glob("[a-z]*.py"))]
    for command in [*(c for c in commands.COMMANDS if c != "run"), *recipes]:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            try:
                code = commands.main([*command.split(), "--help"])
            except SystemExit as end:
                code = end.code
        assert not code, command
        flags_of[command] = {*re.findall(r"--[a-z][a-z-]*", shown.getvalue()), *commands.FLAGS}
        flags_of[command] |= set(placing.OWN) if command.split()[0] in ("run", "tune") else set()
    return flags_of


def command_lines(path: Path) -> list[str]:
    fenced = [line for block in blocks(path, "sh") for line in block.splitlines()]
    return [line.split(" #")[0].strip() for line in [*fenced, *inline(path)]]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_and_flags_exist(path, flags):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in command_lines(path):
        words = line.split()
        if words[:1] == ["make"]:
            assert words[1] in targets, line
        if words[:1] == ["tlkit"] and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
            assert words[1] in commands.COMMANDS, line
            named = f"run {words[2]}" if words[1] == "run" and len(words) > 2 else words[1]
            names = flags.get(named, flags["run image_classification"])  # a recipe of the reader's own, or a run.json
            names = names | flags["run image_classification"] if words[1] == "tune" else names
            assert {w for w in words if w.startswith("--")} <= names | {"--help"}, line


def test_flags_named_as_ours_exist(flags):
    """In the migration tables, flags of the right-hand column are ours."""
    every = set().union(*flags.values())
    for row in re.findall(r"^\|.*\|.*\|$", (ROOT / "docs" / "migration.md").read_text(), re.MULTILINE):
        assert set(re.findall(r"--[a-z][a-z-]*", row.split("|")[2])) <= every, row


# Text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_resolve(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not link.startswith("https://"):
            assert (path.parent / link.partition("#")[0]).exists(), link


def test_readme_opens_with_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert text.index("make demo") < text.index("make test") < 200


def test_readme_names_every_extra():
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]) - {"dev"}
    rows = (ROOT / "README.md").read_text().partition("| extra | for |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", rows, flags=re.MULTILINE)) == extras


def test_what_an_extra_brings_comes_with_no_plain_installation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = lambda line: re.match(r"[\w-]+", line)[0]
    plain = {name(line) for line in project["dependencies"]}
    extras = {name(line) for lines in project["optional-dependencies"].values() for line in lines}
    assert {"ray", "optuna", "fsspec", "mkdocs"} <= extras and not plain & extras


def test_every_public_name_is_documented():
    text = (ROOT / "docs" / "index.md").read_text()
    assert [n for n in tlkit.__all__ if not re.search(rf"`tlkit\.{n}\b", text)] == []


OF_ITSELF = ("CHANGELOG.md", "CONTRIBUTING.md", "seams.md")  # these name places of code
BY_IMPORT = {  # names that are the place of code, or the name of a format, and not attributes of tlkit
    "tlkit.data.annotated", "tlkit.data.faults", "tlkit.data.spelling.spoken", "tlkit.exporting.litertlm.dynamic",
    "tlkit.exporting.litertlm.float32", "tlkit.generating.rows", "tlkit.generating.search",
    "tlkit.methods.parts.selection", "tlkit.tasks.recording.restore", "tlkit.tasks.verification",
}  # fmt: skip


def test_what_docs_call_is_public():
    """Names such as tlkit.Gates are there behind `import tlkit` alone, in pages and in docstrings of public names."""
    values = [getattr(tlkit, name) for name in tlkit.__all__]
    values += [getattr(shelf, name) for shelf in values if hasattr(shelf, "__all__") for name in shelf.__all__]
    texts = [page.read_text() for page in PAGES if page.parent.name != "decisions" and page.name not in OF_ITSELF]
    texts += [value.__doc__ or "" for value in values]
    names = {name for text in texts for name in re.findall(r"\btlkit(?:\.[A-Za-z_]\w*)+", text)} - {"tlkit.json"}
    assert len(names) > 50 and sorted(name for name in names - BY_IMPORT if not is_public(name)) == []
    for name in BY_IMPORT:
        assert importlib.util.find_spec(name.rpartition(".")[0])


def is_public(name):
    value = tlkit
    for part in name.split(".")[1:]:
        if (hasattr(value, "__all__") and part not in value.__all__) or not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def test_lengths():
    long = {p.name for p in (ROOT / "docs" / "decisions").glob("*.md") if len(p.read_text().splitlines()) > 40}
    assert not long
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 50


def test_decisions_are_numbered_and_listed():
    names = sorted(p.name for p in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    index = (ROOT / "docs" / "index.md").read_text()
    assert [name for name in names if name not in index] == []


def test_no_registry_is_named():
    hosts = [
        ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
    ]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if path.is_file() and path.suffix not in (".zip", ".png"):
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [host for host in hosts if host in text], name


# Messages


def messages() -> str:
    """All string literals of the package, those of f-strings with "..." for what is filled in."""
    texts = []
    for path in (ROOT / "tlkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(v.value) if isinstance(v, ast.Constant) else "..." for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_messages_in_troubleshooting_are_those_of_the_code():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    quoted = [q for cell in cells for q in re.findall(r"`([^`]+)`", cell)]
    pieces = [p.strip() for q in quoted for p in re.split(r"\.\.\.|\bN\b|\bM\b|\bHxW\b|\bW x H\b", q)]
    code = messages()
    strange = [p for p in pieces if len(p) > 8 and p not in code]
    assert strange == ["No module named 'pkg_resources'"]  # Python's own


def test_servers_that_are_shown_answer_this_machine_alone():
    """`http.server` answers all that reach it unless it is bound."""
    shown = [*PAGES, ROOT / "Makefile", ROOT / "mkdocs.yml", *(ROOT / "tlkit").rglob("*.j2")]
    lines = [
        line for path in shown for line in path.read_text(encoding="utf-8").splitlines() if "-m http.server" in line
    ]
    assert len(lines) >= 4 and all("-m http.server --bind 127.0.0.1 " in line for line in lines), lines
