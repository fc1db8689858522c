# `make help` lists what there is. Every target sets up what it needs first; a set-up that is done takes no time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

ROOT := $(realpath $(dir $(lastword $(MAKEFILE_LIST))))
PYTHON_BIN := $(ROOT)/.venv/bin/python
# Pulumi's Python language host takes the virtual environment that is active: PATH and VIRTUAL_ENV.
export VIRTUAL_ENV := $(ROOT)/.venv
export PATH := $(ROOT)/.tools/bin:$(ROOT)/.venv/bin:$(PATH)

.PHONY: help setup demo test lint format types shell unit laws e2e flavours bench faults versions down clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' '$(ROOT)/Makefile'

setup: ## Debian packages, .venv, the Pulumi CLI (an installed one, or one built from source)
	@tools/setup.sh all

demo: ## the host in a box: preview, up, the verdict, how to look around
	@tools/setup.sh demo $(PYTHON_BIN) -m lab up
	@$(PYTHON_BIN) -m lab demo

test: ## everything: lint, types, shellcheck, all tests, end to end included
	@tools/test.sh

lint: ## ruff: rules and format
	@tools/setup.sh base
	@tools/check_python.sh lint

format: ## ruff: write the format and the fixes that are safe
	@tools/setup.sh base
	@$(PYTHON_BIN) -m ruff check --fix .
	@$(PYTHON_BIN) -m ruff format .

types: ## mypy, strict
	@tools/setup.sh base
	@tools/check_python.sh types

shell: ## shellcheck on every shell file
	@tools/setup.sh base
	@tools/check_shell.sh

unit: ## the fast tests: no Docker, no lab
	@tools/setup.sh base
	@$(PYTHON_BIN) -m pytest -m 'not e2e' $(wildcard tests/test_*.py) tests/documents tests/verdicts tests/components tests/host_programs \
	    tests/workstation tests/lab_unit

laws: ## the property tests, long and with random examples (a found one becomes an @example)
	@tools/setup.sh base
	@$(PYTHON_BIN) -m pytest -m law --hypothesis-profile=laws -n auto tests/documents tests/host_programs

e2e: ## the end-to-end tests on the lab
	@tools/setup.sh all
	@$(PYTHON_BIN) -m pytest tests/lab

flavours: ## the end-to-end tests on hosts of other kinds (lab/flavours.py); a part of e2e
	@tools/setup.sh all
	@$(PYTHON_BIN) -m pytest tests/lab/test_flavours.py --durations=0

bench: ## the speed table: by hand, pulumi up, preview, destroy, Synapse's outage, memory (RUNS=5 JSON=file BEFORE=file)
	@tools/setup.sh all
	@$(PYTHON_BIN) -m lab.bench --runs $(or $(RUNS),5) $(if $(JSON),--json '$(JSON)') $(if $(BEFORE),--before '$(BEFORE)')

faults: ## the table of runs killed at every resource boundary, and of mishaps (ONLY=word)
	@tools/setup.sh all
	@$(PYTHON_BIN) -m lab.faults --only '$(ONLY)'

versions: ## there and back on other versions of Postgres, Synapse and bridge: a table (ONLY="Postgres 14")
	@tools/setup.sh all
	@$(PYTHON_BIN) -m lab.versions --only '$(ONLY)'

down: ## the lab goes away: its containers, its network, its files
	@if [ -x '$(PYTHON_BIN)' ]; then $(PYTHON_BIN) -m lab down; else echo 'nothing is set up here'; fi

clean: down ## down, and everything that set-up put into this checkout
	@rm -rf .tools .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
