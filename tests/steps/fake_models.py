"""Fake models: two real objects each, assembled or compiled here, with the symbols and constructors of TVM's.

Each registers itself as TVM's do, so links of them can be inspected, and run, without TVM.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

PLATFORMS = {  # platform -> (.build_version name, triple of arch and deployment target)
    "ios": ("ios", "{arch}-apple-ios{version}"),
    "ios-simulator": ("iossimulator", "{arch}-apple-ios{version}-simulator"),
    "maccatalyst": ("macCatalyst", "{arch}-apple-ios{version}-macabi"),
    "macos": ("macos", "{arch}-apple-macosx{version}"),
}
WINDOWS_TRIPLE = "{arch}-pc-windows-msvc"
ELF_TRIPLES = {"linux": "{arch}-linux-gnu", "android": "{arch}-linux-android24"}
ELF_COMPILERS = {"x86_64": "cc", "arm64": "aarch64-linux-gnu-gcc"}

MACHO_HOST = """
.build_version {build}, {version}
.section __TEXT,__text,regular,pure_instructions
.globl ___tvm_ffi_{prefix}forward
.p2align 4
___tvm_ffi_{prefix}forward:
  ret
{prefix}startup:
  {jump} _TVMFFIEnvModRegisterSystemLibSymbol
.section __DATA,__data
.globl _{prefix}__tvm_ffi__library_ctx
.weak_definition _{prefix}__tvm_ffi__library_ctx
.p2align 3
_{prefix}__tvm_ffi__library_ctx:
  .quad 0
.section __DATA,__mod_init_func,mod_init_funcs
.p2align 3
  .quad {prefix}startup
.subsections_via_symbols
"""
MACHO_BLOB = """
.build_version {build}, {version}
.section __TEXT,__text,regular,pure_instructions
.p2align 4
{prefix}register:
  {jump} _TVMFFIEnvModRegisterSystemLibSymbol
.section __TEXT,__const
.globl _{prefix}__tvm_ffi__library_bin
.p2align 3
_{prefix}__tvm_ffi__library_bin:
  .quad 42
.section __DATA,__mod_init_func,mod_init_funcs
.p2align 3
  .quad {prefix}register
.subsections_via_symbols
"""
ELF_HOST = """
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol);
__attribute__((weak)) void *{prefix}__tvm_ffi__library_ctx;
int __tvm_ffi_{prefix}forward(void) {{ return 0; }}
__attribute__((constructor)) static void startup(void) {{
  TVMFFIEnvModRegisterSystemLibSymbol("__tvm_ffi_{prefix}forward", (void *)__tvm_ffi_{prefix}forward);
}}
"""
ELF_BLOB = """
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol);
extern const char {prefix}__tvm_ffi__library_bin[];
const char {prefix}__tvm_ffi__library_bin[8] = {{42}};
__attribute__((constructor)) static void startup(void) {{
  TVMFFIEnvModRegisterSystemLibSymbol("{prefix}__tvm_ffi__library_bin", (void *){prefix}__tvm_ffi__library_bin);
}}
"""
COFF_HOST = """
.globl __tvm_ffi_{prefix}forward
__tvm_ffi_{prefix}forward:
  ret
{prefix}startup:
  {jump} TVMFFIEnvModRegisterSystemLibSymbol
.weak __truncsfhf2
__truncsfhf2:
  ret
.section .bss,"bw",discard,{prefix}__tvm_ffi__library_ctx
.globl {prefix}__tvm_ffi__library_ctx
{prefix}__tvm_ffi__library_ctx:
  .zero 8
.section .rdata,"dr"
  .asciz "__tvm_ffi_{prefix}forward"
.section .CRT$XCU,"dr"
  .quad {prefix}startup
.section .drectve,"yni"
  .ascii " /EXPORT:__tvm_ffi_{prefix}forward"
"""
COFF_BLOB = """
{prefix}register:
  {jump} TVMFFIEnvModRegisterSystemLibSymbol
.section .rdata,"dr"
.globl {prefix}__tvm_ffi__library_bin
{prefix}__tvm_ffi__library_bin:
  .quad 42
