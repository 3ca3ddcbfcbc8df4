"""A project with the fake of mlc_llm, built once; see `mlc_projects`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlc_projects import mlc_project
from projects import Project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project of which nothing has been built."""
    return mlc_project(tmp_path / "project")


@pytest.fixture(scope="session")
def mlc_built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, built; read-only: copy it (see `mlc_built`)."""
    project = mlc_project(tmp_path_factory.mktemp("mlc") / "project")
    project.ok()
    return project.root


@pytest.fixture
def mlc_built(mlc_built_once: Path) -> Project:
    """A copy of a project that has been built, which a test may spoil; beside it, as its environment must be."""
    copies = sum(path.name.startswith("copy") for path in mlc_built_once.parent.iterdir())
    root = mlc_built_once.with_name(f"copy{copies}")
    shutil.copytree(mlc_built_once, root, symlinks=True)
    return Project(root)
