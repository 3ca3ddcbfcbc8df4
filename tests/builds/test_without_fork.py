"""A toolchain whose forked children die, as on macOS after a device was touched: everything is built all the same."""

from __future__ import annotations

import sysconfig
import venv

import pytest

pytestmark = pytest.mark.tvm

HOOK = "import os, sys; os.register_at_fork(after_in_child=lambda: 'tvm' in sys.modules and os.abort())\n"


def test_children_that_die_in_a_fork_get_an_interpreter_of_their_own(project, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "all.pth").write_text(f"{HOOK}import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    project.edit("targets.yaml", "models:\n", "toolchains:\n  mine: {path: ../env}\nmodels:\n")
    project.edit("targets.yaml", "factory:", "toolchain: mine\n    factory:")
    run = project.ok()
    assert project.json("build/toolchain/mine/probe.json")["fork"] is False
    assert "run: max error" in run.output
    assert "compile:tiny-f32@ios-arm64+mine" in run.built
    assert project.ok().idle
