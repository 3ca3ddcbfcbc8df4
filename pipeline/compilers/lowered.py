"""A lowered model, which lives in one process: `relax.lower` makes it, `relax.codegen` reads it in that process' forks.

It imports no TVM, so that steps can name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.action import Facts
from pipeline.documents.functions import Function

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.relax import ExecBuilder
    from tvm.target import Target
    from tvm_ffi import Module, Tensor


@dataclass(frozen=True, slots=True)
class Parts:
    """What a module was lowered to.

    Attributes:
        host: functions that run on the CPU, lowered to the end.
        kernels: the device's code, already generated: it has no host in it.
        functions_on_device: what that was generated from, by kind of device.
        builder: the executable's bytecode.
        constants: arrays that stay in the library.
        external: libraries the module brings along.
        memory: function -> bytes that it allocates; see `memory_plan`.
    """

    host: IRModule
    kernels: tuple[Module, ...]
    functions_on_device: Mapping[Target, IRModule]
    builder: ExecBuilder
    constants: Mapping[str, Tensor]
    external: tuple[Module, ...]
    memory: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A model on the brink of code generation; lives in one process and is inherited by its forks.

    Attributes:
        device: the target; its host stands in for the real one where `lower` was given none.
        parts: what is left to be put together for a host.
        facts: what is known of the result already.
        functions: what `functions.json` says.
        prefix: what sets the model's symbols apart from another model's.
    """

    device: Target
    parts: Parts
    facts: Facts
    functions: tuple[Function, ...]
    prefix: str
