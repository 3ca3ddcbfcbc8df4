"""Fixtures for whoever needs a project built by the real `doit`: see `projects`."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from projects import Project, tiny_project

from pipeline.store.workspace import Workspace

# A shell without job control starts what it puts in the background deaf to Ctrl-C, and so are all children then; some
# tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How busy a machine is says nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def workspaces_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that a test opens let their files go: Python 3.13 warns of a database that nobody closed."""
    opened: list[Workspace] = []
    usual = Workspace.__init__

    def remembered(self: Workspace, *args: Any, **options: Any) -> None:
        usual(self, *args, **options)
        opened.append(self)

    monkeypatch.setattr(Workspace, "__init__", remembered)
    yield
    for workspace in opened:
        workspace.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project around the tiny model; nothing has been built."""
    return tiny_project(tmp_path / "project")


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project, built; read-only: copy it (see `built`)."""
    fresh = tiny_project(tmp_path_factory.mktemp("built") / "project")
    fresh.ok()
    return fresh.root


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Project:
    """A copy of a project that has been built, which a test may spoil."""
    root = tmp_path / "project"
    shutil.copytree(built_once, root, symlinks=True)
    return Project(root)
