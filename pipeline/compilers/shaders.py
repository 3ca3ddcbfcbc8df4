"""How the Metal kernels of a backend are compiled: on the device (`source`), or here (`metallib`), and then for what.

`compile` asks before it starts a worker. The compiling itself is `pipeline.compilers.metallib`'s.
"""

from __future__ import annotations

from pipeline import platforms as apple
from pipeline.action import Job
from pipeline.errors import ToolMissing
from pipeline.matrix.cells import Backend

from .metallib import Shaders


def shaders(job: Job[object], backend: Backend) -> Shaders | None:
    """For what kernels are compiled, for a backend that asks for compiled kernels, else None.

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
            hint=apple.METAL_INSTALL,
        )
    triple, language = apple.metal_target(platform, str(backend.deployment_target))
    return Shaders(apple.SDKS[platform], triple, language, tool.version, str(job.cache_dir("metallib")))
