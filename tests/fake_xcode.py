"""A fake of Xcode's command line: an `xcrun` on PATH that checks what it is asked and marks what it writes.

Its metallib is `MTLB`, the SDK, the flags and the digest of the source. It appends one line to `calls` when a compile
begins and one when it ends, so tests can count compiles and see how many ran at once.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = '''#!{python}
"""Fake of xcrun."""
import hashlib, json, os, sys, time

FOLDER = {folder!r}
SDKS = {{"iphoneos": "ios", "iphonesimulator": "ios", "macosx": "macos"}}

def note(**what):
    with open(os.path.join(FOLDER, "calls"), "a") as file:
        file.write(json.dumps(what) + "\\n")

def refuse(text):
    print("fake xcrun: error: " + text)
    raise SystemExit(64)

def setting(name):
    path = os.path.join(FOLDER, name)
    return open(path).read().strip() if os.path.exists(path) else None

flag, sdk, *words = sys.argv[1:]
if flag != "-sdk" or sdk not in SDKS:
    refuse("asked " + repr(sys.argv))
if words == ["--show-sdk-version"]:
    print("18.0")
elif words == ["--show-sdk-path"]:
    print(os.path.join(FOLDER, sdk + ".sdk"))
elif words == ["clang", "--version"]:
    print("Fake clang version " + (setting("version") or "1600.0"))
elif setting("no-metal"):
    print("error: cannot execute tool 'metal' due to missing Metal Toolchain; use: xcodebuild -downloadComponent "
          "MetalToolchain")
    raise SystemExit(1)
elif words == ["metal", "--version"]:
    print("Fake metal version " + (setting("version") or "32023.155"))
elif words[0] == "metal":
    name, *rest = words
    system = SDKS[sdk]
    if len(rest) != 7 or not rest[0].startswith("-std=" + system + "-metal") or rest[1] != "-target":
        refuse("metal was given " + repr(rest))
    triple, level, source, dash, out = rest[2:]
    simulator = triple.endswith("-simulator")
    if not triple.startswith("air64-apple-" + system) or simulator != (sdk == "iphonesimulator"):
        refuse(triple + " is not for " + sdk)
    if (level, dash) != ("-O3", "-o") or not source.endswith(".metal") or not out.endswith(".metallib"):
        refuse("metal was given " + repr(rest))
    for name in ("SDKROOT", "IPHONEOS_DEPLOYMENT_TARGET", "MACOSX_DEPLOYMENT_TARGET"):
        if name in os.environ:
            refuse(name + " was inherited")
    text = open(source).read()
    note(begin=time.monotonic(), sdk=sdk, triple=triple)
    if "mistake" in text:
        print("kernel.metal:1:1: error: unknown type name 'mistake'")
        raise SystemExit(1)
    time.sleep(float(setting("seconds") or 0))
    with open(out, "wb") as file:
        file.write(b"MTLB " + " ".join([sdk, rest[0], triple]).encode() + b" ")
        file.write(hashlib.sha256(text.encode()).hexdigest().encode() + b"\\n")
    note(end=time.monotonic())
else:
    refuse("there is no " + words[0])
'''


@dataclass(frozen=True)
class FakeXcode:
    """Where the fake is, and what it was asked so far."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def set(self, name: str, value: object) -> None:
        """`seconds` a compile takes, `version` of the compilers, `no-metal`."""
        (self.folder / name).write_text(str(value))

    @property
    def calls(self) -> list[dict]:
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def compiles(self) -> list[dict]:
        return [call for call in self.calls if "begin" in call]

    @property
    def most_at_once(self) -> int:
        """How many compiles ran side by side at the busiest moment."""
        events = [(call.get("begin") or call["end"], "begin" in call) for call in self.calls]
        running = most = 0
        for _, begins in sorted(events):
            running += 1 if begins else -1
            most = max(most, running)
        return most

    def forget(self) -> None:
        (self.folder / "calls").unlink(missing_ok=True)


def install(folder: Path) -> FakeXcode:
    """Write the fake below a folder; put its `bin` first on PATH to use it."""
    xcode = FakeXcode(folder)
    xcode.bin.mkdir(parents=True)
    program = xcode.bin / "xcrun"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    for sdk in ("iphoneos", "iphonesimulator", "macosx"):
        (folder / f"{sdk}.sdk").mkdir()
    return xcode
