"""The client of the zygotes: starts one, asks it for children and stages, and reports how they died.

`worker` calls it, from any thread; `server` describes the protocol.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from pipeline.documents.codec import decode, encode
from pipeline.errors import CompilerCrash, SlipwayError, ToolMissing
from pipeline.process import command_line, package_command, signal_name

from . import server as zygote
from .usage import charge
from .wire import Call, Exit, Failure, Reply, Request, describe, frame, receive, receive_number

_log = logging.getLogger(__name__)


class Disconnected(Exception):
    """The zygote has closed its control socket."""


def call(work: partial[Any]) -> Call:
    """A function with its arguments, as it is named to a child."""
    return Call(f"{work.func.__module__}:{work.func.__qualname__}", encode(work.keywords))


class ControlSocket:
    """The client's end of the control socket of a server, or of a stage.

    Attributes:
        held: bytes that the process at the other end had at most when it was last asked for a child.
    """

    def __init__(self, channel: socket.socket) -> None:
        self.held = 0
        self._channel = channel
        self._lock = threading.Lock()

    def ask(self, asked: Request, log: IO[bytes]) -> Reply:
        """Have a child do what is asked; its death is a failure too.

        Raises:
            Disconnected: the request was not taken.
        """
        channel, exit_pipe = self.begin(asked, log)
        with channel, exit_pipe:
            return collect(receive(channel, Reply), exit_pipe, asked)

    def begin(self, asked: Request, log: IO[bytes]) -> tuple[socket.socket, IO[bytes]]:
        """Have a child started on what is asked; return its request socket and its exit pipe.

        Raises:
            Disconnected: the request was not taken.
        """
        words = frame(asked)
        channel, theirs = socket.socketpair()
        exit_pipe, report = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._channel, [b"?"], [theirs.fileno(), report, log.fileno()])
                held = receive_number(self._channel)  # macOS loses descriptors closed before they are taken
        except OSError:
            held = None
        finally:
            theirs.close()
            os.close(report)
        if held is None:
            channel.close()
            os.close(exit_pipe)
            raise Disconnected
        self.held = held
        with suppress(OSError):  # the child died already; its exit pipe says how
            channel.sendall(words)
        return channel, os.fdopen(exit_pipe, "rb")

    def close(self) -> None:
        """Let the process at the other end exit."""
        with self._lock:
            self._channel.close()


class Server(ControlSocket):
    """A server process and its control socket. `pipeline.process` cannot run it: that waits for a program's end."""

    def __init__(self, python: str, mode: str, preload: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it, without waiting for its imports.

        Raises:
            ToolMissing: there is no such interpreter.
        """
        channel, theirs = socket.socketpair()
        super().__init__(channel)
        command = package_command(python, zygote.__name__, mode, str(theirs.fileno()), *preload)
        _log.debug("worker (%s): %s", mode, command_line([python, *preload], env))
        self._python = python
        self._proven = self._killed = False
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        try:
            self._process = subprocess.Popen(
                command, env=env, pass_fds=[theirs.fileno()],
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output,
            )  # fmt: skip
        except OSError as error:
            channel.close()
            self._output.close()
            hint = "name the path of a Python >= 3.10 that is there"
            raise ToolMissing(f"cannot start the interpreter {python}: {error.strerror}", hint=hint) from error
        finally:
            theirs.close()

    def begin(self, asked: Request, log: IO[bytes]) -> tuple[socket.socket, IO[bytes]]:
        """See `ControlSocket.begin`.

        Raises:
            ToolMissing: a module that it should preload cannot be imported.
            CompilerCrash: it ended in another way.
        """
        try:
            begun = super().begin(asked, log)
        except Disconnected as error:
            raise self._why() from error
        self._proven = True
        return begun

    def is_lost(self) -> bool:
        """Whether it worked and then ended, so that another may be started. What could not start would fail again."""
        return self._proven and self._process.poll() is not None

    def kill(self) -> None:
        """End it, and with it every process of its group."""
        self._killed = True
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):  # it ended just now (macOS: the latter)
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.close()
        self._output.close()

    def _why(self) -> SlipwayError:
        status = self._process.wait()
        if self._killed:
            return CompilerCrash("the worker was closed")
        text = os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        if status == zygote.CANNOT_IMPORT and lines:
            ours = "'slipway-tvm[tvm]'" if self._python == sys.executable else "apache-tvm apache-tvm-ffi"
            hint = f"install what is missing: {self._python} -m pip install {ours}"
            if self._python != sys.executable:
                hint += "; an environment of mlc_llm has TVM from mlc-ai-nightly-cpu (--pre -f https://mlc.ai/wheels)"
            return ToolMissing(lines[-1], hint=hint)
        how = f"died of {signal_name(-status)}" if status < 0 else f"ended with status {status}"
        return CompilerCrash("\n    ".join([f"the interpreter {self._python} {how}", *lines[:8]]))


# Stages


@dataclass(slots=True, eq=False)
class _Stage:
    """A stage's process: being made until `ready`, then a control socket, or a failure that all its callers share."""

    failure: Failure
    users: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    output: bytes = b""
    control: ControlSocket | None = None
    exit_pipe: IO[bytes] | None = None

    def close(self) -> None:
        if self.control is not None and self.exit_pipe is not None:
            self.control.close()
            self.exit_pipe.close()


class Stages:
    """The stages of one server. Equal ones share a process; of the unused ones the last used `idle` are kept.

    `make_room` is called before a process is started.
    """

    def __init__(self, idle: int, make_room: Callable[[], None]) -> None:
        self._idle = idle
        self._make_room = make_room
        self._known: dict[str, _Stage] = {}  # the last used comes last
        self._lock = threading.Lock()

    def ask(self, server: Callable[[], Server], first: Request, asked: Request, log: IO[bytes]) -> Reply:
        """See `ControlSocket.ask`; the child is one of the stage `first`, whose output goes to the log before it."""
        for _ in range(2):  # its process may have died since the last call; when that happens twice, something is wrong
            with self._use(first, server) as stage:
                log.write(stage.output)
                log.flush()
                if stage.control is None:
                    return Reply(failure=stage.failure)
                try:
                    return stage.control.ask(asked, log)
                except Disconnected:
                    self._forget(stage)
        what = f"the process that keeps the result of {first.call.function} ended twice"
        return Reply(failure=describe(CompilerCrash(what)))

    def trim(self, allowed: int) -> int:
        """End unused ones, the least recently used first, until the others hold at most so many bytes.

        Returns:
            int: how many they hold.
        """
        with self._lock:
            idle = [(name, one, one.control.held) for name, one in self._known.items() if one.control and not one.users]
            held = sum(size for _, _, size in idle)
            ended = []
            for name, stage, size in idle:
                if held <= allowed:
                    break
                held -= size
                ended.append(stage)
                del self._known[name]
        for stage in ended:
            stage.close()
        return held

    def clear(self) -> None:
        """End them all."""
        with self._lock:
            stages = list(self._known.values())
            self._known.clear()
        for stage in stages:
            stage.close()

    @contextmanager
    def _use(self, first: Request, server: Callable[[], Server]) -> Iterator[_Stage]:
        name = json.dumps(encode(first.call), sort_keys=True)
        with self._lock:
            stage = self._known.pop(name, None)
            is_new = stage is None
            if stage is None:
                stage = _Stage(describe(CompilerCrash(f"{first.call.function} was interrupted")))
            self._known[name] = stage
            stage.users += 1
        try:
            if is_new:
                self._make_room()
                _make(stage, first, server)
            stage.ready.wait()
            yield stage
        finally:
            with self._lock:
                stage.users -= 1
                idle = [name for name, known in self._known.items() if known.control is not None and not known.users]
                surplus = [self._known.pop(name) for name in idle[: max(0, len(idle) - self._idle)]]
            for unused in surplus:
                unused.close()

    def _forget(self, stage: _Stage) -> None:
        with self._lock:
            self._known = {name: known for name, known in self._known.items() if known is not stage}
        stage.close()


def _make(stage: _Stage, first: Request, server: Callable[[], Server]) -> None:
    """Run the stage; whoever waits for it learns the outcome even if this thread is interrupted."""
    with tempfile.TemporaryFile() as output:
        try:
            channel, exit_pipe = server().begin(first, output)
            reply = receive(channel, Reply)
            if reply is not None and reply.stage is not None:
                charge(reply.stage)
                stage.control, stage.exit_pipe = ControlSocket(channel), exit_pipe
            else:
                with channel, exit_pipe:
                    stage.failure = collect(reply, exit_pipe, first).failure or stage.failure
        except SlipwayError as error:
            stage.failure = describe(error)
        finally:
            stage.output = os.pread(
                output.fileno(), os.fstat(output.fileno()).st_size, 0
            )  # seeking would move the stage's end too
            stage.ready.set()


# Exits


def collect(reply: Reply | None, exit_pipe: IO[bytes], asked: Request) -> Reply:
    """Wait for the end of a child, charge what it cost, and make its death a failure if it did not reply."""
    end = decode(Exit, json.loads(exit_pipe.read() or b"{}"), "exit")
    charge(end.cost)
    return reply if reply is not None else Reply(failure=describe(_death(end, asked)))


def _death(end: Exit, asked: Request) -> CompilerCrash:
    function, status = asked.call.function, end.status
    if asked.after is not None:
        function += f" (after {asked.after.function})"
    if status is None:
        return CompilerCrash(end.refused or f"the worker's interpreter ended while {function} ran")
    if status >= 0:
        hint = "the log has what it printed last; look there for what ends the process"
        return CompilerCrash(f"{function} ended its process with status {status} instead of returning", hint=hint)
    if -status == signal.SIGXCPU:
        return CompilerCrash(f"{function} was ended by SIGXCPU: it took more than {asked.cpu_limit:g} s of CPU time")
    hint = "the log has what it printed last; a crash is a bug of the compiler, or of native code that a recipe calls"
    if -status == signal.SIGKILL:
        hint = "it was possibly out of memory: run fewer jobs at a time (doit -n 1)"
    return CompilerCrash(f"{function} died of {signal_name(-status)}", hint=hint)
