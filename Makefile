# Everything a developer does here. `make` alone lists it.
#
# Each target runs inside .venv, made on first use from pyproject.toml and constraints.txt and kept until one of
# them changes. The environment is complete (server, workers, tests, linters), so no target installs twice.
#
#   PYTHON=python3.12 make test                                          another interpreter (3.11 or newer)
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test   PyTorch without CUDA: some GB less on Linux

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
DATA ?= ./mnemolog-data
ARGS ?=

VENV := .venv
READY := $(VENV)/.ready
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo serve stack demo-stack test simulate kill load soak check bench docs site constraints clean

help: ## List the targets
	@if [ -t 1 ]; then bold=$$(printf '\033[1m'); plain=$$(printf '\033[0m'); else bold=; plain=; fi; \
	printf 'mnemolog: make TARGET [ARGS="…"]\n\n'; \
	sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)$$/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | \
	while IFS='	' read -r target text; do printf '  %s%-12s%s %s\n' "$$bold" "$$target" "$$plain" "$$text"; done

demo: $(READY) ## Watch the story: sessions, a conflict, memories, a search by meaning, the log behind it
	@$(PY) -m mnemolog.runtime.cli demo $(ARGS)

serve: $(READY) ## Start the embedded server (HOST=127.0.0.1 PORT=8080 DATA=./mnemolog-data)
	@$(PY) -m mnemolog.runtime.cli serve --host '$(HOST)' --port '$(PORT)' --data '$(DATA)' $(ARGS)

stack: $(READY) ## Start Kafka, Redis, two workers and a gateway on this machine, without Docker
	@$(PY) -m deploy.stack

demo-stack: $(READY) ## Watch the story on such a stack
	@$(PY) -m deploy.stack demo

test: $(READY) ## Run all tests that this machine can run (ARGS="-k guarantee_3_" for some)
	@$(PY) -m pytest tests $(ARGS)

simulate: $(READY) ## Live 20,000 simulated worlds of crashes, zombies, erasures (ARGS="--seed 17" for one)
	@$(PY) -m pytest tests/simulation --quiet --runs 20000 $(ARGS)

kill: $(READY) ## Kill every process of the distributed runtime under load, ten times each (ARGS="--runs 2 --only kafka")
	@$(PY) -m tests.killing $(ARGS)

load: $(READY) ## Let agents live with a server for a minute (ARGS="--runtime kafka --minutes 5 --rate 50 --report load")
	@$(PY) -m bench.load $(ARGS)

soak: $(READY) ## The same for 20 minutes: memory flat, no error; writes bench/soak.json and bench/soak.svg
	@$(PY) -m bench.load --minutes 20 --report bench/soak $(ARGS)

check: $(READY) ## Lint, format, types, spelling, import rules, generated docs: under 20 s
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m codespell_lib
	$(PY) -m pytest -q tests/unit/test_imports.py tests/unit/test_docs.py

bench: $(READY) ## Measure this machine (ARGS="--large" with a million facts, too)
	@$(PY) -m bench $(ARGS)

docs: $(READY) ## Regenerate the documents that are made from code
	@$(PY) -m mnemolog.runtime.docs $(ARGS)

site: $(READY) ## Build the documentation as a site, into build/site
	@$(PY) -m mnemolog.runtime.site build/pages
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict # with --quiet it would count no warnings
	@echo 'build/site/index.html'

constraints: $(READY) ## Resolve constraints.txt anew for every platform (ARGS=--upgrade takes newer versions)
	$(PY) -m uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev \
		--annotation-style line --custom-compile-command 'make constraints' --quiet -o constraints.txt $(ARGS)

clean: ## Remove the environment, caches and build results (never a data folder)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'pass' 2>/dev/null || { \
		echo "mnemolog needs Python 3.11 or newer; '$(PYTHON)' does not start. Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mnemolog needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo 'Making $(VENV): some minutes the first time, PyTorch is large.' >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --constraint constraints.txt --upgrade pip
	@$(PIP) install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable '.[all]' --group dev
	@touch $@
