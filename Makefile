# Each target sets itself up: .ci/setup makes .venv the first time and costs nothing afterwards.
PY := .venv/bin/python
JOBS ?= 2
OMP_NUM_THREADS ?= 1
export PYTHON OMP_NUM_THREADS
# pyright checks with the version in the lock and says nothing about newer ones.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint format lock wheel clean

help:  ## this list
	@echo "speechvq: learn units from recordings, speak them in another voice"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup:  ## make .venv and install the locked libraries and the project into it
	@sh .ci/setup

demo: setup  ## speak bundled recordings in every voice; writes outputs/demo/index.html
	@echo "== converting the bundled recordings into every voice of the shipped codec"
	@$(PY) -m speechvq demo

test: setup  ## the tests, without the slow ones (JOBS=2 at a time)
	@echo "== tests, $(JOBS) at a time"
	@$(PY) -m pytest -n $(JOBS) -m "not slow"

test-all: setup  ## all tests, slow ones too
	@$(PY) -m pytest -n $(JOBS)

lint: setup  ## style, format, types, floors: all of them, even when one fails
	@failed=0; \
	echo "== ruff: style"; $(PY) -m ruff check . || failed=1; \
	echo "== ruff: format"; $(PY) -m ruff format --check . || failed=1; \
	echo "== pyright: types"; $(PY) -m pyright || failed=1; \
	echo "== import-linter: floors"; $(PY) -c "from importlinter.cli import lint_imports_command as c; c()" || failed=1; \
	exit $$failed

format: setup  ## rewrite the files as ruff wants them
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

lock: setup  ## resolve pyproject.toml anew into requirements.lock (UPGRADE=1: newest of everything)
	@$(PY) -m uv pip compile pyproject.toml --extra dev --universal --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade) \
	    --quiet --output-file requirements.lock
	@! grep -nE '://|--(extra-)?index-url|--find-links' requirements.lock \
	    || { echo "requirements.lock must not name addresses" >&2; exit 1; }
	@echo "== requirements.lock: $$(grep -c '==' requirements.lock) libraries"

wheel: setup  ## dist/speechvq-*.whl, with settings and shipped codec inside
	@$(PY) -m build --wheel --no-isolation --outdir dist .

clean:  ## remove what make made here (not your data, outputs or runs)
	@rm -rf .venv dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info speechvq/kernels/_native.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "removed .venv, caches, dist/ and the compiled kernels"
