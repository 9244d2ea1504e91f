# Every target makes what it needs: on a machine that has only Python, `make demo` and `make test` just work.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Processes that run tests. Most tests wait for processes of their own, so that there may be more than processors;
# all of these read what one of them has compiled.
TESTERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test stress check bench torture adapters matrix mutate docs format clean

help:  ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/demo.stamp  ## The main job on real input: a shop with 26 tenants, on embedded SQLite
	@$(BIN)/python -m examples.shop

test: $(VENV)/dev.stamp  ## The whole suite; says what it had to skip and how to start it
	@PYTHONDONTWRITEBYTECODE='' $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal

stress: $(VENV)/dev.stamp  ## The suite with all that it has only a share of: kills on every database, random inputs and programs
	@TENANTJOBS_STRESS=20000 TENANTJOBS_EXAMPLES=10 $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal

check: $(VENV)/dev.stamp  ## Lint, format, types in two checkers, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tenantjobs adapters/tenantjobs_* examples/shop
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/dev.stamp  ## Measure the layer, and the database queue beside its peers: see docs/benchmarks.md
	@$(BIN)/python -m tests.benchmarks

torture: $(VENV)/dev.stamp  ## 50,000 jobs on each database while everything is killed; JOBS=5000 DATABASES="sqlite" SEED=7 MINUTES=10
	@$(BIN)/python -m tests.torture $(DATABASES) $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

adapters: $(VENV)/dev.stamp  ## The conformance kit on every queue, recorded in docs/adapters.md
	@$(BIN)/python -m tests.adapters_page

matrix: $(VENV)/dev.stamp  ## The suite on the oldest and the newest supported libraries, recorded in docs/adapters.md
	@TESTERS=$(TESTERS) $(BIN)/python -m tests.matrix

mutate: $(VENV)/dev.stamp  ## Take out code that docs/parity.md stands on, and see its tests fail; ROW=1a.12, MODULE=tenantjobs.waits
	@nice $(BIN)/python -m tests.mutate $(ROW) $(MODULE)

docs: $(VENV)/dev.stamp  ## Check that every code block and link of the documentation works
	@$(BIN)/python -m pytest tests/docs -q

format: $(VENV)/dev.stamp  ## Rewrite the sources as the linter wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what the other targets made
	rm -rf $(VENV) .venvs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit("tenantjobs needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/demo.stamp: $(VENV)/pip.stamp pyproject.toml
	@echo "installing what the demo needs ..."
	@$(BIN)/python -m pip install --quiet --editable ".[cli,db,sqlalchemy,postgres,mysql]" --group demo
	@touch $@

$(VENV)/dev.stamp: $(VENV)/pip.stamp pyproject.toml
	@echo "installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $@ $(VENV)/demo.stamp
