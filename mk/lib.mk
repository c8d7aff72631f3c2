# The C library without Python, and every build of the C tests: plain, with sanitizers, fuzzed.
# Everything goes to build/; objects are rebuilt when a header or this file changes.

CC ?= cc
CLANG ?= clang
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
DESTDIR ?=
LIB_VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
LIB_SOVERSION := 0
# Warnings are errors in CI only.
WERROR ?= $(if $(filter 1,$(IPCX_WERROR)),-Werror)

C_LAYERS := base os wire link pattern
C_CORE := $(sort $(wildcard $(C_LAYERS:%=csrc/%/*.c) $(C_LAYERS:%=csrc/%/*/*.c)))
C_TESTS := $(patsubst tests/c/%.c,%,$(sort $(wildcard tests/c/test_*.c)))
C_FUZZ := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
C_FLAGS = -std=c11 -D_GNU_SOURCE -Icsrc/include -Icsrc -fvisibility=hidden -pthread -MMD -MP \
          -Wall -Wextra -Wconversion -Wshadow $(WERROR)

# ---- the library

SO_REAL := libipcx.so.$(LIB_VERSION)
SO_NAME := libipcx.so.$(LIB_SOVERSION)
LIB_OBJECTS := $(C_CORE:%.c=build/lib/%.o)

# $(call ipcx_pc,prefix): the text of ipcx.pc
define ipcx_pc
printf '%s\n' 'prefix=$(1)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
  'Name: ipcx' 'Description: Every way two processes can talk: the C core' \
  'Version: $(LIB_VERSION)' 'Libs: -L$${libdir} -lipcx' 'Libs.private: -pthread' \
  'Cflags: -I$${includedir}'
endef

.PHONY: lib install
lib: build/lib/libipcx.a build/lib/$(SO_REAL) build/lib/ipcx.pc ## build libipcx.a, libipcx.so and ipcx.pc (no Python needed)

build/lib/%.o: %.c mk/lib.mk
	@mkdir -p $(@D)
	@$(CC) $(C_FLAGS) -fPIC $(CFLAGS) -c $< -o $@

build/lib/libipcx.a: $(LIB_OBJECTS)
	@rm -f $@
	@$(AR) rcs $@ $^

build/lib/$(SO_REAL): $(LIB_OBJECTS)
	@$(CC) -shared -pthread -Wl,-soname,$(SO_NAME) -Wl,-z,defs $(CFLAGS) $(LDFLAGS) $^ -o $@
	@ln -sf $(SO_REAL) build/lib/$(SO_NAME)
	@ln -sf $(SO_NAME) build/lib/libipcx.so

build/lib/ipcx.pc: mk/lib.mk pyproject.toml
	@mkdir -p $(@D)
	@$(call ipcx_pc,$(PREFIX)) > $@

