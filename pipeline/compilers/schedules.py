"""Chooses the Relax pass pipeline of a device: TVM's own, except where one of its rules does not work.

`relax` calls it. Whether the simdgroup rule for Metal works in a toolchain is found out by `probe`, not known from a
list of versions. That a rule schedules a kernel so that TVM then cannot compile it (a reduction over an open length, on
Android) shows when the model is lowered. Then the rules are tried kernel by kernel, and where what they make does not
compile, the next rule has its turn; the last one is the plainest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.ir.transform import Pass
from tvm.s_tir import dlight
from tvm.target import Target

from .lowered import GENERIC
from .passes import sort_shape_stores
from .reasons import reason

USUAL = "TVM's default"

Compile = Callable[[tvm.IRModule], object]
"""Compiles a module of one scheduled kernel; raises whatever TVM raises where that cannot be done."""


@dataclass(frozen=True)
class Schedule:
    """A pipeline, and what to call it in the facts. `refused` gets the kernels that a rule failed for, as it runs."""

    passes: Pass
    name: str
    refused: set[int] = field(default_factory=set)

    @property
    def note(self) -> str | None:
        """What people should know of it."""
        kernels = len(self.refused)
        return f"generic schedule for {kernels} kernel{'s' * (kernels > 1)}" if kernels else None


class _PlainMatmul(dlight.gpu.Matmul):  # type: ignore[misc]
    """dlight's matmul rule without its branch to simdgroup intrinsics.

    That branch is taken by the name of the target's kind. In TVM 0.26 and 0.27 it ends in a segmentation fault, or in
    18 s of rendering an error that is then swallowed, depending on the tvm-ffi beside it. The rest of the rule reads
    nothing of the target but whether it is a GPU, so another kind of GPU stands in for it here; the function's own
    target, and with it the generated code, stays Metal's.
    """

    def apply(self, func: tirx.PrimFunc, _target: Target, tunable: bool) -> s_tir.Schedule | None:
        return super().apply(func, Target({"kind": "webgpu"}), tunable)


class _Tried(dlight.ScheduleRule):  # type: ignore[misc]
    """A rule that stands aside where what it makes does not compile."""

    def __init__(self, rule: dlight.ScheduleRule, compile_: Compile, refused: set[int]) -> None:
        super().__init__()
        self.rule, self.compile, self.refused = rule, compile_, refused

    def apply(self, func: tirx.PrimFunc, target: Target, tunable: bool) -> s_tir.Schedule | None:
        try:
            schedule = self.rule.apply(func, target, tunable)
            if schedule is not None:
                self.compile(schedule.mod)
        except Exception as error:  # noqa: BLE001 - TVM raises every kind, ValueError and its own among them
            print(f"the rule {type(self.rule).__name__} gives way to the next: {reason(error)}")  # noqa: T201 - the log
            self.refused.add(tvm_ffi.structural_hash(func))
            return None
        return schedule


def usual(target: Target, *, metal_simdgroup: bool) -> Schedule:
    """The pipeline that is taken first; `metal_simdgroup`: dlight's simdgroup rule works in this toolchain."""
    if _needs_plain_matmul(target, metal_simdgroup=metal_simdgroup):
        return Schedule(_generic(target, _plain_matmul), GENERIC)
    passes = [relax.get_default_pipeline(target), sort_shape_stores()]
    return Schedule(tvm.transform.Sequential(passes), USUAL)


def tried(target: Target, compile_: Compile, *, metal_simdgroup: bool) -> Schedule:
    """The pipeline for a GPU where the usual one makes kernels that do not compile; see `usual`."""
    refused: set[int] = set()

    def wrapped(rules: Sequence[dlight.ScheduleRule]) -> list[dlight.ScheduleRule]:
        ours = _plain_matmul(rules) if _needs_plain_matmul(target, metal_simdgroup=metal_simdgroup) else rules
        return [*(_Tried(rule, compile_, refused) for rule in ours[:-1]), ours[-1]]

    return Schedule(
        _generic(target, wrapped), "generic where TVM's own rules make kernels that do not compile", refused
    )


def _needs_plain_matmul(target: Target, *, metal_simdgroup: bool) -> bool:
    return target.kind.name == "metal" and not metal_simdgroup


def _plain_matmul(rules: Sequence[dlight.ScheduleRule]) -> list[dlight.ScheduleRule]:
    return [_PlainMatmul() if type(rule) is dlight.gpu.Matmul else rule for rule in rules]


def _generic(target: Target, change: Callable[[Sequence[dlight.ScheduleRule]], list[dlight.ScheduleRule]]) -> Pass:
    """TVM's pipeline for any GPU, with other rules for schedules."""
    generic = relax.backend.gpu_generic
    return tvm.transform.Sequential(
        [
            *generic.library_dispatch_passes(target),
            *[
                dlight.ApplyDefaultSchedule(*change(step.rules))
                if isinstance(step, dlight.ApplyDefaultSchedule)
                else step
                for step in generic.legalize_passes(target)
            ],
            *generic.dataflow_lower_passes(target),
            *generic.finalize_passes(target),
            sort_shape_stores(),
        ]
    )