.section .CRT$XCU,"dr"
  .quad {prefix}register
.section .drectve,"yni"
  .ascii " /EXPORT:{prefix}__tvm_ffi__library_bin,DATA"
"""
FUNCTIONS = [
    {
        "name": "forward",
        "arguments": [{"name": "x", "shape": [1, "n"], "dtype": "float32", "parameter": False}],
        "returns": [{"name": "output_0", "shape": [1, 3], "dtype": "float32", "parameter": False}],
    }
]


def find_tool(name: str) -> str:
    """The program, with Debian's version suffix or without. Missing is a skip at a desk and a failure in CI."""
    found = next((path for suffix in ("-19", "") if (path := shutil.which(name + suffix))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def run_tool(name: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a program to success; return what it printed."""
    done = subprocess.run(
        [find_tool(name), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def backend(name: str, platform: str, arch: str = "arm64", version: str | None = "14.0", **changes) -> dict:
    """A BACKEND of docs/design.md."""
    apple = platform in PLATFORMS
    pattern = PLATFORMS[platform][1] if apple else {**ELF_TRIPLES, "windows": WINDOWS_TRIPLE}[platform]
    llvm_arch = "aarch64" if arch == "arm64" and not apple else arch
    return {
        "name": name,
        "device": {"kind": "metal" if apple else "opencl" if platform == "android" else "llvm"},
        "triple": pattern.format(arch=llvm_arch, version=version),
        "arch": arch,
        "platform": platform,
        "deployment_target": version if apple else None,
        "format": "macho" if apple else "coff" if platform == "windows" else "elf",
        "system_libraries": ["m"] if platform in ELF_TRIPLES else [],
        "frameworks": ["Foundation", "Metal"] if apple else [],
        **changes,
    }


def model(name: str, prefix: str | None = None, variant: str = "f32") -> dict:
    """A MODEL of docs/design.md."""
    return {
        "model": name,
        "variant": variant,
        "subject": f"{name}-{variant}",
        "prefix": prefix or f"{name}_{variant}_",
        "options": {"dtype": variant},
    }


def compile_model(params: dict, target: dict, folder: Path) -> Path:
    """Leave in `folder` what a compile leaves: two objects and functions.json."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = params["prefix"]
    for name, data in _objects(prefix, target["platform"], target["arch"], target["deployment_target"]).items():
        (folder / f"{prefix}{name}").write_bytes(data)
    (folder / "functions.json").write_text(json.dumps({"prefix": prefix, "functions": FUNCTIONS}))
    return folder


@cache
def _objects(prefix: str, platform: str, arch: str, version: str | None) -> dict[str, bytes]:
    sources = {"lib0.o": MACHO_HOST, "devc.o": MACHO_BLOB} if version else {"lib0.o": ELF_HOST, "devc.o": ELF_BLOB}
    if platform == "windows":
        sources = {"lib0.o": COFF_HOST, "devc.o": COFF_BLOB}
    jump = "b" if arch == "arm64" else "jmp"
    made = {}
    with tempfile.TemporaryDirectory() as scratch:
        text, out = Path(scratch, "source.c"), Path(scratch, "object.o")
        for name, source in sources.items():
            if version:
                values = {"build": PLATFORMS[platform][0], "version": version.replace(".", ", ")}
                text.write_text(source.format(prefix=prefix, jump=jump, **values))
                run_tool("llvm-mc", f"-triple={arch}-apple-darwin", "-filetype=obj", text, "-o", out)
            elif platform == "windows":
                text.write_text(source.format(prefix=prefix, jump=jump))
                triple = WINDOWS_TRIPLE.format(arch="aarch64" if arch == "arm64" else arch)
                run_tool("llvm-mc", f"-triple={triple}", "-filetype=obj", text, "-o", out)
            else:
                text.write_text(source.format(prefix=prefix))
                flags = ["-c", "-O1", "-fPIC", "-ffunction-sections", "-fdata-sections"]
                run_tool(ELF_COMPILERS[arch], *flags, text, "-o", out)
            made[name] = out.read_bytes()
    return made
