"""Where the files of a model come from, as a value: `weights_schema` makes it, plan and `pipeline.weights` read it."""

from dataclasses import dataclass
from typing import Literal

SourceOfWeights = Literal["package", "hf", "url", "path"]
FileKind = Literal["gguf", "litert"]
"""A model that is a file for another runtime."""


@dataclass(frozen=True)
class WeightsSource:
    """Where files come from, and which of them are wanted: what targets.yaml says, and None where it says nothing.

    Attributes:
        kind: which of the fields of that name is set.
        package: the name of a package, of which there is a `version`.
        version: the release of the package; the newest where there is none.
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
