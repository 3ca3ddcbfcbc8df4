"""Fake archives of the runtime for Apple's platforms, assembled here: they offer what models call, and register.

`libtvm_runtime.a` has a loader in a constructor that nothing refers to, and needs C++ of the system;
`libtvm_ffi_static.a` has the C functions; `libtokenizers_cpp.a` is one that nothing must be force-loaded of.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.binary.ar import Member, write_archive

BUILD_VERSIONS = {
    "ios": "ios",
    "ios-simulator": "iossimulator",
    "maccatalyst": "macCatalyst",
}
FUNCTIONS = (
    "TVMFFIEnvModRegisterSystemLibSymbol",
    "TVMFFIFunctionCall",
    "TVMFFIHandleInitOnce",
    "TVMFFIEnvModLookupFromImports",
    "TVMFFIErrorSetRaisedFromCStrParts",
    "TVMBackendAllocWorkspace",
    "TVMBackendFreeWorkspace",
    "TVMBackendParallelLaunch",
)

_HEAD = ".build_version {build}, {version}\n.section __TEXT,__text,regular,pure_instructions\n"
_FUNCTION = ".globl _{name}\n.p2align 4\n_{name}:\n  ret\n"
_LOADER = """.p2align 4
register_loader:
  {jump} __ZNSt6thread4joinEv
.section __DATA,__mod_init_func,mod_init_funcs
.p2align 3
  .quad register_loader
"""


def assembler() -> str:
    found = shutil.which("llvm-mc-19") or shutil.which("llvm-mc")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("llvm-mc is not installed")
        pytest.skip("llvm-mc is not installed")
    return found


def write(folder: Path, platform: str, arch: str, version: str, functions: tuple[str, ...] = FUNCTIONS) -> list[Path]:
    """Write the archives of one backend; return them in link order."""
    folder.mkdir(parents=True)
    head = _HEAD.format(build=BUILD_VERSIONS[platform], version=version.replace(".", ", "))
    jump = "b" if arch == "arm64" else "jmp"
    sources = {
        "tvm_runtime": head + _LOADER.format(jump=jump),
        "tvm_ffi_static": head + "".join(_FUNCTION.format(name=name) for name in functions),
        "tokenizers_cpp": head + _FUNCTION.format(name="tokenize"),
    }
    archives = []
    for name, text in sources.items():
        source, made = folder / f"{name}.s", folder / f"{name}.o"
        source.write_text(f"{text}.subsections_via_symbols\n")
        subprocess.run(
            [assembler(), f"-triple={arch}-apple-darwin", "-filetype=obj", source, "-o", made], check=True, timeout=60
        )
        archive = folder / f"lib{name}.a"
        archive.write_bytes(write_archive([Member(f"{name}.o", made.read_bytes())], "darwin"))
        archives.append(archive)
    return archives
