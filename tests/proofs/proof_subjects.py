"""The backends, models and parameters that the tests of the proofs share."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from pipeline.documents.codec import decode
from pipeline.matrix.cells import Backend, ModelRef

MACHINE = platform.machine()

BACKENDS = {
    "host": ("llvm", MACHINE, "linux", None, "elf"),
    "linux-arm64": ("llvm", "arm64", "linux", None, "elf"),
    "ios-arm64": ("llvm", "arm64", "ios", "14.0", "macho"),
    "ios-sim-arm64": ("llvm", "arm64", "ios-simulator", "14.0", "macho"),
    "catalyst-arm64": ("llvm", "arm64", "maccatalyst", "18.0", "macho"),
    "catalyst-x86_64": ("llvm", "x86_64", "maccatalyst", "18.0", "macho"),
    "android-arm64": ("llvm", "arm64", "android", None, "elf"),
    "windows": ("llvm", "x86_64", "windows", None, "coff"),
    "windows-arm64": ("llvm", "arm64", "windows", None, "coff"),
    "wasm": ("llvm", "wasm32", "wasm", None, "wasm"),
}
TRIPLES = {
    "host": f"{MACHINE}-linux-gnu",
    "linux-arm64": "aarch64-linux-gnu",
    "ios-arm64": "arm64-apple-ios14.0",
    "ios-sim-arm64": "arm64-apple-ios14.0-simulator",
    "catalyst-arm64": "arm64-apple-ios18.0-macabi",
    "catalyst-x86_64": "x86_64-apple-ios18.0-macabi",
    "android-arm64": "aarch64-linux-android24",
    "windows": "x86_64-pc-windows-msvc",
    "windows-arm64": "aarch64-pc-windows-msvc",
    "wasm": "wasm32-unknown-unknown-wasm",
    "no-version": "arm64-apple-ios",
}
TVM_MODELS = ("tiny_model_a_", "tiny_model_b_")


def backend_params(name: str, **changes) -> dict:
    kind, arch, system, target, form = BACKENDS[name]
    return {
        "name": name,
        "device": {"kind": kind},
        "triple": TRIPLES[name],
        "arch": arch,
        "platform": system,
        "deployment_target": target,
        "format": form,
        "system_libraries": [],
        "frameworks": [],
        **changes,
    }


def backend(name: str, **changes) -> Backend:
    return decode(Backend, backend_params(name, **changes), "backend")


def models(prefixes: Iterable[str]) -> tuple[ModelRef, ...]:
    names = ((prefix.rstrip("_").replace("_", "-").rpartition("-"), prefix) for prefix in prefixes)
    return tuple(ModelRef(model, variant, prefix, {}) for (model, _, variant), prefix in names)


def model_params(prefix: str) -> dict:
    subject = prefix.rstrip("_").replace("_", "-")
    model, _, variant = subject.rpartition("-")
    return {"model": model, "variant": variant, "subject": subject, "prefix": prefix, "options": {}}


def described_model(prefix: str) -> dict:
    functions = [
        {
            "name": "forward",
            "arguments": [
                {"name": "x", "shape": [2, 4], "dtype": "float32"},
                {"name": "w", "shape": [4, 3], "dtype": "float32"},
            ],
            "returns": [{"name": "y", "shape": [2, 3], "dtype": "float32"}],
        }
    ]
    return {
        **model_params(prefix),
        "members": [f"{prefix}lib0.o", f"{prefix}devc.o"],
        "library_bin": f"{prefix}__tvm_ffi__library_bin",
        "generation": "2025-09",
        "registration": "TVMFFIEnvModRegisterSystemLibSymbol",
        "functions": functions,
    }
