"""The tasks by which this repository checks itself: `doit lint`, `imports`, `types`, `docs`, `tests` of its dodo.py."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from projects import Project, tiny_project

CHECKOUT = Path(__file__).parents[1]
OURS = ("lint", "imports", "types", "docs", "tests")


@pytest.fixture
def checkout(tmp_path: Path) -> Project:
    """A project with the dodo.py and the settings of this one, and the tiny model."""
    project = tiny_project(tmp_path / "checkout")
    for name in ("dodo.py", "pyproject.toml"):
        shutil.copyfile(CHECKOUT / name, project.path(name))
    project.write("pipeline_here/fine.py", '"""Nothing."""\n')
    project.edit("pyproject.toml", 'select = ["ALL"]', 'select = ["F"]')
    return project


def test_each_is_listed_with_what_it_does(checkout):
    listed = dict(re.findall(r"^(\w+) +(\S.*)$", checkout.ok("list").output, re.MULTILINE))
    assert set(OURS) < set(listed)


def test_lint_fails_with_what_is_wrong_and_is_fresh_once_it_has_passed(checkout):
    checkout.write("recipes/wrong.py", "print(no_such_name)\n")
    failed = checkout.doit("lint")
    assert failed.status != 0
    assert "recipes/wrong.py:1:7: F821 Undefined name `no_such_name`" in failed.output
    checkout.write("recipes/wrong.py", "print(1)\n")
    assert "1 done" in checkout.ok("lint").output
    assert "nothing to do" in checkout.ok("lint").output
    checkout.write("recipes/wrong.py", "print(2)\n")
    assert "1 done" in checkout.ok("lint").output


def test_an_import_upwards_fails(tmp_path, checkout):
    """Of the package itself, in a copy with one import more, inside a function."""
    package = tmp_path / "checkout" / "pipeline"
    shutil.copytree(CHECKOUT / "pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    assert "1 done" in checkout.ok("imports").output
    with (package / "binary" / "ar.py").open("a") as file:
        file.write("\n\ndef wrong() -> None:\n    from pipeline.engine import keys\n")
    failed = checkout.doit("imports")
    assert failed.status != 0
    assert "pipeline.binary.ar -> pipeline.engine.keys" in failed.output


@pytest.mark.tvm
def test_a_plain_doit_builds_the_matrix_alone_and_a_second_one_stops_at_the_stamp(checkout):
    first = checkout.ok()
    assert "compile:" in first.output
    assert not [name for name in OURS if f"] {name}:" in first.output]
    assert checkout.path("build/stamp/targets.yaml").exists()
    assert "nothing to do" in checkout.ok().output
