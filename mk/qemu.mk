# The C core on a machine of another kind: weaker memory order, its own CRC instructions. The
# distribution's cross compiler builds it for aarch64, qemu-user runs it. What qemu cannot do
# (ptrace, the kernel's own view of /proc) is skipped by name.

QEMU_CC ?= aarch64-linux-gnu-gcc
QEMU ?= qemu-aarch64
QEMU_PACKAGES := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
QEMU_ROOT ?= /usr/aarch64-linux-gnu
QEMU_SECONDS ?= 300
# A child there is a thread that shares its parent's memory until exec: groups and errors differ.
QEMU_NOT ?= test_spawn
QEMU_TESTS = $(filter-out $(QEMU_NOT),$(C_TESTS))

$(eval $(call c_variant,aarch64,$(QEMU_CC),-O2 -g))

.PHONY: qemu qemu-tools
qemu-tools:
	@command -v $(QEMU_CC) >/dev/null && command -v $(QEMU) >/dev/null || { \
	  echo "installing: $(QEMU_PACKAGES)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install -y --no-install-recommends $(QEMU_PACKAGES) >/dev/null; }

qemu: qemu-tools ## run the C tests on aarch64 under qemu-user (installs both: root, Debian)
	@$(MAKE) --no-print-directory $(QEMU_TESTS:%=build/c/aarch64/%)
	@failed=; for test in $(QEMU_TESTS:%=build/c/aarch64/%); do \
	  echo "$$test"; timeout $(QEMU_SECONDS) env IPCX_VALGRIND=1 IPCX_QEMU=1 $(QEMU) -L $(QEMU_ROOT) $$test > $$test.log 2>&1 \
	    || { cat $$test.log; failed="$$failed $$test"; }; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }
