# Each target makes the virtual environment it needs; python3 (3.11 or newer),
# its venv module and make are all that is assumed.
.DEFAULT_GOAL := all
.PHONY: all run test test-all chaos powercut acceptance check fix cover bench bench-check bench-keep build deb clean

PYTHON ?= python3
BIN := .venv/bin

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip --quiet --disable-pip-version-check install --upgrade 'pip>=25.1'
	$(BIN)/python -m pip --quiet install --editable . --group dev
	@touch $@

all: check test                       ## what CI runs

run: .venv/ready                      ## sink, relay and a few hundred events, live
	@$(BIN)/leanbase-relay demo

test: .venv/ready                     ## everything that is not slow
	$(BIN)/python -P -m pytest -m 'not slow'

test-all: .venv/ready                 ## everything, crash loops too
	$(BIN)/python -P -m pytest -m 'not acceptance'

acceptance: .venv/ready               ## the package on a Debian 12 that boots; as root, some minutes
	$(BIN)/python -P -m pytest -m acceptance tests/acceptance

check: .venv/ready                    ## format, lint, types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

fix: .venv/ready                      ## what the formatter and the linter can mend
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

chaos: .venv/ready                    ## a thousand kills under load; twelve minutes
	$(BIN)/python -m tests.chaos

powercut: .venv/ready                 ## 20 power cuts of an emulated machine; ten minutes
	$(BIN)/python -m tests.powercut $(if $(CUTS),--cuts $(CUTS))

cover: .venv/ready                    ## branch coverage, child processes included
	$(BIN)/coverage run -m pytest -m 'not acceptance' && $(BIN)/coverage combine --quiet && $(BIN)/coverage report

bench: .venv/ready                    ## the benchmarks, beside peers and bare limits: a table and JSON
	$(BIN)/python -m benchmarks run

bench-check: .venv/ready              ## a short run's ratios beside the kept ones: what fell by a fifth
	$(BIN)/python -m benchmarks check

bench-keep: .venv/ready               ## what bench-check reads and the documents show; 16 minutes
	$(BIN)/python -m benchmarks run --keep && $(BIN)/python -m benchmarks run --quick --rounds 3 --keep
	$(BIN)/python -m benchmarks growth && $(BIN)/python -m benchmarks docs

build: .venv/ready                    ## sdist and wheel, then the packaging tests
	$(BIN)/python -m build --no-isolation && $(BIN)/python -P -m pytest tests/packaging

deb: .venv/ready                      ## dist/leanbase-relay_*.deb, for Debian 12
	deb/build $(BIN)/python

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
