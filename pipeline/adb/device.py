"""A device behind adb: found, chosen, and given commands and files.

adb joins the words of `shell` with blanks for the device's shell, so a command is one text here, and whoever puts a
path into it quotes it. Its messages and exit statuses are in the quirks ADB-1 to ADB-10. The texts are adb's own, as
its sources have them (client/file_sync_client.cpp, transport.cpp, adb_client.cpp), or those of the device's kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import DeviceError, StepError, ToolMissing
from pipeline.files.locks import alone, user_cache
from pipeline.process import run

_INSTALL = (
    "install Android's platform-tools (Debian, Ubuntu: apt-get install adb; macOS: brew install "
    "android-platform-tools), or let ANDROID_HOME name the SDK that has them"
)
_ATTACH = "attach a device with USB debugging switched on (adb devices -l lists it), or start an emulator"

_END = "\nslipway:"
_NOISE = ("* daemon ", "adb server version ", "adb server is out of date")
"""How lines begin that adb prints before the answer when it starts its server."""

SECONDS = 60.0
"""Wall time of a command; what grows with the size of files is added."""

_SLOWEST_READ = 5e6
_SLOWEST_LINK = 2e5
"""Bytes a second below which a device counts as hung."""


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


@dataclass(frozen=True)
class Attached:
    """A line of `adb devices -l`: serial number, state, and what else it says (`model:Pixel_8 …`)."""

    serial: str
    state: str
    about: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.serial, f"({self.state})", self.about)))


@dataclass(frozen=True)
class Said:
    """How a command on the device ended, and what it printed on both streams, decoded with replacement."""

    status: int
    text: str


def failure(doing: str, said: str) -> DeviceError:
    """An error about what adb, or a command on the device, said; `doing` begins the sentence, and a colon ends it."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("* daemon")]
    own = [line for line in lines if line.startswith(("adb: ", "error: "))]
    reason = _PREFIX.sub("", (own or lines[-1:] or ["the connection was closed"])[0])[:_SHOWN]
    hint = next((cure for pattern, cure in CURES if re.search(pattern, said)), CURES[-1][1] if not lines else None)
    return DeviceError(f"{doing}: {reason}", hint=hint or "see whether adb works by itself: adb devices -l")


def find_adb() -> Path:
    """The program: on PATH, else in the SDK that ANDROID_HOME or ANDROID_SDK_ROOT names.

    Raises:
        ToolMissing: it is nowhere.
    """
    if found := shutil.which("adb"):
        return Path(found)
    for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        program = Path(os.environ.get(variable, "")) / "platform-tools" / "adb"
        if program.is_absolute() and program.is_file():
            return program
    raise ToolMissing("there is no adb", hint=_INSTALL)


def attached(adb: Path) -> list[Attached]:
    """The devices that adb knows, in whatever state.

    Raises:
        DeviceError: adb's server cannot be reached.
    """
    done = run([adb, "devices", "-l"], check=False, timeout=SECONDS, apart=True, inherit=True)
    if done.status:
        raise failure("adb cannot list the devices", done.output + done.errors)
    lines = [line for line in done.output.splitlines() if line.strip()]
    return [_attached(line) for line in lines if not line.startswith("List of devices")]


def _attached(line: str) -> Attached:
    serial, _, rest = line.strip().partition(" ")
    found = re.match(r"no permissions\b[^;]*(?:; see \[[^\]]*\])?|\S+", rest.strip())
    state = found[0] if found else "unknown"
    named = re.findall(r"\b(?:product|model|device):\S+", rest)
    return Attached(serial, state, " ".join(named))


