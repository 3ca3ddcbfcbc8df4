"""The tiny model, run for real by every runner that this machine has what it takes for, with the real `doit`.

Objects of the web runtime come out of the checkout's own store where the default matrix has been built in it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from projects import Project, checkouts_store, tiny_project
from test_web_programs import CHROMIUM

WEB = ("node", "npm", "emcc", CHROMIUM or "chromium")
WINDOWS = ("x86_64-w64-mingw32-g++", "/usr/lib/wine/wine64")
NEEDS = {"linux-arm64": ("qemu-aarch64", "aarch64-linux-gnu-g++"), "windows": WINDOWS, "wasm": WEB, "webgpu": WEB}
RUNNERS = {"linux-arm64": ["qemu"], "windows": ["wine"], "wasm": ["browser", "node"], "webgpu": ["browser", "webgpu"]}

pytestmark = [pytest.mark.tvm, pytest.mark.slow]


@pytest.fixture
def there(request, tmp_path):
    """A project with one backend besides the host; skipped where this machine lacks something for it."""

    def make(backend: str, variant: str = "float32") -> Project:
        if missing := [name for name in NEEDS[backend] if shutil.which(name) is None]:
            pytest.skip(f"there is no {missing[0]}")
        if backend == "webgpu" and not list(Path("/usr/share/vulkan/icd.d").glob("lvp_*.json")):
            pytest.skip("there is no Vulkan driver")
        project = tiny_project(tmp_path / "project")
        project.edit(
            "targets.yaml",
            "  ios-arm64: {preset: iphone, deployment_target",
            f"  {backend}: {{preset: {backend}}}\n  ios-arm64: {{preset: iphone, deployment_target",
        )
        project.edit("targets.yaml", "backend: [host, ios-arm64]", f"backend: [{backend}]")
        kind = "native" if backend in {"linux-arm64", "windows"} else "web"
        project.edit(
            "targets.yaml",
            "kit: {kind: xcframework, backends: [ios-arm64]}",
            f"kit: {{kind: {kind}, backends: [{backend}]}}",
        )
        if kind == "web":
            project.write("targets.yaml", project.path("targets.yaml").read_text() + "runtime: {wheel: true}\n")
        project.edit("targets.yaml", "f32: {dtype: float32}", f"f32: {{dtype: {variant}}}")
        project.env.update(checkouts_store())
        return project

    return make


def records(project: Project, backend: str) -> dict[str, dict]:
    """What came of each run, by runner."""
    found = project.path(f"build/check/tiny-f32@{backend}").rglob("run.json")
    return {said["runner"]: said for said in map(json.loads, map(Path.read_text, found))}


@pytest.mark.parametrize("backend", NEEDS)
def test_the_artifact_that_ships_gives_the_right_numbers(there, backend):
    project = there(backend)
    run = project.ok("--strict", timeout=1800)
    assert f"run: {', '.join(RUNNERS[backend])}, max error " in run.output
    made = records(project, backend)
    assert sorted(made) == RUNNERS[backend]
    for said in made.values():
        assert said["control"] == "weights"
        assert said["compared"][0]["max_abs_error"] <= 1e-5
        assert said["measured"]["peak"] > 1 << 20
        assert len(said["measured"]["calls"]["forward"]) > 1
        assert bool(said.get("emulated")) is (backend != "wasm")
    if "browser" in made:
        picture = project.path(f"build/check/tiny-f32@{backend}/browser/page.png")
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert project.ok().idle


def test_wrong_numbers_fail_there_too(there):
    project = there("linux-arm64")
    project.edit("recipe.py", "np.maximum(x @ w.T, 0), 1e-5", "np.maximum(x @ w.T, 0) + 0.5, 1e-5")
    run = project.doit(timeout=1800)
    assert run.status == 1
    assert "check:tiny-f32@linux-arm64: FAILED: " in run.output
    assert "1 of 1 comparison differs: forward: max abs error 5.0e-01" in run.output


def test_float16_on_a_gpu_in_software(there):
    project = there("webgpu", "float16")
    project.edit(
        "recipe.py",
        'x = np.linspace(-1, 1, 2 * len(w), dtype="float32")',
        'x = np.linspace(-1, 1, 2 * len(w), dtype="float16")',
    )
    project.edit("recipe.py", "np.maximum(x @ w.T, 0), 1e-5", "np.maximum(x @ w.T, 0), 1e-2")
    assert "run: webgpu, max error " in project.ok("--strict", timeout=1800).output


def test_what_is_missing_is_said_and_nothing_fails(there, tmp_path):
    project = there("linux-arm64")
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("ld.lld-19", "ld.lld", "ld", "env", "sh"):
        if found := shutil.which(name):
            (bare / name).symlink_to(found)
    project.env["PATH"] = str(bare)
    run = project.ok(timeout=600)
    assert "not run: install qemu-user" in run.output
    strict = project.doit("--strict", timeout=600)
    assert strict.status == 1
    assert "not run by qemu: there is no qemu-aarch64" in strict.output
