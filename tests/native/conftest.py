"""What the tests of native builds have in common."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fake_wasm
import pytest

from pipeline.binary.ar import Member
from pipeline.binary.tar_members import read_tar


@pytest.fixture(scope="session")
def tvm_webgpu_archive(tmp_path_factory):
    """What the step `archive` leaves of one small model compiled by TVM for wasm."""
    pytest.importorskip("tvm_ffi")
    script = Path(__file__).parent.parent / "binary" / "compile_tiny_models.py"
    out = tmp_path_factory.mktemp("tvm")
    subprocess.run(
        [sys.executable, script, out, "wasm32-unknown-unknown-wasm"], check=True, capture_output=True, timeout=600
    )
    packed = next(iter(sorted(out.glob("*/*.tar"))))
    prefix = packed.stem
    members = [
        Member(one.name if one.name.startswith(prefix) else prefix + one.name, one.data)
        for one in read_tar(packed.read_bytes(), packed.name)
    ]
    return fake_wasm.write(tmp_path_factory.mktemp("archive"), prefix, members)
