"""Runner `browser`: the module that ships, in headless Chromium, on a page of ours whose picture is kept.

Chromium's GPU in software (SwiftShader) has no float16; see quirk WASM-11.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.action import Facts, Job
from pipeline.errors import ToolMissing

from .check import Params, perform
from .node import Node

PICTURE = "page.png"

_OLDEST = 113
"""The first with WebGPU."""
_CHROMIUM = "install Chromium {} or later, or Google Chrome (Debian: apt-get install chromium)"


def run(job: Job[Params]) -> Facts:
    """See `check.perform`. The picture is beside `run.json`."""
    return perform(job, Browser())


class Browser(Node):
    """A page in Chromium, which Node drives."""

    name = "browser"
    program = "browser.mjs"
    oldest = 20

    def words(self, job: Job[Params]) -> tuple[str, ...]:
        """Chromium, and where the picture goes."""
        chromium = job.tools.get("chromium")
        if chromium is None:
            raise ToolMissing("there is no Chromium", hint=_CHROMIUM.format(_OLDEST))
        found = re.search(r"\b(\d+)\.", chromium.version)
        if found is None or int(found[1]) < _OLDEST:
            raise ToolMissing(f"{chromium.version} is too old", hint=_CHROMIUM.format(_OLDEST))
        return (str(chromium.path), str(job.out / PICTURE))

    def environment(self, job: Job[Params], scratch: Path) -> dict[str, str | None]:
        """Whatever Chromium writes is removed after the run."""
        homes = ("TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
        return {**super().environment(job, scratch), **dict.fromkeys(homes, str(scratch))}
