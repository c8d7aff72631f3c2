# The long version of everything; it needs root for the chroot with a newer CPython.
# NIGHT_FUZZ: seconds for each fuzz target.
NIGHT_FUZZ ?= 1800
night: lint ## the long version: full loads, sanitizers, long fuzzing, CPython 3.13 in a chroot
	@$(MAKE) --no-print-directory test IPCX_NIGHT=1
	@$(MAKE) --no-print-directory $(filter asan tsan,$(NIGHT_EXTRA)) 
	@tools/night_chroot.sh
.PHONY: night
