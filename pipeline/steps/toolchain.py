"""Finds out what a toolchain can do, once, so that every compile that uses it can know without asking again.

The questions are asked inside the toolchain's worker, in children that may crash: that is an answer too. Asking for the
worker makes the environment where it is ours to make. `compile` reads the result, `probe.json`; the functions that ask
are in `pipeline.compilers.probe`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline.action import Facts, Job, Worker
from pipeline.compilers.mlc_refusals import missing
from pipeline.compilers.probe import compiles, installed, metal_simdgroup, mlc_llm, versions
from pipeline.documents.codec import dumps, encode
from pipeline.documents.probe import Probe, Versions
from pipeline.errors import CompilerCrash, StepError, ToolMissing

SIMDGROUP_CPU = 4.0
"""CPU seconds Metal's simdgroup rule may take for two small matmuls. Where it is usable it needs a fraction of one."""

Workers = Callable[[bool], Worker]
"""The worker of a toolchain, given whether its calls are to get a fresh interpreter each."""

COMPILE_CPU = 60.0
"""CPU seconds the smallest compile may take before it counts as hanging, which a bad fork can do."""


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        toolchain: its name; `current` is the Python that runs us.
        mlc: whether mlc_llm must be there, and be usable.
        spec: how the environment is made, where that is ours to do; see `toolchains.spec`.
        lock: the exact requirements that slipway.lock pins.
    """

    toolchain: str
    mlc: bool = False
    spec: Mapping[str, object] | None = None
    lock: tuple[str, ...] | None = field(kw_only=True)


def run(job: Job[Params]) -> Facts:
    """Write `probe.json`, and `freeze.txt` for a toolchain that is not the Python that runs us.

    Returns:
        What is in `probe.json`; and `lock`, the exact requirements, for an environment that was made just now.

    Raises:
        StepError: its TVM does not work, or is put together from two versions.
        ToolMissing: there is no TVM, or no such environment.
    """
    name = job.params.toolchain
    workers = partial(job.services.worker, name)
    found = probe(lambda fresh: workers(fresh=fresh), name, job.log, mlc=job.params.mlc)
    worker = workers(fresh=not found.fork)
    job.write(Probe.NAME, dumps(found))
    facts: dict[str, object] = encode(found)
    if name == "current":
        return facts
    present, pinned = worker.call(partial(installed), log=job.log), job.params.lock
    frozen = present if pinned is None else list(pinned)
    job.write("freeze.txt", "".join(f"{line}\n" for line in frozen))
    return {**facts, "lock": frozen} if job.params.spec is not None else facts


def probe(workers: Workers, name: str, log: Path, *, mlc: bool) -> Probe:
    """Everything that is known of a toolchain; with `mlc`, mlc_llm must be there, and be usable.

    Raises:
        StepError, ToolMissing: see `run`.
    """

    def works(function: Callable[[], bool], cpu_limit: float) -> bool:
        try:
            return worker.call(partial(function), log=log, cpu_limit=cpu_limit)
        except CompilerCrash:
            return False

    # A fork is not safe everywhere: on macOS not once a device or an Objective-C class was touched before it.
    for fork in (True, False):
        worker = workers(not fork)
        try:
            found = worker.call(partial(versions), log=log)
        except CompilerCrash:
            if fork:
                continue
            raise
        _agree(name, found)
        if can_compile := works(compiles, COMPILE_CPU):
            break
    if not can_compile:
        pair = "pip install 'slipway-tvm[tvm]' has one" if name == "current" else "as its packages name them"
        hint = f"install a TVM and a tvm-ffi that fit each other in toolchain {name}: {pair}"
        if mlc:
            hint = f"install mlc_llm and a TVM of the same week in toolchain {name}"
        what = f"TVM {found.tvm} with tvm-ffi {found.tvm_ffi} cannot compile one matrix product"
        raise StepError(what, hint=hint, log=log)
    simdgroup = "metal" in found.codegens and works(metal_simdgroup, SIMDGROUP_CPU)
    on_path = mlc and name == "current"
    of_mlc = worker.call(partial(mlc_llm, on_path=on_path), log=log)
    # It must not be remembered that mlc_llm cannot be used: what the hint says may change no input.
    if mlc and of_mlc is None:
        raise missing(f"toolchain {name}")
    if mlc and of_mlc is not None and of_mlc.error is not None:
        raise ToolMissing(
            f"mlc_llm of toolchain {name} cannot be imported: {of_mlc.error}",
            hint="install mlc_llm and a TVM of the same week; the log has the traceback",
            log=log,
        )
    return Probe(**vars(found), fork=fork, metal_simdgroup=simdgroup, mlc=of_mlc)


def _agree(name: str, found: Versions) -> None:
    """TVM's Python and its C++ library must be of one version: two that only half fit fail much later, and oddly."""
    python, library = (_release(version) for version in (found.tvm, found.tvm_library))
    if python and library and python != library:
        raise StepError(
            f"toolchain {name}: TVM's Python is {found.tvm} and its library {found.tvm_library}",
            hint="install one version anew (pip install --force-reinstall), and unset PYTHONPATH, TVM_HOME and "
            "TVM_LIBRARY_PATH, which mix a checkout with a wheel",
        )


def _release(version: str | None) -> tuple[int, ...]:
    """`0.22.dev0` and `0.22.0` are (0, 22, 0)."""
    numbers = re.match(r"\d+(?:\.\d+)*", version or "")
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    return tuple([*parts, 0, 0][:3]) if parts else ()
