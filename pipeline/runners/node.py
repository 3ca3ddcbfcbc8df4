"""Runners `node`, `webgpu` and `browser`: the `.wasm` module that ships.

`node` runs it on the processor, `webgpu` in Node on Dawn: the machine's GPU, else Mesa's software driver. `browser` is
headless Chromium, on a page of ours whose picture is kept; its GPU in software (SwiftShader) has no float16, see quirk
WASM-11. What they load from npm is pinned in `web/package-lock.json`, and installed once per machine into the download
cache.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipeline import roles
from pipeline.action import Job, Tool, present
from pipeline.errors import DownloadError, StepError, ToolMissing
from pipeline.files import sha256_bytes
from pipeline.files.locks import locked
from pipeline.native.emcc import EMSCRIPTEN
from pipeline.process import run as run_program
from pipeline.process import state_of
from pipeline.weights.cache import DownloadCache

from .check import Params, runner
from .linked import recent
from .machine import Launch

PACKAGE_DATA = "runners/web"

_WEB = Path(__file__).parent / "web"
_NODE = "install Node {} or later (Debian, Ubuntu: apt-get install nodejs npm; macOS: brew install node)"
_NPM_SECONDS = 600
_FAILURE_SECONDS = 3600
"""How long a failure of npm answers for all checks of this process: a machine of a cluster lives on."""
_OLDEST = 18

DRIVER = (
    "install a Vulkan driver (Debian, Ubuntu: apt-get install mesa-vulkan-drivers; Mesa 24 or later, on Debian 12 from "
    "its backports)"
)

PICTURE = "page.png"

_OLDEST_CHROMIUM = 113
"""The first with WebGPU."""
_CHROMIUM = "install Chromium {} or later, or Google Chrome (Debian: apt-get install chromium)"


@runner("node")
def run(job: Job[Params], _scratch: Path) -> Launch:
    """On the processor."""
    return launch(job)


@runner("webgpu")
def run_webgpu(job: Job[Params], scratch: Path) -> Launch:
    """On a GPU."""
    return launch(job, more=partial(_on_gpu, job, scratch))


def _on_gpu(job: Job[Params], scratch: Path) -> tuple[dict[str, str], tuple[()]]:
    """The loader of Vulkan is given the driver that is in the key, and a folder where others need a session's."""
    driver = present(job.tools.get("vulkan"), "there is no Vulkan driver", DRIVER)
    names = () if driver.path.is_dir() else ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
    return {"XDG_RUNTIME_DIR": str(scratch), **dict.fromkeys(names, str(driver.path))}, ()


@runner("browser")
def run_browser(job: Job[Params], scratch: Path) -> Launch:
    """In Chromium. The picture is beside `run.json`."""
    return launch(job, program="browser.mjs", oldest=20, more=partial(_in_chromium, job, scratch))


def _in_chromium(job: Job[Params], scratch: Path) -> tuple[dict[str, str], tuple[str, str]]:
    """Chromium, and where the picture goes. Whatever Chromium writes is removed after the run."""
    hint = _CHROMIUM.format(_OLDEST_CHROMIUM)
    chromium = recent(job.tools.get("chromium"), "Chromium", (_OLDEST_CHROMIUM,), hint)
    homes = ("TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
    return dict.fromkeys(homes, str(scratch)), (str(chromium.path), str(job.out / PICTURE))


def launch(
    job: Job[Params],
    *,
    program: str = "program.mjs",
    oldest: int = _OLDEST,
    more: Callable[[], tuple[Mapping[str, str], Sequence[str]]] = lambda: ({}, ()),
) -> Launch:
    """Start Node on the program that loads the module, which no version before `oldest` can run.

    `more` gives further variables of the environment, where nothing of the user's steers Node, and further words.
    """
    module = job.inputs[roles.MODULES] / str(job.params.module)
    if not module.is_file():
        raise ToolMissing("its module could not be linked: there is no emscripten", hint=EMSCRIPTEN)
    node = recent(job.tools.get("node"), "Node", (oldest,), _NODE.format(oldest))
    variables, words = more()
    packages = installed(job.tools.get("npm"), job.log)
    device = "webgpu" if job.params.backend.device_kind == "webgpu" else "cpu"
    given = (str(node.path), str(_WEB / program), str(packages), str(module), device, *words)
    return Launch(command=given, env={"NODE_OPTIONS": None, "NODE_PATH": None, **variables})


def installed(npm: Tool | None, log: Path) -> Path:
    """The directory with the packages of `web/package-lock.json`, made by the first who asks on this machine.

    Raises:
        ToolMissing: there is no npm, or what is called so installs nothing.
        DownloadError: it cannot get them: no network, perhaps. All checks of a run get that answer, and the next run
            tries again.
    """
    lock = (_WEB / "package-lock.json").read_bytes()
    home = DownloadCache.default().root / "npm" / sha256_bytes(lock)[:16]
    done = home / "installed"
    if done.is_file() and not _absent(home, lock):
        return home
    npm = present(npm, "there is no npm to install the web runtime with", _NODE.format(_OLDEST))
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.with_suffix(".lock")):
        if done.is_file() and not _absent(home, lock):
            return home
        tried = (home, *state_of(npm.path))
        failed, when = _failures.get(tried, (None, 0.0))
        if failed is not None and time.monotonic() < when + _FAILURE_SECONDS:
            raise DownloadError(failed.what, hint=failed.hint, log=failed.log)
        shutil.rmtree(home, ignore_errors=True)  # of one that was interrupted, or cleaned up in part
        home.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(_WEB / name, home / name)
        words: list[str | Path] = [npm.path, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", home]
        try:
            run_program(words, log=log, cwd=home, timeout=_NPM_SECONDS, inherit=True)
        except StepError as error:
            failed = DownloadError(_why(error), hint=_ONLINE, log=log)
            _failures[tried] = failed, time.monotonic()
            raise failed from error
        if absent := _absent(home, lock):
            raise ToolMissing(f"{npm.path} has not installed {absent[0]}", hint=_NODE.format(_OLDEST))
        done.touch()
    return home


_failures: dict[tuple[object, ...], tuple[DownloadError, float]] = {}
"""Where which npm has failed to install them, and when."""


def _absent(home: Path, lock: bytes) -> list[str]:
    """The packages of a lock file that are not there."""
    return [name for name in json.loads(lock)["packages"] if not (home / name / "package.json").is_file()]


_ONLINE = (
    "connect this machine to npm's registry (or set npm's `registry` to a mirror), then run doit again; the log "
    "has what npm said"
)


def _why(error: StepError) -> str:
    """Npm's own reason in a line."""
    said = re.findall(r"npm (?:error|ERR!) (.+)", error.what)
    reason = next((line for line in said if not line.startswith(("code", "errno", "A complete log", "syscall"))), "")
    return f"npm cannot install the web runtime: {reason or error.what.partition(chr(10))[0]}"
