# Each target does its own set-up; the environment lives in .venv of this checkout.
SHELL := /bin/bash
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := dask ray rtl calibrate browser

.PHONY: demo test test-extras check bench accuracy calibrate-shipped docs examples lint clean
.DEFAULT_GOAL := demo

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "tapeout needs Python 3.11, 3.12 or 3.13; none of them is on the PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt src/tapeout/__init__.py | $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.core  ## the main job: the Jalapeno case, page in out/jalapeno/report.html
	@mkdir -p out/jalapeno
	$(BIN)/tapeout decide examples/jalapeno --out out/jalapeno/results --report out/jalapeno/report.html

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --warnings
	$(BIN)/lint-imports

test: $(VENV)/.dev lint  ## everything that must be green
	$(BIN)/pytest -q -n 2 --dist worksteal

check: $(VENV)/.dev  ## the quick part
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 -m "not slow" --dist worksteal

test-extras: $(VENV)/.dev  ## tests of the optional groups that can be installed here
	@$(BIN)/python tools/test_extras.py $(EXTRAS)

bench: $(VENV)/.dev  ## writes benchmarks/results.json; TRACES=folder of public traces for the simulator's
	$(BIN)/python benchmarks/run.py $(if $(TRACES),--traces "$(TRACES)") $(if $(PART),--part $(PART))

accuracy: $(VENV)/.dev  ## needs DATA=folder of measurements; writes docs/accuracy.md
	@test -n "$(DATA)" || { echo "make accuracy DATA=FOLDER: the folder of measurements is missing (docs/data.md says what it holds)"; exit 2; }
	$(BIN)/python benchmarks/accuracy.py "$(DATA)"

calibrate-shipped: $(VENV)/.dev  ## needs DATA=folder of measurements; fits again every constant that ships
	@test -n "$(DATA)" || { echo "make calibrate-shipped DATA=FOLDER: the folder of measurements is missing (docs/data.md says what it holds)"; exit 2; }
	$(BIN)/python tools/calibrate_shipped.py "$(DATA)"

docs: $(VENV)/.core  ## regenerates the generated pages
	$(BIN)/python tools/make_docs.py

examples: $(VENV)/.core  ## runs every example and writes its answer into its README
	$(BIN)/python tools/run_examples.py

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
