# The long version: what .ci/run does with its loads at full size, long fuzzing, and CPython 3.13
# of a newer Debian in a chroot, which needs root and debootstrap. NIGHT_FUZZ is seconds a target.
NIGHT_FUZZ ?= 1800

.PHONY: night
night: export IPCX_NIGHT = 1
night: export IPCX_HANG_GUARD = 120
night: ## the long version: full loads, sanitizers, long fuzzing, CPython 3.13 in a chroot
	@$(MAKE) --no-print-directory lint test
	@$(MAKE) --no-print-directory asan tsan valgrind
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(NIGHT_FUZZ)
	@tools/night_chroot.sh
