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
SANITIZE := -O1 -g -fPIC -fno-omit-frame-pointer -fno-sanitize-recover=all -DQ8_BODIES_ONCE
# Of bodies that are not copied GCC does not know which parts of an array their callers use.
GCC_SANITIZE := $(SANITIZE) -Wno-maybe-uninitialized

ENGINE := $(wildcard csrc/*.c csrc/ops/*.c csrc/kernels/*.c)
KERNELS := csrc/cpu.c csrc/dispatch.c csrc/pack.c csrc/pack_places.c $(wildcard csrc/kernels/*.c)
CHECKQ8 := $(KERNELS) $(wildcard csrc/check/check*.c) $(addprefix csrc/check/,memory.c random.c \
	report.c bench.c peak.c)
PACKAGE := $(shell find src/q8tool -name '*.py')
FUZZ := $(ENGINE) $(wildcard csrc/check/fuzz*.c)
THREADS := $(ENGINE) csrc/check/test_threads.c

PYTHON_INCLUDE := .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))'

# $(call configuration,NAME,COMPILER,FLAGS): rules for build/NAME/*.o, its three programs, and the
# Python package with an extension of them.
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
build/$(1)/package: build/_q8.c $(ENGINE:csrc/%.c=build/$(1)/%.o) $(PACKAGE)
	rm -rf $$@ && mkdir -p $$@ && cp -r src/q8tool $$@ && rm -f $$@/q8tool/native/*.so
	$(2) $(CFLAGS) $(3) -fPIC -shared -Icsrc -I$$$$($(PYTHON_INCLUDE)) \
	    $$(filter %.c %.o,$$^) -lm -o $$@/q8tool/native/_q8.abi3.so
-include $$(wildcard build/$(1)/*.d build/$(1)/*/*.d)
endef
$(eval $(call configuration,gcc,$(CC),))
$(eval $(call configuration,clang,$(CLANG),))
$(eval $(call configuration,arm,$(ARM_CC),-static))
$(eval $(call configuration,asan,$(CC),$(GCC_SANITIZE) -fsanitize=address$(,)undefined$(,)float-cast-overflow))
$(eval $(call configuration,tsan,$(CC),$(GCC_SANITIZE) -fsanitize=thread))
$(eval $(call configuration,libfuzzer,$(CLANG),$(SANITIZE) -DQ8_LIBFUZZER \
	-fsanitize=fuzzer$(,)address$(,)undefined))

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

check-asan: $(addprefix build/asan/,checkq8 test_threads fuzz_plan) ## under ASan and UBSan, and hostile plans
	build/asan/checkq8
	build/asan/test_threads
	build/asan/fuzz_plan

# Without setarch -R, a kernel that randomizes addresses more than gcc 12 expects stops it.
check-tsan: build/tsan/test_threads ## the pool and the executor under ThreadSanitizer
	$$(setarch -R true 2>/dev/null && echo setarch -R) build/tsan/test_threads

build/_q8.c: csrc/q8.h build_ffi.py .venv/.package
	@mkdir -p build
	.venv/bin/python -c 'import build_ffi; build_ffi.ffibuilder.emit_c_code("$@")'

# What a sanitizer brings must be there before Python is. Python itself and numpy leave memory behind
# at the end, which is theirs.
sanitized = env LD_PRELOAD="$$($(CC) -print-file-name=lib$(1)san.so) $$($(CC) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0:allocator_may_return_null=1 \
	UBSAN_OPTIONS=print_stacktrace=1 \
	PYTHONPATH=$(CURDIR)/build/$(1)san/package Q8_TESTS_SANITIZED=1
ASAN_TESTS := tests/native tests/engine

test-asan: build/asan/package .venv/.stamp ## the engine's Python tests under ASan and UBSan
	$(call sanitized,a) .venv/bin/python -m pytest -p no:cacheprovider --timeout 6000 $(ASAN_TESTS)

# setarch: see check-tsan.
test-tsan: build/tsan/package .venv/.stamp ## eight threads, one session: under ThreadSanitizer
	$$(setarch -R true 2>/dev/null && echo setarch -R) $(call sanitized,t) Q8_TESTS_LONG=1 \
	    TSAN_OPTIONS=ignore_noninstrumented_modules=1 .venv/bin/python -m pytest \
	    -p no:cacheprovider --timeout 6000 tests/engine/test_long_life.py -k eight_threads

