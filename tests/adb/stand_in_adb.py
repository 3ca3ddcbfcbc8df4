#!/usr/bin/env -S python3 -IS
"""A stand-in for adb: no device, but a folder for each; the commands, texts and exit statuses are adb's own.

`ANDROID_ADB_STAND_IN` is JSON of what is attached, and of what goes wrong (see `Faults`). A device's folder has
`sdcard`, `data/local/tmp` and `system`. Its shell and commands are Android's (mksh, toybox) where this machine has
them, else its own. Those paths in a command are made paths of the folder; what was pushed runs on this machine. What
adb refuses is refused here, as adb's sources (of 2024) say it: quirks ADB-1 to ADB-10.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

ROOTS = ("/sdcard", "/data/local/tmp", "/system")
COMMANDS = (
    "cat",
    "chmod",
    "cp",
    "df",
    "find",
    "grep",
    "kill",
    "mkdir",
    "mv",
    "rm",
    "rmdir",
    "sha256sum",
    "stat",
    "uname",
    "wc",
)
UNAUTHORIZED = (
    "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if that seems wrong.\n"
    "Otherwise check for a confirmation dialog on your device."
)
NO_PERMISSIONS = (
    "no permissions (user somebody is not in the plugdev group); see [http://developer.android.com/tools/device.html]"
)
INSUFFICIENT = (
    "insufficient permissions for device: user somebody is not in the plugdev group\n"
    "See [http://developer.android.com/tools/device.html] for more information"
)


class Faults(SimpleNamespace):
    """What is attached, and what goes wrong.

    Attributes:
        home: the folder with a folder for each device.
        devices: serial number -> state.
        free: bytes that `df` says are free; None for those of this machine.
        full_after: bytes of files in a device after which writing fails.
        pulled_at: the push, counted from 1, in whose middle the cable is pulled.
        garbles: files with this in their names arrive with another last byte.
        without: commands that the device lacks.
        says: command -> lines of shell that stand for it.
        old: whether the device is older than Android 7: no exit status, one stream, ends of lines of a terminal.
        noise: what a device prints before the answer of each command, in hexadecimal digits.
        server: whether adb's server can be started.
        seconds: that each push takes.
        abis: what an Android device says it can run; one without any is a Linux board.
        qemu: whether programs are for 64-bit ARM, and qemu-user runs them.
    """

    home = ""
    devices: ClassVar[dict[str, str]] = {}
    free: int | None = None
    full_after: int | None = None
    pulled_at: int | None = None
    garbles: str | None = None
    without = ()
    says: ClassVar[dict[str, str]] = {}
    old = False
    noise = ""
    server = True
    seconds = 0.0
    abis = ""
    qemu = False


FAULTS = Faults(**json.loads(os.environ.get("ANDROID_ADB_STAND_IN", "{}")))
HOME = Path(FAULTS.home)


def fail(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 1


def said(text: str) -> int:
    print(text)
    return 0


def gone(serial: str) -> Path:
    return HOME / f"{serial}.gone"


def connected() -> dict[str, str]:
    return {serial: state for serial, state in FAULTS.devices.items() if not gone(serial).exists()}


def transport(serial: str | None) -> tuple[str | None, str]:
    """The device that is meant, or why there is none: transport.cpp, acquire_one_transport."""
    usable = {name: state for name, state in connected().items() if state != NO_PERMISSIONS}
    refused = INSUFFICIENT if len(usable) < len(connected()) else None
    if serial is not None and serial not in usable:
        return None, refused or f"device '{serial}' not found"
    if serial is None and len(usable) != 1:
        return None, "more than one device/emulator" if usable else refused or "no devices/emulators found"
    chosen = serial or next(iter(usable))
    state = usable[chosen]
    wrong = {"offline": "device offline", "unauthorized": UNAUTHORIZED, "authorizing": "device still authorizing"}
    return (None, wrong[state]) if state in wrong else (chosen, "")


def device_home(serial: str) -> Path:
    home = HOME / serial
    for root in ROOTS:
        (home / root[1:]).mkdir(parents=True, exist_ok=True)
    return home


def inside(home: Path, path: str) -> Path | None:
    """A path of the device on this machine; None for one that adb's user may not write to."""
    return home / path[1:] if any(path == root or path.startswith(f"{root}/") for root in ROOTS) else None


def used(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and "bin" not in path.parts)


def push(serial: str, local: str, remote: str) -> int:
    home = device_home(serial)
    if not Path(local).is_file():
        return fail(f"adb: error: cannot stat '{local}': No such file or directory")
    target = inside(home, remote)
    if target is not None and target.is_dir():
        remote, target = f"{remote}/{Path(local).name}", target / Path(local).name
    copy = f"adb: error: failed to copy '{local}' to '{remote}': remote "
    if target is None:
        return fail(f"{copy}couldn't create file: Permission denied")
    if remote.startswith("/system"):
        return fail(f"{copy}secure_mkdirs() failed: Read-only file system")
    return write(serial, target, Path(local).name, Path(local).read_bytes(), copy) or said(
        f"{local}: 1 file pushed, 0 skipped."
    )


