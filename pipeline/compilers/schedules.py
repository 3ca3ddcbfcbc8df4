"""Chooses the Relax pass pipeline of a device: TVM's own, except on Metal where its simdgroup rule does not work.

`relax` calls it. Whether the rule works in a toolchain is found out by `probe`, not known from a list of versions.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.s_tir import dlight
from tvm.target import Target

from .shape_order import sort_shape_stores

GENERIC = "generic: in this toolchain dlight's simdgroup rule for Metal fails or takes too long"


class _PlainMatmul(dlight.gpu.Matmul):  # type: ignore[misc]
    """dlight's matmul rule without its branch to simdgroup intrinsics.

    That branch is taken by the name of the target's kind. In TVM 0.26 and 0.27 it ends in a segmentation fault, or in
    18 s of rendering an error that is then swallowed, depending on the tvm-ffi beside it. The rest of the rule reads
    nothing of the target but whether it is a GPU, so another kind of GPU stands in for it here; the function's own
    target, and with it the generated code, stays Metal's.
    """

    def apply(self, func: Any, _target: Target, tunable: bool) -> Any:
        return super().apply(func, Target({"kind": "webgpu"}), tunable)


def pipeline_for(target: Target, *, metal_simdgroup: bool) -> tuple[Any, str]:
    """Return the Relax pipeline for a device and what to call its schedule in the facts.

    Args:
        target: the device's target.
        metal_simdgroup: whether dlight's simdgroup rule works in this toolchain; only asked for Metal.
    """
    if target.kind.name != "metal" or metal_simdgroup:
        usual = relax.get_default_pipeline(target)
        return tvm.transform.Sequential([usual, sort_shape_stores()]), "TVM's default"
    generic = relax.backend.gpu_generic
    passes = [
        *generic.library_dispatch_passes(target),
        *[_without_simdgroup(step) for step in generic.legalize_passes(target)],
        *generic.dataflow_lower_passes(target),
        *generic.finalize_passes(target),
        sort_shape_stores(),
    ]
    return tvm.transform.Sequential(passes), GENERIC


def _without_simdgroup(step: Any) -> Any:
    if not isinstance(step, dlight.ApplyDefaultSchedule):
        return step
    rules = [_PlainMatmul() if type(rule) is dlight.gpu.Matmul else rule for rule in step.rules]
    return dlight.ApplyDefaultSchedule(*rules)
