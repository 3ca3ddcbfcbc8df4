"""Makes a virtual environment and installs into it: with uv where it is on PATH, else with venv and pip.

`environment` calls `install`. All programs run through `pipeline.process`, so that the index, proxy and certificates
that the user has set up hold. Which files an environment consists of is its caller's business.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.cells import Toolchain
from pipeline.process import run

_INDEXES = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "trusted-host", "proxy")
"""Settings of pip that decide where packages come from. uv reads none of them."""

_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")

_CLEAN = {"PYTHONPATH": None, "PYTHONHOME": None, "VIRTUAL_ENV": None, "PIP_REQUIRE_VIRTUALENV": None}
"""What would make an installer look at another environment than the new one."""


def install(
    toolchain: Toolchain, folder: Path, frozen: Sequence[str] | None, *, cwd: Path, log: Path
) -> tuple[str, ...]:
    """Make the environment of a toolchain.

    Args:
        toolchain: what to install.
        folder: a directory that does not exist.
        frozen: exact requirements to install instead of resolving the toolchain's.
        cwd: where paths in requirements begin.
        log: gets what the programs print.

    Returns:
        What is in it now, exactly: `pip freeze`.

    Raises:
        ToolMissing: there is no Python of the version asked for.
        StepError: the installation failed, or did not yield what is frozen.
    """
    uv = shutil.which("uv")
    python = folder / "bin" / "python"
    if uv is not None and _uv_may(log):
        wanted = toolchain.python or sys.executable
        run([uv, "venv", "--python", wanted, folder], log=log, cwd=cwd, env=_CLEAN)
        base: list[str | Path] = [uv, "pip", "install", "--compile-bytecode", "--python", python]
        freeze: list[str | Path] = [uv, "pip", "freeze", "--python", python]
        pre = ["--prerelease", "allow"]
    else:
        run([_interpreter(toolchain), "-m", "venv", folder], log=log, cwd=cwd, env=_CLEAN)
        base = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        freeze = [python, "-m", "pip", "freeze", "--local", "--disable-pip-version-check"]
        pre = ["--pre"]
    links = [word for link in toolchain.find_links for word in ("--find-links", link)]
    what = [*(pre if toolchain.pre else []), *links]
    what += toolchain.requirements if frozen is None else ["--no-deps", *frozen]
    if frozen or toolchain.requirements:
        try:
            run([*base, *what], log=log, cwd=cwd, env=_CLEAN)
        except StepError as error:
            raise StepError(f"toolchain {toolchain.name}: {error.what}", hint=_hint(frozen), log=log) from error
    got = _frozen(run(freeze, log=log, cwd=cwd, env=_CLEAN, apart=True).output.splitlines())
    missing = sorted(set(frozen or ()) - set(got))
    if missing:
        raise StepError(
            f"toolchain {toolchain.name} was to have {', '.join(missing)}, as slipway.lock says, and has not",
            hint=_hint(frozen),
            log=log,
        )
    return tuple(frozen) if frozen is not None else got


def _hint(frozen: Sequence[str] | None) -> str:
    if frozen is None:
        return "check its requirements and find_links in targets.yaml, and that pip's index has them (pip config list)"
    return "a version that its index no longer has: delete the toolchain's entry from slipway.lock and run doit again"


def _frozen(lines: Iterable[str]) -> tuple[str, ...]:
    """Requirements out of what `freeze` prints: no comments, no warnings."""
    words = (line.strip() for line in lines)
    kept = [line for line in words if "==" in line.split(" ")[0] or line.startswith("-e ") or " @ " in line]
    return tuple(sorted(kept, key=str.lower))


def _interpreter(toolchain: Toolchain) -> str:
    """A Python of the version asked for."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if toolchain.python is None or toolchain.python == here:
        return sys.executable
    found = shutil.which(f"python{toolchain.python}")
    if found is None:
        raise ToolMissing(
            f"toolchain {toolchain.name} asks for Python {toolchain.python}, and there is no "
            f"python{toolchain.python} on PATH",
            where=toolchain.where,
            hint=f"install it, or uv (which brings its own), or ask for this one: {here}",
        )
    return found


def _uv_may(log: Path) -> bool:
    """Whether uv would look where pip looks: it reads no setting of pip's, and a mirror must not be passed by."""
    if any(os.environ.get(name) for name in _UV_INDEXES):
        return True
    said = run([sys.executable, "-m", "pip", "config", "list"], check=False, apart=True)
    keys = {line.partition("=")[0].rpartition(".")[2] for line in said.output.splitlines()}
    ours = sorted(keys.intersection(_INDEXES))
    if ours:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"pip is set up with {', '.join(ours)}, which uv does not read: installing with pip\n")
    return not ours
