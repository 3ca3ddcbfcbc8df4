"""`parameters.json`: names, shapes and dtypes of a model's parameters. `params` writes it, proofs read it.

It says nothing of their values, so that an edit of weights proves nothing anew but what depends on them. It is not
shipped: `tensor-cache.json` is what runtimes read, the index of MLC's form of parameters on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .codec import Document

INDEX = "tensor-cache.json"


@dataclass(frozen=True)
class Parameter:
    """One parameter."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Parameters(Document):
    """The whole document.

    Attributes:
        parameters: in the order in which they were written.
        equal: names of those that have the same bytes, group by group, where the recipe does not say that they should.
    """

    NAME = "parameters.json"

    parameters: tuple[Parameter, ...]
    equal: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class TensorRecord:
    """Where one tensor is in its shard; fields are spelt as in the index."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    format: str
    nbytes: int
    byteOffset: int  # noqa: N815 - see above


@dataclass(frozen=True)
class ShardRecord:
    """One shard of raw bytes, and the tensors in it; `sha256` is for who downloads it, and no runtime reads it."""

    dataPath: str  # noqa: N815 - see above
    format: str
    nbytes: int
    records: tuple[TensorRecord, ...]
    md5sum: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class TensorCache:
    """The whole index."""

    records: tuple[ShardRecord, ...]
    metadata: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenCache:
    """What was written: tensors, their bytes, and the SHA-256 of the shards and the index by file name."""

    tensors: int
    bytes: int
    digests: Mapping[str, str]
