"""Runner `webgpu`: the module that ships, in Node, on Dawn: the machine's GPU, else Mesa's software driver."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.action import Facts, Job

from . import node
from .check import Params, perform
from .linked import present

DRIVER = (
    "install a Vulkan driver (Debian, Ubuntu: apt-get install mesa-vulkan-drivers; Mesa 24 or later, on Debian 12 from "
    "its backports)"
)


def run(job: Job[Params]) -> Facts:
    """See `check.perform`."""
    return perform(job, "webgpu", lambda job, scratch: node.launch(job, more=partial(_more, job, scratch)))


def _more(job: Job[Params], scratch: Path) -> tuple[dict[str, str], tuple[()]]:
    """The loader of Vulkan is given the driver that is in the key, and a folder where others need a session's."""
    driver = present(job.tools.get("vulkan"), "there is no Vulkan driver", DRIVER)
    names = () if driver.path.is_dir() else ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
    return {"XDG_RUNTIME_DIR": str(scratch), **dict.fromkeys(names, str(driver.path))}, ()
