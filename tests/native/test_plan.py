"""The binding and the life of a plan: errors, bounds, threads, forks."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from q8tool.errors import NativeError, UsageError
from q8tool.native import (
    Plan,
    cpu_name,
    isa_active,
    isa_available,
    isa_names,
    selftest,
    selftest_gops,
)
from q8tool.native._q8 import ffi, lib
from tests.native.one_step import ISAS, Array

RESIDENT = Path("/proc/self/statm")
DOUBLE = np.minimum(2 * np.arange(256), 255).astype(np.uint8)


def doubling_plan(count: int, steps: int = 3) -> Plan:
    """x -> table -> ... -> y over a bound input and output, intermediates in the arena."""
    plan = Plan()
    ids = [plan.tensor(np.uint8, [count], None)]
    step_bytes = (count + 63) // 64 * 64
    ids += [plan.tensor(np.uint8, [count], i * step_bytes) for i in range(steps - 1)]
    ids.append(plan.tensor(np.uint8, [count], None))
    for x, y in pairwise(ids):
        plan.table(x, y, DOUBLE)
    plan.finish(step_bytes * steps)
    return plan


def run_doubling(plan: Plan, count: int, threads: int = 1) -> None:
    x = np.arange(count, dtype=np.uint8) % 30
    y = np.zeros(count, np.uint8)
    plan.run([x, y], threads=threads)
    np.testing.assert_array_equal(y, 8 * x)


# ---- instruction sets ----


def test_scalar_is_always_there() -> None:
    assert isa_names()[0] == "scalar"
    assert isa_available("scalar")
    assert not isa_available("no such set")
    assert cpu_name()


def test_plan_says_what_it_uses() -> None:
    for isa in ISAS:
        with Plan(isa) as plan:
            assert plan.isa == isa
    with Plan() as plan:
        assert plan.isa == isa_active()


def test_unknown_isa_is_a_usage_error_with_a_list() -> None:
    with pytest.raises(UsageError, match="'sse9' is unknown") as caught:
        Plan("sse9")
    assert "scalar" in caught.value.hint


def python(code: str, **environment: str) -> str:
    """What a new Python process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_environment_lowers_the_choice() -> None:
    code = "from q8tool.native import isa_active; print(isa_active())"
    assert python(code, Q8_ISA="scalar") == "scalar"


def test_environment_with_an_unknown_set_is_an_error() -> None:
    code = (
        "from q8tool import native\n"
        "from q8tool.errors import UsageError\n"
        "try: native.Plan()\n"
        "except UsageError as error: print(error)"
    )
    assert "Q8_ISA" in python(code, Q8_ISA="sse9")


@pytest.mark.parametrize("isa", ISAS)
def test_selftest(isa: str) -> None:
    assert selftest(isa, seed=7) > 100
    assert selftest_gops(isa, 5) > 0


# ---- tensors and places ----


def test_tensors_are_checked() -> None:
    with Plan() as plan:
        assert plan.tensor(np.uint8, [2, 3], 0) == 0
        assert plan.constant(np.zeros(3, np.float32)) == 1
    bad: list[tuple[str, Callable[[Plan], object]]] = [
        ("not a multiple of 64", lambda p: p.tensor(np.uint8, [4], 32)),
        ("not a multiple of 64", lambda p: p.tensor(np.uint8, [4], -64)),
        ("rank 9", lambda p: p.tensor(np.uint8, [1] * 9, 0)),
        ("impossible size", lambda p: p.tensor(np.uint8, [-1], 0)),
        ("impossible size", lambda p: p.tensor(np.float32, [2**40, 2**40], 0)),
        ("impossible size", lambda p: p.tensor(np.float32, [2**62], 0)),
        ("impossible size", lambda p: p.tensor(np.uint8, [2**47 + 1], 0)),
        ("impossible size", lambda p: p.tensor(np.uint8, [0, 2**40, 2**40], 0)),
        ("no type complex64", lambda p: p.tensor(np.complex64, [4], 0)),
        ("no type complex64", lambda p: p.constant(np.zeros(4, np.complex64))),
    ]
    for problem, add in bad:
        with Plan() as plan, pytest.raises(NativeError, match=problem):
            add(plan)


