"""A lowered model, which lives in one process: `relax.lower` makes it, `relax.codegen` reads it in that process' forks.

It imports no TVM, so that steps can name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.action import Facts
from pipeline.documents.functions import Function

if TYPE_CHECKING:
    from tvm.target import Target


@dataclass(frozen=True, slots=True)
class Lowered:
    """A model on the brink of code generation; lives in one process and is inherited by its forks.

    Attributes:
        device: the target; its host stands in for the real one where `lower` was given none.
        host: functions that run on the CPU, lowered to the end, as an `IRModule`.
        kernels: the device's code, already generated: it has no host in it.
        functions_on_device: what that was generated from, by kind of device, as `IRModule`s.
        builder: the executable's bytecode.
        constants: arrays that stay in the library.
        external: libraries the module brings along.
        facts: what is known of the result already.
        functions: what `functions.json` says.
        prefix: what sets the model's symbols apart from another model's.
    """

    device: Target
    host: Any
    kernels: tuple[Any, ...]
    functions_on_device: Mapping[str, Any]
    builder: Any
    constants: Mapping[str, Any]
    external: tuple[Any, ...]
    facts: Facts
    functions: tuple[Function, ...]
    prefix: str
