"""Runs `mlc_llm compile` in this process, with things put right that its command line cannot say.

`mlc` and `mlc_lowering` call `run` in a child of the worker. Two rules of mlc_llm's are replaced, by names that its own
command uses, and one of TVM's where it is broken; all else is theirs:

* Its presets fix the host: `arm64-apple-darwin` for iPhone, which leaves objects without a platform, and iOS 18.0 for
  Catalyst; `--host` is not looked at. Here the preset gets the host, and the fields of the device, of the cell.
* It gives the symbol prefix to `iphone`, `macabi` and `android` alone, so that libraries for `android:adreno` or WebGPU
  would all have the same symbols. Here the prefix is the one that was asked for.
* dlight's matmul rule for Metal fails in some pairs of TVM and tvm-ffi. Where the toolchain's probe has seen that, the
  generic rule for GPUs takes its place.

And every device is written as a tar of objects, as the phones are: what is linked of them is not decided here. Where
TVM leaves the order of stores to chance, they are sorted (`passes`). No TVM may be imported at the top: it need not fit
this package.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SlipwayError, StepError
from pipeline.process import command_line

from . import mlc_environment, mlc_refusals
from .lowered import Reported
from .mlc_environment import Foreign
from .reasons import reason


@dataclass(frozen=True)
class Settings:
    """What mlc_llm's words cannot say: the cell's device, its host's triple, and what the toolchain's probe found."""

    target: Mapping[str, object]
    host: str
    metal_simdgroup: bool

    @property
    def kind(self) -> str:
        """Of the device."""
        return str(self.target.get("kind"))


ALIASES = ("iphone", "macabi", "android", "webgpu", "mali", "opencl")
"""What mlc_llm appends `:generic` to."""


def run(words: Sequence[str], settings: Settings, folder: Path, variables: Mapping[str, str | None]) -> Reported:
    """Run a command of mlc_llm's once, in a process that is fit for no other then.

    The settings are what its words cannot say, the variables changes to the environment: nothing else steers mlc_llm.

    Raises:
        StepError: mlc_llm refused the model.
    """
    said, reported, before = io.StringIO(), list[Reported](), Path.cwd()
    print(command_line(["mlc_llm", *words], {}))  # noqa: T201 - a worker's stdout is its log
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    os.chdir(folder)
    try:
        with redirect_stderr(said):
            _prepared(words, settings, reported).main(list(words[1:]))
    except SlipwayError:
        raise
    except BaseException as error:
        traceback.print_exc(file=said)  # argparse has said it already, and only exits
        unknown = StepError(f"mlc_llm {words[0]}: {reason(error)}", hint="the log has all that it said")
        raise mlc_refusals.meaning(said.getvalue(), words[0]) or unknown from error
    finally:
        sys.stderr.write(said.getvalue())
        os.chdir(before)
    return reported[-1] if reported else Reported()


def _prepared(words: Sequence[str], settings: Settings, reported: list[Reported]) -> Foreign:
    """The module of a command of mlc_llm's, once its rules are replaced; see the top."""
    command = mlc_environment.command(words[0], words[1:])
    targets = importlib.import_module("mlc_llm.support.auto_target")
    key = preset_name(words[words.index("--device") + 1])
    made = preset(targets.PRESET, key, settings)
    targets.PRESET[key] = {**made, "build": _in_order(made["build"])}
    command.detect_system_lib_prefix = lambda _device, prefix, *_rest: prefix
    _report_config(command, reported)
    if settings.kind == "metal" and not settings.metal_simdgroup:
        _schedule_without_simdgroup()
    return command


def preset_name(device: str) -> str:
    """What mlc_llm looks a device up by."""
    return f"{device}:generic" if device in ALIASES else device


def preset(presets: Mapping[str, Foreign], key: str, settings: Settings) -> dict[str, Foreign]:
    """mlc_llm's preset of a device with the cell's device and host laid over it."""
    base = presets.get(key, {})
    target = {**base.get("target", {}), **settings.target, "host": {"kind": "llvm", "mtriple": settings.host}}
    if settings.kind == "llvm":
        target = {**settings.target, "mtriple": settings.host}
    target.pop("libs", None)  # the SDK whose Metal compiler mlc_llm would call
    # Android's is the plain one: a tar, and no compiler of Metal's called in between.
    return {**base, "target": target, "build": presets["android:generic"]["build"]}


def _in_order(build_function: Foreign) -> Callable[[], Foreign]:
    """mlc_llm's function that gives the one that builds, which then has the code of dynamic shapes in a fixed order."""

    def chosen() -> Foreign:
        build = build_function()

        def sorted_build(module: Foreign, args: Foreign, pipeline: Foreign = None) -> Foreign:
            try:
                from .passes import sort_shape_stores  # noqa: PLC0415 - see above
            except ImportError:  # a TVM from before `tirx`, which has its own order
                return build(module, args, pipeline)
            sequential = importlib.import_module("tvm").transform.Sequential
            return build(module, args, sequential([pipeline, sort_shape_stores()]))

        return sorted_build

    return chosen


def _schedule_without_simdgroup() -> None:
    """Have dlight's matmul rule take Metal for another kind of GPU: by the name alone it chooses the broken branch."""
    target = importlib.import_module("tvm.target").Target
    try:
        rule = importlib.import_module("tvm.s_tir.dlight").gpu.Matmul
    except ImportError:  # where it was until 0.24
        rule = importlib.import_module("tvm.dlight").gpu.Matmul
    usual, another = rule.apply, target({"kind": "webgpu"})

    def apply(self: Foreign, function: Foreign, wanted: Foreign, *rest: Foreign) -> Foreign:
        return usual(self, function, another if wanted.kind.name == "metal" else wanted, *rest)

    rule.apply = apply


def _report_config(command: Foreign, reported: list[Reported]) -> None:
    """Have the configuration that is compiled noted: what mlc_llm calls the library follows from it."""
    compile_model = command.compile

    def reporting(*args: Foreign, **kwargs: Foreign) -> Foreign:
        with suppress(KeyError, AttributeError, TypeError):  # this release is not like that
            reported.append(_described(**kwargs))
        return compile_model(*args, **kwargs)

    command.compile = reporting


def _described(
    *, config: Foreign, model_type: Foreign, quantization: Foreign, overrides: Foreign, **_: Foreign
) -> Reported:
    """The configuration as mlc_llm's own class has it, overrides applied."""
    chat = dict(config)
    given = {k: v for k, v in vars(overrides).items() if v is not None}
    top = {k: v for k, v in chat.items() if k not in {"model_type", "quantization", "model_config"}}
    fields = {**chat.get("model_config", {}), **top, **given}  # as its `jit` lays them over one another
    return Reported(model_type.config.from_dict(fields).asdict(), model_type.name, quantization.name)