test-long: .venv/.stamp ## 10,000 sessions without growth, 8 threads with 1,000 runs each
	Q8_TESTS_LONG=1 .venv/bin/python -m pytest --timeout 6000 tests/engine/test_long_life.py

# Seconds for each fuzzer; what it finds stays in build/fuzz.
FUZZ_SECONDS := 60
# From nothing, libFuzzer takes an hour to plans of several steps: it begins with long noise.
fuzz_seeds = from random import Random; from pathlib import Path; noise = Random(1); \
	[Path("build/fuzz/seeds", str(n)).write_bytes(noise.randbytes(2048)) for n in range(1000)]
fuzz: fuzz-plan fuzz-files ## every fuzzer for FUZZ_SECONDS each, 60 unless told

fuzz-plan: ## hostile plans and kernels' drivers by libFuzzer, which learns from coverage
	@if echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | $(CLANG) -x c - \
	    -fsanitize=fuzzer,address -o /dev/null 2>/dev/null; then \
	    $(MAKE) --no-print-directory build/libfuzzer/fuzz_plan && \
	    mkdir -p build/fuzz/plans build/fuzz/seeds && $(PYTHON) -c '$(fuzz_seeds)' && \
	    build/libfuzzer/fuzz_plan build/fuzz/plans build/fuzz/seeds -max_len=2048 -len_control=0 \
	        -timeout=60 -verbosity=0 -print_final_stats=1 -max_total_time=$(FUZZ_SECONDS) \
	        -artifact_prefix=build/fuzz/; \
	else \
	    echo "fuzz-plan: skipped, $(CLANG) with libFuzzer is not installed"; \
	fi

fuzz-files: .venv/.stamp ## damaged models, photos and every other file that commands read
	.venv/bin/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) --keep build/fuzz

check-symbols: $(ENGINE:csrc/%.c=build/gcc/%.o) ## every global symbol of the engine begins with q8_
	@foreign=$$(nm -A --defined-only --extern-only $^ | grep -v ' _\?q8_[a-z0-9_]*$$' || true); \
	if [[ -n "$$foreign" ]]; then echo "$$foreign"; exit 1; fi

bench-kernels: build/gcc/checkq8 ## kernels' speed: GOP/s, ratio to scalar, share of the peak
	build/gcc/checkq8 --bench

# ---- Python ----

