"""Roles: the names under which a step finds its inputs. The plan gives inputs these names, the steps ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def of(role: str, subject: str) -> str:
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


def objects(subject: str) -> str:
    """The compiled objects of a model variant."""
    return of(OBJECTS, subject)


def archive(backend: str) -> str:
    """The archive of a backend."""
    return of(ARCHIVE, backend)


def runtime(backend: str) -> str:
    """The static libraries of a backend's runtime."""
    return of(RUNTIME, backend)


def modules(backend: str) -> str:
    """The modules of a wasm backend."""
    return of("wasm", backend)


def module(subject: str) -> str:
    """The one module of a model variant."""
    return of("module", subject)


def bundle(subject: str) -> str:
    """What is shipped beside the library of a model variant."""
    return of("bundle", subject)


def given(name: str) -> str:
    """An input of a custom step."""
    return of("given", name)


def part(action: str) -> str:
    """What an action has made of a product."""
    return of(PART, action)


def prebuilt(number: int) -> str:
    """One of several archives that somebody else built, in their order."""
    return of("prebuilt", str(number))


def check(subject: str) -> str:
    """The run of a cell's check."""
    return of(CHECK, subject)


def proof(subject: str) -> str:
    """The report of a `verify`."""
    return of("verify", subject)
