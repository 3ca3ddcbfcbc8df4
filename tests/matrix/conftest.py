"""A small project with a recipe, and a matrix file that a test can change in one place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from example_targets import GOOD

from pipeline.errors import MatrixError
from pipeline.matrix.expand import load
from pipeline.matrix.matrix import Matrix

Expand = Callable[[str], Matrix]
Refuse = Callable[[str], str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "recipe.py").write_text("def build(spec): ...\ndef check(session): ...\n")
    return tmp_path


@pytest.fixture
def expand(project: Path) -> Expand:
    """Expand the text of a matrix file."""

    def run(text: str) -> Matrix:
        path = project / "targets.yaml"
        path.write_text(text)
        return load(path)

    return run


@pytest.fixture
def refuse(project: Path, expand: Expand) -> Refuse:
    """Return the message that a text is refused with, directories left out: `targets.yaml:3:5: ...`."""

    def run(text: str) -> str:
        with pytest.raises(MatrixError) as caught:
            expand(text)
        return str(caught.value).replace(f"{project}/", "").replace(str(project), "PROJECT")

    return run


@pytest.fixture
def good() -> str:
    return GOOD
