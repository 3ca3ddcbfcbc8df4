"""Toolchains, the Python environments that compile: found or made, and identified.

The session asks `environment` for an interpreter when a step wants a worker; `tools.finder` asks `identity` for what of
it belongs in keys. `doit doctor` reads `machine`.
"""
