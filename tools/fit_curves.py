"""Fit the curves that AVX-512 kernels evaluate instead of exponentials; writes curves.h.

    python tools/fit_curves.py > csrc/kernels/curves.h

SiLU and both forms of GELU are max(x, 0) + h(|x|), where h fades away. Around each of 32 places of
equal distance h is a polynomial in |x| itself: through Chebyshev's points, which is within a small
factor of the best one. At the last place, beyond which h counts as there, it is below 1e-6; of the
rough curves, for floats that become codes, below 1e-4.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

__all__ = ["main"]

SEGMENTS = 32
DEGREE, ROUGH_DEGREE = 4, 2

Curve = Callable[[float], float]


def _silu(a: float) -> float:
    return -a / (1 + math.exp(a))


def _gelu(a: float) -> float:
    return -a * math.erfc(a / math.sqrt(2)) / 2


def _gelu_tanh(a: float) -> float:
    return -a / (1 + math.exp(2 * math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))


# The function of |x|, the last place and the degree.
CURVES: dict[str, tuple[Curve, float, int]] = {
    "silu": (_silu, 17.0, DEGREE),
    "gelu": (_gelu, 5.25, DEGREE),
    "gelu_tanh": (_gelu_tanh, 5.0, DEGREE),
    "rough_silu": (_silu, 11.9, ROUGH_DEGREE),
    "rough_gelu": (_gelu, 4.6, ROUGH_DEGREE),
    "rough_gelu_tanh": (_gelu_tanh, 4.4, ROUGH_DEGREE),
}


def fit(curve: Curve, end: float, degree: int) -> NDArray[np.float64]:
    """Coefficients [SEGMENTS, degree + 1], the constant first."""
    width = end / (SEGMENTS - 1)
    places = np.cos((2 * np.arange(degree + 1) + 1) * math.pi / (2 * (degree + 1)))
    rows = []
    for segment in range(SEGMENTS):
        middle = segment * width
        values = [curve(middle + width / 2 * place) for place in places]
        local = Polynomial.fit(places, values, degree, domain=[-1, 1])
        # t = (a - middle) * 2 / width
        rows.append(local(Polynomial([-2 * middle / width, 2 / width])).coef)
    return np.asarray(rows)


def written(name: str, end: float, coefficients: NDArray[np.float64]) -> str:
    """The curve as C."""
    lines = [f"static const q8_curve q8_{name}_curve = {{", f"    .end = {end!r}f,"]
    lines.append(f"    .per_unit = {(SEGMENTS - 1) / end!r}f,")
    lines.append("    .coefficients = {")
    for power in coefficients.T:
        lines += _rows([f"{float(np.float32(c))!r}f" for c in power])
    lines += ["    },", "    .by_place = {"]
    for place in coefficients:
        low = [*place[:4], *[0.0] * (4 - len(place[:4]))]
        lines += _rows([f"{float(np.float32(c))!r}f" for c in low])
    return "\n".join([*lines, "    },", "};"])


def _rows(numbers: Sequence[str]) -> list[str]:
    """One power's coefficients in braces, within 100 columns."""
    lines, line = [], "        {"
    for number in numbers:
        if len(line) + len(number) + 2 > 98:
            lines.append(line.rstrip())
            line = "         "
        line += f"{number}, "
    return [*lines, line.rstrip(", ") + "},"]


HEAD = f"""\
/* curves.h - SiLU and GELU as max(x, 0) + h(|x|): around places of equal distance, h is a
 * polynomial in |x|, of lower degree in the rough curves. Written by tools/fit_curves.py. */
#ifndef Q8_CURVES_H
#define Q8_CURVES_H

enum {{
    Q8_CURVE_SEGMENTS = {SEGMENTS},
    Q8_CURVE_POWERS = {DEGREE + 1},
    Q8_ROUGH_POWERS = {ROUGH_DEGREE + 1}
}};

typedef struct {{
    float end;      /* the last place: beyond it h counts as there */
    float per_unit; /* places in a unit of |x| */
    float coefficients[Q8_CURVE_POWERS][Q8_CURVE_SEGMENTS]; /* the constants first */
    float by_place[Q8_CURVE_SEGMENTS][4];                   /* of the four lowest powers */
}} q8_curve;
"""


def main() -> None:
    """Prints the header."""
    print(HEAD)
    for name, (curve, end, degree) in CURVES.items():
        print(written(name, end, fit(curve, end, degree)) + "\n")
    print("#endif")


if __name__ == "__main__":
    main()
