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

check: build/gcc/checkq8 ## every kernel of every instruction set that this CPU has, against the reference
	$<

bench-kernels: build/gcc/checkq8 ## kernels' speed: GOP/s, ratio to scalar, share of the peak
	$< --bench
