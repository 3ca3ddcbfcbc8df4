"""What adb says when something is wrong, and what to do about it.

The texts are adb's own, as its sources have them (client/file_sync_client.cpp, transport.cpp, adb_client.cpp), or those
of the device's kernel.
"""

from __future__ import annotations

import re

from pipeline.errors import DeviceError

_AGAIN = "then run the same command again: it goes on where it stopped"

CURES: tuple[tuple[str, str], ...] = (
    (
        r"(?m)(?:^|device )unauthorized\.?$|still authorizing|^authorizing$",
        (
            "unlock the device and allow USB debugging in the dialogue it shows; if there is none, revoke the "
            "authorizations in its developer options and plug it in again"
        ),
    ),
    (
        r"no permissions|insufficient permissions",
        (
            "give your user access to the device: install the udev rules (Debian, Ubuntu: apt-get install "
            "android-sdk-platform-tools-common), join the group plugdev, and plug it in again"
        ),
    ),
    (
        r"(?m)(?:^|device )offline$",
        f"unplug the device and plug it in again, or restart adb (adb kill-server); {_AGAIN}",
    ),
    (
        r"(?m)^(?:recovery|rescue|sideload|bootloader|host|connecting|unknown)$|still connecting",
        "wait until Android has started on the device (adb wait-for-device)",
    ),
    (r"No space left on device|Disk quota exceeded", f"free some space on the device (adb shell df -h), {_AGAIN}"),
    (r"Read-only file system", "name a folder that can be written: --to /sdcard/…, or /data/local/tmp/…"),
    (
        r"Permission denied|Operation not permitted|fchown\(\) failed",
        "name a folder that adb's user may write to: --to /sdcard/…, or /data/local/tmp/…",
    ),
    (
        r"Not a directory|[Ii]s a directory|File exists",
        "name another folder with --to, or move away what is in the way",
    ),
    (r"File name too long|path too long", "name a folder with a shorter path: --to"),
    (
        r"cannot connect to daemon|failed to start daemon|cannot start server|failed to check server version",
        "see whether adb works by itself (adb kill-server; adb devices -l), and whether something else has its port",
    ),
    (
        (
            r"device '.*' not found|no devices/emulators found|failed to read copy response|write failed|protocol fault"
            r"|failed to get feature set|connect failed|no response|error: closed|Broken pipe|Connection reset"
        ),
        f"plug the device in again (a better cable or another port may help); {_AGAIN}",
    ),
)
"""Pattern of what was said -> what to do. The first that matches holds."""

_PREFIX = re.compile(r"^(?:adb: )?(?:error: )?")
_SHOWN = 300


def failure(doing: str, said: str) -> DeviceError:
    """An error about what adb, or a command on the device, said.

    Args:
        doing: the beginning of the sentence, which a colon ends.
        said: all of the text, or nothing.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("* daemon")]
    own = [line for line in lines if line.startswith(("adb: ", "error: "))]
    reason = _PREFIX.sub("", (own or lines[-1:] or ["the connection was closed"])[0])[:_SHOWN]
    hint = next((cure for pattern, cure in CURES if re.search(pattern, said)), CURES[-1][1] if not lines else None)
    return DeviceError(f"{doing}: {reason}", hint=hint or "see whether adb works by itself: adb devices -l")
