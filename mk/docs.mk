# Types and documents: `make lint` checks the first, `make docs` builds the second.

.PHONY: lint-types docs
# Not over tests/: they hand over wrong types on purpose. What tests/typing/ asserts is checked.
lint: lint-types
lint-types: $(VENV)/.built $(VENV)/.types $(VENV)/.test $(VENV)/.docs
	@$(PY) -m mypy
	@MYPYPATH=bench $(PY) -m mypy --config-file= --cache-dir .mypy_cache/rest \
	  --explicit-package-bases --disable-error-code import-not-found bench tools
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV)/bin/pyright --pythonpath $(PY)
	@$(PY) -m mypy.stubtest ipcx --concise --mypy-config-file pyproject.toml \
	  --allowlist tests/typing/stubtest_allow.txt

# -W: a warning fails the build; -n: so does a reference that leads nowhere; -E: each time anew, for
# what was warned about once would not be warned about again.
docs: $(VENV)/.built $(VENV)/.docs ## build the API reference (Python and C) and the guides
	@$(PY) -m sphinx -E -W --keep-going -n -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: pictures
pictures: $(VENV)/.built ## make the README's pictures anew from the programs they show
	@$(PY) tools/pictures.py
