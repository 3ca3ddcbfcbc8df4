"""Asks a model's source for its parameters and writes them as a tensor cache, once for all backends.

`pipeline.steps.params` calls it inside a worker: a factory's module says which parameters there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tvm

from pipeline.documents.tensor_cache import WrittenCache
from pipeline.errors import FormatError, StepError
from pipeline.matrix.cells import ModelRef, SourceRef

from . import python_source, sources, tensor_cache
from .recipe import BuildSpec


def write(*, model: ModelRef, source: SourceRef, path: Path, weights: Path | None, out: Path) -> WrittenCache:
    """Write the parameters of a model variant into `out`.

    Args:
        model: whose they are.
        source: what says which there are.
        path: the source's file.
        weights: directory with the model's weights, if it has any.
        out: an existing directory.

    Raises:
        StepError: the source or one of its parameters cannot be read.
        FormatError: a parameter is nothing a tensor cache can hold.
    """
    spec = BuildSpec(model.model, model.variant, model.options, weights, "llvm")
    with tvm.target.Target("llvm"):
        loaded = sources.load(source, path, spec, compiling=False)
    try:
        return tensor_cache.write(_named(loaded, path), out)
    except FormatError as error:
        raise FormatError(error.what, where=error.where or path, hint=error.hint) from None


def _named(loaded: sources.Loaded, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the parameters one at a time, reading those that are given as functions when their turn comes."""
    parameters = loaded.parameters() if callable(loaded.parameters) else loaded.parameters
    if not isinstance(parameters, Mapping):
        hint = "return a mapping of names to arrays"
        raise StepError(f"the parameters are a {type(parameters).__name__}", where=path, hint=hint)
    for name, value in parameters.items():
        told = f"the parameter {str(name)!r}"
        yield str(name), python_source.run(value, path, name=told) if callable(value) else value
