#!/bin/sh
# The tests at the lowest versions that pyproject.toml allows, in an environment of their own.
set -eu
cd "$(dirname "$0")/.."
folder=.venv-oldest
test -x $folder/bin/python || "${PYTHON:-python3.11}" -m venv $folder
$folder/bin/python -m pip install --quiet --disable-pip-version-check uv "setuptools>=77"
# The newest tensorflow-metadata, which TFDS asks for without a bound, wants a newer protobuf than TensorFlow 2.19 takes.
$folder/bin/uv pip install --quiet --python $folder/bin/python --resolution lowest-direct \
    --editable ".[dev]" "tensorflow-metadata>=1.17,<1.18"
$folder/bin/python -m pip list --format freeze | grep -iE "^(tensorflow|keras|numpy|ai.edge.litert|pillow|tyro)[=_-]" || true
exec $folder/bin/python -m pytest -q -n 2 --dist worksteal -m "not slow" "$@"
