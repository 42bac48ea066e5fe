# Needs Python >= 3.11, make and a package registry; everything else is installed into .venv. The tests need
# PostgreSQL's programs too (on Debian and Ubuntu: apt-get install postgresql).
#   make demo | test | check | format | bench | nightly | mutants | chaos | clean      (PYTHON=python3.12, ARGS="-k sequence")

PYTHON  ?= python3
VENV    ?= .venv
ARGS    ?=
JOBS    ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo "$$((n + 1))")
NIGHTLY ?= 3.12 3.13

# The sandbox executes test modules again for each run: without their compiled form that takes longer than the run.
export PYTHONDONTWRITEBYTECODE :=

BIN     := $(VENV)/bin
CODE    := $(wildcard activities flows counterstep worker.py examples)
LINTED  := $(CODE) $(wildcard bench tests docker)

.PHONY: help .venv demo test check format bench nightly mutants chaos clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

.venv: $(VENV)/.made

# A file of its own tells a finished environment from one whose making was interrupted.
$(VENV)/.made: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Counterstep needs Python >= 3.11, and '$(PYTHON)' isn't: try 'make PYTHON=python3.12 ...'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'$(PYTHON)' has no venv: install it (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@[ -x $(BIN)/pip ] && [ "$$($(BIN)/python -V)" = "$$($(PYTHON) -V)" ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.made
	@$(BIN)/python -m examples.release.demo

test: $(VENV)/.made
	$(BIN)/python -m pytest -n $(JOBS) -m "not nightly" $(ARGS)

check: $(VENV)/.made
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/mypy $(CODE) bench
	$(BIN)/pyright --pythonpath $(BIN)/python $(CODE)

format: $(VENV)/.made
	$(BIN)/ruff format $(LINTED)
	$(BIN)/ruff check --fix $(LINTED)

# What bench/README.md tells of; a target that isn't met stops nothing (ARGS="--pairs 6 --large 0" is shorter).
bench: $(VENV)/.made
	$(BIN)/python -m bench $(ARGS)
	-$(BIN)/python -m bench.gateway
	-$(BIN)/python -m bench.sweeping

# The slow tests, and then the whole suite on each newer Python that is here.
nightly: $(VENV)/.made
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m nightly --timeout 3600 $(ARGS) || [ $$? -eq 5 ]
	@for version in $(NIGHTLY); do \
	  python=""; \
	  for found in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python; do \
	    if "$$found" -c 'import ensurepip, venv' 2>/dev/null; then python=$$found; fi; \
	  done; \
	  if [ -z "$$python" ]; then echo "nightly: no Python $$version here, left out"; continue; fi; \
	  echo "nightly: the suite on Python $$version"; \
	  $(MAKE) --no-print-directory test PYTHON="$$python" VENV=".venv-$$version" || exit 1; \
	done

# Small faults are put into the engine; the suite must catch every one (ARGS="pivot" tries those of that name).
mutants: $(VENV)/.made
	$(BIN)/python -m tests.mutants $(ARGS)

# Ten minutes of kills around 500 open sagas (ARGS="--sagas 100 --minutes 2 --seed 1").
chaos: $(VENV)/.made
	$(BIN)/python -m tests.chaos $(ARGS)

clean:
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
