"""Passes: each takes a model, returns what it changed; one file each."""
