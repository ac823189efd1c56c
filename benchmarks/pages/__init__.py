"""The tables of the documentation, made out of ``benchmarks/results``; see ``python -m benchmarks.pages --help``."""
