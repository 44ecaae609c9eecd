"""The binding to the C engine (csrc/q8.h); the only place that knows cffi.

`Plan` builds and runs plans; the functions here tell what this CPU has and prove its kernels.
"""

from q8tool.native.cpu import (
    cpu_name,
    isa_active,
    isa_available,
    isa_names,
    selftest,
    selftest_gops,
)
from q8tool.native.detection import kept_boxes
from q8tool.native.plan import Plan

__all__ = [
    "Plan",
    "cpu_name",
    "isa_active",
    "isa_available",
    "isa_names",
    "kept_boxes",
    "selftest",
    "selftest_gops",
]
