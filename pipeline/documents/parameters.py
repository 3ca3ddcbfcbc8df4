"""`parameters.json`: names, shapes and dtypes of a model's parameters. `params` writes it, proofs read it.

It says nothing of their values, so that an edit of weights proves nothing anew but what depends on them. It is not
shipped: `tensor-cache.json` is what runtimes read.
"""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Document


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
