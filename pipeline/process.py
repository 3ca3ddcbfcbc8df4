"""The one gateway for running other programs, without a shell; steps, toolchains and commands call `run`.

A log says what was run and with which differences of environment, secrets removed; an error carries the last lines of
what the program said.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.transport.http import redact, redact_variable

from .errors import StepError, ToolMissing
from .files import look, written

_log = logging.getLogger(__name__)

_NO_PROGRAM = frozenset({errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENOEXEC, errno.EPERM})
"""What is said of a file that cannot be run. The rest (no descriptors, no memory) is the machine's."""

STARTED_WITH = frozenset(
    {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE"}
    | {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "DEVELOPER_DIR"}
)
"""What an interpreter, a compiler and a linker need of our environment to start at all."""

_PASSED = STARTED_WITH | {
    "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_HTTP_CAINFO", "CARGO_NET_OFFLINE",
    "EMSDK", "EMSDK_NODE", "EMSDK_PYTHON", "EM_CONFIG", "EM_CACHE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK",
}  # fmt: skip
"""What a program gets that takes part in a build: besides that, where its own parts are, and the way to the network.
All else (`CFLAGS`, `CPATH`, `LD_RUN_PATH`, `GIT_DIR`, …) would change what it gives, and is in no key."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded when this is imported, and not after a fork that has other things to do


_MOMENT = 0.5
"""Seconds that are left to what a program has started and that still holds its output, once it has ended itself."""


class Finished(NamedTuple):
    """How a program ended. `output` is stdout and stderr as they came, decoded with replacement."""

    command: tuple[str, ...]
    status: int
    output: str
    errors: str = ""
    """Stderr, where it was asked for apart: `output` is stdout alone then."""


def run(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    check: bool = True,
    timeout: float | None = None,
    apart: bool = False,
    inherit: bool = False,
) -> Finished:
    """Run a program to its end and return what it said.

    Args:
        command: program and arguments; never given to a shell.
        log: file to append the command line and its output to.
        cwd: directory to run in.
        env: changes to the environment; None as a value removes the variable.
        check: raise when the status is not 0.
        timeout: seconds of wall time, after which it is ended with all it has started.
        apart: keep stderr out of `output`, for who reads an answer there: a warning is none.
        inherit: give it all of our environment, as what speaks to servers and devices by the user's settings needs;
            else a fixed language, and of ours only what changes no result.

    Raises:
        ToolMissing: the program does not exist, or is none for this machine.
        StepError: it failed (with `check`), or ran out of time.
    """
    words = tuple(str(word) for word in command)
    passed = {name: value for name, value in os.environ.items() if inherit or name in _PASSED}
    environment = {**passed, **({} if inherit else {"LC_ALL": "C"}), "TMPDIR": tempfile.gettempdir()}
    for name, value in (env or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    line = command_line(words, env or {})
    _log.debug("in %s: %s", cwd or ".", line)
    try:
        process = subprocess.Popen(
            words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ToolMissing(f"{words[0]} is not installed", hint=f"install it, or put it on PATH: {words[0]}") from error
    except OSError as error:
        if error.errno not in _NO_PROGRAM:
            raise
        hint = "it is no program for this machine: install one that is, or take it off PATH"
        raise ToolMissing(f"{words[0]} cannot be run: {error.strerror}", hint=hint) from error
    with process:
        try:
            said = _said(process, timeout)
        except subprocess.TimeoutExpired as late:
            _kill(process.pid)
            _append(log, line, (late.output or b"").decode(errors="replace"))
            raise StepError(f"{words[0]} did not end within {timeout:g} s", log=log) from late
        except BaseException:
            process.kill()
            raise
    output, errors = (part.decode(errors="replace") for part in said)
    text = output + errors
    _append(log, line, text)
    if check and process.returncode != 0:
        tail = "\n    ".join(text.strip().splitlines()[-8:])
        code = process.returncode
        how = f"died of {signal_name(-code)}" if code < 0 else f"ended with status {code}"
        raise StepError(f"{words[0]} {how}:\n    {tail}", log=log)
    return Finished(words, process.returncode, output, errors)


def _said(process: subprocess.Popen[bytes], timeout: float | None) -> tuple[bytes, bytes]:
    """What a program has said when it ends; who else holds its output need not."""
    until = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        ended = process.poll() is not None
        try:
            output, errors = process.communicate(timeout=max(0, min(_MOMENT, until - time.monotonic())))
        except subprocess.TimeoutExpired as late:
            if ended:
                return late.output or b"", late.stderr or b""
            if time.monotonic() >= until:
                raise
        else:
            return output, errors or b""


def children(process: int) -> list[int]:
    """The processes that one has started, and that have not ended; Linux only."""
    with suppress(OSError, ValueError):
        paths = Path(f"/proc/{process}/task").glob("*/children")
        return [int(word) for path in paths for word in path.read_text("ascii").split()]
    return []


def _kill(process: int) -> None:
    """End a process with all that it has started."""
    below = children(process)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)
    for one in below:
        _kill(one)


def signal_name(number: int) -> str:
    """`SIGKILL (Killed)`; a number that no signal has as it is."""
    try:
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    except ValueError:  # a real-time signal
        return f"signal {number}"


_BOOT = """
import importlib.util, sys
sys.path[:] = [entry for entry in sys.path if entry]
home, module = sys.argv[1:3]
spec = importlib.util.spec_from_file_location("pipeline", home + "/__init__.py", submodule_search_locations=[home])
sys.modules["pipeline"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
importlib.import_module(module).main(*sys.argv[3:])
"""
"""Imports this package, and nothing that lies beside it, into an interpreter where it is not installed: `-m` would
need our site-packages on the toolchain's path, where our numpy would hide theirs. The working directory leaves the
path too."""


def package_command(python: str | Path, module: str, *arguments: str) -> list[str]:
    """The command line that runs `main` of one of our modules in any interpreter, which need not have this package.

    Unbuffered, or a crash takes the end of the log along.
    """
    return [str(python), "-u", "-c", _BOOT, str(Path(__file__).parent), module, *arguments]


def command_line(words: Sequence[str], env: Mapping[str, str | None]) -> str:
    """A command with its changes to the environment as one could type it in a shell, but for secrets."""
    changes = [
        f"-u {name}" if value is None else f"{name}={shlex.quote(redact_variable(name, value))}"
        for name, value in sorted(env.items())
    ]
    return " ".join([*(["env", *changes] if changes else []), redact(shlex.join(words))])


def _append(log: Path | None, line: str, text: str) -> None:
    if log is not None:
        with log.open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"$ {line}\n{text}")


def state_of(path: Path) -> list[str | int]:
    """What changes with the file behind the path; links are followed (`cc` is one, by way of another, to `gcc-12`)."""
    return [str(path), *written(look(path))]


def peak_bytes(usage: resource.struct_rusage) -> int:
    """The most resident memory that a process had. macOS counts it in bytes, Linux in KiB."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def set_parent_death_signal(parent: int) -> None:
    """Linux: have the kernel end this process when its parent ends, however that ends. Elsewhere nothing happens."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was faster
            os.kill(os.getpid(), signal.SIGKILL)
