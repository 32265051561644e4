"""Paired measurements against plain loops: `python -m benchmarks.run`, and `python -m benchmarks.gpu` without Ray."""
