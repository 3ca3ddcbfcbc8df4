"""A tensor cache, MLC's form of parameters on the disk: what its writer tells the step that asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
