"""Compiles a model of mlc_llm's up to the host's triple once, then two objects per triple. Runs inside the worker.

`pipeline.steps.compile_mlc` has a worker call `lower` in a process that is then forked for every `codegen`. mlc_llm's
own command runs, as `mlc_driver` prepares it, but for its last step: where it calls `tvm.relax.build` and has what that
returns exported, `lowering.lower` takes over. That is all that is known of mlc_llm here; where it or TVM is not like
that, `lower` says so, and the step has `mlc` compile in one go.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tvm
from tvm import relax
from tvm.target import Target

from pipeline.action import Facts
from pipeline.binary.ar import Member
from pipeline.documents.chat_config import NAME
from pipeline.errors import StepError

from . import idle_patterns, lowering, mlc, mlc_driver
from .lowered import AskedOfMlc, MlcLowered, Parts, Singly
from .mlc import Compile
from .reasons import explained
from .targets import STAND_IN_TRIPLE

_BUILD = ("mod", "target", "params", "relax_pipeline", "tir_pipeline", "exec_mode", "system_lib")
"""Parameters of the `tvm.relax.build` that is known here."""


class _NotSeparable(StepError):
    """mlc_llm does not end as it is known here."""


class _Executable:
    """Stands for what `tvm.relax.build` returns, of which nothing is there yet."""

    def export_library(self, *_args: object, **_options: object) -> None:
        """Each host has its own, later."""

    def __getattr__(self, name: str) -> object:
        raise _NotSeparable(f"mlc_llm asks for {name} of what tvm.relax.build returns")


def lower(asked: AskedOfMlc) -> MlcLowered | Singly:
    """Run `mlc_llm compile` to the point where only code generation for the host is left.

    Raises:
        StepError: mlc_llm refused the model.
    """
    started = time.process_time()
    parameters = tuple(inspect.signature(relax.build).parameters)
    if parameters != _BUILD:
        return Singly(f"tvm.relax.build of this TVM takes {', '.join(parameters)}")
    built: list[Parts] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        folder = scratch / "model"  # a compile sees this one file of the weights
        folder.mkdir()
        (folder / NAME).write_bytes(asked.config.read_bytes())
        host = asked.triple or STAND_IN_TRIPLE
        told = mlc_driver.Settings(asked.device, host, asked.metal_simdgroup)
        words = mlc.command_line(folder / NAME, asked.model, asked.name, host, scratch / "model.tar")
        try:
            with idle_patterns.left_out(), _built_by(built):
                reported = mlc_driver.run(words, told, scratch, mlc.environment(scratch))
        except _NotSeparable as problem:
            return Singly(problem.what)
    if len(built) != 1:
        return Singly(f"mlc_llm called tvm.relax.build {len(built)} times")
    return MlcLowered(built[0], _preset(asked.device, asked.name), reported, round(time.process_time() - started, 3))


@contextmanager
def _built_by(built: list[Parts]) -> Iterator[None]:
    """Have `tvm.relax.build` lower what it is given, and no more."""

    def build(  # noqa: PLR0917 - TVM's own parameters
        mod: tvm.IRModule,
        target: Target | None = None,
        params: Mapping[str, object] | None = None,
        relax_pipeline: object = "default",
        tir_pipeline: object = "default",
        exec_mode: str = "bytecode",
        *,
        system_lib: bool | None = None,
    ) -> _Executable:
        usual = not params and tir_pipeline == "default" and exec_mode == "bytecode" and system_lib
        if not usual or target is None or not callable(relax_pipeline) or "system_lib_prefix" not in mod.attrs:
            raise _NotSeparable("mlc_llm asks tvm.relax.build for something else than a system library")
        with target:
            mod = relax_pipeline(mod)
        built.append(lowering.lower(mod, target))
        return _Executable()

    usual = relax.build
    relax.build = build
    try:
        yield
    finally:
        relax.build = usual


def _preset(device: Mapping[str, object], name: str) -> dict[str, object]:
    """What mlc_llm's preset of a device makes of a cell's device, without a host."""
    presets = sys.modules["mlc_llm.support.auto_target"].PRESET
    target = {**presets.get(mlc_driver.preset_name(name), {}).get("target", {}), **device}
    return {key: value for key, value in target.items() if key not in {"host", "libs", "mtriple"}}


def codegen(state: MlcLowered, *, asked: Compile, out: Path) -> Facts:
    """Generate the host's code and write the objects and `functions.json` into `out`.

    What `lower` returned may be of another backend whose device is of the same kind.

    Returns:
        Facts: as `mlc.finish`; and `lower_cpu` and `codegen_cpu` in seconds; for Metal `kernels`, as of
        `lowering.generate`. Or nothing but `singly`, which says why the model must be compiled in one go.

    Raises:
        StepError: LLVM refused the code, or the Metal compiler did; or as `mlc.finish`.
        ToolMissing: kernels are to be compiled here, and there is no Metal compiler.
    """
    started = time.process_time()
    backend = asked.backend
    if _preset(backend.device, mlc.device(backend)) != state.preset:
        return {"singly": f"mlc_llm's presets for {mlc.device(backend)} and another device of its kind differ"}
    triple = backend.triple
    what = f"TVM {tvm.__version__} could not generate code for {triple}"
    with tempfile.TemporaryDirectory(dir=out) as scratch, explained(what, "TVM's traceback is in the log"):
        folder, prefix = Path(scratch), asked.model.prefix
        made = lowering.generate(state.parts, triple=triple, prefix=prefix, shaders=asked.shaders, out=folder)
        members = [Member(path.name, path.read_bytes()) for path in sorted(folder.glob("*.o"))]
    facts = mlc.finish(asked, members, state.reported, out)
    return {**made, **facts, "lower_cpu": state.cpu, "codegen_cpu": round(time.process_time() - started, 3)}
