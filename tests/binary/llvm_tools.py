"""The programs and the targets that several tests of binary formats compare with."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

MODELS = ("tiny_model_a_", "tiny_model_b_")
MACHO_TRIPLES = {
    "arm64-apple-ios14.0": ("arm64", "ios", "14.0"),
    "arm64-apple-ios14.0-simulator": ("arm64", "ios-simulator", "14.0"),
    "arm64-apple-ios18.0-macabi": ("arm64", "maccatalyst", "18.0"),
    "x86_64-apple-ios18.0-macabi": ("x86_64", "maccatalyst", "18.0"),
}
ELF_TRIPLES = {"aarch64-linux-android24": "aarch64", "x86_64-linux-gnu": "x86_64"}
COFF_TRIPLES = {"x86_64-pc-windows-msvc": "x86_64", "aarch64-pc-windows-msvc": "aarch64"}
WASM_TRIPLE = "wasm32-unknown-unknown-wasm"

RUNTIME_SYMBOLS = ("TVMFFIEnvModRegisterSystemLibSymbol", "TVMFFIErrorSetRaisedFromCStrParts", "dyld_stub_binder")
LINKER_PLATFORMS = {"ios": "ios", "ios-simulator": "ios-simulator", "maccatalyst": "mac-catalyst", "macos": "macos"}


def find_tool(name: str) -> str:
    """The program, with Debian's version suffix or without. Missing is a skip at a desk and a failure in Linux CI."""
    found = next((path for suffix in ("-19", "", "-18", "-20") if (path := shutil.which(name + suffix))), None)
    if found is None:
        missing = f"{name} is not installed (apt: llvm-19 lld-19 gcc)"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(missing)
        pytest.skip(missing)
    return found
