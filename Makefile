# make run   install everything, then do the main job on data/landing (a demo agency when it is empty)
# make dev   the Dagster UI on the same instance, http://127.0.0.1:3000
# make test  install everything, run all tests with coverage
# make check lint, types, import contracts, doctests, definitions validation, tests
PYTHON ?= python3.11
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
EXTRAS ?= dev,alibi,text,text-large,robustness,onnx
PYTEST_ARGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export DAGSTER_HOME ?= $(CURDIR)/data/dagster
export MPLCONFIGDIR ?= $(CURDIR)/data/cache/matplotlib
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run dev test check lint types contracts doctest definitions install clean

install: $(STAMP)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS)]'
	@touch $@

# dagster dev and the daemon read .env, so that they find the instance that `make run` wrote to.
.env:
	@printf 'DAGSTER_HOME=%s\nWITHIN_HOME=%s\n' '$(DAGSTER_HOME)' '$(CURDIR)/data' > .env.tmp && mv .env.tmp .env

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(DAGSTER_HOME) $(MPLCONFIGDIR)
	@cp dagster.yaml $@.tmp && mv $@.tmp $@

run: $(STAMP) .env $(DAGSTER_HOME)/dagster.yaml
	@$(BIN)/within run

dev: $(STAMP) .env $(DAGSTER_HOME)/dagster.yaml
	$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1

# A thread a worker: two workers with two threads each get in each other's way.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

doctest: $(STAMP)
	$(BIN)/python -m pytest -q --doctest-modules --ignore=within_pipelines/database/migrations within_pipelines

definitions: $(STAMP) .env $(DAGSTER_HOME)/dagster.yaml
	$(BIN)/dagster definitions validate --workspace workspace.yaml

check: lint types contracts doctest definitions test

clean:
	rm -rf data/landing data/lake data/artifacts data/dagster data/cache data/within.db* data/truth.json .env
