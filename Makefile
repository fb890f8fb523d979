# Coinswarm on one machine. `make` lists the targets; each does its own set-up.
# Needs GNU make and Python 3.11, 3.12 or 3.13. No root, no Docker, no network beyond the package registry.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Of three workers two mostly wait: the one with the whole platform, and the one with the live ticks.
PARALLEL := --numprocesses 3 --dist loadfile --no-loadscope-reorder

# Without .pyc files every process of the platform would compile Airflow again.
unexport PYTHONDONTWRITEBYTECODE
# An active environment of the caller must not be mistaken for ours.
unexport VIRTUAL_ENV
export GX_ANALYTICS_ENABLED := False
export DO_NOT_TRACK := 1

##@ Start

.PHONY: demo
demo: setup ## Platform with sandbox providers, then a planner's table; no keys, no internet
	@$(BIN)/coinswarm up --demo

.PHONY: demo-down
demo-down: ## Stop the demo
	@$(call installed,down --demo)

.PHONY: up
up: setup ## Platform with the live keyless providers
	@$(BIN)/coinswarm up

.PHONY: down
down: ## Stop everything that `make up` started, and nothing else
	@$(call installed,down)

.PHONY: status
status: ## What runs (live; `make status ARGS=--demo` for the demo)
	@$(call installed,status $(ARGS))

.PHONY: logs
logs: ## End of the programs' logs (`make logs ARGS="airflow-scheduler --lines 200"`)
	@$(call installed,logs $(ARGS))

.PHONY: clean
clean: ## Stop live and demo, and delete their data folders (asks first; ARGS=--yes does not)
	@$(call installed,clean $(ARGS))
	@$(call installed,clean --demo $(ARGS))

##@ Work

.PHONY: setup
setup: $(INSTALLED) ## Virtual environment from the lock, with hashes; instant if nothing has changed

.PHONY: test
test: setup ## Every test tier, what takes longest first (`make test TESTS=tests/unit` for some)
ifdef TESTS
	@$(BIN)/python -m pytest $(TESTS)
else
	@$(BIN)/python -m pytest -q $(PARALLEL) tests/e2e tests/integration/ticks tests
endif

.PHONY: test-unit
test-unit: setup ## Pure logic and every source's promises: no server
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile tests/unit tests/contract

.PHONY: lint
lint: setup ## Style of Python and SQL, types, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd dbt_project && ../$(BIN)/sqlfluff lint models tests

.PHONY: check
check: lint test ## What must be green before a change is handed in

.PHONY: format
format: setup ## Rewrite the code in house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: generate
generate: setup ## Write again what is generated: dbt sources and staging models, the table of DAGs
	@$(BIN)/python -m coinswarm.orchestration.dbt_sources
	@$(BIN)/python -m coinswarm.orchestration.dag_inventory

.PHONY: bench
bench: setup ## Every figure beside its rival, one JSON line each
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: fuzz
fuzz: setup ## Coverage-guided fuzzing of the tick decoders (`make fuzz ARGS="okx --seconds 600"`)
	@$(BIN)/python -m tests.fuzz.decoders $(ARGS)

.PHONY: docs
docs: setup ## Render dbt docs and Data Docs of the running platform (`make docs ARGS=demo`)
	@$(BIN)/python -m coinswarm.local.documents $(ARGS)

.PHONY: lock
lock: ## Resolve requirements*.in again into the two locks
	@uv=$$(bash include/tools/uv.sh); \
	for name in requirements requirements-dev; do \
	  "$$uv" pip compile $$name.in --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-annotate --quiet -o $$name.txt; \
	done

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# Files, not targets for people.

$(INSTALLED): requirements-dev.txt pyproject.toml include/tools/uv.sh
	@bash include/tools/install.sh $(VENV)
	@touch $@

# A command that needs no set-up: without an installation nothing can be running.
installed = if [ -x $(BIN)/coinswarm ]; then $(BIN)/coinswarm $(1); else echo "nothing is installed yet: make setup"; fi
