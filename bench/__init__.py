"""Benchmarks: us and our rivals, side by side."""
