"""Which devices a toolchain compiles for; the steps ask before they start a compiler."""

from __future__ import annotations

from pipeline.documents.probe import Probe
from pipeline.errors import StepError
from pipeline.matrix.cells import Backend


def check_device(probe: Probe, toolchain: str, backend: Backend) -> None:
    """Refuse what the toolchain's probe knows that it generates no code for, before a compiler is started.

    Raises:
        StepError: it generates none for the backend's device.
    """
    kind = str(backend.device["kind"])
    if probe.codegens and kind not in probe.codegens:
        raise StepError(
            f"toolchain {toolchain} has no code generator for {kind!r}, the device of backend {backend.name}",
            hint=f"choose a device of kind {', '.join(probe.codegens)}, or a toolchain whose TVM was built with {kind}",
        )