def test_memory_is_not_touched_before_the_arena_is_checked() -> None:
    if not RESIDENT.exists():
        pytest.skip("resident memory is read from /proc")
    before = resident_bytes()
    with Plan() as plan:
        a = plan.tensor(np.uint8, [1, 1, 16384], 0)
        b = plan.tensor(np.uint8, [1, 16384, 32768], 0)
        y = plan.tensor(np.uint8, [1, 1, 32768], 2**30)
        plan.matmul(a, b, y, a_zero_point=0, b_zero_point=0, multiplier=1.0)
        assert plan.bytes > 2**29
        assert resident_bytes() - before < 2**27
        with pytest.raises(NativeError, match="outside the arena"):
            plan.finish(2**20)


def resident_bytes() -> int:
    return int(RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("add", ["conv", "matmul", "conv_f32", "pool", "binary", "copy", "resize"])
def test_missing_descriptor(add: str) -> None:
    with Plan() as plan:
        function = getattr(lib, f"q8_plan_add_{add}")
        assert function(plan._handle, ffi.NULL) == lib.Q8_ERROR_ARGUMENT
        assert b"no descriptor" in ffi.string(lib.q8_plan_error(plan._handle))


@pytest.mark.parametrize("offset", [64, 128, 2**40])
def test_tensor_outside_the_arena(offset: int) -> None:
    with Plan() as plan:
        plan.tensor(np.uint8, [65], offset)
        with pytest.raises(NativeError, match="outside the arena"):
            plan.finish(128)


def test_tensor_that_ends_with_the_arena() -> None:
    with Plan() as plan:
        plan.tensor(np.uint8, [64], 64)
        plan.finish(128)


def test_constants_cannot_be_written() -> None:
    with Plan() as plan:
        x = plan.tensor(np.uint8, [4], None)
        y = plan.constant(np.zeros(4, np.uint8))
        with pytest.raises(NativeError, match="constant"):
            plan.table(x, y, DOUBLE)


def test_constants_are_copies() -> None:
    values = np.arange(5, dtype=np.uint8)
    y = np.zeros(5, np.uint8)
    with Plan() as plan:
        plan.table(plan.constant(values), plan.tensor(np.uint8, [5], None), DOUBLE)
        values[:] = 99
        plan.finish(0)
        plan.run([y])
    assert y.tolist() == [0, 2, 4, 6, 8]


def test_first_failure_sticks() -> None:
    with Plan() as plan:
        with pytest.raises(NativeError, match="no tensor 5"):
            plan.table(5, 6, DOUBLE)
        with pytest.raises(NativeError, match="no tensor 5"):
            plan.finish(0)


# ---- order of calls ----


def test_order_of_calls() -> None:
    with Plan() as plan:
        with pytest.raises(NativeError, match="not finished"):
            plan.run([])
        plan.finish(0)
        with pytest.raises(NativeError, match="finished"):
            plan.tensor(np.uint8, [4], 0)


def test_closed_plan() -> None:
    plan = doubling_plan(10)
    plan.close()
    plan.close()
    with pytest.raises(NativeError, match="closed"):
        run_doubling(plan, 10)


def test_steps_are_counted() -> None:
    with Plan() as plan:
        x, y = (plan.tensor(np.uint8, [4], None) for _ in range(2))
        assert plan.table(x, y, DOUBLE) == range(1)
        assert plan.table(x, y, DOUBLE) == range(1, 2)
        assert plan.step_name(0)
        for step in (-1, 2):
            with pytest.raises(NativeError, match="no step"):
                plan.step_name(step)
        assert plan.bytes >= 512


# ---- bound tensors ----


def test_bound_arrays_are_checked() -> None:
    with doubling_plan(10) as plan:
        x, y = np.zeros(10, np.uint8), np.zeros(10, np.uint8)
        wrong: dict[str, Sequence[Array]] = {
            "1 arrays bound, not 2": [x],
            "bound tensor 1": [x, np.zeros(11, np.uint8)],
            "bound tensor 0": [np.zeros(10, np.int8), y],
            "contiguous": [np.zeros(20, np.uint8)[::2], y],
        }
        for problem, bound in wrong.items():
            with pytest.raises(NativeError, match=problem):
                plan.run(bound)
        fixed = np.zeros(10, np.uint8)
        fixed.flags.writeable = False
        with pytest.raises(NativeError, match="bound tensor 1"):
            plan.run([x, fixed])
        plan.run([fixed, y])  # reading it is fine
        with pytest.raises(NativeError, match="threads"):
            plan.run([x, y], threads=0)
        run_doubling(plan, 10)


def test_misaligned_array() -> None:
    memory = np.zeros(4 * 8 + 1, np.uint8)
    with Plan() as plan:
        x, y = (plan.tensor(np.float32, [8], None) for _ in range(2))
        plan.unary_f32("abs", x, y)
        plan.finish(0)
        with pytest.raises(NativeError, match="misaligned"):
            plan.run([memory[1:].view(np.float32), np.zeros(8, np.float32)])


def test_times_of_steps() -> None:
    with doubling_plan(100_000) as plan:
        times = np.full(3, -1, np.int64)
        x = np.zeros(100_000, np.uint8)
        plan.run([x, x.copy()], step_ns=times)
        assert (times > 0).all()
        with pytest.raises(NativeError, match="step_ns"):
            plan.run([x, x.copy()], step_ns=np.zeros(2, np.int64))


# ---- threads and processes ----

MANY = 300_000


def test_many_runs_on_several_threads() -> None:
    with doubling_plan(MANY, steps=3) as plan:
        for threads in (1, 2, 3, 8, 1000, 2):
            for _ in range(10):
                run_doubling(plan, MANY, threads)


def test_plans_run_at_the_same_time() -> None:
    errors: list[BaseException] = []

    def use() -> None:
        try:
            with doubling_plan(MANY) as plan:
                for _ in range(20):
                    run_doubling(plan, MANY, threads=3)
        except BaseException as error:
            errors.append(error)

    callers = [threading.Thread(target=use) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not errors


def test_one_plan_used_by_several_callers() -> None:
    with doubling_plan(MANY) as plan:
        callers = [threading.Thread(target=run_doubling, args=(plan, MANY, 2)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()


def child_of_fork(plan: Plan) -> None:
    run_doubling(plan, MANY, threads=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_after_use() -> None:
    with doubling_plan(MANY) as plan:
        run_doubling(plan, MANY, threads=2)
        child = multiprocessing.get_context("fork").Process(target=child_of_fork, args=(plan,))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        run_doubling(plan, MANY, threads=2)


def test_run_without_a_list_of_tensors() -> None:
    with doubling_plan(10) as plan:
        got = lib.q8_plan_run(plan._handle, 2, ffi.NULL, ffi.NULL, 1, ffi.NULL, ffi.NULL)
        assert got == lib.Q8_ERROR_ARGUMENT


def test_stop_flag_ends_a_run_before_its_next_step() -> None:
    with doubling_plan(10) as plan:
        arrays = [np.zeros(10, np.uint8), np.full(10, 77, np.uint8)]
        pointers = ffi.new("void *[]", [ffi.from_buffer("uint8_t[]", a) for a in arrays])
        sizes = ffi.new("int64_t[]", [10, 10])
        for stop, status in ((1, lib.Q8_ERROR_STATE), (0, lib.Q8_OK)):
            flag = ffi.new("int *", stop)
            got = lib.q8_plan_run(plan._handle, 2, pointers, sizes, 1, ffi.NULL, flag)
            assert got == status
            assert arrays[1][0] == (77 if stop else 0)
