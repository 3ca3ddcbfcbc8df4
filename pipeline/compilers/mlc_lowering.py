"""Compiles a model of mlc_llm's up to the host's triple once, then two objects per triple. Runs inside the worker.

`pipeline.steps.compile_mlc` has a worker call `lower` in a process that is then forked for every `codegen`. mlc_llm's
own command runs, as `mlc_driver` prepares it, but for its last step: where it calls `tvm.relax.build` and has what that
returns exported, `lowering.lower` takes over. That is all that is known of mlc_llm here; where it or TVM is not like
that, `lower` says so, and `codegen` has `mlc` compile in one go.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import tvm
from tvm import relax
from tvm.target import Target

from pipeline.action import Facts
from pipeline.binary.ar import Member
from pipeline.documents.chat_config import NAME
from pipeline.errors import SlipwayError, StepError

from . import idle_patterns, lowering, mlc, mlc_driver, mlc_refusals
from .lowered import AskedOfMlc, MlcLowered, Parts, Reported, Singly
from .mlc import Compile
from .reasons import explained, reason
from .targets import STAND_IN_TRIPLE

_BUILD = ("mod", "target", "params", "relax_pipeline", "tir_pipeline", "exec_mode", "system_lib")
"""Parameters of the `tvm.relax.build` that is known here."""


class _NotSeparable(Exception):
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
    with _scratch() as scratch:
        folder = scratch / "model"  # a compile sees this one file of the weights
        folder.mkdir()
        (folder / NAME).write_bytes(asked.config.read_bytes())
        report, host = scratch / "config.json", asked.triple or STAND_IN_TRIPLE
        told = mlc_driver.Settings(asked.device, host, asked.metal_simdgroup, report)
        words = mlc.command_line(folder / NAME, asked.model, asked.name, host, scratch / "model.tar")
        try:
            built = _run(words, told)
        except _NotSeparable as problem:
            return Singly(str(problem))
        reported = Reported.of(report)
    return MlcLowered(*built, _preset(asked.device, asked.name), reported, round(time.process_time() - started, 3))


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory to run mlc_llm in, and an environment in which nothing else steers it: the process is ours alone."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name, value in mlc.environment(Path(folder).resolve()).items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.chdir(folder)
        try:
            yield Path(folder).resolve()
        finally:
            os.chdir(before)


def _run(words: list[str], told: mlc_driver.Settings) -> tuple[Target, Parts]:
    """Run the command; return what there was to be built."""
    said = io.StringIO()
    built: list[tuple[Target, Parts]] = []
    try:
        with redirect_stderr(said), idle_patterns.left_out(), _built_by(built):
            command = mlc_driver.prepare(words[0], words[1:], told)
            command.main(words[1:])
    except (_NotSeparable, SlipwayError):
        raise
    except BaseException as error:
        traceback.print_exc(file=said)  # argparse has said it already, and only exits
        unknown = StepError(f"mlc_llm compile: {reason(error)}", hint="the log has all that it said")
        raise mlc_refusals.meaning(said.getvalue(), "compile") or unknown from error
    finally:
        sys.stderr.write(said.getvalue())
    if len(built) != 1:
        raise _NotSeparable(f"mlc_llm called tvm.relax.build {len(built)} times")
    return built[0]


@contextmanager
def _built_by(built: list[tuple[Target, Parts]]) -> Iterator[None]:
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
        built.append((target, lowering.lower(mod, target)))
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


def codegen(state: MlcLowered | Singly, *, asked: Compile, out: Path, log: Path) -> Facts:
    """Generate the host's code and write the objects and `functions.json` into `out`.

    Args:
        state: what `lower` returned, possibly for another backend whose device is of the same kind.
        asked: what is compiled.
        out: an existing directory.
        log: file that gets what mlc_llm says, where it is run here.

    Returns:
        Facts: as `mlc.finish`; and `lower_cpu` and `codegen_cpu` in seconds, or, where the model was compiled in one
        go, `singly`, which says why; for Metal `kernels`, as of `lowering.generate`.

    Raises:
        StepError: LLVM refused the code, or the Metal compiler did; or as `mlc.finish`.
        ToolMissing: kernels are to be compiled here, and there is no Metal compiler.
    """
    started = time.process_time()
    backend = asked.backend
    if isinstance(state, MlcLowered):
        own = _preset(backend.device, mlc.device(backend))
        if own != state.preset:
            state = Singly(f"mlc_llm's presets for {mlc.device(backend)} and another device of its kind differ")
    if isinstance(state, Singly):
        return {**mlc.compile_model(asked=asked, out=out, log=log), "singly": state.why}
    triple = backend.triple
    what = f"TVM {tvm.__version__} could not generate code for {triple}"
    with tempfile.TemporaryDirectory(dir=out) as scratch, explained(what, "TVM's traceback is in the log"):
        folder, prefix = Path(scratch), asked.model.prefix
        made = lowering.generate(
            state.parts, state.device, triple=triple, prefix=prefix, shaders=asked.shaders, out=folder
        )
        members = [Member(path.name, path.read_bytes()) for path in sorted(folder.glob("*.o"))]
    facts = mlc.finish(asked, members, state.reported, out)
    return {**made, **facts, "lower_cpu": state.cpu, "codegen_cpu": round(time.process_time() - started, 3)}
