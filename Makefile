# Every target works on a fresh clone with Python 3.11 and make alone.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo test up lint bench docs lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# The stamp carries the lock's content, so a changed lock installs again and an unchanged one costs nothing.
$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.installed ## the whole loop on usecases/bikeshare (KEEP=1 leaves it running, ASK=1 waits for you)
	$(BIN)/mlops demo $(if $(KEEP),--keep) $(if $(ASK),--ask)

# journeys and kills wait a good part of their time: a third worker uses it on two cores
test: $(VENV)/.installed ## the whole test suite
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -q $(ARGS)

up: $(VENV)/.installed ## server, worker, service host and deployments for your own work, until Ctrl-C
	$(BIN)/mlops up

lint: $(VENV)/.installed ## ruff, mypy strict, import-linter, prefect.yaml
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/mlops lint

bench: $(VENV)/.installed ## the benchmarks, each beside its peer
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed ## generated pages: catalogue, schema of usecase.yaml, command reference
	$(BIN)/python -m docs.build

lock: ## resolve the dependencies anew into requirements.lock
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip compile pyproject.toml --extra alibi --extra dask --extra dev \
	  --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate --no-header -q -o requirements.lock

clean: ## remove what runs have left
	rm -rf .mlops build dist
