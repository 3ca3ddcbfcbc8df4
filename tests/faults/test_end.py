"""How a doit ends: as a Python program does, with the status of the run, whether or not anybody reads its output."""

from __future__ import annotations

import subprocess
import sys

from projects import DOIT


def test_what_was_to_be_done_at_the_end_is_done(graph):
    dodo = graph.path("dodo.py")
    dodo.write_text(f"import atexit\nfrom pathlib import Path\natexit.register(Path('bye').touch)\n{dodo.read_text()}")
    assert graph.ok().built
    assert graph.path("bye").exists()
    graph.path("bye").unlink()
    graph.write("src/m0.txt", "second\n")
    assert graph.ok().built
    assert graph.path("bye").exists()


def test_the_status_is_that_of_the_run(graph):
    assert graph.doit().status == 0
    assert graph.doit().status == 0
    graph.path("src/m0.txt").unlink()
    assert graph.doit().status == 1
    graph.write("targets.yaml", "[")
    assert graph.doit().status == 3


def test_as_a_module_it_is_the_same(graph):
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", "doit"], cwd=graph.root, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
    assert "nothing to do" in run.stdout


def test_nobody_has_to_listen(graph):
    """`doit | head -1`: no traceback, and the run is complete."""
    for _ in range(2):
        run = subprocess.Popen([DOIT], cwd=graph.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        run.stdout.close()
        said = run.stderr.read().decode()
        run.stderr.close()
        assert run.wait() != 1
        assert said == ""
    assert graph.is_right()
