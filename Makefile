# make demo and make test are all a newcomer needs; both make their own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
INSTALLED_FOR_TESTS := $(VENV)/installed-for-tests
SOURCES := pyproject.toml setup.py $(shell find analyzer -name '*.py' -o -name '*.sql' -o -name 'page.*')

.PHONY: demo test lint bench memory fuzz soak docs clean

demo: $(INSTALLED)
	$(BIN)/unmux sample_pcaps/demo.pcapng
	$(BIN)/unmux query sample_pcaps/demo.pcapng "SELECT protocol, operation, target, status, duration_ns // 1000 AS us FROM exchanges ORDER BY duration_ns DESC LIMIT 5"

test: $(INSTALLED_FOR_TESTS)
	$(BIN)/pytest -q -n 2

lint: $(INSTALLED_FOR_TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python bench/make_captures.py
	$(BIN)/python bench/run.py --unmux $(BIN)/unmux

memory: $(INSTALLED)
	$(BIN)/python bench/memory.py --unmux $(BIN)/unmux

fuzz: $(INSTALLED_FOR_TESTS)
	$(BIN)/python fuzz/run.py

soak: $(INSTALLED)
	$(BIN)/python bench/soak.py --unmux $(BIN)/unmux

docs: $(INSTALLED)
	$(BIN)/unmux tables --format markdown > docs/tables.md

$(INSTALLED): $(SOURCES)
	@echo "Installing into $(VENV); compiling takes a few minutes (UNMUX_PURE_PYTHON=1 does without)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(INSTALLED_FOR_TESTS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
