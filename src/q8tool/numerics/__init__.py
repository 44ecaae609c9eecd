"""Scale, zero point, rounding and comparison: the rules of docs/numerics.md in numpy."""
