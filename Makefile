.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

help: ## Prints this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV) && $(PY) -m pip install -q setuptools pytest && touch $@

build: $(VENV)/.made
	$(PY) -m pip install -q --no-build-isolation -e .
