"""What a model is written in, where its files come from, and functions of the user's: values that travel on to steps.

`models` and `weights_schema` make them; `cells`, the plan and `pipeline.weights` read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline import roles
from pipeline.errors import StepError

SourceKind = Literal["factory", "onnx", "exported", "prebuilt", "checkpoint"]


@dataclass(frozen=True)
class Function:
    """A Python function in a file: `recipes/minilm.py:check`.

    Attributes:
        path: the file, relative to the root.
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
    """What of a `Source` is in the key of a compile besides the digest of its file; `sha256` pins a prebuilt one."""

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


SourceOfWeights = Literal["package", "hf", "url", "path"]
FileKind = Literal["gguf", "litert"]
"""A model that is a file for another runtime."""


@dataclass(frozen=True)
class WeightsSource:
    """Where files come from, and which of them are wanted: what targets.yaml says, and None where it says nothing.

    Attributes:
        kind: which of the fields of that name is set.
        package: the name of a package, of which there is a `version`.
        platform: the machine that the package is for, if not this one.
        hf: a repository of the Hugging Face hub, owner/name.
        revision: its commit, tag or branch.
        url: a file, an archive, or (with a `/` at its end) what the `files` are below.
        sha256: what the one file at the URL must hash to.
        extract: false where an archive is not to be unpacked.
        path: a file or directory on this machine, relative to the root or absolute.
        subdir: the directory in there that becomes the directory of the weights.
        files: patterns of the files to take; all where there are none.
    """

    kind: SourceOfWeights
    package: str | None = None
    version: str | None = None
    platform: str | None = None
    hf: str | None = None
    revision: str | None = None
    url: str | None = None
    sha256: str | None = None
    extract: bool | None = None
    path: str | None = None
    subdir: str | None = None
    files: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """What its kind says: the package, repository, URL or path."""
        return str(getattr(self, self.kind))


def demand_pinned(name: str, sha256: str, pinned: str | None, where: Path | None = None) -> None:
    """Refuse a file that is not the one whose SHA-256 stands in targets.yaml, if one does.

    Raises:
        StepError: it is another.
    """
    if pinned not in (None, sha256):
        raise StepError(
            f"{name} is not the file that targets.yaml pins: its sha256 is {sha256}, not {pinned}",
            where=where,
            hint="get the right file; or, if this one is wanted, write its sha256 into targets.yaml",
        )
