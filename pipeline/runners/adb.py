"""Runner `adb`: a program built from a product's kit, as `native-cpp` builds it, on an Android device behind a cable.

`doit bench` calls it. A device comes and goes, so no task and no key knows of one. With the NDK the program is for
Android; a Linux board that speaks adb gets one for Linux.
"""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path

from pipeline.action import Facts, Job
from pipeline.adb.device import Device, failure

from .check import Params, perform
from .machine import Launch, OnDevice
from .native import build_cpp

FOLDER = "/data/local/tmp/slipway-bench"
"""Where adb's user may write, and run what it has written; /sdcard is mounted without the latter."""

_VARIABLES = ("ADB_", "ANDROID_")
"""How variables begin that adb looks at: where its server is, say. A worker has no variables of the user's."""


def run(job: Job[Params], device: Device) -> Facts:
    """See `check.perform`."""
    return perform(job, "adb", partial(_launch, device))


def _launch(device: Device, job: Job[Params], scratch: Path) -> Launch:
    """Nothing of an earlier run is left on the device."""
    built = build_cpp(job, scratch)
    device.shell(f"rm -rf {FOLDER}")
    for path in (built.program, *built.shared):
        device.push(path, f"{FOLDER}/{path.name}", path.stat().st_size)
    said = device.shell(f"chmod 755 {FOLDER}/{built.program.name}")
    if said.status:
        raise failure(f"{built.program.name} cannot be run on {device.serial}", said.text)
    words = f"{FOLDER}/{built.program.name} {shlex.quote(job.params.model.prefix)}"
    command = f"cd {FOLDER} && echo $$ > pid && export LD_LIBRARY_PATH={FOLDER} && exec {words}"
    return Launch(
        command=tuple(map(str, device.words("shell", "-T", command))),
        env={name: text for name, text in os.environ.items() if name.startswith(_VARIABLES)},
        emulated=_emulated(device),
        device=OnDevice(str(device.adb), device.serial, FOLDER),
    )


def _emulated(device: Device) -> str | None:
    """Whether the device is Android's emulator: its times are those of the machine below."""
    said = device.shell("getprop ro.kernel.qemu 2>/dev/null; getprop ro.boot.qemu 2>/dev/null")
    return "Android emulator" if "1" in said.text.split() else None
