# The front door. Needs Python 3.11 to 3.13, make and a package index; everything goes into .venv.
VENV := .venv
BIN := $(VENV)/bin
CODE := src tests benchmarks scripts
export VENV
.DEFAULT_GOAL := help
.PHONY: help up install dev compiled test check check-format check-lint check-types check-layers check-tests \
	format reference bench site clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.* ## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: install  ## Install what is needed and start the service (ARGS="--port 9000")
	@exec $(BIN)/modu up $(ARGS)

install: $(VENV)/.core  ## Install without starting
dev: $(VENV)/.dev  ## Install with the tools of developers

# What is installed for developers holds what the service needs, so one stamp serves both.
$(VENV)/.core: requirements/core.lock pyproject.toml scripts/install
	@if [ -e $(VENV)/.dev ]; then scripts/install dev && touch $(VENV)/.dev; else scripts/install core; fi
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml scripts/install
	@scripts/install dev
	@touch $(VENV)/.core $@

compiled: dev  ## Translate the hot lane into machine code (needs a C compiler)
	@$(BIN)/python -m scripts.compiled

# All tests run on several processes, a few on one; tests/conftest.py says how many, and in which order.
SPREAD := $(if $(ARGS),,-n auto --dist loadscope --no-loadscope-reorder)
test: dev  ## Run the tests (ARGS="tests/store -x")
	@scripts/browser
	$(BIN)/python -m pytest $(SPREAD) $(WITHOUT) $(ARGS)

# `make -k check` goes on after a failure and still ends with one.
check: check-format check-lint check-types check-layers check-tests  ## Everything that must hold

check-format: dev
	$(BIN)/ruff format --check $(CODE)

check-lint: dev
	$(BIN)/ruff check $(CODE)

check-types: dev
	$(BIN)/mypy

check-layers: dev
	$(BIN)/lint-imports --no-logo

# Coverage is of the policy alone, by its own tests: to count lines costs all others a third of their time.
check-tests: WITHOUT := --ignore=tests/scheduling
check-tests: test
	$(BIN)/python -m pytest $(SPREAD) --cov --cov-report= tests/scheduling
	$(BIN)/coverage report --include='src/moduai/scheduling/*' --fail-under=100 --show-missing

format: dev  ## Put the code in its form
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

reference: dev  ## Write the pages of docs/reference and the files of deploy/monitoring anew
	$(BIN)/python -m scripts.reference
	$(BIN)/python -m scripts.monitoring

bench: dev  ## Measure the service (ARGS="--quick")
	$(BIN)/python -m benchmarks service $(ARGS)

site: dev  ## Run a whole site on this machine for three minutes, with parts that are killed
	$(BIN)/python -m benchmarks site $(ARGS)

clean:  ## Remove what was installed and cached; data in the home folder stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
