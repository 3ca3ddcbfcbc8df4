"""Is this object for this backend? The one answer, for compiles, archives, runtimes, xcframeworks and proofs.

Linkers are too lax to ask: `ld64.lld` takes device objects into a simulator's library and objects without any platform
anywhere, and a minimum version that is too new is a warning. Xcode refuses them later, on another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pipeline.platforms import architecture, version

from .object_info import Kind, ObjectInfo


class Target(Protocol):
    """What an object can contradict; `matrix.cells.Backend` has it."""

    @property
    def arch(self) -> str:
        """The architecture, in any spelling."""

    @property
    def platform(self) -> str:
        """Where it runs."""

    @property
    def deployment_target(self) -> str | None:
        """Lowest version of the system, for Apple's platforms."""

    @property
    def format(self) -> str:
        """The object file format."""


_KINDS: Mapping[Kind, str] = {
    "object": "an object",
    "dylib": "a linked dylib",
    "executable": "a linked executable",
}


def mismatch(  # noqa: PLR0911 - a question a line
    info: ObjectInfo, target: Target, *, older: bool = False, kind: Kind = "object"
) -> str | None:
    """What keeps an object out of a backend's archive, as the end of a sentence; None when it fits.

    With `older` it may run on older systems than the target, and may name no platform at all: of a runtime, Rust's
    objects do the one and assembler the other. `kind` is what it has to be.
    """
    if info.kind != kind:
        return f"is {_KINDS[info.kind]}, not {_KINDS[kind]}"
    if info.format != target.format:
        return f"is of format {info.format}, and should be of format {target.format}"
    saw, wanted = architecture(info.arch), architecture(target.arch)
    if saw != wanted:
        return f"is for architecture {saw}, and should be for {wanted}"
    if info.format != "macho":
        return None  # the other formats have no word for the system they are for
    if info.platform is None:
        return None if older else f"names no platform (it has no LC_BUILD_VERSION), and should name {target.platform}"
    if info.platform != target.platform:
        return f"is for platform {info.platform}, and should be for {target.platform}"
    lowest, declared = version(info.minimum_os), version(target.deployment_target)
    if lowest > declared or (lowest < declared and not older):
        return f"is for {info.platform} from {info.minimum_os} on, and should be for {target.deployment_target}"
    return None


def hint(target: Target, triple: str) -> str:
    """How to get an object that fits."""
    if target.format == "macho":
        return (
            f"its triple is {triple}, which must carry the deployment target (arm64-apple-ios14.0, …-simulator, "
            "…-macabi); a prebuilt model must bring objects for that very system"
        )
    return f"compile for its triple, {triple}; a prebuilt model must bring objects for it"
