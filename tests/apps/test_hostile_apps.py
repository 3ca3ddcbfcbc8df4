"""Apps that somebody made to harm: bounded time and memory, nothing odd on the terminal, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from app_builders import write_ipa

from pipeline.apps import containers
from pipeline.apps.containers import open_container
from pipeline.apps.contents import read_contents
from pipeline.apps.verdicts import judge
from pipeline.binary.object_info import LoadedSection
from pipeline.binary.objects import loaded_sections
from pipeline.errors import FormatError
from pipeline.reports import app_report

DOIT = Path(sys.executable).parent / "doit"


def elf() -> bytes:
    """A shared library that every system with a C compiler has."""
    found = next(Path("/").glob("lib/*-linux-gnu*/libc.so.6"), None) or pytest.skip("no libc.so.6")
    return found.read_bytes()


def verify(path: Path) -> str:
    return app_report.text(judge(read_contents(open_container(path)), []))


def test_a_file_name_that_is_no_unicode_and_one_with_control_characters(tmp_path):
    folder = tmp_path / "X.app"
    folder.mkdir()
    for name in (b"caf\xe9.so", b"a\x1b[2Jb.so"):
        (folder / os.fsdecode(name)).write_bytes(elf())
    for words in ([], ["--json"]):
        done = subprocess.run(
            [DOIT, "verify-app", folder, *words], cwd=tmp_path, capture_output=True, check=False, timeout=60
        )
        said = (done.stdout + done.stderr).decode()
        assert "Traceback" not in said
        assert "\x1b" not in said
        if words:
            paths = [image["path"] for image in json.loads(done.stdout)["images"]]
            assert paths == ["X.app/a\x1b[2Jb.so", "X.app/caf\udce9.so"]


def test_an_error_shows_no_control_characters():
    error = FormatError("a\x1b[2J\nb", where="\udce9", hint="\x07")
    assert str(error) == "\\udce9: a\\x1b[2J\nb\n  hint: \\x07"
    assert error.headline == "\\udce9: a\\x1b[2J"


def test_many_lists_count_together(tmp_path):
    records = [{"model_id": f"m{i}", "model_lib": f"m{i}"} for i in range(1_500)]
    one = json.dumps({"model_list": records}).encode()
    files = {f"assets/{i}/mlc-app-config.json": one for i in range(3)}
    with pytest.raises(FormatError, match="more than 2000 models in all"):
        verify(write_ipa(tmp_path / "a.ipa", files))


def test_packages_within_a_package_are_bounded_in_all(tmp_path, monkeypatch):
    """The same bytes may stand for any number of files."""
    monkeypatch.setattr(containers, "MOST_READ", 3 * len(elf()))
    inner = tmp_path / "inner.apk"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lib/x86_64/a.so", elf())
    with zipfile.ZipFile(tmp_path / "a.apks", "w") as archive:
        for number in range(8):
            archive.write(inner, f"{number}.apk")
    with pytest.raises(FormatError, match="of code and packages"):
        verify(tmp_path / "a.apks")


def test_sections_that_stand_for_the_same_bytes_again_and_again(monkeypatch):
    data = elf()
    monkeypatch.setattr(
        "pipeline.binary.elf.loaded_sections", lambda *_: (LoadedSection(".x", data, False) for _ in range(1_000))
    )
    with pytest.raises(FormatError, match="sections overlap"):
        list(loaded_sections(data, "x"))


@pytest.mark.parametrize("kind", ["pipe", "zeros", "loop"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "a.ipa"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "zeros" else path)
    with pytest.raises(FormatError):
        verify(path)
