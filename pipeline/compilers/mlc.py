"""Compiles a model with `mlc_llm compile`, and takes what it makes apart into two objects. Runs inside the worker.

`pipeline.steps.compile_mlc` has the worker of the model's toolchain call it where `mlc_lowering`, which does most of it
once for several backends, cannot be had. Nothing of the caller's environment steers mlc_llm, and its cache of compiled
libraries, which forgets what a library was compiled with, is out of its reach. It knows no archive, no store and no
graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import process
from pipeline.action import Facts
from pipeline.binary.ar import Member
from pipeline.binary.conformance import mismatch
from pipeline.binary.objects import read_object
from pipeline.binary.tar_members import read_tar
from pipeline.errors import StepError
from pipeline.matrix.cells import Backend, ModelRef
from pipeline.process import Finished

from . import metallib, mlc_driver, mlc_environment, mlc_metadata, mlc_names, mlc_refusals
from .lowered import GENERIC, Reported
from .metallib import Shaders
from .mlc_names import MlcOptions

DEVICES = {
    ("metal", "ios"): "iphone",
    ("metal", "ios-simulator"): "iphone",
    ("metal", "maccatalyst"): "macabi",
    ("metal", "macos"): "metal:generic",
    ("opencl", "android"): "android",
    ("opencl", "linux"): "opencl:generic",
    ("vulkan", "android"): "vulkan:generic",
    ("vulkan", "linux"): "vulkan:generic",
    ("webgpu", "wasm"): "webgpu",
}
"""Kind of device and platform -> what mlc_llm calls it."""


@dataclass(frozen=True)
class Compile:
    """One model to be compiled for one backend.

    Attributes:
        kind: what mlc_llm is here, `package`, `program` or `path`; see `probe.mlc_llm`.
        shaders: for Metal kernels that are to be compiled here: for what.
        metal_simdgroup: what the toolchain's probe found.
        named_for: the device whose name in mlc_llm the prefix is meant to be, or None.
    """

    kind: str
    config: Path
    model: ModelRef
    backend: Backend
    shaders: Shaders | None
    metal_simdgroup: bool
    named_for: str | None


def compile_model(*, asked: Compile, out: Path, log: Path) -> Facts:
    """Compile a model in one go: `out` gets `<prefix>lib0.o`, `<prefix>devc.o` and `functions.json`.

    Returns:
        As `finish`.

    Raises:
        StepError: mlc_llm refused the model; or as `finish`.
        ToolMissing: there is no mlc_llm.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder).resolve() / "model.tar"
        with metallib.compiling(asked.shaders if asked.kind == "package" else None) as count:
            reported = _run(asked, output, log)
        members = [member for member in read_tar(output.read_bytes(), output.name) if member.name.endswith(".o")]
    made = finish(asked, members, reported, out)
    return made | (metallib.facts(count) if asked.backend.device_kind == "metal" else {})


def _run(asked: Compile, output: Path, log: Path) -> Reported:
    """Run mlc_llm as what it is here: a package, in this process, or a program, which cannot be told as much."""
    backend = asked.backend
    words = command_line(asked.config, asked.model, device(backend), backend.triple, output)
    variables = environment(output.parent, backend)
    if asked.kind == "package":
        told = mlc_driver.Settings(backend.device, backend.triple, asked.metal_simdgroup)
        reported = mlc_driver.run(words, told, output.parent, variables)
        done = Finished(("mlc_llm",), 0, "")
    else:
        reported = Reported()
        done = process.run(
            [_program(asked), *words], cwd=output.parent, env=variables, check=False, log=log, inherit=True
        )
    if done.status != 0 or not output.is_file():
        raise mlc_refusals.explain(done, "compile")
    return reported


def finish(asked: Compile, members: Sequence[Member], reported: Reported, out: Path) -> dict[str, object]:
    """Check the objects that were made, and write them with what is known of them.

    Returns:
        Facts: as of `mlc_metadata.describe`; `model_lib`, `mlc_names` (what mlc_llm itself would call the library, by
        device) and `schedule`.

    Raises:
        StepError: mlc_llm gives its library another name, or what it made is not for this backend.
    """
    model = asked.model
    names = library_names(reported, MlcOptions.of(model.options), asked.named_for)
    check_name(model.prefix, names, asked.named_for)
    objects = _named(members, model.prefix)
    check_objects(objects, asked.backend, asked.kind)
    for member in objects:
        (out / member.name).write_bytes(member.data)
    own = {"model_lib": model.prefix.removesuffix("_"), "mlc_names": names, "schedule": _schedule(asked)}
    return {**mlc_metadata.describe(objects, model.prefix, out), **own}


