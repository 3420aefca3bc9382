# Two commands matter on a fresh machine: `make demo` and `make test`. Neither needs a variable set.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo demo-llm demo-cluster test faults fuzz lint bench figures install install-dev clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: install ## Explain and score every feature of examples/pystdlib, over REST, on this machine
	$(BIN)/glossator demo

demo-llm: install ## The same through a language model over HTTP: a scripted one that needs no key and often fails
	$(BIN)/glossator demo --llm fake

demo-cluster: install ## The same on PostgreSQL and Redis with many processes, two of them killed; FEATURES=0-99 makes it short
	$(BIN)/glossator demo --cluster $(if $(FEATURES),--features $(FEATURES))

# In the order of the files: sorted by the number of tests, those of whole clusters would come last, with nothing left to run beside them.
# Beside it ruff, mypy --strict and import-linter, which keep one processor busy for more than a minute: told at the end, and counted.
test: install-dev ## The whole suite, and what `make lint` does
	@told=$$(mktemp); $(MAKE) --no-print-directory lint >"$$told" 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder; suite=$$?; \
	wait $$lint; linted=$$?; cat "$$told"; rm -f "$$told"; \
	echo "tests: status $$suite, lint: status $$linted"; exit $$((suite ? suite : linted))

faults: install-dev ## The long form of the faults: every kind many times, as a table
	$(BIN)/python -m tests.faults

fuzz: install-dev ## The long form of the attacks: 10,000 changed files of weights, configs and tokenizers, 20,000 requests, as tables
	$(BIN)/python -m tests.security

lint: install-dev ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install-dev ## The benchmarks, as a table
	$(BIN)/python -m benches

figures: install-dev ## The held-out figures of the example's subject and dictionary
	$(BIN)/python -m examples.pystdlib.measure

install: $(VENV)/.installed ## What running Glossator needs

install-dev: $(VENV)/.installed-dev ## What working on Glossator needs

# torch goes first and pinned: a CPU build that lies at hand is taken, and nothing after it asks for another.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: install your system's venv package (Debian: python3-venv)" >&2; exit 1; }
	$(PIP) install -q -c constraints.txt $(TORCH)
	$(PIP) install -q -c constraints.txt -e '.[models,s3,otel]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[models,s3,otel,dev]'
	@touch $@

clean: ## Remove the environment and the local book
	rm -rf $(VENV) .glossator .mypy_cache .ruff_cache .pytest_cache .hypothesis
