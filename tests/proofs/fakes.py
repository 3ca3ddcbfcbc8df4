"""Fake models: two real objects each, with the symbols and the constructors of a TVM model, and one thing wrong.

`linux` ones are C for this machine's processor, `ios` ones arm64 assembly. As TVM's, each constructor refers to what it
registers, so that a linker that drops dead code has the same reasons to keep or drop it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REGISTER = "TVMFFIEnvModRegisterSystemLibSymbol"

ELF_HOST = """
extern int {register}(const char *name, void *symbol);
{extern}
__attribute__((weak)) void *{prefix}__tvm_ffi__library_ctx;
int __tvm_ffi_{prefix}forward(void) {{ {body} return 0; }}
{attribute} void startup(void) {{
  {register}("{prefix}__tvm_ffi__library_ctx", (void *)&{prefix}__tvm_ffi__library_ctx);
  {register}("__tvm_ffi_{prefix}forward", (void *)__tvm_ffi_{prefix}forward);
}}
"""
ELF_BLOB = """
extern int {register}(const char *name, void *symbol);
extern const char {prefix}{blob}[];
const char {prefix}{blob}[8] = {{42}};
{attribute} void startup(void) {{ {register}("{prefix}{blob}", (void *){prefix}{blob}); }}
"""
MACHO_OBJECT = """
{build_version}
.section __TEXT,__text,regular,pure_instructions
{function}
.p2align 2
startup:
  adrp x0, l_name@PAGE
  add x0, x0, l_name@PAGEOFF
  adrp x1, _{symbol}@PAGE
  add x1, x1, _{symbol}@PAGEOFF
  {load}
  b _{register}
.section __TEXT,__cstring,cstring_literals
l_name:
  .asciz "{registered}"
.section __DATA,__data
.globl _{symbol}
{weak}
.p2align 3
_{symbol}:
  .quad 42
{constructor}
.subsections_via_symbols
"""
MACHO_FUNCTION = """
.globl ___tvm_ffi_{prefix}forward
.p2align 2
___tvm_ffi_{prefix}forward:
  {body}
  ret
"""
MACHO_LOAD = "adrp x2, ___tvm_ffi_{prefix}forward@PAGE\n  add x2, x2, ___tvm_ffi_{prefix}forward@PAGEOFF"
MACHO_CONSTRUCTOR = """
.section __DATA,__mod_init_func,mod_init_funcs
.p2align 3
  .quad startup
"""


@dataclass(frozen=True)
class Fake:
    """What to make: `calls` is an undefined symbol that is referred to, `without` the halves that register nothing.

    The version of the build is a directive of the assembler; ELF has none.
    """

    prefix: str
    platform: str = "linux"
    build_version: str = ".build_version ios, 14, 0"
    calls: str | None = None
    without: tuple[str, ...] = ()
    register: str = REGISTER
    blob: str = "__tvm_ffi__library_bin"

    def objects(self, folder: Path) -> dict[str, Path]:
        """Compile both halves; member name -> file."""
        folder.mkdir(parents=True, exist_ok=True)
        make = self._elf if self.platform == "linux" else self._macho
        return {
            f"{self.prefix}lib0.o": make("host", folder / f"{self.prefix}lib0.o"),
            f"{self.prefix}devc.o": make("blob", folder / f"{self.prefix}devc.o"),
        }

    def _elf(self, half: str, out: Path) -> Path:
        constructor = "__attribute__((used)) static" if half in self.without else "__attribute__((constructor)) static"
        source = (ELF_HOST if half == "host" else ELF_BLOB).format(
            prefix=self.prefix,
            attribute=constructor,
            register=self.register,
            blob=self.blob,
            extern=f"extern int {self.calls}(void);" if self.calls else "",
            body=f"{self.calls}();" if self.calls else "",
        )
        out.with_suffix(".c").write_text(source)
        _run("cc", "-c", "-O1", "-fPIC", "-ffunction-sections", "-o", out, out.with_suffix(".c"))
        return out

    def _macho(self, half: str, out: Path) -> Path:
        host = half == "host"
        symbol = f"{self.prefix}__tvm_ffi__library_ctx" if host else self.prefix + self.blob
        body = f"b _{self.calls}" if self.calls else "nop"
        source = MACHO_OBJECT.format(
            build_version=self.build_version,
            function=MACHO_FUNCTION.format(prefix=self.prefix, body=body) if host else "",
            symbol=symbol,
            registered=f"__tvm_ffi_{self.prefix}forward" if host else symbol,
            load=MACHO_LOAD.format(prefix=self.prefix) if host else "",
            weak=f".weak_definition _{symbol}" if host else "",
            register=self.register,
            constructor="" if half in self.without else MACHO_CONSTRUCTOR,
        )
        out.with_suffix(".s").write_text(source)
        _run("llvm-mc", "-triple=arm64-apple-ios", "-filetype=obj", "-o", out, out.with_suffix(".s"))
        return out


def program(name: str) -> str:
    """A program, the newest of Debian's versions first. A missing one is a skip at a desk and a failure in CI."""
    for candidate in (*(f"{name}-{version}" for version in range(22, 13, -1)), name):
        if found := shutil.which(candidate):
            return found
    missing = f"{name} is not installed (Debian: apt-get install gcc lld-19 llvm-19)"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def _run(name: str, *words: str | Path) -> None:
    done = subprocess.run([program(name), *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
