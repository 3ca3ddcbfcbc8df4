"""Programs are fakes: scripts on a PATH of their own that count how often they are started."""

import json
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.action import Tool
from pipeline.files.sealed import read_sealed
from pipeline.tools import finder as tools
from pipeline.tools.finder import Finder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{tmp_path / 'later'}")
    return folder


@pytest.fixture
def finder(tmp_path):
    return Finder(tmp_path / "build" / "tools")


def fake(path, *, says="version 1", flag="--version", status=0):
    """A program that answers one flag, and writes down that it ran."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(
        f'#!/bin/sh\necho run >> {path}.runs\n[ "$1" = {flag} ] || exit 64\nprintf "%b\\n" "{says}"\nexit {status}\n'
    )
    path.chmod(0o755)
    return path


def starts(path):
    runs = Path(f"{path}.runs")
    return len(runs.read_text().split()) if runs.exists() else 0


def test_a_program_is_found_with_the_first_line_that_says_anything(folder, finder):
    path = fake(folder / "cargo", says="\\n  cargo 1.80.0 (abc)  \\nmore")
    assert finder.find("cargo") == Tool("cargo", path, "cargo 1.80.0 (abc)")


def test_of_an_endless_line_no_more_than_a_version_is_kept(folder, finder):
    fake(folder / "cargo", says="9" * 5000)
    assert finder.find("cargo").version == "9" * 300


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'warning: 2.5 is old' >&2; echo cargo 1.80.0", "cargo 1.80.0"),
        ("echo nginx version: nginx/1.22.1 >&2", "nginx version: nginx/1.22.1"),
        ("echo 'LLVM (http://llvm.org/):'; echo '  LLVM version 19.1.7'", "LLVM version 19.1.7"),
        ("sleep 60 & echo $! > $0.pid; echo cargo 1.80.0", "cargo 1.80.0"),
    ],
)
def test_the_version_is_what_the_program_says_of_itself(folder, finder, monkeypatch, script, version):
    """No warning, no headline, and whatever it leaves running."""
    monkeypatch.setenv("PATH", os.defpath, prepend=":")
    monkeypatch.setattr("pipeline.tools.native.SECONDS", 10)
    path = folder / "cargo"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    found = finder.find("cargo")
    for left in folder.glob("*.pid"):
        os.kill(int(left.read_text()), 9)
    assert found == Tool("cargo", path, version)


def test_a_program_that_is_not_there_is_none(folder, finder):
    assert finder.find("cargo") is None
    assert finder.find("ld64.lld") is None


def test_the_unversioned_name_is_best_then_the_newest(folder, finder):
    old, new = fake(folder / "ld64.lld-15"), fake(folder / "ld64.lld-19")
    assert finder.find("ld64.lld") == Tool("ld64.lld", new, "version 1")
    plain = fake(folder / "ld64.lld")
    assert finder.find("ld64.lld").path == plain
    assert starts(old) == 0


def test_a_candidate_that_fails_is_passed_over_and_asked_again_next_time(folder, finder):
    broken = fake(folder / "cc", status=1, says="you have not agreed to the licence")
    good = fake(folder / "clang", says="clang 19")
    assert finder.find("cc") == Tool("cc", good, "clang 19")
    finder.find("cc")
    assert starts(broken) == 2


def test_no_program_is_started_while_its_file_stays_the_same(folder, tmp_path, finder):
    path = fake(folder / "cmake")
    for memory in (finder, finder, Finder(tmp_path / "build" / "tools")):
        assert memory.find("cmake").version == "version 1"
    assert starts(path) == 1


def test_a_replaced_program_is_asked_again_even_when_size_and_time_are_kept(folder, finder):
    path = fake(folder / "cmake", says="version 1")
    before = path.stat()
    finder.find("cmake")
    path.rename(folder / "kept")  # keeps the inode in use
    fake(path, says="version 2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert finder.find("cmake").version == "version 2"


def test_a_link_is_followed_to_the_program(folder, finder):
    fake(folder / "gcc-12", says="gcc 12")
    thirteen = fake(folder / "gcc-13", says="gcc 13")
    (folder / "cc").symlink_to("gcc-12")
    assert finder.find("cc").version == "gcc 12"
    (folder / "cc").unlink()
    (folder / "cc").symlink_to(thirteen)
    assert finder.find("cc") == Tool("cc", folder / "cc", "gcc 13")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 3}', "\ud800"])
def test_a_damaged_memo_is_made_anew(folder, tmp_path, finder, text):
    fake(folder / "cmake")
    memo = tmp_path / "build" / "tools"
    memo.parent.mkdir()
    memo.write_bytes(text.encode(errors="surrogatepass"))
    assert finder.find("cmake").version == "version 1"
    assert "version 1" in json.loads(read_sealed(memo)).values()


def test_a_memo_that_lost_a_bit_is_made_anew(folder, tmp_path, finder):
    fake(folder / "cmake")
    assert finder.find("cmake").version == "version 1"
    memo = tmp_path / "build" / "tools"
    memo.write_bytes(memo.read_bytes().replace(b"version 1", b"version 9"))
    assert finder.find("cmake").version == "version 1"


def test_a_memo_that_cannot_be_written_stops_nothing(folder, tmp_path):
    fake(folder / "cmake")
    (tmp_path / "file").touch()
    assert Finder(tmp_path / "file" / "tools").find("cmake").version == "version 1"


def test_some_programs_have_flags_of_their_own(folder, finder):
    fake(folder / "xcodebuild", flag="-version", says="Xcode 16.2\\nBuild version 16C5032a")
    assert finder.find("xcodebuild").version == "Xcode 16.2"


def test_on_a_mac_xcodes_linker_will_do_and_xcrun_is_asked_once_per_xcode(folder, tmp_path, finder, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    developer = tmp_path / "Xcode.app" / "Contents" / "Developer"
    developer.mkdir(parents=True)
    monkeypatch.setenv("DEVELOPER_DIR", str(developer))
    linker = fake(developer / "Toolchains" / "ld", flag="-v", says="@(#)PROGRAM:ld PROJECT:ld-1115.7.3")
    xcrun = fake(folder / "xcrun", flag="--find", says=linker)
    for _ in range(2):
        assert finder.find("ld64.lld") == Tool("ld64.lld", linker, "@(#)PROGRAM:ld PROJECT:ld-1115.7.3")
    assert starts(xcrun) == 1
    (developer.parent / "version.plist").write_text("a new Xcode in the same place")
    finder.find("ld64.lld")
    assert (starts(xcrun), starts(linker)) == (2, 2)
    assert {developer, developer.parent / "version.plist"} <= set(finder.watch_paths("ld64.lld"))


def test_what_to_watch_is_the_program_and_where_a_better_one_could_appear(folder, tmp_path, finder):
    later = fake(tmp_path / "later" / "gcc")
    assert finder.watch_paths("cc") == [later, folder, tmp_path / "later"]
    assert finder.watch_paths("cargo") == [folder, tmp_path / "later"]


def test_the_python_that_runs_us_says_its_packages(finder):
    found = finder.find("python:current")
    assert found.path == Path(sys.executable)
    python, *packages = found.version.split(", ")
    assert python == f"CPython {sys.version.split()[0]}" or not python.startswith("CPython")
    versions = dict(package.rsplit(" ", 1) for package in packages)
    assert list(versions) == sorted(versions)
    for name, version in versions.items():
        assert metadata.version(name) == version


def test_an_installed_package_changes_the_python_and_what_is_watched(tmp_path, finder, monkeypatch):
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [str(site)])
    assert finder.find("python:current").version.count(",") == 0
    assert finder.watch_paths("python:current") == [Path(sys.executable), site]
    for name in ("mlc_llm_nightly_cpu-0.20.dev1", "apache_tvm-0.27.0.post1", "unrelated-1.0"):
        info = site / f"{name}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: {}\nVersion: {}\n".format(*name.split("-")))
    (site / "broken-1.dist-info").mkdir()
    os.utime(site, (1, 1))
    version = finder.find("python:current").version
    assert version.split(", ")[1:] == ["apache-tvm 0.27.0.post1", "mlc-llm-nightly-cpu 0.20.dev1"]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5_000, b'{"said": 1}', b"\xff", None])
def test_a_damaged_memo_is_an_empty_one(tmp_path, content):
    """Also where a pipe is in its place."""
    path = tmp_path / "memo"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    assert tools._load(path) == {}
