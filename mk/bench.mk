# Benches against peers, in an environment of their own with ipcx installed as a user would.
BENCH_VENV := bench/.venv
BENCH_PY := $(BENCH_VENV)/bin/python
# Which benches: make bench BENCH=socket
BENCH ?= *

.PHONY: bench
bench: $(BENCH_VENV)/.ipcx ## measure against the peers (BENCH=socket ARGS="--quick"); bench/README.md
	@for file in bench/bench_$(BENCH).py; do $(BENCH_PY) $$file $(ARGS) || exit; done

$(BENCH_VENV)/.made: requirements/build.txt bench/requirements.txt
	@echo "making $(BENCH_VENV)"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_PY) -m pip --disable-pip-version-check install -q -r requirements/build.txt \
	  -r bench/requirements.txt
	@touch $@

$(BENCH_VENV)/.ipcx: $(BENCH_VENV)/.made $(BUILD_INPUTS) $(wildcard ipcx/*.py)
	@echo "installing ipcx into $(BENCH_VENV)"
	@$(BENCH_PY) -m pip --disable-pip-version-check install -q --no-build-isolation --no-deps \
	  --force-reinstall .
	@touch $@
