"""Kernels for OpenCL: no statement inside of another, and a twin's are those that ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from compiled_models import TINY, Compiled, model

from pipeline.errors import VerifyError
from pipeline.runners.twin import check_equal, of_objects

pytestmark = [pytest.mark.tvm, pytest.mark.usefixtures("warm")]

BATCHED = Path(__file__).with_name("open_batch_recipe.py")
ANDROID = "aarch64-linux-android"
DECLARATION = re.compile(r"\bvstore\d+\([^;\n]*\b(?:long|int) \w+ =")


def test_the_place_of_a_vector_store_holds_no_statement(tmp_path, monkeypatch):
    """Without the pass it does, so the recipe is one that needs it."""
    compiled = Compiled(tmp_path, BATCHED, model("batched", "f32"))
    source = kernels(compiled.compile(ANDROID, kind="opencl"), "batched_f32_")
    assert "vstore" in source
    assert not DECLARATION.search(source)
    import tvm

    monkeypatch.setattr("pipeline.compilers.relax.inline_places", lambda: tvm.transform.Sequential([]))
    assert DECLARATION.search(kernels(compiled.compile(ANDROID, "plain", kind="opencl"), "batched_f32_"))


def kernels(folder, prefix):
    return of_objects(folder, prefix)["opencl"].decode("latin-1")


def test_a_twin_has_the_kernels_that_ship_and_other_host_code(tmp_path):
    compiled = Compiled(tmp_path, TINY, model("tiny", "f32"))
    ships = compiled.compile(ANDROID, "ships", kind="opencl")
    twin = compiled.compile(ANDROID, "twin", host="x86_64-linux-gnu", kind="opencl")
    shipped = of_objects(ships, "tiny_f32_")
    assert b"__kernel void" in shipped["opencl"]
    check_equal(shipped, of_objects(twin, "tiny_f32_"))
    assert (twin / "tiny_f32_lib0.o").read_bytes()[18:20] == b"\x3e\x00", "x86-64"
    assert (ships / "tiny_f32_lib0.o").read_bytes()[18:20] == b"\xb7\x00", "AArch64"
    blob = twin / "tiny_f32_devc.o"
    blob.write_bytes(blob.read_bytes().replace(b"get_group_id", b"get_other_id"))
    with pytest.raises(VerifyError, match=r"opencl kernels are not those that ship: at byte \d+ in tiny_f32_\w+: "):
        check_equal(shipped, of_objects(twin, "tiny_f32_"))
