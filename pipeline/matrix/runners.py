"""Which runners can run a backend's models, and which do: `backends` asks for each backend of targets.yaml."""

from __future__ import annotations

from pipeline.platforms import architecture

from .cells import Backend


def possible(backend: Backend) -> tuple[str, ...]:
    """The runners that can run a backend's models on a machine that has what they need."""
    kind = backend.device_kind
    if backend.format == "wasm":
        return {"llvm": ("node", "browser"), "webgpu": ("webgpu", "browser")}.get(str(kind), ())
    if backend.is_host:
        return ("host",)
    if kind == "opencl" or (kind == "metal" and backend.kernels != "metallib"):
        return ("twin",)
    foreign = {("linux", "arm64"): "qemu", ("windows", "x86_64"): "wine"}
    able = foreign.get((backend.platform, architecture(backend.arch))) if kind == "llvm" else None
    return () if able is None else (able,)
