# The two commands a newcomer needs: `make search` and `make test`. Each installs what it needs into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: search test install clean

search: .venv/search.stamp
	$(BIN)/lrtune search

test: .venv/test.stamp
	$(BIN)/python -m pytest

install: .venv/search.stamp

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/search.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bitnet,report]'
	touch $@

.venv/test.stamp: .venv/search.stamp
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv
