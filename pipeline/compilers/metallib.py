"""Compiles Metal kernels on this machine, with Xcode's Metal compiler, instead of on the device when a model is loaded.

Steps ask `shaders` for what a backend's kernels are compiled; `lowering` and `mlc` compile them, inside the
worker. TVM asks for one kernel after the other (`tvm_callback_metal_compile`), and its own helper starts two programs
for each. Here TVM is asked twice: the first time only to learn the sources, which are then compiled side by side, one
program each; the second time it gets what was compiled. Kernels repeat, between the context sizes of a model and
between the architectures of Catalyst, so each is kept under the digest of all that it depends on.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.action import Job, present
from pipeline.errors import StepError, ToolMissing
from pipeline.files import sha256_bytes
from pipeline.files.sealed import read_sealed, write_sealed
from pipeline.matrix.cells import Backend
from pipeline.platforms import METAL_INSTALL, SDKS, metal_target, metal_tool
from pipeline.process import run

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target
    from tvm_ffi import Module

CALLBACK = "tvm_callback_metal_compile"
"""The function TVM's code generator calls with the source of a kernel and its target; it returns a metallib."""

GENERATOR = "target.build.metal"
"""The function by which TVM generates all kernels of a module."""

MAGIC = b"MTLB"
"""How a metallib begins."""

_LINES = 12
_OPTIMISATION = "-O3"
_TOOLCHAIN_MISSING = ("missing Metal Toolchain", "unable to find utility")
"""What xcrun says where Xcode has no Metal compiler: since Xcode 26 it is a download of its own."""


@dataclass(frozen=True)
class Shaders:
    """What kernels are compiled for.

    Attributes:
        sdk: `iphoneos`, `iphonesimulator` or `macosx`: a device's metallib is refused by the simulator.
        triple: `air64-apple-ios14.0`: without it, the oldest system would be that of the SDK.
        language: `ios-metal2.3`.
        version: what compiler and SDK say they are.
        cache: directory of what was compiled before.
    """

    sdk: str
    triple: str
    language: str
    version: str
    cache: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The words that decide what comes out."""
        return (f"-std={self.language}", "-target", self.triple, _OPTIMISATION)

    def digest(self, source: str) -> str:
        """What a kernel is kept under: SHA-256 of source, flags, SDK and compiler."""
        text = json.dumps([self.sdk, self.flags, self.version, source], ensure_ascii=False)
        return sha256_bytes(text.encode())


def shaders(job: Job[object], backend: Backend) -> Shaders | None:
    """For what kernels are compiled, for a backend that asks for compiled kernels, else None.

    Raises:
        ToolMissing: this machine has no Metal compiler for the backend.
    """
    if backend.kernels != "metallib":
        return None
    platform = backend.platform
    tool = present(
        job.tools.get(metal_tool(platform)),
        f"the kernels of backend {backend.name} are to be compiled here, and this machine has no Metal compiler for "
        f"{SDKS[platform]}",
        METAL_INSTALL,
    )
    triple, language = metal_target(platform, str(backend.deployment_target))
    return Shaders(SDKS[platform], triple, language, tool.version, str(job.cache_dir("metallib")))


@dataclass
class Count:
    """How many kernels there were, and how many had to be compiled."""

    kernels: int = 0
    compiled: int = 0


def facts(count: Count | None) -> dict[str, object]:
    """What is known of a model's Metal kernels; None where they stayed source."""
    if count is None:
        return {"kernels": "source"}
    return {"kernels": "metallib", "shaders": count.kernels, "shaders_compiled": count.compiled}


