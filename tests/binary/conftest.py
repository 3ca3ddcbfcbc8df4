"""Tools of LLVM to compare with, and objects that TVM really compiled."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from llvm_tools import (
    COFF_TRIPLES,
    ELF_TRIPLES,
    LINKER_PLATFORMS,
    MACHO_TRIPLES,
    MODELS,
    RUNTIME_SYMBOLS,
    WASM_TRIPLE,
    find_tool,
)

from pipeline.binary.ar import Member
from pipeline.binary.tar_members import read_tar
from pipeline.binary.tbd import write_tbd


@pytest.fixture(scope="session")
def tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a tool of LLVM by its bare name: `tool("llvm-ar", "rcsD", path)`."""

    def run(name: str, *arguments: str | Path, cwd: Path | None = None, check: bool = True):
        done = subprocess.run([find_tool(name), *arguments], cwd=cwd, check=False, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def assemble(tool, tmp_path) -> Callable[[str, str], bytes]:
    """Assemble a source for a triple."""

    def run(source: str, triple: str) -> bytes:
        (tmp_path / "assembled.s").write_text(source)
        tool("llvm-mc", f"-triple={triple}", "-filetype=obj", "assembled.s", "-o", "assembled.o", cwd=tmp_path)
        return (tmp_path / "assembled.o").read_bytes()

    return run


@pytest.fixture
def llvm_ar(tool, tmp_path) -> Callable[[Sequence[Member], str], bytes]:
    """What `llvm-ar` makes of members."""

    def run(members: Sequence[Member], flavour: str) -> bytes:
        folder = tmp_path / "members"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for member in members:
            (folder / member.name).write_bytes(member.data)
        dialect = ["--format=darwin"] if flavour == "darwin" else []
        names = [f"./{member.name}" if member.name.startswith("-") else member.name for member in members]
        tool("llvm-ar", *dialect, "-rcsD", "../archive.a", *names, cwd=folder)
        data = (tmp_path / "archive.a").read_bytes()
        (tmp_path / "archive.a").unlink()
        return data

    return run


@pytest.fixture
def link_dylib(tool, tmp_path) -> Callable[..., bytes]:
    """Link an archive into a dynamic library with ld64.lld, against a stub of the runtime and nothing else."""

    def run(
        archive: bytes, *options: str, arch: str = "arm64", platform: str = "ios", force_load: bool = True
    ) -> bytes:
        (tmp_path / "in.a").write_bytes(archive)
        stub = write_tbd(arch, platform, RUNTIME_SYMBOLS, "/usr/lib/libruntime.dylib")
        (tmp_path / "runtime.tbd").write_text(stub)
        version = "18.0" if platform == "maccatalyst" else "14.0"
        tool(
            "ld64.lld", "-dylib", "-arch", arch, "-platform_version", LINKER_PLATFORMS[platform], version, "18.0",
            *options, *(["-force_load"] if force_load else []), "in.a", "runtime.tbd", "-o", "out.dylib", cwd=tmp_path,
        )  # fmt: skip
        return (tmp_path / "out.dylib").read_bytes()

    return run


@pytest.fixture(scope="session")
def real_objects(tmp_path_factory) -> dict[str, dict[str, tuple[Member, ...]]]:
    """Triple -> prefix -> the objects TVM compiled. In a process of its own: TVM stays out of the tests'."""
    pytest.importorskip("tvm_ffi")
    out = tmp_path_factory.mktemp("real-objects")
    triples = [*MACHO_TRIPLES, *ELF_TRIPLES, *COFF_TRIPLES, WASM_TRIPLE]
    script = Path(__file__).parent / "compile_tiny_models.py"
    done = subprocess.run(
        [sys.executable, script, out, *triples], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return {
        triple: {prefix: read_tar((out / triple / f"{prefix}.tar").read_bytes(), prefix) for prefix in MODELS}
        for triple in triples
    }