def write(serial: str, target: Path, name: str, data: bytes, copy: str) -> int:
    """What adbd does with a file that comes in."""
    target.unlink(missing_ok=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return fail(f"{copy}secure_mkdirs() failed: Not a directory")
    count = HOME / f"{serial}.pushes"
    number = int(count.read_text()) + 1 if count.exists() else 1
    count.write_text(str(number))
    if number == FAULTS.pulled_at:
        target.write_bytes(data[: len(data) // 2])
        gone(serial).touch()
        return fail("adb: error: failed to read copy response")
    if FAULTS.full_after is not None and used(device_home(serial)) + len(data) > FAULTS.full_after:
        return fail(f"{copy}write failed: No space left on device")
    time.sleep(FAULTS.seconds)
    garbled = FAULTS.garbles is not None and FAULTS.garbles in name and data
    target.write_bytes(data[:-1] + bytes([data[-1] ^ 0x40]) if garbled else data)
    return 0


def pull(serial: str, remote: str, local: str) -> int:
    source = inside(device_home(serial), remote)
    if source is None or not source.exists():
        return fail(f"adb: error: failed to stat remote object '{remote}': No such file or directory")
    shutil.copyfile(source, local)
    return said(f"{remote}: 1 file pulled, 0 skipped.")


def commands(home: Path) -> Path:
    """A folder with what the device's shell knows."""
    bin_ = home / "bin"
    shutil.rmtree(bin_, ignore_errors=True)
    bin_.mkdir()
    for name in {*COMMANDS} - {*FAULTS.without}:
        found = shutil.which("toybox") or shutil.which(name)
        assert found is not None
        (bin_ / name).symlink_to(found)
    if FAULTS.free is not None and "df" not in FAULTS.without:
        blocks = FAULTS.free // 1024
        head = "Filesystem 1K-blocks  Used Available Use% Mounted on"
        (bin_ / "df").unlink()
        (bin_ / "df").write_text(f"#!/bin/sh\necho '{head}'; echo /dev/fuse {blocks} 0 {blocks} 0% /storage/emulated\n")
        (bin_ / "df").chmod(0o755)
    says = {"getprop": f'[ "$1" = ro.product.cpu.abilist ] && echo {FAULTS.abis}'} if FAULTS.abis else {}
    says |= FAULTS.says
    says |= {"uname": "echo aarch64"} if FAULTS.qemu else {}
    for name, command in says.items():
        (bin_ / name).unlink(missing_ok=True)
        (bin_ / name).write_text(f"#!/bin/sh\n{command}\n")
        (bin_ / name).chmod(0o755)
    return bin_


def shell(serial: str, command: str) -> int:
    """Run a command; programs of this machine run, too. A command that the device is pulled from ends with 255."""
    home = device_home(serial)
    for root in ROOTS:
        command = command.replace(root, f"{home}{root}")
    environment = {"PATH": str(commands(home)), "HOME": "/", "LC_ALL": "C"}
    sys.stdout.buffer.write(bytes.fromhex(FAULTS.noise))
    sys.stdout.flush()
    if FAULTS.qemu:
        command = command.replace("exec /", f"exec {shutil.which('qemu-aarch64')} -L /usr/aarch64-linux-gnu /")
    words = [shutil.which("mksh") or "/bin/sh", "-c", command]
    if not FAULTS.old and "exec " in command:  # a program that speaks over the pipes
        return subprocess.run(words, cwd=home, env=environment, check=False).returncode
    where = subprocess.STDOUT if FAULTS.old else subprocess.PIPE
    done = subprocess.run(words, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=where, check=False)
    for stream, text in ((sys.stdout, done.stdout), (sys.stderr, done.stderr or b"")):
        told = text.replace(str(home).encode(), b"")
        stream.buffer.write(told.replace(b"\n", b"\r\n") if FAULTS.old else told)
        stream.flush()
    return 0 if FAULTS.old else done.returncode


def devices(words: list[str]) -> int:
    if words not in ([], ["-l"]):
        return fail("adb: adb devices [-l]")
    print("List of devices attached")
    for number, (serial, state) in enumerate(sorted(connected().items()), 1):
        about = " product:sdk_phone model:Stand_In device:folder" if state == "device" else ""
        print(f"{serial:<22} {state}{about} transport_id:{number}" if words else f"{serial}\t{state}")
    print()
    return 0


def on_device(command: str, chosen: str, words: list[str]) -> int:
    if command == "get-state":
        return said(connected()[chosen])
    if command in {"push", "pull"}:
        return (push if command == "push" else pull)(chosen, *words)
    if words[:1] == ["-T"]:
        if FAULTS.old:
            return fail("error: device only supports allocating a pty")
        words = words[1:]
    status = shell(chosen, " ".join(words))
    return 0 if command == "exec-out" else status


def main(words: list[str]) -> int:
    serial = None
    if words[:1] == ["-s"]:
        serial, words = words[1], words[2:]
    if not FAULTS.server:
        fail("* daemon not running; starting now at tcp:5037\nADB server didn't ACK\n* failed to start daemon")
        return fail("adb: failed to check server version: cannot connect to daemon")
    command, words = words[0], words[1:]
    if command == "devices":
        return devices(words)
    if command not in {"get-state", "push", "pull", "shell", "exec-out"}:
        return fail(f"adb: unknown command {command}")
    chosen, wrong = transport(serial)
    if chosen is None:
        start = {"get-state": "error: ", "shell": "adb: ", "exec-out": "error: "}
        return fail(start.get(command, "adb: error: failed to get feature set: ") + wrong)
    return on_device(command, chosen, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
