"""Roles: the names under which a step finds its inputs. The plan gives inputs these names, the steps ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypeVar

T = TypeVar("T")

SOURCE = "source"
CONFIG = "config"
WEIGHTS = "weights"
PARAMS = "params"
PATH = "path"
TOOLCHAIN = "toolchain"
ARCHIVE = "archive"
RUNTIME = "runtime"
KIT = "kit"
XCFRAMEWORK = "xcframework"
AAR = "aar"
TEMPLATES = "templates"
CHECK = "check"
MODULES = "modules"
WHEEL = "wheel"
PART = "part"
OBJECTS = "objects"
MEMORY = "memory"
DEVICE = "device"
LAID_OUT = "laid out"

CHECKOUT = "checkout:runtime"
"""The tool that stands for a checkout that is built: its path is the directory, its version the digest of its files."""

TVM_CHECKOUT = "checkout:twins"
"""The same of the checkout of TVM with whose runtime for OpenCL kernels are run."""

_READS = " reads "


def of(role: str, subject: str | int) -> str:
    """The role of one of several inputs of a kind: `archive:ios-arm64`, `objects:minilm-f32`."""
    return f"{role}:{subject}"


def reads(role: str, path: str) -> str:
    """The role of a file that the function in another role reads besides what it imports."""
    return f"{role}{_READS}{path}"


def with_reads(role: str, inputs: Mapping[str, T]) -> dict[str, T]:
    """The input in a role, and those that the function in it reads besides what it imports."""
    return {name: found for name, found in inputs.items() if name == role or name.startswith(f"{role}{_READS}")}


def is_source(role: str) -> bool:
    """Whether a role is that of a model's source or check, or of what one of them reads."""
    return role.partition(_READS)[0].partition(":")[0] in {SOURCE, CHECK}


def all_of(role: str, inputs: Mapping[str, T]) -> Iterator[tuple[str, T]]:
    """(subject, input) of every input of a kind."""
    start = f"{role}:"
    return ((name.removeprefix(start), found) for name, found in inputs.items() if name.startswith(start))


objects = partial(of, OBJECTS)
"""The compiled objects of a model variant."""

archive = partial(of, ARCHIVE)
"""The archive of a backend."""

runtime = partial(of, RUNTIME)
"""The static libraries of a backend's runtime."""

modules = partial(of, "wasm")
"""The modules of a wasm backend."""

module = partial(of, "module")
"""The one module of a model variant."""

bundle = partial(of, "bundle")
"""What is shipped beside the library of a model variant."""

given = partial(of, "given")
"""An input of a custom step."""

part = partial(of, PART)
"""What an action has made of a product."""

prebuilt = partial(of, "prebuilt")
"""One of several archives that somebody else built, by its number."""

check = partial(of, CHECK)
"""The run of a cell's check."""

proof = partial(of, "verify")
"""The report of a `verify`."""
