"""`probe.json`: what a toolchain is and can do. The `toolchain` step writes it, compiles and proofs read it."""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Document


@dataclass(frozen=True)
class MlcProbe:
    """What there is of mlc_llm in a toolchain.

    Attributes:
        kind: `package`, `program` or `path`: how it is called.
        version: of the package, None where it cannot be imported to be asked; else the digest of the program's file.
        commit: it was built from, where it says so.
        architectures: model types it knows; None where it cannot be asked.
        quantizations: likewise.
        error: why it cannot be imported, if it cannot.
    """

    kind: str
    version: str | None
    commit: str | None
    architectures: tuple[str, ...] | None
    quantizations: tuple[str, ...] | None
    error: str | None


@dataclass(frozen=True)
class Versions:
    """What a toolchain is made of.

    Attributes:
        tvm: version of TVM's Python package.
        tvm_library: version of its C++ library, where that says so.
        tvm_ffi: version of apache-tvm-ffi.
        codegens: kinds of device it generates code for.
    """

    python: str
    tvm: str
    tvm_library: str | None
    tvm_ffi: str
    mlc_llm: str | None
    codegens: tuple[str, ...]


@dataclass(frozen=True)
class Probe(Versions, Document):
    """What a toolchain is and can do.

    Attributes:
        fork: whether its calls may be forks of one interpreter.
        metal_simdgroup: whether dlight's simdgroup rule works.
    """

    NAME = "probe.json"

    fork: bool
    metal_simdgroup: bool
    mlc: MlcProbe | None = None
