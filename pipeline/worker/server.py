"""The zygote behind a worker: a process that imports a toolchain once, then forks a child for every request.

`worker.client` starts it, in the toolchain's own interpreter, and holds the other end of its three channels. They are
made by the client, and have no name in a file system:

* the **control socket**: one byte with three descriptors (request socket, exit pipe, log) asks for a child; a number
  back says that they were taken, and how many bytes the zygote holds. End of file means that the client is gone:
  everything here ends at once.
* the **request socket**: the child reads its request from it and writes its answer to it. When the request was for a
  stage, it then becomes the control socket of that stage, a zygote whose children find its state in their memory.
* the **exit pipe**: whoever forked the child writes how it ended and what it cost, and closes it.

A zygote has one thread (forking is only sound so), never reads a request and never runs a job: nothing a job does can
stall or crash it. All of them and their children are one process group, so one kill ends them all. Only the standard
library and light modules of this package are imported here, since the interpreter may have nothing else.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, get_type_hints

from pipeline.documents.codec import decode, encode
from pipeline.errors import StepError
from pipeline.process import package_command, peak_bytes, set_parent_death_signal

from .wire import Call, Cost, Exit, Reply, Request, describe, frame, number, receive

CANNOT_IMPORT = 3
"""Status of a server that could not preload a module; the last line it printed says which and why."""

Work = Callable[[socket.socket], None]
"""What a child does with its request socket."""


def main(mode: str, descriptor: str, *preload: str) -> None:
    """Be a zygote that forks (`fork`), a server whose children start anew (`fresh`), or such a child (`answer`).

    The descriptor is of the inherited socket: the control socket, or the request socket of a child. Modules to preload
    are imported before the first child is forked.
    """
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    faulthandler.enable()
    if mode == "answer":
        answer(channel)
        _exit_now(0)
    for name in preload:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a foreign package raises, its user wants one sentence
            traceback.print_exc()
            reason = next(iter(str(error).splitlines()), "")
            sys.stderr.write(f"{sys.executable} cannot import {name}: {type(error).__name__}: {reason}\n")
            os._exit(CANNOT_IMPORT)
    gc.collect()
    serve(channel, answer if mode == "fork" else _start_anew)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


# The zygote's side of a child


@dataclass(frozen=True, slots=True)
class _Child:
    """What a zygote keeps of a child until it ends: its request socket, and its exit pipe."""

    channel: socket.socket
    exit_pipe: int

    def end(self, report: Exit) -> None:
        """Tell the client. The shutdown reaches it even where a grandchild still holds the socket."""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            os.write(self.exit_pipe, json.dumps(encode(report)).encode())
        self.close()

    def close(self) -> None:
        self.channel.close()
        os.close(self.exit_pipe)


def serve(control: socket.socket, work: Work) -> None:
    """Fork a child that does `work` for every request on the control socket; return when the client has closed it."""
    children: dict[int, _Child] = {}
    wakeup_read, wakeup_write = socket.socketpair()
    wakeup_read.setblocking(False)
    wakeup_write.setblocking(False)
    signal.signal(
        signal.SIGCHLD, lambda _signal, _frame: None
    )  # without a handler nothing is written to the wakeup descriptor
    signal.set_wakeup_fd(wakeup_write.fileno(), warn_on_full_buffer=False)
    gc.freeze()  # the children's collectors then leave the pages of what is there alone, and the pages stay shared
    while True:
        ready, _, _ = select.select([control, wakeup_read], [], [])
        if wakeup_read in ready:
            wakeup_read.recv(4096)
        _reap(children)
        if control in ready:
            taken = _accept(control)
            if taken is None:
                return
            _fork(*taken, children, (control, wakeup_read, wakeup_write), work)


def _accept(control: socket.socket) -> tuple[_Child, int] | None:
    try:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if len(descriptors) != 3:  # noqa: PLR2004 - end of file, or we have run out of descriptors
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        control.sendall(number(cost(resource.getrusage(resource.RUSAGE_SELF)).peak))
    except OSError:
        return None
    channel, exit_pipe, log = descriptors
    return _Child(socket.socket(fileno=channel), exit_pipe), log


def _fork(child: _Child, log: int, siblings: dict[int, _Child], own: Iterable[socket.socket], work: Work) -> None:
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        child.end(Exit(refused=f"cannot fork: {error.strerror}"))
    else:
        if pid == 0:
            _run_child(child, log, [*own, *siblings.values()], work, server)
        siblings[pid] = child
    os.close(log)


def _reap(children: dict[int, _Child]) -> None:
    for pid in list(children):
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            children.pop(pid).end(Exit(os.waitstatus_to_exitcode(status), cost(usage)))


def cost(*usages: resource.struct_rusage) -> Cost:
    """CPU seconds and peak bytes, summed and maximised."""
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return Cost(round(cpu, 6), max(map(peak_bytes, usages)))


# The child's side


def _run_child(
    child: _Child, log: int, inherited: Iterable[_Child | socket.socket], work: Work, server: int
) -> NoReturn:
    """Close what was inherited from the zygote, send output to the log, do the work, and exit."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        set_parent_death_signal(server)  # elsewhere than on Linux such a child ends when the worker is closed
        for one in inherited:
            one.close()
        os.close(child.exit_pipe)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        work(child.channel)
        status = 0
    except BaseException:  # noqa: BLE001 - the log is the only place left to tell it
        traceback.print_exc()
    finally:
        _exit_now(status)


def answer(channel: socket.socket, *state: object) -> None:
    """Read a request, run it, answer; go on as a zygote with that state when it was for a stage."""
    request = receive(channel, Request)
    if request is None:
        return
    staged = False
    try:
        _limit_cpu(request.cpu_limit)
        if request.after is not None:
            state = (_run(request.after),)
        value = _run(request.call, *state)
        if request.stage:
            _limit_cpu(None)
            own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            reply, staged = frame(Reply(stage=cost(own, children))), True
        else:
            reply = _result(value, request.call.function)
    except BaseException as error:  # noqa: BLE001 - SystemExit is a failure too, and everything is told to the caller
        traceback.print_exc()
        reply = frame(Reply(failure=describe(error)))
    channel.sendall(reply)
    if staged:
        serve(channel, lambda inner: answer(inner, value))


def _run(call: Call, *state: object) -> object:
    module, _, name = call.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    types = get_type_hints(function)
    arguments = {one: decode(types.get(one, object), value, one) for one, value in call.arguments.items()}
    return function(*state, **arguments)


def _result(value: object, function: str) -> bytes:
    try:
        return frame(Reply(encode(value)))
    except (TypeError, ValueError) as error:
        raise StepError(f"{function} returned something that JSON cannot carry: {error}") from error


def _limit_cpu(seconds: float | None) -> None:
    """Let SIGXCPU end this process after that much CPU time, counted from the fork; None takes the limit away again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = hard if seconds is None else max(1, math.ceil(seconds))
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _start_anew(channel: socket.socket) -> None:
    os.set_inheritable(channel.fileno(), True)
    os.execv(sys.executable, package_command(sys.executable, __name__, "answer", str(channel.fileno())))  # noqa: S606 - no shell


def _exit_now(status: int) -> NoReturn:
    """Exit without running destructors and atexit: those of a forked TVM belong to its parent."""
    os._exit(status)
