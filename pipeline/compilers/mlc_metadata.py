"""Reads what mlc_llm writes into a library about the model: its functions, its memory, its parameters.

A compiled library has a function `_metadata` that returns a JSON text, which lies in the object with the bytecode as it
is. `mlc` and `prebuilt` read it there: nothing is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.binary.ar import Member
from pipeline.documents import functions as documents
from pipeline.documents.functions import Function, Value

_START = re.compile(rb'\{"[a-z_]+": ')
_MARK = b'"memory_usage"'
"""In every such text, and hardly anywhere else."""

_LONG = ("params",)
"""Parts that are too long for a record: every parameter's shape."""


def read(objects: Iterable[bytes]) -> dict[str, object] | None:
    """The metadata of a model, from its objects; None where there is none."""
    for data in objects:
        if _MARK not in data:
            continue
        for start in _START.finditer(data):
            found = _parsed(data, start.start())
            if found is not None:
                return found
    return None


def _parsed(data: bytes, start: int) -> dict[str, object] | None:
    end = data.find(b"\0", start)
    text = data[start : end if end >= 0 else len(data)].decode("utf-8", errors="replace")
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "memory_usage" in value and "model_type" in value else None


def functions(metadata: Mapping[str, object] | None) -> list[str]:
    """Names of the model's functions, sorted."""
    usage = (metadata or {}).get("memory_usage")
    return sorted(usage) if isinstance(usage, Mapping) else []


def summary(metadata: Mapping[str, object] | None) -> dict[str, object]:
    """The metadata without what is long or is a fact of its own."""
    return {k: v for k, v in (metadata or {}).items() if k not in (*_LONG, "memory_usage")}


def describe(objects: Sequence[Member], prefix: str, folder: Path) -> dict[str, object]:
    """Write `functions.json` of a model, from its objects.

    What arguments a function takes is not in the metadata, and null says so.

    Returns:
        Facts: `bytes`, `functions` (how many), `metadata`, and `memory` (bytes that each function needs).
    """
    metadata = read(member.data for member in objects)
    names = functions(metadata)
    described = tuple(Function(name, None, None) for name in names)
    documents.Functions(prefix, described, parameters=parameters(metadata)).write(folder)
    return {
        "bytes": sum(len(member.data) for member in objects),
        "functions": len(names),
        "metadata": summary(metadata),
        "memory": (metadata or {}).get("memory_usage", {}),
    }


def parameters(metadata: Mapping[str, object] | None) -> tuple[Value, ...] | None:
    """Every parameter of the library, or None where it does not list them in the form that is known here."""
    listed = (metadata or {}).get("params")
    if not isinstance(listed, list):
        return None
    found = [_parameter(one) for one in listed]
    return None if None in found else tuple(one for one in found if one is not None)


def _parameter(listed: object) -> Value | None:
    if not isinstance(listed, dict):
        return None
    name, dtype, shape = (listed.get(key) for key in ("name", "dtype", "shape"))
    if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list):
        return None
    if listed.get("preprocs"):  # the runtime makes another shape of it, a slice for each GPU
        return Value(name, dtype, None, parameter=True)
    extents = [n if type(n) is int and n >= 0 else f"{name}_{axis}" for axis, n in enumerate(shape)]
    return Value(name, dtype, tuple(extents), parameter=True)
