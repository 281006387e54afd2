# The way in. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test ahead e2e bench generate fmt lock clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Begin with make demo; README.md says what it does. Needs Python 3.11 and Go."

setup: $(STAMP) ## Make the virtual environment

demo: $(STAMP) ## From nothing to real completions on a local cluster (ENGINE=sim for the simulator)
	$(BIN)/python -m e2e.demo --engine $(or $(ENGINE),vllm)

demo-down: $(STAMP) ## Remove all that `make demo` started
	$(BIN)/python -m e2e.demo --down

test: $(STAMP) ## Lint, types, imports, unit tests, contract tests against a real kube-apiserver
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m e2e.kind build helm control-plane prometheus promtool
	$(BIN)/pytest $(ARGS)

# In the order in which `make test` and `make e2e` ask for it.
ahead: $(STAMP) ## Build ahead what the tests take from the cache (CI does, beside the tests)
	$(BIN)/python -m e2e.kind build helm control-plane prometheus promtool
	$(BIN)/python -m e2e.kind build kind node prometheus-operator prometheus-config-reloader
	$(BIN)/python -m e2e.kind images operator worker prometheus vllm prometheus-operator prometheus-config-reloader

e2e: $(STAMP) ## Behaviour tests on a kind cluster (ARGS="--cluster=current" for your own)
	$(BIN)/pytest e2e $(ARGS)

bench: $(STAMP) ## Measure (BENCH=hop|gain|correctness|overload|scale|soak|autoscale ARGS="--quick --check")
	@test -f bench/$(or $(BENCH),hop)/__main__.py || { echo "There is no bench $(BENCH); make help names them, bench/README.md says what they show." >&2; exit 2; }
	$(BIN)/python -m bench.$(or $(BENCH),hop) $(ARGS)

generate: $(STAMP) ## Write what is made from code: CRDs, docs/api.md, docs/metrics.md, alerts, dashboards
	$(BIN)/python -m batchfleet_operator.crd --write .
	$(BIN)/python -m batchfleet_worker.metrics --write docs/metrics.md
	$(BIN)/python -m batchfleet_operator.rules --write .
	$(BIN)/python -m batchfleet_operator.dashboards --write .

fmt: $(STAMP) ## Format and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP) ## Pin the dependencies again, newest first (files that name no index)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile $(LOCK) --all-extras -o requirements-dev.txt requirements-dev.in operator/pyproject.toml worker/pyproject.toml
	$(BIN)/uv pip compile $(LOCK) -o requirements-build.txt requirements-build.in
	$(BIN)/uv pip compile $(LOCK) -o worker/requirements-build.txt worker/requirements-build.in
	$(BIN)/uv pip compile $(LOCK) -o operator/requirements.txt operator/pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --all-extras -o worker/requirements.txt worker/pyproject.toml
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## Remove the virtual environment and tool caches from the tree
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): requirements-dev.txt operator/pyproject.toml worker/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("batchfleet needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e operator -e worker
	@touch $@
