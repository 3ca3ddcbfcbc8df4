"""Step `memory`: what one cell takes of a device's memory, from what was built of it.

The engine runs it for cells that a device of targets.yaml may get, where targets.yaml itself does not say it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.compilers import mlc_memory, mlc_metadata
from pipeline.documents import chat_config, parameters
from pipeline.documents.codec import dumps, encode
from pipeline.documents.functions import Function, Functions, Value
from pipeline.documents.memory import Memory
from pipeline.errors import StepError

_BITS = re.compile(r"\d+")
_DECLARE = "declare what it takes: `estimated_vram_bytes` of the variant"


@dataclass(frozen=True)
class Params:
    """What the step is given: the variant, its model, and whether TVM's Relax compiled it here."""

    subject: str
    model: str
    relax: bool


def run(job: Job[Params]) -> Facts:
    """Write `memory.json`.

    Returns:
        Facts: the document.

    Raises:
        StepError: the library says things about its memory that cannot be read.
    """
    found = _of_relax(job) if job.params.relax else _of_library(job)
    job.write(Memory.NAME, dumps(found))
    facts: Facts = encode(found)
    return facts


def _of_library(job: Job[Params]) -> Memory:
    """What a library of mlc_llm's, compiled here or elsewhere, and its config say."""
    metadata = mlc_metadata.read(path.read_bytes() for _, path in job.files(roles.OBJECTS) if path.suffix == ".o")
    if metadata is None:
        return Memory(0, 0, 0, at_least=True)
    folder = job.inputs.get(roles.CONFIG)
    has_chat = folder is not None and (folder / chat_config.NAME).is_file()
    chat = chat_config.read_chat_config(folder, job.params.model) if folder is not None and has_chat else {}
    try:
        return mlc_memory.memory(metadata, chat)
    except (KeyError, TypeError, ValueError, AttributeError) as bad:
        what = f"the library of {job.params.subject} describes its memory in a way that is not known here: {bad}"
        raise StepError(what, hint=_DECLARE) from bad


def _of_relax(job: Job[Params]) -> Memory:
    """What the compiler planned for each function, and what is passed to it."""
    functions = Functions.read(job.inputs[roles.OBJECTS])
    library = sum(path.stat().st_size for _, path in job.files(roles.OBJECTS) if path.suffix == ".o")  # constants
    listed = parameters.Parameters.read(job.inputs[roles.PARAMS]).parameters
    held = library + sum(_bytes(one.dtype, one.shape) for one in listed)
    plans = functions.memory or {}
    planned = [plans.get(one.name) for one in functions.functions]
    passed = [_passed(one) for one in functions.functions]
    temporary, cache = (max((size for size in sizes if size is not None), default=0) for sizes in (planned, passed))
    return Memory(held, temporary, cache, at_least=None in planned or None in passed)


def _passed(function: Function) -> int | None:
    """Bytes of a function's arguments that are no parameters; None where a size is known only at the call."""
    sizes = [_value(one) for one in function.arguments or () if not one.parameter]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) and function.arguments is not None else None


def _value(value: Value) -> int | None:
    if value.items is not None:
        inner = [_value(one) for one in value.items]
        known = [size for size in inner if size is not None]
        return sum(known) if len(known) == len(inner) else None
    if not _BITS.search(value.dtype):  # a shape, an object, a plain number
        return 0
    extents = [extent for extent in value.shape or () if isinstance(extent, int)]
    return _bytes(value.dtype, extents) if value.shape is not None and len(extents) == len(value.shape) else None


def _bytes(dtype: str, shape: tuple[int, ...] | list[int]) -> int:
    bits = _BITS.search(dtype)
    return math.prod(shape) * max(8, int(bits[0]) if bits else 8) // 8