@dataclass(frozen=True)
class Compiler:
    """Compiles kernels for one kind of system, `jobs` at a time."""

    shaders: Shaders
    jobs: int
    count: Count = field(default_factory=Count)

    def compile_all(self, sources: Sequence[str]) -> dict[str, bytes]:
        """The metallib of each source.

        Raises:
            StepError: the Metal compiler refused one.
            ToolMissing: there is none.
        """
        distinct = list(dict.fromkeys(sources))
        self.count.kernels += len(distinct)
        with ThreadPoolExecutor(max(1, min(self.jobs, len(distinct)))) as pool:
            return dict(zip(distinct, pool.map(self._obtain, distinct), strict=True))

    def _obtain(self, source: str) -> bytes:
        """The metallib of a kernel, compiled by one process only, however many ask."""
        digest = self.shaders.digest(source)
        path = Path(self.shaders.cache, digest[:2], digest)
        known = read_sealed(path)
        if known is not None:
            return known
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = read_sealed(path)
            if known is None:
                known = self._compiled(source)
                self.count.compiled += 1
                write_sealed(path, known)
        return known

    def _compiled(self, source: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="slipway-metal-") as folder:
            text, made = Path(folder, "kernel.metal"), Path(folder, "kernel.metallib")
            text.write_text(source, encoding="utf-8")
            words = ["xcrun", "-sdk", self.shaders.sdk, "metal", *self.shaders.flags, str(text), "-o", str(made)]
            try:
                done = run(words, check=False)
            except ToolMissing as error:
                raise ToolMissing("there is no xcrun on this machine", hint=METAL_INSTALL) from error
            said = done.output.strip()
            if any(phrase in said for phrase in _TOOLCHAIN_MISSING):
                what = f"Xcode has no Metal compiler for {self.shaders.sdk}: {said.splitlines()[0]}"
                raise ToolMissing(what, hint=METAL_INSTALL)
            if done.status != 0 or not made.is_file():
                print(f"$ {' '.join(words)}\n{said}\n{source}", flush=True)  # noqa: T201 - a worker's stdout is its log
                lines = "\n    ".join(said.splitlines()[-_LINES:])
                raise _refused(f"metal ended with status {done.status}:\n    {lines}")
            data = made.read_bytes()
        if not data.startswith(MAGIC):
            raise _refused(f"metal wrote something that is no metallib: it begins with {data[:4]!r}")
        return data


def _refused(why: str) -> StepError:
    hint = "see the log for the kernel; with `kernels: source` the device compiles it"
    return StepError(f"a Metal kernel does not compile: {why}", hint=hint)


@contextmanager
def compiling(shaders: Shaders | None) -> Iterator[Count | None]:
    """As long as the context lasts, TVM in this process gets its Metal kernels compiled by us, unless they stay source.

    Yields:
        How many kernels were asked for, and how many had to be compiled.

    Raises:
        StepError: the Metal compiler refused a kernel. (On its way through TVM it becomes something else.)
        ToolMissing: there is none; likewise.
    """
    if shaders is None:
        yield None
        return
    importlib.import_module("tvm")  # it registers the generator
    ffi = importlib.import_module("tvm_ffi")
    generate = ffi.get_global_func(GENERATOR)
    compiler = Compiler(shaders, os.cpu_count() or 1)
    failures: list[StepError] = []

    def compile_all(sources: Sequence[str]) -> dict[str, bytes]:
        try:
            return compiler.compile_all(sources)
        except StepError as failure:
            failures.append(failure)
            raise

    def generate_twice(module: IRModule, target: Target) -> Module:
        sources: list[str] = []

        def learn(source: object, _target: Target) -> object:
            sources.append(str(source))
            return source

        _register(ffi, CALLBACK, learn)
        generate(module, target)
        libraries = compile_all(sources)

        def give(source: object, _target: Target) -> bytes:
            text = str(source)
            if text not in libraries:  # TVM wrote it in another way this time
                libraries.update(compile_all([text]))
            return libraries[text]

        _register(ffi, CALLBACK, give)
        made: Module = generate(module, target)
        return made

    _register(ffi, GENERATOR, generate_twice)
    try:
        yield compiler.count
    except Exception as error:
        if failures:
            raise failures[0] from error
        raise
    finally:
        _register(ffi, GENERATOR, generate)
        _register(ffi, CALLBACK, lambda source, _target: (source, "metal"))


def _register(ffi: ModuleType, name: str, function: Callable[..., object]) -> None:
    ffi.register_global_func(name, function, override=True)
