"""Starts a program that may write below some folders only, and ends it and all it started with whoever asked for it.

`program.run` runs this file, and talks to it by a pipe: when that is closed, by will or by death, the program's session
is killed, and on Linux whatever left the session. It imports nothing of ours, as it runs without site packages.
Landlock (Linux 5.19) is what holds a program to its folders; elsewhere it may write where the user may. Shared memory
(`/dev/shm`, System V's) is its own where the system allows namespaces, and is gone with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
"""The flag of the first that asks for the version of the interface."""
_PATH_BENEATH = 1
_NO_NEW_PRIVS, _SUBREAPER = 38, 36

_MOVES = 2
"""The version since which files can be moved between folders that may be written to."""
_CUTS = 3
"""The version since which `truncate` is one of the rights."""

_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))
"""Remove and make files and folders of every kind."""

MEMORY = "/dev/shm"  # noqa: S108 - what is looked for there is hidden, and nothing of ours put there
"""Where programs have shared memory and semaphores."""

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x20000, 0x8000000, 0x10000000
_PRIVATE, _NO_DEVICES = ctypes.c_ulong(1 << 18 | 1 << 14), ctypes.c_ulong(2 | 4)

CANNOT_START = 127
"""The status where the program is nothing that can be run."""


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """The version of Landlock's interface that this kernel has; 0 where it cannot hold a program to its folders."""
    if sys.platform != "linux":
        return 0
    found = int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))
    return found if found >= _MOVES else 0


def hold_to(folders: Iterable[str], interface: int) -> None:
    """Give up, for this process and all it starts, writing anywhere but below these folders, or to devices."""
    libc = ctypes.CDLL(None, use_errno=True)
    rights = _WRITE_FILE | _CHANGE_FOLDERS | _REFER | (_TRUNCATE if interface >= _CUTS else 0)
    handled = ctypes.c_uint64(rights)
    ruleset = _called(libc.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0))
    shared = [MEMORY] if pathlib.Path(MEMORY).is_dir() else []
    for folder in (*folders, *shared, "/dev", "/proc"):
        opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        rule = _Beneath(rights & ~_CHANGE_FOLDERS if folder in {"/dev", "/proc"} else rights, opened)
        _called(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
        os.close(opened)
    _called(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _called(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def give_memory() -> None:
    """Give this process, and all it starts, shared memory of its own, as `bwrap` does.

    Raises:
        OSError: the system does not allow it; half of it may be done.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    _called(libc.unshare(_NEW_MOUNTS | _NEW_IPC | (_NEW_USER if user else 0)))
    if user:
        for file, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            pathlib.Path("/proc/self", file).write_text(text)
    _called(libc.mount(None, b"/", None, _PRIVATE, None))
    _called(libc.mount(b"tmpfs", MEMORY.encode(), b"tmpfs", _NO_DEVICES, b"mode=1777"))


def _works(function: Callable[[], None]) -> bool:
    """Whether a function does what it should, in a child."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 0
    status = 1
    try:
        function()
        status = 0
    finally:
        os._exit(status)


def _in_memory() -> set[str]:
    with suppress(OSError):
        return {path.name for path in pathlib.Path(MEMORY).iterdir()}
    return set()


def _called(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def main() -> int:
    """Run the command that the arguments name, and return its status.

    They are JSON of the folders and of whether it may have shared memory of its own, then its words.
    """
    interface = version()
    folders, own = json.loads(sys.argv[1])
    own = own and sys.platform == "linux" and _works(give_memory)
    if own:
        give_memory()
    before = _in_memory()
    if interface:
        hold_to(folders, interface)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    command = sys.argv[2:]
    child = os.fork()
    if child == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        try:
            os.execv(command[0], command)  # noqa: S606 - it is what we are for, and no shell
        except OSError as error:
            os.write(2, f"{command[0]} cannot be run: {error.strerror}\n".encode(errors="replace"))
        os._exit(CANNOT_START)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is for doit, whose end we follow
    threading.Thread(target=_end_with_the_pipe, args=(child,), daemon=True).start()
    _, status = os.waitpid(child, 0)
    _kill(child)  # what it left running
    while orphans := _children():
        for orphan in orphans:
            _kill(orphan)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
    if not own and (left := sorted(_in_memory() - before)):
        os.write(2, f"new in {MEMORY}, of this or of another program: {', '.join(left)}\n".encode(errors="replace"))
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _end_with_the_pipe(session: int) -> None:
    while os.read(0, 1):
        pass
    _kill(session)


def _children() -> list[int]:
    """The processes that became ours when those that started them ended: Linux only."""
    with suppress(OSError):
        return [int(pid) for pid in pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def _kill(session: int) -> None:
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):  # nobody is left of it, or, on a Mac, only what is dead
            end(session, signal.SIGKILL)


if __name__ == "__main__":
    ended = main()
    sys.stdout.flush()
    if ended < 0:
        signal.signal(-ended, signal.SIG_DFL) if -ended not in {signal.SIGKILL, signal.SIGSTOP} else None
        os.kill(os.getpid(), -ended)
    os._exit(abs(ended))
