"""Asks a model's source for its parameters and writes them as a tensor cache, once for all backends.

`pipeline.steps.params` calls it inside a worker: a factory's module says which parameters there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from pipeline.documents.parameters import Parameter, Parameters, WrittenCache
from pipeline.errors import FormatError, StepError
from pipeline.matrix.cells import ModelRef
from pipeline.matrix.source import SourceRef
from pipeline.nearest import listed

from . import python_source, sources, tensor_cache
from .confinement import confined
from .declared import Declared
from .recipe import Array, BuildSpec, SameAs


def write(*, model: ModelRef, source: SourceRef, reads: Declared, weights: Path | None, out: Path) -> WrittenCache:
    """Write the parameters of a model variant into `out`.

    Raises:
        StepError: the source or one of its parameters cannot be read, or two are equal and nobody says so.
        FormatError: a parameter is nothing a tensor cache can hold.
    """
    spec = BuildSpec(model.model, model.variant, model.options, weights, "llvm")
    seen = _Seen()
    with confined(reads) as scope:
        path = scope.source
        with tvm.target.Target("llvm"):
            loaded = sources.load(source, scope, spec, compiling=False)
        try:
            written = tensor_cache.write(_named(loaded, path, seen), out, said=seen.look)
        except FormatError as error:
            raise FormatError(error.what, where=error.where or path, hint=error.hint) from error
    equal = seen.equal()
    if source.kind == "factory":  # a file that has a tensor twice says so itself
        _refuse_twins([group for group in equal if group[0] not in seen.constant], path)
    Parameters(tuple(seen.parameters), tuple(equal)).write(out)
    return written


@dataclass(frozen=True)
class _Seen:
    """What is known of parameters that were written: by the digest of their bytes, who has them."""

    parameters: list[Parameter] = field(default_factory=list)
    owners: dict[bytes, list[str]] = field(default_factory=dict)
    constant: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)

    def look(self, name: str, array: npt.NDArray[Any]) -> None:
        """Take note of one."""
        self.parameters.append(Parameter(name, array.shape, array.dtype.name))
        if not array.size or name in self.declared:
            return
        flat = array.reshape(-1)
        digest = hashlib.blake2b(flat.view(np.uint8).data, digest_size=16).digest()
        self.owners.setdefault(digest, []).append(name)
        if bool((flat == flat[0]).all()):  # zeros, ones: as a network begins
            self.constant.add(name)

    def equal(self) -> list[tuple[str, ...]]:
        """Names of parameters that have the same bytes, group by group."""
        return [tuple(names) for names in self.owners.values() if len(names) > 1]


def _refuse_twins(groups: Sequence[Sequence[str]], path: Path) -> None:
    if groups:
        more = f" (and {len(groups) - 1} more pairs)" if len(groups) > 1 else ""
        raise StepError(
            f"the parameters {listed(groups[0], 4)} are equal, byte for byte{more}",
            where=path,
            hint="where a function makes each, bind the loop's variable: `lambda name=name: read(name)`; where they "
            f"are meant to be the same, say so: {groups[0][1]!r}: pipeline.compilers.recipe.SameAs({groups[0][0]!r})",
        )


def _named(loaded: sources.Loaded, path: Path, seen: _Seen) -> Iterator[tuple[str, Array]]:
    """Yield the parameters one at a time, reading those that are given as functions when their turn comes."""
    parameters = loaded.parameters() if callable(loaded.parameters) else loaded.parameters
    if not isinstance(parameters, Mapping):
        hint = "return a mapping of names to arrays"
        raise StepError(f"the parameters are a {type(parameters).__name__}", where=path, hint=hint)
    for name, given in parameters.items():
        told, value = f"the parameter {str(name)!r}", given
        if isinstance(given, SameAs):
            seen.declared.add(str(name))
            value = parameters.get(given.name, given)
            if isinstance(value, SameAs):
                hint = "name one that has numbers of its own"
                raise StepError(f"{told} is the same as {given.name!r}, which has none", where=path, hint=hint)
        yield str(name), python_source.run(value, path, name=told) if callable(value) else value
