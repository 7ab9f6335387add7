# Everything stays inside this checkout: the virtual environment in .venv, caches in .cache.
PYTHON ?= python3
export XDG_CACHE_HOME := $(CURDIR)/.cache
export XDG_CONFIG_HOME := $(CURDIR)/.cache/config
RUN := .venv/bin/python -m

.PHONY: search test test-lowest mutants check lint types

search: .venv/installed
	$(RUN) nas.search +target=pixel1_small w=-0.15

test: .venv/installed
	$(RUN) pytest -n 2 --dist loadfile

# some 6 GB: the oldest torch comes with CUDA; deprecations are of what is newer than these versions
test-lowest:
	test -x .cache/lowest/bin/python || $(PYTHON) -m venv .cache/lowest
	.cache/lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[dev]'
	.cache/lowest/bin/python -m pytest -n 2 --dist loadfile -W ignore::DeprecationWarning

# which broken lines no test would notice: of all of the core, or of MODULE=nas/reward.py; MOST=50 of each
mutants: .venv/installed
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	$(RUN) tests.mutants $(MODULE) $(if $(MOST),--most $(MOST))

check: lint types test

lint: .venv/installed
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: .venv/installed
	$(RUN) pyright

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "error: Python 3.11, 3.12 or 3.13 is needed; say which with PYTHON=...")'
	@echo 'installing into .venv, which takes minutes'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
