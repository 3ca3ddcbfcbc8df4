"""A key knows all that a recipe read: it is in the key, or the recipe is refused with the cure. With the real `doit`.

What a recipe may read is tested in tests/compilers/test_confinement.py, what is in a key in engine/test_sources.py.
"""

from __future__ import annotations

import os
import py_compile
import shutil

import pytest
from bad_input import refused
from projects import Project

pytestmark = pytest.mark.tvm

CELL = "compile:tiny-f32@host"
SIZE = "    size = json.loads"


def scaled(project: Project, top: str, value: str) -> None:
    """Have the factory multiply by a value: each is another model."""
    project.edit("recipe.py", "import json\n", f"import json\n{top}\n")
    project.edit("recipe.py", "nn.op.relu(self.linear(x))", f"nn.op.relu(self.linear(x) * float({value}))")


def compiled(project: Project, **env: str) -> bytes:
    """The host's object after a run of no more than that."""
    project.ok(CELL, env=env)
    return project.path("build/compile/tiny-f32@host/tiny_f32_lib0.o").read_bytes()


def from_nothing(project: Project) -> bytes:
    """The same as a clone without any store would have it."""
    shutil.rmtree(project.path("build"))
    for cache in project.root.rglob("__pycache__"):
        shutil.rmtree(cache)
    return compiled(project)


@pytest.mark.parametrize("edited", ["recipe.py", "helper.py"])
def test_an_edit_that_keeps_size_and_time_is_compiled_though_pycache_has_the_text_of_before(project, edited):
    project.write("helper.py", "SCALE = 1\n")
    scaled(project, "import helper\nSCALE = 1", "SCALE * helper.SCALE")
    for name in ("recipe.py", "helper.py"):
        py_compile.compile(str(project.path(name)))
    before = compiled(project)
    path = project.path(edited)
    stat = path.stat()
    path.write_text(path.read_text().replace("SCALE = 1", "SCALE = 7"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    after = compiled(project)
    assert after != before
    assert after == from_nothing(project)


def test_a_module_that_appears_ends_the_stamp_and_is_compiled(project):
    scaled(project, "try:\n    from fast import SCALE\nexcept ImportError:\n    SCALE = 1", "SCALE")
    project.ok(CELL)
    without = project.path("build/compile/tiny-f32@host/tiny_f32_lib0.o").read_bytes()
    project.edit("recipe.py", "np.maximum(x @ w.T, 0)", "np.maximum(x @ w.T, 0) * SCALE")
    project.ok()
    assert project.path("build/stamp").exists()
    assert project.ok().idle
    project.write("fast.py", "SCALE = 7\n")
    assert CELL in project.ok().built
    with_it = compiled(project)
    assert with_it not in {without, b""}
    project.path("fast.py").unlink()
    assert not project.ok().built, "what was before is in the store"
    assert compiled(project) == without


def test_no_variable_of_the_environment_reaches_a_recipe(project):
    value = "1 + len(os.environ.get('HOME', '')) + len(os.environ.get('LANG', '')) + len(str(Path.home()))"
    scaled(project, "import os", value)
    made = compiled(project, HOME="/tmp", LANG="C.UTF-8", LC_ALL="C.UTF-8")
    shutil.rmtree(project.path("build"))
    assert compiled(project, HOME="/tmp/a/b", LANG="de_DE.UTF-8", LC_ALL="") == made


def test_a_data_file_that_is_not_declared_is_refused_with_the_cure_which_cures(project):
    project.write("table.txt", "7\n")
    scaled(project, "", "Path(__file__).with_name('table.txt').read_text()")
    told = refused(project, CELL)
    assert ": it opens table.txt, which is not in the key" in told
    assert "\n  hint: name it in `reads`: table.txt" in told
    project.edit("targets.yaml", "factory: recipe.py:build", "factory: {function: recipe.py:build, reads: [table.txt]}")
    before = compiled(project)
    project.write("table.txt", "8\n")
    assert compiled(project) != before


def test_a_check_is_held_to_the_same(built):
    built.write("table.txt", "0\n")
    text = built.path("recipe.py").read_text()
    built.edit("recipe.py", "    w = weight(", "    assert Path('table.txt').read_text()\n    w = weight(")
    told = refused(built, "check:tiny-f32@host")
    assert "recipe.py:32: it opens table.txt, which is not in the key" in told
    built.path("recipe.py").write_text(text)
    assert not built.ok().built
