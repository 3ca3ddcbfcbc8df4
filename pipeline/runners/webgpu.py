"""Runner `webgpu`: the module that ships, in Node, on Dawn: the machine's GPU, else Mesa's software driver."""

from __future__ import annotations

from pathlib import Path

from pipeline.action import Facts, Job
from pipeline.errors import ToolMissing

from .check import Params, perform
from .node import Node

DRIVER = (
    "install a Vulkan driver (Debian, Ubuntu: apt-get install mesa-vulkan-drivers; Mesa 24 or later, on Debian 12 from "
    "its backports)"
)


def run(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, Webgpu())


class Webgpu(Node):
    """Node with WebGPU."""

    name = "webgpu"

    def environment(self, job: Job[Params], scratch: Path) -> dict[str, str | None]:
        """The loader of Vulkan is given the driver that is in the key, and a folder where others need a session's."""
        driver = job.tools.get("vulkan")
        if driver is None:
            raise ToolMissing("there is no Vulkan driver", hint=DRIVER)
        chosen = (
            {} if driver.path.is_dir() else {name: str(driver.path) for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")}
        )
        return {**super().environment(job, scratch), "XDG_RUNTIME_DIR": str(scratch), **chosen}
