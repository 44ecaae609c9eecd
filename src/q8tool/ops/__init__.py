"""Operators: one registry row each, saying how it is quantized and how it is lowered."""
