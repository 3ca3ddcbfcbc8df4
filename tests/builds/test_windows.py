"""Models for Windows, on both of its processors, in one kit: proven as far as a linker without Windows goes."""

from __future__ import annotations

import re
import subprocess

import lief
import pytest
from projects import Project, tiny_project

pytestmark = pytest.mark.tvm

BACKENDS = """\
      g32: {dtype: float32, other: true}
backends:
  win: {preset: windows}
  win-arm64: {preset: windows, arch: arm64}
matrix:
  model: [tiny]
  backend: [win, win-arm64]
products:
  kit: {kind: native, backends: [win, win-arm64]}
"""
MACHINES = {"win": "AMD64", "win-arm64": "ARM64"}


@pytest.fixture(scope="module")
def windows(tmp_path_factory) -> Project:
    project = tiny_project(tmp_path_factory.mktemp("windows") / "project")
    text = project.path("targets.yaml").read_text()
    text = text[: text.index("backends:")].replace("    check: recipe.py:check\n", "")
    project.write("targets.yaml", text + BACKENDS)
    return project


def test_both_processors_are_built_and_linked_and_nobody_says_that_they_ran(windows: Project):
    run = windows.ok()
    lines = re.findall(r"^tiny-.*@win.*$", run.output, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        arch = "arm64" if "arm64" in line else "x86_64"
        assert f"linked, 4/4 constructors; negative control passed; not run (no windows {arch} here)" in line
    assert windows.ok().idle


@pytest.mark.parametrize("name", MACHINES)
def test_the_archive_is_of_objects_for_it(windows: Project, tool_ar, name):
    for path in tool_ar(windows.path(f"dist/kit/{name}/libmodels.a")):
        found = lief.COFF.parse(path)
        assert found is not None
        assert found.header.machine.name == MACHINES[name]
        assert sum(section.size // 8 for section in found.sections if section.name == ".CRT$XCU") == 1


@pytest.fixture
def tool_ar(tmp_path):
    """Unpack an archive with the system's own `ar`."""

    def run(path):
        subprocess.run(["ar", "x", path], cwd=tmp_path, check=True)
        return sorted(tmp_path.glob("*.o"))

    return run


def test_flags_are_those_of_microsofts_linker(windows: Project):
    (archive, _) = windows.json("dist/kit/link.json")["archives"]
    assert archive["linker_flags"][0] == "/WHOLEARCHIVE:win/libmodels.a"
    assert "/INCLUDE:tiny_f32___tvm_ffi__library_bin" in archive["linker_flags"]
    assert archive["system_libraries"] == []


def test_a_triple_of_mingw_is_refused_with_the_cure(windows: Project):
    windows.edit("targets.yaml", "{preset: windows}", "{preset: windows, triple: x86_64-w64-windows-gnu}")
    said = windows.doit("plan").output
    assert "`x86_64-w64-windows-gnu` is no triple of Visual C++" in said
    assert "write x86_64-pc-windows-msvc" in said
