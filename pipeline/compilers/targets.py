"""Makes TVM's targets of a backend's device and host; what neither TVM nor LLVM would complain of is refused here.

`relax` asks. LLVM prints a warning for a processor or a feature that it does not know, and goes on without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import tvm
from tvm.target import Target
from tvm.target import codegen as llvm

from pipeline.errors import StepError
from pipeline.nearest import did_you_mean

STAND_IN_TRIPLE = "arm64-apple-ios14.0"
"""Host of the shared part where the caller names none. Only its pointer width (64 bits) reaches the result."""


def target_of(device: Mapping[str, object], triple: str | None) -> Target:
    """Make the device's target with its host; a CPU is its own host."""
    kind = device["kind"]
    host = {"kind": "llvm", "mtriple": triple or STAND_IN_TRIPLE}
    own = {**device, "mtriple": triple} if kind == "llvm" and triple else {**device}
    try:
        target = Target(own if kind == "llvm" else {**own, "host": host})
    except ValueError as error:
        said = str(error).split(" Target creation")[0]
        what = f"TVM {tvm.__version__} does not accept the device {json.dumps(own)}: {said}"
        raise StepError(what, hint="correct the backend's `device` in targets.yaml") from error
    if kind == "llvm":
        _check_processor(own)
        _check_features(own)
    return target


def _check_processor(device: Mapping[str, object]) -> None:
    """Refuse a processor that LLVM does not know: it would print a warning and generate code for a plain one."""
    if "mcpu" not in device:
        return
    plain = Target({key: device[key] for key in ("kind", "mtriple") if key in device})
    known = sorted({"generic", *map(str, llvm.llvm_get_cpu_archlist(plain))})
    if (name := str(device["mcpu"])) not in known:
        hint = did_you_mean(name, known) or "clang --print-supported-cpus lists them"
        what = f"LLVM knows no processor {name!r} for {device.get('mtriple', 'this machine')}"
        raise StepError(what, hint=f"correct `mcpu` of the backend's `device` in targets.yaml; {hint}")


def _check_features(device: Mapping[str, object]) -> None:
    """Refuse a feature that LLVM does not know, or that it would not notice: it would print a warning at most."""
    plain = {key: device[key] for key in ("kind", "mtriple") if key in device}
    listed = device.get("mattr")
    for feature in map(str, listed if isinstance(listed, list | tuple) else ()):
        name = feature[1:]
        if feature[:1] not in {"+", "-"}:
            what, hint = f"{feature!r} neither begins with + nor with -", f"write +{feature} to have it"
        elif not llvm.llvm_cpu_has_features([name], Target({**plain, "mattr": [f"+{name}"]})):
            what = f"LLVM knows no feature {name!r} for {device.get('mtriple', 'this machine')}"
            hint = did_you_mean(name, _features(plain)) or "llc -mattr=help lists them; one to an entry"
        else:
            continue
        raise StepError(what, hint=f"correct `mattr` of the backend's `device` in targets.yaml; {hint}")


def _features(plain: Mapping[str, object]) -> list[str]:
    """The features that any processor of a kind has."""
    processors = map(str, llvm.llvm_get_cpu_archlist(Target(plain)))
    return sorted(
        {str(name) for cpu in processors for name in llvm.llvm_get_cpu_features(Target({**plain, "mcpu": cpu}))}
    )


def with_host(device: Target, triple: str) -> tuple[Target, Target]:
    """Return the host's target, and the device's with that host."""
    if device.kind.name == "llvm":
        return device.host or device, device
    host = Target({"kind": "llvm", "mtriple": triple})
    return host, device.with_host(host)
