"""Restores a matrix of six models from the store again and again, with two tasks at a time.

    python bench/restores.py --times 500

Before each run all but the store is removed from the tree. The run must end with status 0, print no traceback, build
nothing and put every output back, byte for byte; else this ends with status 1. Runs are short, so that any race between
doit's threads and the end of a run has many chances.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from kills import IOS, OUTPUTS, Project, matrix
from project import frozen

MODELS = 6

BACKENDS = {"host": {"preset": "host"}, "ios-arm64": IOS}
PRODUCTS = {
    "kit": {"kind": "xcframework", "backends": ["ios-arm64"]},
    "native": {"kind": "native", "backends": ["host"]},
}


def main() -> int:
    """Build once, restore as often as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=500, help="default: %(default)s")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="restores-") as folder:
        project = Project(Path(folder, "project"), frozen(Path(folder, "frozen")))
        project.write()
        (project.root / "targets.yaml").write_text(matrix([f"v{n}" for n in range(MODELS)], BACKENDS, PRODUCTS))
        project.build("-n", "2")
        right = project.outputs()
        wrong = sum(not is_restored(project, right, number) for number in range(1, asked.times + 1))
    print(f"{asked.times - wrong} of {asked.times} right, in {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def is_restored(project: Project, right: dict[str, bytes], number: int) -> bool:
    """Empty the tree and have it restored; say what was wrong, if anything was."""
    for path in [*(project.root / "build").iterdir(), *(project.root / name for name in OUTPUTS)]:
        if path.name != "store" and path.is_dir():
            shutil.rmtree(path)
        elif path.name != "store":
            path.unlink(missing_ok=True)
    status = project.start("-n", "2").wait()
    said = project.said()
    is_right = status == 0 and "Traceback" not in said and ": built in" not in said and project.outputs() == right
    if not is_right:
        print(f"run {number} ended with status {status}:\n{said}", flush=True)
    return is_right


if __name__ == "__main__":
    sys.exit(main())
