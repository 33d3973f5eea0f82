# Each target does its own set-up; a second call installs nothing.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-long test-numeric test-slow test-oldest test-newest lint docs install bench clean

demo: install
	$(BIN)/tlkit demo

test: install
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not long"

# Whole runs of each task, module and method.
test-long: install
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "long and not slow"

# What rests on the processor: oneDNN is on by itself only where there is AVX-512 VNNI, and threads share out sums.
test-numeric: install
	TF_ENABLE_ONEDNN_OPTS=1 TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -q -m numeric
	TF_ENABLE_ONEDNN_OPTS=0 TF_NUM_INTRAOP_THREADS=2 $(BIN)/python -m pytest -q -m numeric

test-slow: install
	$(BIN)/python -m pytest -q -m slow

test-oldest:
	PYTHON=$(PYTHON) sh tests/oldest.sh

# Python 3.13 of the machine, or of Debian trixie in the user's cache folder (root and debootstrap).
test-newest:
	sh tests/newest.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, into site/: every page and public name, searchable, with nothing fetched when it is read.
docs: install
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; the search needs a server: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

bench: install
	$(BIN)/python benchmarks/image_two_phase.py
	$(BIN)/python benchmarks/phases.py
	$(BIN)/python benchmarks/kills.py

install: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m ensurepip --upgrade > /dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24" "setuptools>=77"
	PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@# Without tensorflow-text, which it asks for: with it loaded, no test sees what a module says that lacks it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "keras-hub>=0.32"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist site *.egg-info
