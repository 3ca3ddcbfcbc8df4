"""What a model is written in, and functions of the user's: values that `cells` holds and that travel on to steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline import roles

SourceKind = Literal["factory", "onnx", "exported", "prebuilt", "checkpoint"]


@dataclass(frozen=True)
class Function:
    """A Python function in a file: `recipes/minilm.py:check`.

    Attributes:
        path: the file, relative to the root.
        function: its name.
        reads: files and directories, as `path`, that it reads besides what it imports.
    """

    path: str
    function: str
    reads: tuple[str, ...] = ()


def files_of(role: str, function: Function | Source) -> dict[str, str]:
    """A function's file under the role, and what it reads under roles of their own, for `Action.files`."""
    return {role: function.path, **{roles.reads(role, path): path for path in function.reads}}


@dataclass(frozen=True)
class SourceRef:
    """What of a source is in the key of a compile besides the digest of its file.

    Attributes:
        kind: see `Source`.
        function: see `Source`.
        sha256: what a prebuilt file must hash to, where that is pinned.
    """

    kind: SourceKind
    function: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """What is compiled.

    Attributes:
        kind: `factory` (a Python function), `onnx`, `exported` (torch.export), `prebuilt` (objects somebody else made)
            or `checkpoint` (the weights themselves say what the model is; compiler `mlc`).
        path: the file, relative to the root or absolute as the user wrote it; empty for `checkpoint`, and for
            `prebuilt` where each backend has its own.
        function: name of the function, for `factory` only.
        reads: what the function reads besides; see `Function`.
        prebuilt: backend (`*` for any) -> path and, where it is pinned, SHA-256; for `prebuilt` only.
    """

    kind: SourceKind
    path: str
    function: str | None = None
    reads: tuple[str, ...] = ()
    prebuilt: Mapping[str, tuple[str, str | None]] = field(default_factory=dict, hash=False)

    def prebuilt_for(self, backend: str) -> tuple[str, str | None] | None:
        """The file of a backend and what it must hash to; None where there is none."""
        return self.prebuilt.get(backend) or self.prebuilt.get("*")

    def ref(self, sha256: str | None = None) -> SourceRef:
        """What travels to the step."""
        return SourceRef(self.kind, self.function, sha256)
