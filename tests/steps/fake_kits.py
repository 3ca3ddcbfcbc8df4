"""The backends, models and the runtime that the tests of kits have in common."""

from __future__ import annotations

import re

from fake_models import backend, model

from pipeline.binary.objects import read_object

IOS = backend("ios-arm64", "ios")
SIMULATOR = backend("ios-sim-arm64", "ios-simulator")
CATALYST_ARM = backend("catalyst-arm64", "maccatalyst", version="18.0")
CATALYST_X86 = backend("catalyst-x86_64", "maccatalyst", arch="x86_64", version="18.0")
MAC = backend("mac-arm64", "macos", version="11.0")
ANDROID = backend("android-arm64", "android")
HOST = backend("host", "linux", arch="x86_64")
LINUX_ARM = backend("linux-arm64", "linux")
WINDOWS = backend("windows", "windows", arch="x86_64", version=None)
WINDOWS_ARM = backend("windows-arm64", "windows", version=None)
MODELS = [model("tiny_bert"), model("tiny_llama", variant="q4f16_1")]
BINS = ["tiny_bert_f32___tvm_ffi__library_bin", "tiny_llama_q4f16_1___tvm_ffi__library_bin"]
PREFIXES = ["tiny_bert_f32_", "tiny_llama_q4f16_1_"]


FAKE_RUNTIME = """
#include <stdio.h>
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) { puts(name); return symbol == 0; }
"""
REGISTERED = sorted([*BINS, *(f"__tvm_ffi_{prefix}forward" for prefix in PREFIXES)])


def linked(path):
    info = read_object(path.read_bytes(), path.name)
    return info.constructors, sorted(symbol.name for symbol in info.defined)


def balanced(code):
    """Whether brackets close in order, outside of strings."""
    code = re.sub(r"""'(\\.|[^'\\])*'|"(\\.|[^"\\])*\"""", "", code)
    closing, stack = {")": "(", "]": "[", "}": "{"}, []
    for char in code:
        if char in "([{":
            stack.append(char)
        elif char in closing and (not stack or stack.pop() != closing[char]):
            return False
    return not stack


def library_file(name: str, *, whole: bool) -> dict:
    """An entry of `runtime.json`, as far as a kit reads it."""
    return {"name": name, "file": f"lib{name}.a", "sha256": "", "size": 0, "whole": whole, "registrations": []}
