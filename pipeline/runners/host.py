"""Runner `host`: the archive, linked with the toolchain's runtime into a shared library that a worker's child loads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import roles
from pipeline.action import Job, present
from pipeline.documents.archive import Archive
from pipeline.errors import StepError
from pipeline.process import run as run_program
from pipeline.proofs.links import LINKER_HINTS, Linker, full_flags

from .check import Params, runner
from .linked import shared_runtime
from .machine import Launch


@runner("host")
def run(job: Job[Params], scratch: Path) -> Launch:
    """Nothing may stay undefined, and the runtime is found where it was linked."""
    compiler = present(job.tools.get("cc"), "no C compiler found to link with", LINKER_HINTS["cc"])
    runtime = shared_runtime(job, "the toolchain has no runtime to run with")
    return Launch(library=str(_link(job, Linker(compiler, driver=True), runtime, scratch / "runnable.so")))


def _link(job: Job[Params], compiler: Linker, runtime: Sequence[str], out: Path) -> Path:
    folder = job.inputs[roles.ARCHIVE]
    described = Archive.read(folder)
    prefixes = [model.prefix for model in described.models]
    flags = full_flags(job.params.backend, folder / described.library, prefixes)
    exports = out.with_suffix(".exports")
    exports.write_text(flags.exports or "", encoding="utf-8")
    folders = [word for path in runtime for word in ("-rpath", str(Path(path).parent))]
    if sys.platform == "darwin":
        shared, words = "-dynamiclib", ["-dead_strip", "-exported_symbols_list", str(exports)]
    else:
        shared, words = "-shared", ["--gc-sections", "-z", "defs", f"--version-script={exports}"]
    given = compiler.words([*words, *folders, *flags.words])
    try:
        run_program([compiler.tool.path, shared, *given, *runtime, "-lm", "-o", out], log=job.log)
    except StepError as error:
        raise StepError(f"it does not link with the runtime: {error.what}", hint=error.hint or "see the log") from error
    return out