PYTHON := python3
PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
NATIVE := $(ENGINE) $(wildcard csrc/*.h csrc/*/*.h csrc/*/*.inc)

# What builds the package; pip 25.1 is the first that knows dependency groups.
.venv/bin/python:
	$(PYTHON) -m venv .venv

# Only what a user gets, so that a forgotten dependency shows. Compiles the engine in place; an
# environment that uv made has no pip.
.venv/.package: pyproject.toml setup.py build_ffi.py csrc/CFLAGS $(NATIVE) | .venv/bin/python
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip
	$(PIP) install --upgrade "pip>=25.1" setuptools cffi
	$(PIP) install --no-build-isolation --editable .
	@touch $@

# A package that is installed in place is compiled by nobody where Python may not write bytecode
# (PYTHONDONTWRITEBYTECODE): every process would then compile each module anew.
.venv/.bytecode: $(PACKAGE) | .venv/.package
	.venv/bin/python -m compileall -q src/q8tool
	@touch $@

# The tools of the `dev` group on top.
.venv/.stamp: .venv/.package .venv/.bytecode
	$(PIP) install --group dev
	@touch $@

ext: .venv/.package .venv/.bytecode ## compile the engine into src/q8tool/native

demo: .venv/.package ## the whole chain on drawn flowers, from an empty checkout
	.venv/bin/q8tool demo

test: check check-arm .venv/.stamp ## everything: C kernels here and emulated, then pytest
	.venv/bin/python -m pytest

lint: check-symbols check-text .venv/.stamp ## ruff, mypy, symbols, whitespace, generated pages
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/cog --check docs/cli.md

docs: .venv/.stamp ## write the generated pages anew
	.venv/bin/cog -r docs/cli.md
	.venv/bin/python -m tests.ops.operator_page

ARGS :=
bench: .venv/.stamp ## us, onnxruntime and OpenVINO side by side; ARGS="--help" says more
	.venv/bin/python -m bench.run $(ARGS)

# Tabs belong to Makefiles; every line ends without blanks and every file with a newline.
TEXT := ':(exclude)*.onnx' ':(exclude)*.png' ':(exclude)*.jpg' ':(exclude)*.npz'
check-text:
	@! git grep -nIP '[ \t]+$$' -- . $(TEXT)
	@! git grep -nIP '\t' -- '*.c' '*.h' '*.inc' '*.py' '*.md' '*.toml'
	@git ls-files -z -- . $(TEXT) | while IFS= read -r -d '' file; do \
	    if [[ -s "$$file" && -n "$$(tail -c1 "$$file")" ]]; then \
	        echo "$$file: no newline at the end"; exit 1; \
	    fi; \
	done

fmt: .venv/.stamp ## rewrite Python files in the house style
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

# zig is the linker: it knows the symbols of every glibc.
.venv/.wheel: .venv/.package
	$(PIP) install --group wheel
	@touch $@

wheel: .venv/.wheel ## dist/*.whl: x86-64 and aarch64, for every Linux with glibc 2.17 or newer
	.venv/bin/python tools/build_wheels.py

wheel-test: wheel ## this machine's wheel -> clean environment without the dev tools -> selftest, demo
	rm -rf build/wheel-test
	$(PYTHON) -m venv build/wheel-test
	build/wheel-test/bin/python -m pip --quiet install dist/q8tool-*_$$(uname -m).whl
	cd build/wheel-test && bin/q8tool selftest && bin/q8tool demo

# An aarch64 Python: FOLDER/python runs it, emulated. `make arm-python` unpacks one there.
ARM_PYTHON := build/arm-python
RECORDED := build/recorded
arm-python: .venv/.stamp ## an emulated aarch64 Python into ARM_PYTHON, by apt-get and pip
	.venv/bin/python tools/arm_python.py $(ARM_PYTHON)

# Machines of CI have none unless they are given one: the C kernels are emulated there all the same.
define with-arm-wheel
	@if [[ ! -x $(ARM_PYTHON)/python ]]; then \
	    echo "$@: skipped, no aarch64 Python in $(ARM_PYTHON) (make arm-python)"; \
	else \
	    $(MAKE) --no-print-directory .venv/.wheel && \
	    .venv/bin/python tools/build_wheels.py aarch64 --dist build/arm-wheel && \
	    rm -rf $(ARM_PYTHON)/site/q8tool && \
	    .venv/bin/python -m zipfile -e build/arm-wheel/*.whl $(ARM_PYTHON)/site && \
	    $(1); \
	fi
endef
# Every eight-bit model that a Session runs in these tests, with what it gave.
TESTS_OF_MODELS := tests/engine tests/pipelines/test_quantize_models.py

check-arm-python: .venv/.stamp ## every eight-bit model of the tests: emulated as three Arm CPUs, same bytes
	$(call with-arm-wheel,rm -rf $(RECORDED) && \
	    .venv/bin/python -m pytest -p tests.recorder --record $(RECORDED) $(TESTS_OF_MODELS) && \
	    for cpu in $(ARM_CPUS); do \
	        echo "QEMU_CPU=$$cpu $(ARM_PYTHON)/python -m tests.replay $(RECORDED)"; \
	        QEMU_CPU=$$cpu $(ARM_PYTHON)/python -m tests.replay $(RECORDED); \
	    done)

test-arm-python: .venv/.stamp ## the engine's Python tests emulated on Arm; takes most of an hour
	$(call with-arm-wheel,QEMU_CPU=neoverse-n1 $(ARM_PYTHON)/python -m pytest --timeout 6000 \
	    -p no:cacheprovider tests/native tests/numerics tests/engine)

sdist-test: .venv/.stamp ## source archive -> clean environment without the dev tools -> selftest
	rm -rf build/sdist
	.venv/bin/python -m build --sdist --outdir build/sdist
	$(PYTHON) -m venv build/sdist/venv
	build/sdist/venv/bin/python -m pip --quiet install build/sdist/*.tar.gz
	cd build/sdist && venv/bin/q8tool --help >/dev/null && venv/bin/q8tool selftest

clean: ## everything built, but not .venv
	rm -rf build dist src/*.egg-info src/q8tool/native/_q8.c src/q8tool/native/*.so .venv/.package

.PHONY: help check check-clang check-arm check-asan check-tsan test-asan test-tsan test-long check-symbols bench-kernels \
	fuzz fuzz-plan fuzz-files demo ext test lint docs bench check-text fmt wheel wheel-test \
	arm-python check-arm-python test-arm-python sdist-test clean
