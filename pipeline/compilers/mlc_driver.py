"""Runs `mlc_llm compile` with things put right that its command line cannot say. Run as a program, by path.

`compilers.mlc` runs it in the toolchain's interpreter, as `python mlc_driver.py SETTINGS compile …`. Two rules of
mlc_llm's are replaced, by names that its own command uses, and one of TVM's where it is broken; all else is theirs:

* Its presets fix the host: `arm64-apple-darwin` for iPhone, which leaves objects without a platform, and iOS 18.0 for
  Catalyst; `--host` is not looked at. Here the preset gets the host, and the fields of the device, of the cell.
* It gives the symbol prefix to `iphone`, `macabi` and `android` alone, so that libraries for `android:adreno` or WebGPU
  would all have the same symbols. Here the prefix is the one that was asked for.
* dlight's matmul rule for Metal fails in some pairs of TVM and tvm-ffi. Where the toolchain's probe has seen that, the
  generic rule for GPUs takes its place.

And every device is written as a tar of objects, as the phones are: what is linked of them is not decided here. Where
TVM leaves the order of stores to chance, they are sorted (`shape_order`). `mlc_lowering`, which runs the same command
inside a worker, calls `prepare`. Only the standard library may be imported at the top, and nothing of this project.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ALIASES = ("iphone", "macabi", "android", "webgpu", "mali", "opencl")
"""What mlc_llm appends `:generic` to."""


def main() -> None:
    """`SETTINGS` is JSON: `target`, `host`, `metal_simdgroup`, `shaders`, `report` (a file), and files of ours.

    The latter are `metallib` and `shape_order`. See `compilers.mlc`, which makes it.
    """
    settings, subcommand, *words = json.loads(sys.argv[1]), *sys.argv[2:]
    command = prepare(subcommand, words, settings)
    with _kernels(settings):
        command.main(words)


def prepare(subcommand: str, words: list[str], settings: Mapping[str, Any]) -> Any:
    """Make this process fit to run one command of mlc_llm's once; return its module, whose `main` takes the words."""
    allow_missing_library()
    importlib.import_module("mlc_llm.support.logging").enable_logging()
    command: Any = importlib.import_module(f"mlc_llm.cli.{subcommand}")
    _prepare_compile(command, words, settings)
    sys.argv = ["mlc_llm", subcommand, *words]
    return command


@contextmanager
def _kernels(settings: Mapping[str, Any]) -> Iterator[None]:
    """Have Metal kernels compiled here, where that is wanted; how many there were goes into the report."""
    if not settings.get("shaders"):
        yield
        return
    metallib = _loaded("slipway_metallib", settings["metallib"])
    try:
        with metallib.compiling(metallib.Shaders(**settings["shaders"])) as count:
            yield
    except metallib.Missing as missing:
        sys.exit(f"slipway: no Metal compiler: {missing}")
    except metallib.Refused as refused:
        sys.exit(f"slipway: a Metal kernel does not compile: {refused}")
    report = Path(settings["report"])
    told = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    told |= {"shaders": count.kernels, "shaders_compiled": count.compiled}
    report.write_text(json.dumps(told), encoding="utf-8")


def _loaded(name: str, file: str) -> Any:
    """A module of ours, by its file: the package that it is in may not be importable here."""
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def allow_missing_library() -> None:
    """Let mlc_llm be imported without its C++ library, where a checkout has none: only running a model needs it.

    tvm_ffi refuses classes that stand for objects of a library that is not loaded, unless it is told not to.
    """
    if os.environ.get("SKIP_LOADING_MLCLLM_SO") == "1":
        registry: Any = importlib.import_module("tvm_ffi.registry")
        registry._SKIP_UNKNOWN_OBJECTS = True  # noqa: SLF001 - what its own stubs generator sets


def _prepare_compile(command: Any, words: list[str], settings: Mapping[str, Any]) -> None:
    targets = importlib.import_module("mlc_llm.support.auto_target")
    key = preset_name(words[words.index("--device") + 1])
    made = preset(targets.PRESET, key, settings)
    targets.PRESET[key] = {**made, "build": _in_order(made["build"], settings["shape_order"])}
    command.detect_system_lib_prefix = lambda _device, prefix, *_rest: prefix
    _report_config(command, Path(settings["report"]))
    if settings["target"]["kind"] == "metal" and not settings["metal_simdgroup"]:
        _schedule_without_simdgroup()


def preset_name(device: str) -> str:
    """What mlc_llm looks a device up by."""
    return f"{device}:generic" if device in ALIASES else device


def preset(presets: Mapping[str, Any], key: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """mlc_llm's preset of a device with the cell's device and host laid over it."""
    base = presets.get(key, {})
    target = {**base.get("target", {}), **settings["target"], "host": {"kind": "llvm", "mtriple": settings["host"]}}
    if settings["target"]["kind"] == "llvm":
        target = {**settings["target"], "mtriple": settings["host"]}
    target.pop("libs", None)  # the SDK whose Metal compiler mlc_llm would call
    # Android's is the plain one: a tar, and no compiler of Metal's called in between.
    return {**base, "target": target, "build": presets["android:generic"]["build"]}


def _in_order(build_function: Any, shape_order: str) -> Any:
    """mlc_llm's function that gives the one that builds, which then has the code of dynamic shapes in a fixed order."""

    def chosen() -> Any:
        build = build_function()

        def sorted_build(module: Any, args: Any, pipeline: Any = None) -> Any:
            sequential: Any = importlib.import_module("tvm").transform.Sequential
            try:
                passes = sequential([pipeline, _loaded("slipway_shape_order", shape_order).sort_shape_stores()])
            except ImportError:  # a TVM from before `tirx`, which has its own order
                passes = pipeline
            return build(module, args, passes)

        return sorted_build

    return chosen


def _schedule_without_simdgroup() -> None:
    """Have dlight's matmul rule take Metal for another kind of GPU: by the name alone it chooses the broken branch."""
    target = importlib.import_module("tvm.target").Target
    try:
        rule: Any = importlib.import_module("tvm.s_tir.dlight").gpu.Matmul
    except ImportError:  # where it was until 0.24
        rule = importlib.import_module("tvm.dlight").gpu.Matmul
    usual, another = rule.apply, target({"kind": "webgpu"})

    def apply(self: Any, function: Any, wanted: Any, *rest: Any) -> Any:
        return usual(self, function, another if wanted.kind.name == "metal" else wanted, *rest)

    rule.apply = apply


def _report_config(command: Any, file: Path) -> None:
    """Have the configuration that is compiled written down: what mlc_llm calls the library follows from it."""
    compile_model = command.compile

    def reporting(*args: Any, **kwargs: Any) -> Any:
        report = _described(kwargs)
        if report is not None:
            file.write_text(json.dumps(report), encoding="utf-8")
        return compile_model(*args, **kwargs)

    command.compile = reporting


def _described(kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration as mlc_llm's own class has it, overrides applied; None where this release is not like that."""
    try:
        chat, model = dict(kwargs["config"]), kwargs["model_type"]
        overrides = {k: v for k, v in vars(kwargs["overrides"]).items() if v is not None}
        top = {k: v for k, v in chat.items() if k not in {"model_type", "quantization", "model_config"}}
        fields = {**chat.get("model_config", {}), **top, **overrides}  # as its `jit` lays them over one another
        config = model.config.from_dict(fields).asdict()
        return {"config": config, "model_type": model.name, "quantization": kwargs["quantization"].name}
    except (KeyError, AttributeError, TypeError):
        return None


if __name__ == "__main__":
    main()
