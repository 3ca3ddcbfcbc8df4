"""What the tests of the compilers share: compiling a recipe in a forked child, and linking it for this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from fake_worker import PROBE, FakeWorker, behind, make_job

from pipeline.documents.codec import decode
from pipeline.documents.run import Run
from pipeline.runners.machine import Launch
from pipeline.runners.trial import Trial, run_checks
from pipeline.steps import compile_relax as compile_step
from pipeline.steps import params as params_step

TINY = Path(__file__).parent / "tiny_recipe.py"


def model(name, variant, options=None):
    prefix = f"{name}_{variant}_"
    return {
        "model": name,
        "variant": variant,
        "subject": f"{name}-{variant}",
        "prefix": prefix,
        "options": options or {},
    }


class Compiled:
    """One model, compiled by the steps themselves on a fake worker."""

    def __init__(
        self, folder: Path, recipe: Path, described: dict, *, weights: Path | None = None, reads=(), kind="factory"
    ):
        self.folder, self.recipe, self.model, self.weights, self.reads = folder, recipe, described, weights, reads
        self.worker = FakeWorker()
        self.source = {"kind": kind, "function": "build"} if kind == "factory" else {"kind": kind}
        self.toolchain = folder / "toolchain"
        self.toolchain.mkdir()
        (self.toolchain / "probe.json").write_text(json.dumps(PROBE))

    def compile(
        self, triple: str, name: str = "objects", config: Path | None = None, host: str | None = None, **device
    ):
        backend = {"name": name, "device": device or {"kind": "llvm"}, "triple": triple}
        inputs = {"source": self.recipe, "toolchain": self.toolchain, **({"config": config} if config else {})}
        parameters = {"model": self.model, "source": self.source, "toolchain": "current", "backend": backend}
        job = make_job(self.folder, {**parameters, "host": host}, inputs, self.worker, name)
        self.log = job.log
        self.facts = compile_step.run(job)
        return job.out

    def parameters(self, name: str = "params"):
        inputs = {"source": self.recipe, **({"weights": self.weights} if self.weights else {})}
        parameters = {"model": self.model, "source": self.source, "toolchain": "current"}
        job = make_job(self.folder, parameters, inputs, self.worker, name)
        self.log = job.log
        params_step.run(job)
        return job.out

    def check(self, library: Path, objects: Path, parameters: Path | None, /, **changes):
        """Run the recipe's check on a linked library in a child; return what was compared."""
        trial = {
            "model": self.model,
            "functions": json.loads((objects / "functions.json").read_text())["functions"],
            "parameters": str(parameters) if parameters else None,
            "weights": None,
            "reads": declared(changes.pop("recipe", self.recipe), library, *self.reads, parameters),
            "check": "check",
            "seconds": 300,
            **changes,
        }
        given = {"launch": Launch(library=str(library)), "about": Run("tiny-f32", "host", "host")}
        work = partial(run_checks, trial=decode(Trial, trial, "trial"), **given)
        self.outcome = self.worker.call(work, log=self.folder / "check.log")
        return self.outcome.compared


def declared(recipe: Path, *data) -> dict:
    """What a step tells a worker of a recipe."""
    files = {str(recipe.parent / name): sha256 for name, sha256 in behind(recipe).items()}
    return {"source": str(recipe), "files": files, "data": [str(path) for path in data if path]}


def load(recipe: Path, name: str):
    """A function of a recipe, in this process."""
    from pipeline.compilers import python_source
    from pipeline.compilers.confinement import confined
    from pipeline.compilers.declared import Declared

    with confined(Declared(**declared(recipe))) as scope:
        return python_source.load_function(scope, name)


def host_triple() -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to link with")
    return subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout.strip()


def link(objects: Path) -> Path:
    """Link everything of a model; the runtime is in the process that will load it."""
    library = objects.parent / f"{objects.name}.so"
    members = sorted(map(str, objects.glob("*.o")))
    words = ["-Wl,--whole-archive", *members, "-Wl,--no-whole-archive", "-lm"]
    subprocess.run(["cc", "-shared", "-o", str(library), *words], check=True)
    return library
