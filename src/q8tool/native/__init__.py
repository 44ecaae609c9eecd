"""The binding to the C engine; the only place that knows cffi."""
