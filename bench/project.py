"""Copies of Slipway and of the default matrix to measure in, so that nobody's work on either gets in between.

`cold`, `noop`, `scale` and `second` begin here. Keys contain a digest of our own code: while somebody edits it, a
`doit` in the checkout builds everything anew.
"""

from __future__ import annotations

import compileall
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "speed.md"
DOIT = Path(sys.executable).parent / "doit"


def frozen(folder: Path) -> dict[str, str]:
    """Copy Slipway's code; the change to the environment that makes `doit` use it.

    It is compiled, as pip does when it installs: the first run shall not pay for that.
    """
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "slipway_doit.py", folder / "slipway_doit.py")  # it takes the `pipeline` that is beside it
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("*.pyc"))
    compileall.compile_dir(folder, quiet=1)
    return {"PYTHONPATH": str(folder)}


def project(folder: Path) -> Path:
    """A copy of the default matrix with nothing built."""
    folder.mkdir(parents=True)
    for name in ("targets.yaml", "slipway.lock", "dodo.py"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
    return folder
