"""Which devices a toolchain compiles for; the steps ask before they start a compiler, commands before a step starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pipeline.documents.probe import Probe
from pipeline.errors import StepError
from pipeline.matrix.cells import Backend, Cell

HOST_BLIND = frozenset({"metal"})
"""Kinds of device whose lowering no host changes: Metal's hosts all have pointers of 64 bits.

A CPU is its own host. dlight schedules OpenCL otherwise where the host is Android. WebGPU's only host has 32 bits.
"""


def check_device(probe: Probe, toolchain: str, backend: Backend) -> None:
    """Refuse what the toolchain's probe knows that it generates no code for, before a compiler is started.

    Raises:
        StepError: it generates none for the backend's device.
    """
    kind = backend.device_kind
    if probe.codegens and kind not in probe.codegens:
        raise StepError(
            f"toolchain {toolchain} has no code generator for {kind!r}, the device of backend {backend.name}",
            hint=f"choose a device of kind {', '.join(probe.codegens)}, or a toolchain whose TVM was built with {kind}",
        )


def unable(cells: Iterable[Cell], probes: Mapping[str, Probe]) -> Iterator[str]:
    """What toolchains cannot compile of a matrix, with the cure, as far as they have been probed."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        known, kind = probes.get(cell.toolchain), cell.backend.device_kind
        if cell.model.compiler != "prebuilt" and known is not None and kind not in known.codegens:
            backends = lacking.setdefault((cell.toolchain, kind), [])
            if cell.backend.name not in backends:
                backends.append(cell.backend.name)
    for (toolchain, kind), backends in lacking.items():
        yield (
            f"toolchain {toolchain} has no code generator for {kind}, which {', '.join(backends)} needs\n"
            "  hint: use a toolchain whose TVM was built with it"
        )
