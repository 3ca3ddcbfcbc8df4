"""A model inside a program on an Android device: `program` over `adb shell`, whose pipes are the program's.

It runs in a worker's child. The parameters are pushed before they are loaded, and the memory is the device's to tell.
"""

from __future__ import annotations

import re
import shlex
import time
from contextlib import suppress
from pathlib import Path

from pipeline.adb.device import Device
from pipeline.errors import SlipwayError

from .machine import Launch, MachineDied, OnDevice
from .program import Program


class DeviceProgram(Program):
    """A machine on a device.

    Args:
        launch: what to start, by adb.
        device: where that is.
        seconds: see `Program`.
    """

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

    def close(self) -> int:
        """See `Machine`. The folder on the device goes with it."""
        pid = f"$(cat {shlex.quote(f'{self._folder}/pid')})"
        peak = self._said(f"cat /proc/{pid}/status")
        super().close()
        # Where the program hangs, it does not notice that its input has ended. Its number may be another's by now.
        mine = f"grep -q {shlex.quote(self._folder)} /proc/{pid}/cmdline"
        self._said(f"{mine} 2>/dev/null && kill -9 {pid}; rm -rf {shlex.quote(self._folder)}")
        found = re.search(r"^VmHWM:\s*(\d+) kB", peak, re.MULTILINE)
        return int(found[1]) << 10 if found else 0

    def _said(self, command: str) -> str:
        with suppress(SlipwayError):  # the device may be gone
            return self._device.shell(command).text
        return ""
