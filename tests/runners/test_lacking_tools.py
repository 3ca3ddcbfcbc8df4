"""A machine without what runners need builds all the same, and says what to install. With the real `doit`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from projects import Project

pytestmark = pytest.mark.tvm

HIDDEN = ("emcc", "node", "nodejs", "npm", "qemu-aarch64", "qemu-aarch64-static", "em-config")


def path_without(hidden: tuple[str, ...], folder: Path) -> str:
    """A PATH with everything that is on ours but these programs."""
    folder.mkdir()
    for place in reversed(os.get_exec_path()):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / program.name
            link.unlink(missing_ok=True)
            if program.name not in hidden:
                link.symlink_to(program)
    return str(folder)


@pytest.fixture
def web(project, tmp_path) -> Project:
    """The tiny model for pages and for 64-bit ARM."""
    text = project.path("targets.yaml").read_text()
    text = text.replace(
        "backends:\n  host: {preset: host}",
        "backends:\n  webgpu: {preset: webgpu}\n  arm: {preset: linux-arm64}\n  host: {preset: host}",
    )
    text = text.replace("backend: [host, ios-arm64]", "backend: [webgpu, arm]")
    text = text.replace("kit: {kind: xcframework, backends: [ios-arm64]}", "kit: {kind: web, backends: [webgpu]}")
    project.write("targets.yaml", text + "runtime: {wheel: true}\n")
    project.env["PATH"] = path_without(HIDDEN, tmp_path / "bin")
    return project


def test_it_is_built_and_the_table_says_what_to_install(web):
    run = web.ok()
    assert "not run: install emscripten" in run.output
    assert "not run: install qemu-user" in run.output
    assert web.json("dist/kit/link.json")["modules"] == []
    assert web.ok().idle
    strict = web.doit("--strict")
    assert strict.status == 1
    assert "its module could not be linked: there is no emscripten" in strict.output
    assert "Traceback" not in strict.output


def test_a_package_of_another_release_is_refused_with_the_cure(web):
    from pipeline.errors import StepError
    from pipeline.native.wheel import Packages, lay_out

    with pytest.raises(StepError, match=r"the toolchain has apache-tvm 0\.99\.0, and `wheel` can take") as caught:
        lay_out(Packages({"tvm": "/x", "tvm_ffi": "/y"}, {"apache-tvm": "0.99.0"}), web.path("source"))
    assert "source:" in caught.value.hint
    with pytest.raises(StepError, match="the toolchain has no package apache-tvm"):
        lay_out(Packages({}, {}), web.path("source"))


NPM = """#!/bin/sh
while [ "$1" != --prefix ]; do shift; done
for name in @mlc-ai/web-runtime @webgpu/types debug ms playwright-core tslib webgpu; do
  mkdir -p "$2/node_modules/$name"; echo '{}' > "$2/node_modules/$name/package.json"
done
"""


def test_npm_without_a_network_is_told(tmp_path, monkeypatch):
    from pipeline.action import Tool
    from pipeline.errors import DownloadError, ToolMissing
    from pipeline.runners.node import installed

    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ToolMissing, match="there is no npm"):
        installed(None, tmp_path / "log")
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/calls\n"
        'echo "npm error code ENOTFOUND"\necho "npm error network request to x failed"\nexit 1\n'
    )
    npm.chmod(0o755)
    for number in range(3):
        with pytest.raises(DownloadError, match="the web runtime: network request to x failed") as caught:
            installed(Tool("npm", npm, "11"), tmp_path / f"log{number}")
        assert "registry" in caught.value.hint
        assert caught.value.log == tmp_path / "log0", "what npm said is there"
    assert (tmp_path / "calls").read_text() == "\n", "one failure serves all checks of a run"
    npm.write_text(NPM)
    home = installed(Tool("npm", npm, "11"), tmp_path / "log")
    npm.write_text("#!/bin/sh\nexit 1\n")
    assert installed(Tool("npm", npm, "11"), tmp_path / "log") == home, "once a machine"
    shutil.rmtree(home)


@pytest.mark.parametrize(("version", "problem"), [("v16.4.0", "Node v16.4.0 is too old"), ("node", "is too old")])
def test_an_old_node_is_refused(version, problem):
    from pipeline.action import Tool
    from pipeline.errors import ToolMissing
    from pipeline.runners.linked import recent

    with pytest.raises(ToolMissing, match=problem):
        recent(Tool("node", Path("/usr/bin/node"), version), "Node", (18,), "install it")
    assert recent(Tool("node", Path("/usr/bin/node"), "v20.20.2"), "Node", (20,), "").version == "v20.20.2"
    assert recent(Tool("node", Path("/usr/bin/node"), "9" * 5000), "Node", (20,), ""), "a number of any length is read"


def test_what_npm_has_not_installed_or_has_been_cleaned_up_is_no_runtime(tmp_path, monkeypatch):
    from pipeline.action import Tool
    from pipeline.errors import ToolMissing
    from pipeline.runners.node import installed

    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nexit 0\n")
    npm.chmod(0o755)
    for _ in range(2):
        with pytest.raises(ToolMissing, match="npm has not installed node_modules/@mlc-ai/web-runtime"):
            installed(Tool("npm", npm, "11"), tmp_path / "log")
    npm.write_text(NPM)
    home = installed(Tool("npm", npm, "11"), tmp_path / "log")
    shutil.rmtree(home / "node_modules" / "webgpu")
    assert installed(Tool("npm", npm, "11"), tmp_path / "log") == home
    assert (home / "node_modules" / "webgpu").is_dir()
