"""Warm interpreters, one per toolchain, that fork a child for each call: the engine's steps call them."""
