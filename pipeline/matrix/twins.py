"""What of other machines' models this machine can run with host code of its own; `expand` calls `resolve`."""

from __future__ import annotations

import os
from pathlib import Path

from .cells import Runtime, Twins
from .presets import Machine, MachinePreset, Preset, presets

VARIABLE = "TVM_SOURCE_DIR"
_INSIDE_MLC = "3rdparty/tvm"


def resolve(machine: Machine, runtime: Runtime | None, root: Path) -> Twins | None:
    """Return what the preset `host` says of this machine, and the checkout; None for a machine that it does not know.

    Args:
        machine: that runs the models.
        runtime: it names a checkout, perhaps; else the variable TVM_SOURCE_DIR may.
        root: directory that the checkout's path is relative to.
    """
    known = presets()
    host = known["host"]
    alias = host.machines.get(str(machine)) if isinstance(host, MachinePreset) else None
    base = known[alias.preset] if alias is not None else None
    if alias is None or not isinstance(base, Preset):
        return None
    triple = base.triples[alias.arch].format(deployment_target=base.deployment_target)
    named = (runtime.source if runtime is not None else None) or os.environ.get(VARIABLE)
    folder = None if not named else root / named
    if folder is not None and (folder / _INSIDE_MLC).is_dir():
        folder = folder / _INSIDE_MLC
    return Twins(base.platform, triple, None if folder is None else str(folder))
