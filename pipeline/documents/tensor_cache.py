"""A tensor cache, MLC's form of parameters on the disk: its index, and what its writer tells the step that asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

INDEX = "tensor-cache.json"


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
    """One shard of raw bytes, and the tensors in it."""

    dataPath: str  # noqa: N815 - see above
    format: str
    nbytes: int
    records: tuple[TensorRecord, ...]
    md5sum: str | None = None


@dataclass(frozen=True)
class TensorCache:
    """The whole index."""

    records: tuple[ShardRecord, ...]
    metadata: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenCache:
    """What was written.

    Attributes:
        tensors: how many there are.
        bytes: of all tensors.
        digests: file name -> SHA-256, of the shards and the index.
    """

    tensors: int
    bytes: int
    digests: Mapping[str, str]
