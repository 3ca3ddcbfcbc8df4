"""Runner `browser`: the module that ships, in headless Chromium, on a page of ours whose picture is kept.

Chromium's GPU in software (SwiftShader) has no float16; see quirk WASM-11.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from pipeline.action import Facts, Job
from pipeline.errors import ToolMissing

from . import node
from .check import Params, perform
from .linked import present
from .machine import Launch

PICTURE = "page.png"

_OLDEST = 113
"""The first with WebGPU."""
_CHROMIUM = "install Chromium {} or later, or Google Chrome (Debian: apt-get install chromium)"


def run(job: Job[Params]) -> Facts:
    """See `check.perform`. The picture is beside `run.json`."""
    return perform(job, "browser", _launch)


def _launch(job: Job[Params], scratch: Path) -> Launch:
    return node.launch(job, program="browser.mjs", oldest=20, more=partial(_more, job, scratch))


def _more(job: Job[Params], scratch: Path) -> tuple[dict[str, str], tuple[str, str]]:
    """Chromium, and where the picture goes. Whatever Chromium writes is removed after the run."""
    chromium = present(job.tools.get("chromium"), "there is no Chromium", _CHROMIUM.format(_OLDEST))
    found = re.search(r"\b(\d+)\.", chromium.version)
    if found is None or int(found[1]) < _OLDEST:
        raise ToolMissing(f"{chromium.version} is too old", hint=_CHROMIUM.format(_OLDEST))
    homes = ("TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
    return dict.fromkeys(homes, str(scratch)), (str(chromium.path), str(job.out / PICTURE))
