# Builds and proves the C engine, and drives the Python tools. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

CC := gcc
CLANG := clang
ARM_CC := aarch64-linux-gnu-gcc
QEMU := qemu-aarch64
# i8mm and dotprod; dotprod only; neither: together they walk the whole list of instruction sets.
ARM_CPUS := max neoverse-n1 cortex-a57

CFLAGS := $(or $(shell cat csrc/CFLAGS),$(error csrc/CFLAGS is missing))
WARNINGS := -Wall -Wextra -Werror
, := ,
SANITIZE := -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all

ENGINE := $(wildcard csrc/*.c csrc/ops/*.c csrc/kernels/*.c)
KERNELS := csrc/cpu.c csrc/dispatch.c csrc/pack.c $(wildcard csrc/kernels/*.c)
CHECKQ8 := $(KERNELS) $(wildcard csrc/check/check*.c) $(addprefix csrc/check/,memory.c random.c \
	report.c bench.c peak.c)
FUZZ := $(ENGINE) csrc/check/fuzz_plan.c
THREADS := $(ENGINE) csrc/check/test_threads.c

# $(call configuration,NAME,COMPILER,FLAGS): rules for build/NAME/*.o and its three programs.
define configuration
build/$(1)/%.o: csrc/%.c csrc/CFLAGS Makefile
	@mkdir -p $$(@D)
	$(2) $(CFLAGS) $(WARNINGS) $(3) -MMD -MP -c $$< -o $$@
build/$(1)/checkq8: $(CHECKQ8:csrc/%.c=build/$(1)/%.o)
	$(2) $(CFLAGS) $(3) $$^ -lm -o $$@
build/$(1)/fuzz_plan: $(FUZZ:csrc/%.c=build/$(1)/%.o)
	$(2) $(CFLAGS) $(3) $$^ -lm -o $$@
build/$(1)/test_threads: $(THREADS:csrc/%.c=build/$(1)/%.o)
	$(2) $(CFLAGS) $(3) $$^ -lm -o $$@
-include $$(wildcard build/$(1)/*.d build/$(1)/*/*.d)
endef
$(eval $(call configuration,gcc,$(CC),))
$(eval $(call configuration,clang,$(CLANG),))
$(eval $(call configuration,arm,$(ARM_CC),-static))
$(eval $(call configuration,asan,$(CC),$(SANITIZE) -fsanitize=address$(,)undefined$(,)float-cast-overflow))
$(eval $(call configuration,tsan,$(CC),$(SANITIZE) -fsanitize=thread))

help: ## this list
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([^:]+):.*## /\1\t/' | expand -t 16

# ---- C ----

check: build/gcc/checkq8 build/gcc/test_threads ## every kernel this CPU runs against the reference
	build/gcc/checkq8
	build/gcc/test_threads

check-clang: ## the same, compiled by clang without a warning
	@if type $(CLANG) >/dev/null 2>&1; then \
	    $(MAKE) --no-print-directory $(ENGINE:csrc/%.c=build/clang/%.o) build/clang/checkq8 && \
	    build/clang/checkq8; \
	else \
	    echo "check-clang: skipped, $(CLANG) is not installed"; \
	fi

check-arm: ## the same, cross-compiled for aarch64 and emulated as three CPUs
	@if type $(ARM_CC) $(QEMU) >/dev/null 2>&1; then \
	    $(MAKE) --no-print-directory build/arm/checkq8; \
	    for cpu in $(ARM_CPUS); do \
	        echo "$(QEMU) -cpu $$cpu build/arm/checkq8"; \
	        $(QEMU) -cpu $$cpu build/arm/checkq8; \
	    done; \
	elif [[ "$${CI:-}" == true ]]; then \
	    echo "check-arm: $(ARM_CC) and $(QEMU) are needed under CI=true"; \
	    exit 1; \
	else \
	    echo "check-arm: skipped, $(ARM_CC) or $(QEMU) is not installed" \
	        "(Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"; \
	fi

check-asan: build/asan/checkq8 build/asan/fuzz_plan build/asan/test_threads ## the same under ASan and UBSan, and hostile plans
	build/asan/checkq8
	build/asan/test_threads
	build/asan/fuzz_plan

check-tsan: build/tsan/test_threads ## the pool and the executor under ThreadSanitizer
	setarch -R build/tsan/test_threads

check-symbols: $(ENGINE:csrc/%.c=build/gcc/%.o) ## every global symbol of the engine begins with q8_
	@foreign=$$(nm -A --defined-only --extern-only $^ | grep -v ' q8_[a-z0-9_]*$$' || true); \
	if [[ -n "$$foreign" ]]; then echo "$$foreign"; exit 1; fi

bench-kernels: build/gcc/checkq8 ## kernels' speed: GOP/s, ratio to scalar, share of the peak
	build/gcc/checkq8 --bench

# ---- Python ----

PYTHON := $(firstword $(wildcard .venv/bin/python) python3)

.PHONY: ext
ext: ## the extension module, beside the Python sources
	$(PYTHON) setup.py -q build_ext --inplace
