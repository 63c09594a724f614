# Everything one does with a checkout. Each target makes its own .venv first, and reuses it while the locks stand still.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# How many files of tests run side by side; each process has its own servers. 0 for one after another.
TESTS_AT_ONCE ?= 2
# live or simulator, for `up` and `sql`.
EXCHANGE ?= live
# Arguments for pytest, the benchmarks, the soak or the demo, such as ARGS="-k gate" or ARGS="--seed 3".
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# Ours first, what the caller has put there after it.
RUN = PYTHONPATH="plugins$${PYTHONPATH:+:$$PYTHONPATH}" $(BIN)/python

.PHONY: help demo up down sql test lint check bench soak lock clean

help: ## Show this list
	@echo "Perpflow: Binance USD-M futures data, complete and verified. Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: $(VENV)/.runtime ## Load half a year of three symbols from a simulated exchange, end to end, and prove it whole
	@$(RUN) -m perpflow.embedded.demo $(ARGS)

up: $(VENV)/.runtime ## Start services and Airflow's UI (:8080) in the background; EXCHANGE=simulator for a simulated one
	@$(RUN) -m perpflow.embedded.local up --exchange $(EXCHANGE)

down: $(VENV)/.runtime ## Stop all that `make up` started; the data stays
	@$(RUN) -m perpflow.embedded.local down

sql: $(VENV)/.runtime ## A SQL prompt on the market database; EXCHANGE=simulator for the demo's
	@$(RUN) -m perpflow.embedded.local sql --exchange $(EXCHANGE)

test: $(VENV)/.development ## Run all tests; ARGS="-k gate" for some
	@$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadfile $(ARGS)

lint: $(VENV)/.development ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check: lint test ## What CI runs: lint and tests

bench: $(VENV)/.development ## Measure loading, memory and the gate against named baselines
	@$(RUN) -m benchmarks $(ARGS)

soak: $(VENV)/.development ## Kill processes and servers hundreds of times, then compare whole tables with the truth
	@$(RUN) -m soak $(ARGS)

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --no-emit-index-url --no-emit-find-links --universal
lock: $(VENV)/.development ## Resolve requirements*.in anew into requirements*.txt
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt

clean: ## Stop everything, then remove .venv and caches; collected data in .perpflow stays
	@if [ -x $(BIN)/python ]; then $(RUN) -m perpflow.embedded.local down; fi
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment

# Airflow 3.3 and the lock want Python 3.11 or 3.12; PYTHON=... names another one.
PYTHON ?= $(shell for name in python3.11 python3.12 python3 python /usr/bin/python3; do \
	command -v $$name >/dev/null 2>&1 && \
	$$name -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1 && \
	{ command -v $$name; break; }; done)

# Byte code is compiled here: where PYTHONDONTWRITEBYTECODE is set, every Airflow process would compile for half a minute.
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python

$(BIN)/uv:
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or 3.12 with venv found. On Debian or Ubuntu:" \
		"apt install python3 python3-venv; or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || { \
		echo "The package index can't be reached; the first run needs it (pip's settings apply)." >&2; exit 1; }

# uv knows nothing of pip's configuration; where the index is named there alone, pip does it, more slowly.
$(VENV)/.runtime: requirements.txt | $(BIN)/uv
	@echo "Installing requirements.txt; a minute or two the first time ..."
	@$(INSTALL) -r requirements.txt || $(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing requirements-dev.txt ..."
	@$(INSTALL) -r requirements-dev.txt || $(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@
