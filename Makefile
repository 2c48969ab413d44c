# Every target does its own set-up first and says so; what is set up already costs a fraction of a second.
# Another Python: make PYTHON=python3.12 demo
.PHONY: help demo test test-all check lint types contract floor security style format bench bench-tuning corpus constraints stop-engine clean distclean
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
PYTHON ?= python3
ENVIRONMENT := $(PYTHON) tests/setup/environment.py
BIN := .venv/bin
TESTS ?= tests
PYTEST := $(BIN)/python -m pytest
PART := $(filter-out tests,$(TESTS))
# The whole suite makes the rest of what it needs beside its first tests.
SUITE := $(if $(PART),$(PYTEST),$(BIN)/python -m tests.suite)
NEEDED := $(if $(PART),awscli sagemaker2 sagemaker3)
READY := $(if $(PART),,sandbox postgres browser)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## train the digits example on this machine and show what came of it
	@$(ENVIRONMENT) demo
	@$(BIN)/python -m orchestrator.cli.demo

test: .venv-ready ## set this machine up and run the test suite, Docker tests included (TESTS=tests/unit for a part)
	@$(ENVIRONMENT) tensorflow trainers $(NEEDED)
	@$(BIN)/python -m tests.setup.prepare $(READY)
	$(SUITE) -m "not slow and not gpu and not aws" --durations=15 $(PART)

test-all: .venv-ready ## the test suite with every seed, full generators and long chaos
	@$(ENVIRONMENT) tensorflow trainers $(NEEDED)
	@$(BIN)/python -m tests.setup.prepare $(READY)
	$(SUITE) -m "not gpu and not aws" --timeout=3600 --durations=30 $(PART)

check: lint types contract floor security style ## all of the checks below (make -k check: also after one that fails)

lint: .venv-ready ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv-ready ## mypy, strict
	$(BIN)/mypy orchestrator containers/runtime/orchestrator_runtime tests jobs

contract: .venv-ready ## who may import whom
	PYTHONPATH=.:containers/runtime $(BIN)/lint-imports --no-logo

floor: .venv-ready ## the runtime needs nothing newer than Python 3.9
	$(BIN)/vermin -q --target=3.9- --violations --no-tips --eval-annotations containers/runtime

security: .venv-ready ## bandit
	$(BIN)/bandit -q -c pyproject.toml -r orchestrator containers jobs

style: .venv-ready ## file lengths, what the runtime and clients may import
	$(PYTEST) -q tests/style

format: .venv-ready ## rewrite the code in the project's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: .venv-ready ## speed beside bare processes, bare docker and TorchX (BENCH="--only job" for a part)
	@$(ENVIRONMENT) bench smdebug
	@$(BIN)/python -m tests.setup.prepare
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-tuning: .venv-ready ## how good the search is, beside chance, Optuna's default and BoTorch; goes on where it was interrupted (TUNING="--seeds 5" for a part)
	@$(ENVIRONMENT) botorch
	PYTHONPATH=.:containers/runtime OMP_NUM_THREADS=1 .venv-botorch/bin/python -m tests.benchmarks.tuning --searcher botorch $(TUNING)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.tuning $(TUNING)

corpus: .venv-ready ## score the debugger's rules on its labelled corpus (CORPUS="held --list" for a part)
	@$(ENVIRONMENT) tensorflow
	PYTHONPATH=.:containers/runtime .venv-tensorflow/bin/python -m tests.debugger_corpus --record --framework keras
	PYTHONPATH=.:containers/runtime $(BIN)/python -m tests.debugger_corpus $(CORPUS)

constraints: .venv-ready ## take the newest versions that fit together, and pin them
	$(BIN)/python -m tests.setup.pin

stop-engine: ## end the Docker engine that `make test` started, if it did
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m tests.setup.engine stop; fi

clean: ## remove what tools left, not the environments
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find orchestrator containers jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: stop-engine clean ## remove the environments too
	rm -rf .venv .venv-tensorflow .venv-trainers .venv-awscli .venv-sagemaker2 .venv-sagemaker3 .venv-bench .venv-botorch .venv-smdebug .venv*.lock

.PHONY: .venv-ready
.venv-ready:
	@$(ENVIRONMENT) dev
