"""A lowered model, which lives in one process: `lowering.lower` makes it, `generate` reads it in that process' forks.

It imports no TVM, so that steps can name it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.action import Facts
from pipeline.documents.functions import Functions
from pipeline.matrix.cells import ModelRef
from pipeline.matrix.source import SourceRef

from .declared import Declared

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.ir.transform import PassContext
    from tvm.relax import ExecBuilder
    from tvm.target import Target
    from tvm_ffi import Module, Tensor


GENERIC = "generic: in this toolchain dlight's simdgroup rule for Metal fails or takes too long"
"""What a schedule is called where that rule is not used."""


@dataclass(frozen=True)
class _Asked:
    """What a lowering follows from: whoever asks for the same shares one.

    Attributes:
        device: TVM target of the device, as JSON, without a host.
        triple: the host, where lowering depends on it (see `devices.HOST_BLIND`); otherwise None.
        metal_simdgroup: what the toolchain's probe found.
        seen: what tells today's files from yesterday's at the same place: nothing reads it.
    """

    model: ModelRef
    device: Mapping[str, object]
    triple: str | None
    metal_simdgroup: bool
    seen: Sequence[object]


@dataclass(frozen=True)
class Asked(_Asked):
    """What `relax.lower` is asked for.

    `config` has the model's config files, path in the model's weights -> file, or is None where it has no weights.
    """

    source: SourceRef
    reads: Declared
    config: Mapping[str, Path] | None


@dataclass(frozen=True)
class AskedOfMlc(_Asked):
    """What `mlc_lowering.lower` is asked for: `mlc-chat-config.json`, and what mlc_llm calls the device."""

    config: Path
    name: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What a module was lowered to.

    Attributes:
        device: the target; its host stands in for the real one where lowering is the same for all hosts.
        host: functions that run on the CPU, lowered to the end.
        kernels: the device's code, already generated: it has no host in it.
        functions_on_device: what that was generated from, by kind of device.
        builder: the executable's bytecode.
        constants: arrays that stay in the library.
        external: libraries the module brings along.
        context: the settings of TVM's passes, which hold for the host's code too.
    """

    device: Target
    host: IRModule
    kernels: tuple[Module, ...]
    functions_on_device: Mapping[Target, IRModule]
    builder: ExecBuilder
    constants: Mapping[str, Tensor]
    external: tuple[Module, ...]
    context: PassContext


@dataclass(frozen=True, slots=True)
class Lowered:
    """A model on the brink of code generation; lives in one process and is inherited by its forks.

    Attributes:
        parts: what is left to be put together for a host.
        facts: what is known of the result already.
    """

    parts: Parts
    facts: Facts
    functions: Functions


@dataclass(frozen=True, slots=True)
class Reported:
    """What `mlc_driver` has seen of the configuration, every field with overrides applied, as mlc_llm itself has it.

    There is no `config` where mlc_llm is another than is known here.
    """

    config: Mapping[str, object] | None = None
    model_type: str = ""
    quantization: str = ""


@dataclass(frozen=True, slots=True)
class MlcLowered:
    """A model of mlc_llm's on the brink of code generation, as `mlc_lowering.lower` leaves it.

    Attributes:
        parts: what is left to be put together for a host.
        preset: what mlc_llm's preset of the device made of the cell's device.
        reported: what `mlc_driver` has seen of the configuration.
        cpu: seconds it took.
    """

    parts: Parts
    preset: Mapping[str, object]
    reported: Reported
    cpu: float


@dataclass(frozen=True, slots=True)
class Singly:
    """There is no such state: the model is compiled anew for every host. `why` goes into the record."""

    why: str