install: lib ## install library, headers and ipcx.pc (PREFIX=/usr/local DESTDIR=)
	@install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/ipcx
	@install -m 644 build/lib/libipcx.a $(DESTDIR)$(PREFIX)/lib
	@install -m 755 build/lib/$(SO_REAL) $(DESTDIR)$(PREFIX)/lib
	@ln -sf $(SO_REAL) $(DESTDIR)$(PREFIX)/lib/$(SO_NAME)
	@ln -sf $(SO_NAME) $(DESTDIR)$(PREFIX)/lib/libipcx.so
	@install -m 644 csrc/include/ipcx/*.h $(DESTDIR)$(PREFIX)/include/ipcx
	@$(call ipcx_pc,$(abspath $(PREFIX))) > $(DESTDIR)$(PREFIX)/lib/pkgconfig/ipcx.pc

# ---- the C tests; tests/test_c.py runs the plain ones

# $(call c_variant,name,compiler,flags): build/c/NAME/test_X for each tests/c/test_X.c
define c_variant
.SECONDARY: $(C_CORE:%.c=build/c/$(1)/%.o) $(C_TESTS:%=build/c/$(1)/tests/c/%.o) $(C_FUZZ:%=build/c/$(1)/tests/fuzz/%.o)

build/c/$(1)/%.o: %.c mk/lib.mk
	@mkdir -p $$(@D)
	@$(2) $$(C_FLAGS) -Itests/c -DIPCX_TEST_ALLOC $(3) -c $$< -o $$@

build/c/$(1)/libcore.a: $(C_CORE:%.c=build/c/$(1)/%.o)
	@rm -f $$@
	@$(AR) rcs $$@ $$^

build/c/$(1)/test_%: build/c/$(1)/tests/c/test_%.o build/c/$(1)/libcore.a
	@$(2) $(3) -pthread $$^ -o $$@
endef

SANITIZE_ADDRESS := -fsanitize=address,undefined -fno-sanitize-recover=all
$(eval $(call c_variant,plain,$(CC),-O1 -g))
$(eval $(call c_variant,asan,$(CC),-O1 -g -fno-omit-frame-pointer $(SANITIZE_ADDRESS)))
$(eval $(call c_variant,tsan,$(CC),-O1 -g -fsanitize=thread))
$(eval $(call c_variant,clang,$(CLANG),-O1 -g))
# As it is shipped: allocations do not fail on demand.
SANITIZE_FUZZ := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
$(eval $(call c_variant,fuzz,$(CLANG),-UIPCX_TEST_ALLOC -O1 -g $(SANITIZE_FUZZ)))
-include $(shell find build/lib build/c -name '*.d' 2>/dev/null)

# $(call c_run,variant,prefix): runs them one after the other, to the end, and fails if one failed;
# in CI, if it does so twice, or a sanitizer or the clock has spoken: docs/adr/0021.
define c_run
@failed=; rm -f $(VENV)/.flaky-c-$(1); \
run() { timeout 300 env $(2) $$1 > $$1.log 2>&1; }; \
again() { test $$2 != 124 -a "$$IPCX_AGAIN" = 1 && ! grep -qE 'Sanitizer:|runtime error:' $$1.log && run $$1 && echo $$1 >> $(VENV)/.flaky-c-$(1); }; \
for test in $(C_TESTS:%=build/c/$(1)/%); do echo "$$test"; \
  run $$test || { status=$$?; cat $$test.log; again $$test $$status || failed="$$failed $$test"; }; \
done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }
endef

.PHONY: compiled ctests asan asan-c asan-py tsan valgrind fuzz
ctests: $(C_TESTS:%=build/c/plain/%) $(C_FUZZ:%=build/fuzz/replay/%)

# What CI compiles while pip gets the tools: about as much as that takes.
compiled: $(C_FUZZ:%=build/fuzz/%) $(C_TESTS:%=build/c/tsan/%)

# The kernel may place mappings where the sanitizers of some gcc do not expect them.
SETARCH = $(shell setarch $$(uname -m) -R true 2>/dev/null && echo setarch $$(uname -m) -R)

asan: asan-c asan-py ## run the C tests and the binding's under ASan and UBSan

asan-c: $(C_TESTS:%=build/c/asan/%)
	$(call c_run,asan,ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 $(SETARCH))

# The binding: a copy of the tree, so that the instrumented _core is nobody else's, and the real
# interpreter with the sanitizers preloaded. Leaks are the C tests' business: the interpreter keeps
# memory to its end. SIGBUS is not the sanitizer's: ipcx.mmap handles it (docs/adr/0009). Segments
# and locks have names for all of this machine, which the same tests beside would sweep: at night.
ASAN_TREE := build/asan/tree
ASAN_TESTS ?= $(filter-out tests/test_c.py tests/test_lib.py tests/test_install.py, \
                $(wildcard tests/test_status.py tests/test_socket*.py tests/test_faults*.py tests/test_core*.py tests/test_framing.py tests/test_channel*.py tests/test_signals.py tests/test_files.py tests/test_server.py tests/test_server_hostile.py tests/test_udp_channel.py tests/test_mmap.py) \
                $(if $(filter 1,$(IPCX_NIGHT)),tests/test_shared_memory.py tests/test_sync.py))
ASAN_ENV = PYTHONPATH="$(abspath $(ASAN_TREE))" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_sigbus=0 \
           UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 IPCX_HANG_GUARD=120 \
           IPCX_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)"

# What runs the suite once more, and what has an interpreter of its own: for the night.
ASAN_NOT ?= $(if $(filter 1,$(IPCX_NIGHT)),, \
              --deselect tests/test_socket_methods.py::test_the_whole_suite_through_methods \
              --deselect tests/test_faults_leaks.py::test_total_reference_count_is_flat)

asan-py: $(VENV)/.built $(VENV)/.test
	@mkdir -p $(ASAN_TREE)
	@tar --warning=no-file-changed -cf - --exclude='*.so' --exclude=__pycache__ \
	  $(wildcard csrc docs/vectors ipcx tests tools examples setup.py pyproject.toml README.md LICENSE mk Makefile) \
	  | tar -xf - -C $(ASAN_TREE)
	@cd $(ASAN_TREE) && CFLAGS="-O1 -g -fno-omit-frame-pointer $(SANITIZE_ADDRESS)" \
	  $(abspath $(PY)) setup.py -q build_ext --inplace --force
	@cd $(ASAN_TREE) && $(ASAN_ENV) $(SETARCH) $(CURDIR)/tools/test_part.sh $(abspath $(PY)) asan $(ASAN_TESTS) $(ASAN_NOT) $(ARGS)

tsan: $(C_TESTS:%=build/c/tsan/%) ## run the C tests under TSan
	$(call c_run,tsan,TSAN_OPTIONS=allocator_may_return_null=1 $(SETARCH))

valgrind: $(C_TESTS:%=build/c/plain/%) ## run the C tests under valgrind
	$(call c_run,plain,IPCX_VALGRIND=1 valgrind -q --leak-check=full --show-leak-kinds=definite \
	  --errors-for-leak-kinds=definite --error-exitcode=1 --child-silent-after-fork=yes)

# ---- fuzzing: libFuzzer needs clang; the corpus alone is replayed by tests/test_c.py without it

FUZZ_SECONDS ?= 20

build/fuzz/fuzz_%: build/c/fuzz/tests/fuzz/fuzz_%.o build/c/fuzz/libcore.a
	@mkdir -p $(@D)
	@$(CLANG) -fsanitize=fuzzer,address,undefined -pthread $^ -o $@

build/fuzz/replay/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c build/c/plain/libcore.a
	@mkdir -p $(@D)
	@$(CC) $(filter-out -MMD -MP,$(C_FLAGS)) -O1 -g $^ -o $@

fuzz: $(C_FUZZ:fuzz_%=build/fuzz/ran/%) ## fuzz each parser (FUZZ_SECONDS=20); needs clang
.PHONY: $(C_FUZZ:fuzz_%=build/fuzz/ran/%)
$(C_FUZZ:fuzz_%=build/fuzz/ran/%): build/fuzz/ran/%: build/fuzz/fuzz_%
	@mkdir -p build/fuzz/found/$*
	@build/fuzz/fuzz_$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	  -artifact_prefix=build/fuzz/$*- build/fuzz/found/$* tests/fuzz/corpus/$* \
	  > build/fuzz/$*.log 2>&1 || { tail -40 build/fuzz/$*.log; exit 1; }
	@echo "fuzz_$*, $(FUZZ_SECONDS) s:" $$(grep -E 'number_of_executed_units' build/fuzz/$*.log)
