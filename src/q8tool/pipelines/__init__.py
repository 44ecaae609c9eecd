"""Pipelines: one file per command, Options in, Report out. No click, no printing."""
