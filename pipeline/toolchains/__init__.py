"""Toolchains: the Python environments that compile. Where they are, making those that are not there, what they are.

The session asks `environment` for an interpreter when a step wants a worker; `run.tools` asks `identity` for what of
it belongs into keys. `doit doctor` reads `machine`. What is done inside an environment is not known here.
"""
