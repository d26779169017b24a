# Everything a person or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
PYTHON := $(BIN)/python
VENV := .venv/.done
UV_VERSION := 0.13.9
CLUSTER_NAME ?= drqueue
export CLUSTER_NAME

.PHONY: help
help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- use ---------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)  ## A Kubernetes, the images, the chart, the example job: frames land in out/.
	$(PYTHON) -m devcluster.demo

.PHONY: test
test: check cluster test-unit test-api test-e2e test-alone  ## All tests: pure, on a real API server, end to end.

.PHONY: bench
bench: $(VENV)  ## Measure against peers: a table, and out/bench.json.
	$(PYTHON) -m devcluster packages
	$(PYTHON) -m bench

# --- cluster and images ------------------------------------------------------------------------

.PHONY: cluster cluster-down images
cluster: $(VENV)  ## Start a cluster (CLUSTER=existing|kind|local) with the images in it.
	$(PYTHON) -m devcluster up --name $(CLUSTER_NAME) --images

cluster-down: $(VENV)  ## Stop that cluster and remove all it put on this machine.
	$(PYTHON) -m devcluster down --name $(CLUSTER_NAME)

images: $(VENV)  ## Build the images and load them into the cluster.
	$(PYTHON) -m devcluster images --name $(CLUSTER_NAME)

# --- checks and tests --------------------------------------------------------------------------

.PHONY: check
check: $(VENV)  ## Style, types, the rooms' arrows, generated files, the chart: at each commit.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy operator devcluster helm bench tests
	$(BIN)/lint-imports
	$(PYTHON) -m drqueue.api.crds crds --chart helm/drqueue-operator/templates/crds --check
	$(PYTHON) -m drqueue.api.docs docs/reference.md --check
	$(PYTHON) -m drqueue.cli.docs docs/cli.md --check
	$(PYTHON) helm/values.py --check
	$(PYTHON) -m devcluster build helm
	$(PYTHON) -m helm.chart

.PHONY: test-unit test-api test-e2e test-alone
test-unit: $(VENV)
	$(PYTHON) -m devcluster packages
	$(PYTHON) -m devcluster build helm
	$(BIN)/pytest tests/unit -q -n 2

test-api: $(VENV)
	$(BIN)/pytest tests/api -q -n 2 --dist loadfile

test-e2e: cluster  # Blender's image takes longer to build than a test may last
	$(PYTHON) -m devcluster images --name $(CLUSTER_NAME) --target slave-blender
	$(BIN)/pytest tests/e2e -q -m "not alone" -n 3

test-alone: $(VENV)
	$(BIN)/pytest tests/e2e -q -m alone

# --- generated files ---------------------------------------------------------------------------

.PHONY: crds docs chart-schema format lock
crds: $(VENV) docs chart-schema  ## Write what is generated from the models: CRDs, docs, schema.
	$(PYTHON) -m drqueue.api.crds crds --chart helm/drqueue-operator/templates/crds

docs: $(VENV)
	$(PYTHON) -m drqueue.api.docs docs/reference.md
	$(PYTHON) -m drqueue.cli.docs docs/cli.md

chart-schema: $(VENV)
	$(PYTHON) helm/values.py

format: $(VENV)  ## Put the code in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)  ## Pin the libraries anew.
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate -q pyproject.toml \
	  --python-version 3.11 -o requirements.lock
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate -q pyproject.toml \
	  --extra dev -c requirements.lock --python-version 3.11 -o requirements-dev.lock
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate -q requirements-build.in \
	  --python-version 3.11 -o requirements-build.lock
	$(BIN)/uv pip compile --generate-hashes --no-header --no-annotate -q bench/peers/requirements.in \
	  --python-version 3.11 -o bench/peers/requirements.lock

$(VENV): requirements-dev.lock pyproject.toml
	python3 -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/uv pip install -q --no-deps -e .
	touch $@