def command_line(config: Path, model: ModelRef, name: str, host: str, output: Path) -> list[str]:
    """The words behind `mlc_llm`, for a model and what mlc_llm calls a device."""
    options = MlcOptions.of(model.options)
    words = ["compile", str(config), "--device", name, "--host", host]
    words += ["--opt", options.opt, "--system-lib-prefix", model.prefix]
    if options.quantization is not None:
        words += ["--quantization", options.quantization]
    if options.model_type is not None:
        words += ["--model-type", options.model_type]
    if overrides := mlc_names.overrides_text(options.overrides):
        words += ["--overrides", overrides]
    if options.enable_subgroups:
        words.append("--enable-subgroups")
    return [*words, "--output", str(output)]


def device(backend: Backend) -> str:
    """What mlc_llm calls a backend's device; a CPU, for which it has no name, is called `llvm`.

    Raises:
        StepError: mlc_llm compiles for nothing of the kind.
    """
    kind, platform = backend.device_kind, backend.platform
    if kind == "llvm":
        return "llvm"
    if kind == "opencl" and platform == "android" and backend.device.get("device") == "adreno":
        return "android:adreno"
    found = DEVICES.get((kind, platform))
    if found is None:
        known = ", ".join(sorted({f"{one} on {where}" for one, where in DEVICES} | {"llvm on any"}))
        raise StepError(f"mlc_llm compiles for no {kind} on {platform}", hint=f"choose one of {known}")
    return found


def environment(scratch: Path, backend: Backend | None = None) -> dict[str, str | None]:
    """What steers mlc_llm, all of it from the cell; or what does for all backends."""
    catalyst = backend if backend is not None and backend.platform == "maccatalyst" else None
    return {
        **mlc_environment.variables(scratch),
        "MLC_MACABI_ARCH": str(catalyst.arch) if catalyst else None,
        "MLC_MACABI_DEPLOYMENT_TARGET": str(catalyst.deployment_target) if catalyst else None,
    }


def _schedule(asked: Compile) -> str:
    if asked.backend.device_kind == "metal" and asked.kind == "package" and not asked.metal_simdgroup:
        return GENERIC
    return "mlc_llm's own"


def _program(asked: Compile) -> Path:
    program = mlc_refusals.program(asked.kind)
    if asked.shaders is not None:
        raise StepError(
            f"the program {program} cannot be told to compile Metal kernels here",
            hint="use a toolchain whose Python has mlc_llm as a package, or `kernels: source` for the backend",
        )
    extra = sorted(asked.backend.device.keys() - {"kind", "device"})
    if extra:
        raise StepError(
            f"the program {program} cannot be told {', '.join(extra)} of the backend's device",
            hint="use a toolchain whose Python has mlc_llm as a package, or remove them from `device`",
        )
    return program


def _named(members: Sequence[Member], prefix: str) -> list[Member]:
    """Objects under names that are unique to the model: every model's first one is called `lib0.o`."""
    named = [
        member if member.name.startswith(prefix) else Member(prefix + member.name, member.data) for member in members
    ]
    missing = sorted({f"{prefix}lib0.o", f"{prefix}devc.o"} - {member.name for member in named})
    if missing:
        there = ", ".join(member.name for member in members) or "nothing"
        raise StepError(
            f"mlc_llm made {there} where {' and '.join(missing)} should be among it",
            hint="use a toolchain whose TVM writes system libraries as a tar of two objects",
        )
    return named


def check_objects(objects: Sequence[Member], backend: Backend, kind: str) -> None:
    """Objects must be for what targets.yaml declares: mlc_llm's presets fix a triple without a system for iPhone.

    Raises:
        StepError: they are not.
    """
    for member in objects:
        problem = mismatch(read_object(member.data, member.name), backend)
        if problem:
            raise StepError(
                f"{member.name} {problem}",
                hint="this mlc_llm did not heed --host"
                + ("; report its version" if kind == "package" else ": use a toolchain that has it as a package"),
            )


def library_names(reported: Reported, options: MlcOptions, named_for: str | None) -> dict[str, str] | None:
    """What mlc_llm would call the library, by its own configuration class, or None where that is not known.

    `named_for` is a device besides those of mlc_llm's package configs.
    """
    if reported.config is None:
        return None
    return {
        name: mlc_names.model_lib(
            reported.config,
            model_type=reported.model_type,
            quantization=reported.quantization,
            device=name,
            overrides=options.overrides,
            opt=options.opt,
        )
        for name in dict.fromkeys(("iphone", "macabi", "android", named_for or "iphone"))
    }


def check_name(prefix: str, names: Mapping[str, str] | None, named_for: str | None) -> None:
    """A name that was worked out before the compile must be the one that this mlc_llm gives.

    Raises:
        StepError: it is another.
    """
    if named_for is None or names is None or mlc_names.prefix(names[named_for]) == prefix:
        return
    raise StepError(
        f"this mlc_llm calls the library {names[named_for]}, and the name worked out before was "
        f"{prefix.removesuffix('_')}: its configuration class is not the one that is known here",
        hint=f"say which name the app has: `model_lib: {names[named_for]}` in the variant",
    )