def choose(adb: Path, serial: str) -> Device:
    """The device with a serial number, else the one that ANDROID_SERIAL names, else the only one there is; it is ready.

    Raises:
        DeviceError: there is none, or there are several, or it is not ready; the message lists those there are.
    """
    there = attached(adb)
    wanted = serial or os.environ.get("ANDROID_SERIAL", "")
    listed = "".join(f"\n    {one}" for one in there)
    if not there:
        what = f"no device {wanted!r} is attached" if wanted else "no device is attached"
        raise DeviceError(what, hint=_ATTACH)
    if not wanted and len(there) > 1:
        raise DeviceError(f"{len(there)} devices are attached:{listed}", hint="choose one: --device SERIAL")
    chosen = next((one for one in there if one.serial == (wanted or one.serial)), None)
    if chosen is None:
        raise DeviceError(f"no device {wanted!r} is attached; there is:{listed}", hint="--device takes one of these")
    if chosen.state != "device":
        raise failure(f"{chosen.serial} cannot be used", chosen.state)
    model = re.search(r"\bmodel:(\S+)", chosen.about)
    return Device(adb, chosen.serial, model=model[1] if model else "")


@dataclass(frozen=True)
class Device:
    """One device; `env` are changes to the environment of adb, `model` is what adb calls it, where it does."""

    adb: Path
    serial: str
    env: Mapping[str, str | None] = field(default_factory=dict)
    model: str = ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold off what else this user does on the device until the block ends; what has to wait says so.

        Raises:
            DeviceError: the lock cannot be made.
        """

        def waiting() -> None:
            said = f"another deploy or bench uses {self.serial}; waiting for it to end"
            print(said, file=sys.stderr, flush=True)  # noqa: T201 - no part of an answer

        cache = user_cache()
        with ExitStack() as held:
            try:
                held.enter_context(alone(cache, f"device {self.serial}", waiting))
            except OSError as error:
                what = f"cannot lock the device {self.serial}: {(error.strerror or str(error)).lower()}"
                hint = "make this directory writable: locks are kept in it"
                raise DeviceError(what, where=cache, hint=hint) from error
            yield

    def words(self, *words: str | Path) -> list[str | Path]:
        """A command line of adb for this device."""
        return [self.adb, "-s", self.serial, *words]

    def shell(self, command: str, *, reads: int = 0) -> Said:
        """Run a command in the device's shell; paths in it are quoted with `shlex.quote`.

        `reads` is how many bytes of files it reads, for the time it may take.

        Raises:
            DeviceError: the device went away.
        """
        # Devices before Android 7 give every command the status 0 (see quirk ADB-2), so the shell says it itself.
        told = f"{command}\ns=$?; echo; echo slipway:$s"
        text = self._run("shell", told, seconds=SECONDS + reads / _SLOWEST_READ)[1].replace("\r\n", "\n")
        said, end, status = text.rpartition(_END)
        if not end or not status.strip().isdigit():
            raise failure(f"{self.serial} did not answer", text)
        return Said(int(status), "\n".join(line for line in said.split("\n") if not line.startswith(_NOISE)))

    def push(self, local: Path, remote: str, size: int) -> None:
        """Copy a file to the device; adb makes the folder.

        Raises:
            DeviceError: it did not arrive.
        """
        self._copy(size, f"{local.name} could not be pushed to {self.serial}", "push", local, remote)

    def pull(self, remote: str, local: Path, size: int) -> None:
        """Copy a file from the device.

        Raises:
            DeviceError: it did not arrive.
        """
        self._copy(size, f"{remote} could not be read from {self.serial}", "pull", remote, local)

    def _copy(self, size: int, failing: str, *words: str | Path) -> None:
        status, text = self._run(*words, seconds=SECONDS + size / _SLOWEST_LINK)
        if status:
            raise failure(failing, text)

    def _run(self, *words: str | Path, seconds: float) -> tuple[int, str]:
        try:
            done = run(self.words(*words), env=self.env, check=False, timeout=seconds, inherit=True)
        except ToolMissing:
            raise
        except StepError as late:
            hint = "unplug it and plug it in again, or restart adb (adb kill-server); then run the same command again"
            raise DeviceError(f"{self.serial} did not answer within {seconds:.0f} s", hint=hint) from late
        return done.status, done.output
