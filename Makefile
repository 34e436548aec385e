# Everything here runs in a virtual environment of its own, which the first call makes. All that
# has to be there is make and Python 3.11 or newer.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
# Processes that the tests run in.
WORKERS ?= 2
# More arguments for the tool that a target runs: make test ARGS="-k ramp".
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet

# The tests start many processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test minimum lint format types layers docs fresh figures bench build check clean
# A recipe that fails leaves no stamp behind.
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.installed  ## real images the whole way: write, open, select, compute, write, check
	$(BIN)/omezarr demo $(ARGS)

test: $(VENV)/.test  ## the test suite, with the doctests of the package
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

minimum: $(VENV)-minimum/.minimum  ## the test suite on the oldest releases that pyproject.toml allows
	$(VENV)-minimum/bin/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(VENV)/.lint  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.lint  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.lint $(VENV)/.test $(VENV)/.docs  ## mypy, strict, on the package and its tests
	$(BIN)/mypy $(ARGS)

layers: $(VENV)/.lint  ## import-linter: the floors of the house
	$(BIN)/lint-imports

docs: $(VENV)/.docs  ## the documentation, its pages executed, without a warning, its links checked
	@# Pages of names that are gone.
	rm -rf docs/generated
	$(BIN)/python -m sphinx -W -n --keep-going -b html docs docs/_build/html $(ARGS)
	$(BIN)/python docs/check_links.py docs/_build/html

fresh: $(VENV)/.python  ## the lines of README and the start page, one by one, on the built wheel in a new environment
	$(BIN)/python docs/try_pages.py README.md docs/start.md $(ARGS)

figures: $(VENV)/.docs  ## the pictures of README and guide, from the code that stands beside them
	$(BIN)/python docs/make_figures.py $(ARGS)

bench: $(VENV)-bench/.bench  ## the benchmarks, as tables (ARGS="--bench Write", ARGS="--slow --rounds 5 --bench Peers")
	$(VENV)-bench/bin/python asv_bench/run.py $(ARGS)

build: $(VENV)/.build  ## wheel and sdist, in dist/
	$(BIN)/python -m build $(ARGS)

check: lint types layers docs test  ## all that has to hold before a change is ready

clean:  ## remove what the targets above have made
	rm -rf $(VENV) $(VENV)-bench $(VENV)-minimum build dist docs/_build docs/jupyter_execute docs/generated \
		.mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis asv_bench/.asv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed, a stamp each. They all start over when pyproject.toml changes.

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than Python 3.11; name another: make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@# 25.1 is the first pip that knows dependency groups.
	$(INSTALL) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.python
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(INSTALL) --editable '.[remote]' --group test --group oracles
	@touch $@

# The other packages, whose readers and writers ours has to agree with, need newer releases.
$(VENV)-minimum/.minimum: pyproject.toml $(VENV)/.python
	"$(PYTHON)" -m venv $(VENV)-minimum
	$(VENV)-minimum/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*(d.replace(">=", "==") + ".*" for d in project["dependencies"]), sep="\n")' \
		> $(VENV)-minimum/constraints.txt
	$(VENV)-minimum/bin/python -m pip install --quiet --constraint $(VENV)-minimum/constraints.txt \
		--editable . --group test
	@touch $@

# The other packages that ours is measured against, which nothing else shall depend on.
$(VENV)-bench/.bench: pyproject.toml $(VENV)/.python
	"$(PYTHON)" -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)-bench/bin/python -m pip install --quiet --editable '.[fast]' --group bench
	@touch $@

$(VENV)/.lint $(VENV)/.docs $(VENV)/.build: $(VENV)/.%: $(VENV)/.installed
	$(INSTALL) --group $*
	@touch $@
