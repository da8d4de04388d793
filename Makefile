# The two commands a newcomer needs: `make search` and `make test`. Each installs what it needs into .venv.
# Another interpreter: make search PYTHON=python3.12. Another build of torch: install it into .venv first.
PYTHON ?= python3
# Tests run in as many processes as there are processors: make test JOBS=1 for one.
JOBS ?= logical
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
# Hundreds of processes load the same files: each file is compiled once.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: search check test lint format docs install clean

search: .venv/search.stamp
	$(BIN)/lrtune search

check: lint
	$(PYTEST) -m "not slow"

test: .venv/test.stamp
	$(PYTEST)

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/test.stamp
	$(BIN)/python docs/make.py

install: .venv/search.stamp

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/search.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) -e '.[bitnet,report]'
	@touch $@

.venv/test.stamp: .venv/search.stamp
	$(INSTALL) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv
