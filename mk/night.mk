# The long version: what .ci/run does with its loads at full size, long fuzzing, and CPython 3.13
# of a newer Debian in a chroot, which needs root and debootstrap. NIGHT_FUZZ is seconds a target.
NIGHT_FUZZ ?= 1800

.PHONY: night
night: export IPCX_NIGHT = 1
night: export IPCX_HANG_GUARD = 120
night: ## the long version: full loads, sanitizers, long fuzzing, CPython 3.13 in a chroot
	@$(MAKE) --no-print-directory lint test
	@$(MAKE) --no-print-directory asan tsan valgrind chaos qemu
	@$(MAKE) --no-print-directory graders
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(NIGHT_FUZZ)
	@tools/night_chroot.sh

# Shared memory and kill -9. CHAOS is how often; CI does it a thousand times.
CHAOS ?= 10000

.PHONY: chaos
chaos: export IPCX_CHAOS = $(CHAOS)
chaos: build/c/plain/test_chan_shm build/c/plain/test_chan_shm_crash $(VENV)/.built $(VENV)/.test ## kill -9 either side of shm:// ten thousand times (CHAOS=10000)
	@for test in build/c/plain/test_chan_shm build/c/plain/test_chan_shm_crash; do \
	  echo "$$test"; timeout 1800 $$test > $$test.log 2>&1 || { cat $$test.log; exit 1; }; \
	done
	@IPCX_NIGHT=1 $(PY) -m pytest -q tests/test_channel_shm.py -k killed
