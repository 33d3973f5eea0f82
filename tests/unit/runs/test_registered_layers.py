"""Runs of every task open in a fresh process: Keras finds a layer by its name where its file was imported."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import tlkit

ROOT = Path(tlkit.__file__).parent
OPENED = "import json, keras, tlkit.runs.folder; print(json.dumps(sorted(keras.saving.get_custom_objects())))"


def layers():
    """Names of the layers that tlkit's files register with Keras."""
    trees = (ast.parse(path.read_text()) for path in ROOT.rglob("*.py"))
    classes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {
        node.name
        for node in classes
        if any("register_keras_serializable" in ast.unparse(decorator) for decorator in node.decorator_list)
        and any(ast.unparse(base).endswith("Layer") for base in node.bases)
    }


def test_what_opens_runs_imports_every_layer():
    told = subprocess.run([sys.executable, "-c", OPENED], capture_output=True, text=True, check=True, timeout=300)
    registered = {name.rpartition(">")[2] for name in json.loads(told.stdout.splitlines()[-1])}
    assert {"HubLayer", "WhitenPlaces", "Regions"} <= layers()
    assert layers() - registered == set()
