# Every command of a developer. `make demo` and `make test` need CPython >= 3.11 with its headers,
# a C compiler and make; whatever else they use they install into .venv. `make help` lists all.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install -q
C_FILES := $(shell find csrc -name '*.[ch]')
BUILD_INPUTS := $(C_FILES) setup.py pyproject.toml tools/build_checks.py
# What every make target passes on to pytest: make test ARGS="-k socket"
ARGS ?=

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort

# ---- the environment; each stamp is remade when what it stands for has changed

$(VENV)/.made: requirements/build.txt tools/build_checks.py
	@command -v $(PYTHON) >/dev/null || { echo "ipcx needs CPython 3.11 or newer and there is no \
	$(PYTHON): install it (Debian: \`apt-get install python3 python3-dev python3-venv\`)." >&2; exit 1; }
	@$(PYTHON) tools/build_checks.py
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements/build.txt
	@touch $@

$(VENV)/.built: $(VENV)/.made $(BUILD_INPUTS)
	@echo "building ipcx into $(VENV)"
	@$(PIP) --no-build-isolation --no-deps -e .
	@touch $@

# $(VENV)/.test, .lint, .dist: the tools of requirements/<name>.txt
$(VENV)/.%: requirements/%.txt $(VENV)/.made
	@echo "installing requirements/$*.txt into $(VENV)"
	@$(PIP) -r $<
	@touch $@

.PHONY: build
build: $(VENV)/.built

# ---- the two commands

.PHONY: demo test
demo: $(VENV)/.built ## build ipcx and run the lecture's programs: the tour
	@$(PY) -m ipcx tour $(ARGS)

test: $(VENV)/.built $(VENV)/.test ## run the whole test suite (ARGS="-k name" for a part)
	@$(PY) -m pytest $(ARGS)

# The same suite in parts that may run side by side: each waits more than it computes, has a folder
# for what it makes and looks at nobody else's. test-rest is whatever no other part has.
TEST_PARTS := contract lab notebooks
TEST_RUNS := $(TEST_PARTS:%=test-%) test-rest
.PHONY: $(TEST_RUNS)
$(TEST_RUNS): $(VENV)/.built $(VENV)/.test $(VENV)/.lab
$(TEST_PARTS:%=test-%): test-%:
	@tools/test_part.sh $(PY) $* tests/$* $(ARGS)
test-rest:
	@tools/test_part.sh $(PY) rest $(TEST_PARTS:%=--ignore=tests/%) $(ARGS)

# ---- form

.PHONY: fmt lint lint-format
FMT_PYTHON := $(wildcard bench docs examples ipcx tests tools) setup.py
fmt: $(VENV)/.lint ## format C and Python with the pinned formatters
	@$(VENV)/bin/clang-format -i $(C_FILES) $(wildcard tests/c/*.[ch] tests/fuzz/*.[ch])
	@$(VENV)/bin/ruff check -q --fix --select I $(FMT_PYTHON)
	@$(VENV)/bin/ruff format -q $(FMT_PYTHON)

lint: lint-format ## check form, types and stubs
lint-format: $(VENV)/.lint
	@$(VENV)/bin/ruff check -q $(FMT_PYTHON)
	@$(VENV)/bin/ruff format -q --check $(FMT_PYTHON)
	@$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES) $(wildcard tests/c/*.[ch] tests/fuzz/*.[ch])

# ---- the distribution

.PHONY: dist clean
dist: $(VENV)/.made $(VENV)/.dist ## build and check the sdist and the wheel
	@rm -rf dist
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 315532800)} \
	  $(PY) -m build -q --no-isolation
	@$(PY) -m twine check --strict dist/*
	@ls -l dist

clean: ## remove everything that was built, .venv too
	@rm -rf build dist $(VENV) *.egg-info ipcx/_core*.so docs/_build .pytest_cache .hypothesis .mypy_cache .ruff_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

include $(sort $(wildcard mk/*.mk))
