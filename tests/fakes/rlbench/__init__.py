"""A strict stand-in for RLBench 1.2.0: what the package uses of it, and no more.

Its signatures are checked against a manifest of the real ones, `rlbench_signatures.json`.
`rlbench/inject.py` says how to make actions fail.
"""

__version__ = "1.2.0"
