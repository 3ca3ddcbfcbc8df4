"""What the tests of bad input share: a mistake is made and refused, it is undone, and nothing was lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from projects import Project

OURS = {"build", "dist", "__pycache__"}
"""Directories of a project that no human writes to."""


def refused(project: Project, *words: str, env: dict[str, str] | None = None) -> str:
    """Call doit, which must refuse as a user may expect: a status, words and no traceback; return what it said."""
    run = project.doit(*words, env=env)
    assert run.status in {1, 2, 3}, run.output
    assert "Traceback" not in run.output, run.output
    assert str(project.root) not in run.output, f"a path should be relative to where the user is\n{run.output}"
    return run.output


@contextmanager
def nothing_lost(project: Project) -> Iterator[None]:
    """A mistake is made in the block. Products stand, and when the human's files are as before there is no work."""
    products, files = project.products(), humans_files(project.root)
    assert products
    yield
    assert project.products() == products
    undo(project.root, files)
    run = project.ok()
    assert not run.built, run.output
    assert project.products() == products


def humans_files(root: Path) -> dict[Path, bytes]:
    """Content of every file that is not an output."""
    files = (path for path in root.rglob("*") if path.is_file() and not OURS & {*path.relative_to(root).parts})
    return {path: path.read_bytes() for path in files}


def undo(root: Path, files: dict[Path, bytes]) -> None:
    """Give the human's files the content they had; remove new ones."""
    for path in humans_files(root).keys() - files.keys():
        path.unlink()
    for path, content in files.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
