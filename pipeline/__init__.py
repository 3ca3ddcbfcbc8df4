"""Slipway: a build graph that turns a matrix of models and backends into libraries proven to work.

This file imports nothing on purpose: `doit` loads it on every call, and most calls have nothing to do.
"""

__version__ = "0.1.0"
