"""A real command in a clean environment: its stderr has nothing of TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_command_that_loads_tensorflow_and_converts_says_nothing_of_it(module_folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "ABSL_"))}
    command = [sys.executable, "-m", "tlkit.cli", "inspect", str(module_folder("keras3_hub")), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("{")
