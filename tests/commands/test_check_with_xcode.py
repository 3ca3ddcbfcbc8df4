"""The script of the Mac job, against a fake of Xcode: the real one only runs on a Mac."""

from __future__ import annotations

import json
import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".github/scripts/check_with_xcode.py"

FAKE_XCODEBUILD = """#!{python}
import pathlib, plistlib, sys
words = sys.argv[1:]
libraries = [pathlib.Path(b) for a, b in zip(words, words[1:]) if a == "-library"]
ours = plistlib.loads((libraries[0].parent.parent / "Info.plist").read_bytes())
ours["AvailableLibraries"].reverse()
for entry in ours["AvailableLibraries"]:
    entry.pop("BinaryPath")
    {change}
out = pathlib.Path(words[words.index("-output") + 1])
out.mkdir()
(out / "Info.plist").write_bytes(plistlib.dumps(ours))
"""

FAKE_LOG = """#!{python}
import sys
open({log!r}, "a").write(" ".join(sys.argv) + "\\n")
sys.exit({status})
"""


@pytest.fixture
def mac(tmp_path):
    """A kit in dist/, and a PATH with fakes; returns a function that runs the script."""
    kit = tmp_path / "dist/kit"
    slices = [("ios-arm64", "ios", None), ("ios-arm64_x86_64-simulator", "ios", "simulator")]
    entries = []
    for identifier, platform, variant in slices:
        library = kit / f"kit.xcframework/{identifier}/libkit.a"
        library.parent.mkdir(parents=True)
        library.write_bytes(b"!<arch>\n")
        archs = ["x86_64", "arm64"] if variant else ["arm64"]
        entries.append(
            {"LibraryIdentifier": identifier, "LibraryPath": "libkit.a", "BinaryPath": "libkit.a",
             "SupportedArchitectures": archs, "SupportedPlatform": platform}
            | ({"SupportedPlatformVariant": variant} if variant else {})
        )  # fmt: skip
    (kit / "kit.xcframework/Info.plist").write_bytes(plistlib.dumps({"AvailableLibraries": entries}))
    (kit / "link.json").write_text(json.dumps({"models": {"m": {"keep_symbols": ["m_bin", "m_ctx"]}}}))
    programs = tmp_path / "bin"
    programs.mkdir()

    def check(change: str = "pass", **status: int) -> tuple[int, str, str]:
        fakes = {"xcodebuild": FAKE_XCODEBUILD.format(python=sys.executable, change=change)}
        for name in ("xcrun", "doit"):
            log = str(tmp_path / "log")
            fakes[name] = FAKE_LOG.format(python=sys.executable, log=log, status=status.get(name, 0))
        for name, text in fakes.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        done = subprocess.run(
            [sys.executable, SCRIPT, "dist"], cwd=tmp_path,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        log = tmp_path / "log"
        return done.returncode, done.stdout, log.read_text() if log.exists() else ""

    return check


def test_equal_descriptions_and_living_links_pass(mac):
    status, text, log = mac()
    assert status == 0, text
    assert "2 slices" in text
    assert "--sdk iphoneos clang -target arm64-apple-ios18.0 " in log
    assert "--sdk iphonesimulator clang -target x86_64-apple-ios18.0-simulator " in log
    assert "-Wl,-u,_m_bin -Wl,-u,_m_ctx" in log
    assert log.count("verify-app --link dist/kit/link.json") == 3


def test_another_description_fails(mac):
    status, text, _ = mac(change="entry['SupportedPlatform'] = 'macos'")
    assert status == 1
    assert "xcodebuild says" in text


def test_a_link_that_fails_and_models_that_are_lost_fail(mac):
    status, text, _ = mac(xcrun=1)
    assert status == 1
    assert "ios-arm64-arm64 cannot be linked" in text
    status, text, _ = mac(doit=1)
    assert status == 1
    assert "has lost models" in text


def test_nothing_to_check_fails(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no xcframework" in done.stdout
