"""A model inside a program that speaks `wire`: started, asked over pipes, and ended with all it has started.

The program may be on an Android device: the pipes of `adb shell` are its own then. It runs in a worker's child, so what
it prints for people is in the action's log.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipeline.adb.device import Device
from pipeline.errors import SlipwayError, StepError, ToolMissing, Unsuited
from pipeline.process import children, peak_bytes, set_parent_death_signal, signal_name

from . import wire
from .machine import Launch, MachineDied, OnDevice, Value

_CHUNK = 1 << 20
_NOEXEC = 8
"""Linux: ST_NOEXEC of sys/statvfs.h."""
_LOG = "the log has all of it"

_DIGITS = 18
"""Of nanoseconds."""

PATIENCE = 20.0
"""Seconds that a program has to end after its input did."""


class Program:
    """A machine behind pipes, which has so many seconds of wall time for everything.

    Raises:
        ToolMissing: it says that this machine lacks something.
        StepError: it does not start, or says something else than that it is ready.
    """

    transport = 0.0

    def __init__(self, launch: Launch, seconds: float) -> None:
        self._name = Path(launch.command[0]).name
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._doing = "it started"
        self._buffer = bytearray()
        environment = {**os.environ, **{name: value for name, value in launch.env.items() if value is not None}}
        for name, value in launch.env.items():
            if value is None:
                environment.pop(name, None)
        try:
            self._process = subprocess.Popen(
                launch.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True,
                preexec_fn=partial(set_parent_death_signal, os.getpid()),  # noqa: PLW1509 - there is one thread here
            )  # fmt: skip
        except OSError as error:
            closed = 0
            with suppress(OSError):  # it may be in a folder that is closed, or a name
                closed = isinstance(error, PermissionError) and os.statvfs(launch.command[0]).f_flag & _NOEXEC
            hint = "no program runs on a file system that is mounted noexec: have the project on another one"
            what = f"{launch.command[0]} cannot be started: {error.strerror}"
            raise StepError(what, hint=hint if closed else None) from error
        assert self._process.stdin is not None  # noqa: S101 - for mypy: both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        try:
            self.emulated = self._ready() or launch.emulated
        except BaseException:
            self._end()
            raise

    def use_parameters(self, folder: Path) -> None:
        """See `Machine`."""
        self._ask("parameters", "-", [str(folder)])

    def call(self, function: str, arguments: Sequence[Value]) -> tuple[Value, float]:
        """See `Machine`."""
        return self._ask("call", function, arguments)

    def runtime(self, function: str, arguments: Sequence[Value]) -> Value:
        """See `Machine`."""
        return self._ask("runtime", function, arguments)[0]

    def close(self) -> int:
        """See `Machine`. What it has started ends with it."""
        self._doing = "its work was done"
        peak = self._end()
        if self._process.returncode:
            raise self._ended()
        return peak

    def _end(self) -> int:
        peak, late = _peak(self._process.pid), time.monotonic() + PATIENCE
        with suppress(OSError, ValueError):
            self._process.stdin.close()  # type: ignore[union-attr]
        while self._process.returncode is None:
            ended, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if ended:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                peak = peak or peak_bytes(usage)
            elif time.monotonic() > late:
                self._doing = f"it had not ended in {PATIENCE:g} s"
                self._kill()
            else:
                time.sleep(0.01)
        self._kill()
        self._process.stdout.close()  # type: ignore[union-attr]
        return peak

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ready(self) -> str:
        said, version, size = (*wire.words(self, ("ready", "lacks", "unsuited", "failed")), "", "")[:3]
        if said in {"lacks", "unsuited"}:
            what, _, hint = self._text(version).partition("\n")
            raise (ToolMissing if said == "lacks" else Unsuited)(what, hint=hint or "install it")
        if said == "failed":
            raise StepError(f"{self._name} cannot load the model: {_last(self._text(version))}", hint=_LOG)
        if version != str(wire.VERSION):
            raise StepError(f"{self._name} speaks version {version!r} of the protocol, which is {wire.VERSION}")
        return self._text(size)

    def _ask(self, verb: str, name: str, arguments: Sequence[Value]) -> tuple[Value, float]:
        what = name if verb != "parameters" else "loading the parameters"
        self._doing = f"it ran {name}" if verb != "parameters" else "it loaded the parameters"
        if self._buffer:
            raise wire.no_answer(bytes(self._buffer[:80]))
        self._send(wire.request(verb, name, arguments))
        said, number = (*wire.words(self, ("done", "failed")), "")[:2]
        if said == "failed":
            raise StepError(f"{what} failed: {_last(self._text(number))}", hint=_LOG)
        if not number.isdigit() or len(number) > _DIGITS:
            raise StepError(f"{self._name} answered {said} {number[:_DIGITS]!r} when {self._doing}", hint=_LOG)
        return wire.decode(self), int(number) / 1e9

    def _text(self, size: str) -> str:
        if not size.isdigit():
            raise StepError(f"{self._name} announced a text of {size!r} bytes when {self._doing}")
        return self.exactly(min(int(size), _CHUNK)).decode("utf-8", "replace")

    # Bytes in both directions, each wait within the time that is left.

    def line(self, most: int) -> bytes:
        """See `wire.Source`."""
        while b"\n" not in self._buffer and len(self._buffer) < most:
            self._fill()
        end = self._buffer.find(b"\n")
        return self._take(min(most, end + 1 if end >= 0 else most))

    def exactly(self, size: int) -> bytes:
        """See `wire.Source`."""
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        self._wait(read=True)
        data = os.read(self._out, _CHUNK)
        if not data:
            raise self._ended()
        self._buffer += data

    def _send(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            view = memoryview(part)
            while view:
                self._wait(read=False)
                try:
                    view = view[os.write(self._in, view[:_CHUNK]) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise self._ended() from error

    def _wait(self, *, read: bool) -> None:
        left = self._deadline - time.monotonic()
        ready = select.select([self._out] if read else [], [] if read else [self._in], [], max(left, 0))
        if not any(ready):
            self._kill()
            raise MachineDied(
                f"{self._name} did not end within {self._seconds:g} s; {self._doing} then",
                hint="make the check smaller, or give it more time: SLIPWAY_CHECK_SECONDS",
            )

    def _ended(self) -> MachineDied:
        """The error that says how the program died: by which signal, or with which status."""
        self._end()
        status = self._process.returncode
        how = f"was ended by {signal_name(-status).partition(' (')[0]}" if status < 0 else f"ended with status {status}"
        return MachineDied(f"{self._name} {how} when {self._doing}", hint="the log has what it printed")


class DeviceProgram(Program):
    """A machine on a device. Parameters are pushed before they are loaded; the memory is the device's to tell."""

    def __init__(self, launch: Launch, device: OnDevice, seconds: float) -> None:
        self._device = Device(Path(device.adb), device.serial, launch.env)
        self._folder = device.folder
        super().__init__(launch, seconds)

    def use_parameters(self, folder: Path) -> None:
        """See `Machine`."""
        began = time.monotonic()
        there = f"{self._folder}/parameters"
        try:
            self._device.shell(f"rm -rf {shlex.quote(there)}")
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                remote = f"{there}/{path.relative_to(folder).as_posix()}"
                self._device.push(path, remote, path.stat().st_size)
        except SlipwayError as error:
            raise MachineDied(error.what, hint=error.hint) from error
        self.transport += time.monotonic() - began
        self._deadline += time.monotonic() - began
        super().use_parameters(Path("parameters"))  # the program runs in the folder

    def _end(self) -> int:
        """The folder on the device goes with it."""
        pid = f"$(cat {shlex.quote(f'{self._folder}/pid')})"
        peak = self._said(f"cat /proc/{pid}/status")
        super()._end()
        # Where the program hangs, it does not notice that its input has ended. Its number may be another's by now.
        mine = f"grep -q {shlex.quote(self._folder)} /proc/{pid}/cmdline"
        self._said(f"{mine} 2>/dev/null && kill -9 {pid}; rm -rf {shlex.quote(self._folder)}")
        found = re.search(r"^VmHWM:\s*(\d+) kB", peak, re.MULTILINE)
        return int(found[1]) << 10 if found else 0

    def _said(self, command: str) -> str:
        with suppress(SlipwayError):  # the device may be gone
            return self._device.shell(command).text
        return ""


def _last(reason: str) -> str:
    """The line of an error that says what it is; the log gets all of it."""
    print(reason)  # noqa: T201 - a worker's stdout is its log
    lines = reason.strip().splitlines()
    return lines[-1][:400] if lines else "no reason given"


def _peak(process: int) -> int:
    """Bytes of memory that a process, or one that it has started, had at most; 0 where the system does not say.

    What `wait4` says has the memory of the process that it was forked from in it.
    """
    with suppress(OSError, ValueError, IndexError):
        folder = Path(f"/proc/{process}")
        lines = (folder / "status").read_text(encoding="ascii", errors="replace").splitlines()
        own = [int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")]
        return max([*own, *map(_peak, children(process))])
    return 0
