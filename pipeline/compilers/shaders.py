"""How the Metal kernels of a backend are compiled: on the device (`source`), or here (`metallib`), and then for what.

`compile` asks before it starts a worker. The compiling itself is `pipeline.compilers.metallib`'s.
"""

from __future__ import annotations

from typing import Any

from pipeline import platforms as apple
from pipeline.action import Job, Json
from pipeline.errors import ToolMissing
from pipeline.matrix.cells import Backend

from .metallib import INSTALL


def shaders(job: Job[Any], backend: Backend) -> dict[str, Json] | None:
    """The fields of `metallib.Shaders` for a backend that asks for compiled kernels, else None.

    Raises:
        ToolMissing: this machine has no Metal compiler for the backend.
    """
    if backend.kernels != "metallib":
        return None
    platform = backend.platform
    tool = job.tools.get(apple.metal_tool(platform))
    if tool is None:
        raise ToolMissing(
            f"the kernels of backend {backend.name} are to be compiled here, and this machine has no Metal compiler "
            f"for {apple.SDKS[platform]}",
            hint=INSTALL,
        )
    triple, language = apple.metal_target(platform, str(backend.deployment_target))
    return {
        "sdk": apple.SDKS[platform],
        "triple": triple,
        "language": language,
        "version": tool.version,
        "cache": str(job.cache_dir("metallib")),
    }
