"""Models are held against the runtime that is shipped beside them; two generations of TVM are told apart."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fakes import REGISTER, Fake, program
from proof_subjects import backend, backend_params

from pipeline.binary.ar import Member, write_archive
from pipeline.proofs.closure import check_declared, check_shipped, read_shipped

HOST = backend("host")
OLD = "TVMBackendRegisterSystemLibSymbol"


@pytest.fixture
def runtime(tmp_path):
    """What the step `runtime` leaves: an archive for each library, with functions of the given names."""

    def build(**exports: tuple[str, ...]) -> Path:
        folder = tmp_path / "runtime"
        folder.mkdir()
        listed = []
        for name, symbols in exports.items():
            source, made = folder / f"{name}.c", folder / f"{name}.o"
            source.write_text("".join(f"int {symbol}(void) {{ return 0; }}\n" for symbol in symbols) + "int unused;\n")
            subprocess.run([program("cc"), "-c", "-o", made, source], check=True)
            members = [Member(made.name, made.read_bytes()), Member("lib.rmeta", b"what cargo leaves")]
            (folder / f"lib{name}.a").write_bytes(write_archive(members, "gnu"))
            unread = {"sha256": "", "size": 0, "whole": True, "registrations": []}
            listed.append({"name": name, "file": f"lib{name}.a", **unread})
        (folder / "runtime.json").write_text(json.dumps({"backend": backend_params("host"), "libraries": listed}))
        return folder

    return build


def test_everything_is_there(library, runtime):
    shipped = read_shipped(runtime(tvm_runtime=("anything",), tvm_ffi_static=(REGISTER,)))
    check = check_shipped(library([Fake("first_model_", calls="expf")], HOST), shipped)
    assert check.state == "proven"
    assert check.saw == "1 of 2 undefined symbols are in libtvm_runtime, libtvm_ffi_static; 1 in the system"


def test_a_library_that_was_left_out(library, runtime):
    shipped = read_shipped(runtime(tvm_runtime=(REGISTER,)))
    check = check_shipped(library([Fake("first_model_", calls="my_kernel")], HOST), shipped)
    assert check.state == "failed"
    assert "my_kernel is in none of libtvm_runtime" in check.saw
    assert "libraries:" in check.hint


@pytest.mark.parametrize(
    ("models", "offered", "names"),
    [
        (REGISTER, OLD, ("TVM 0.22 or newer (since 2025-08-20)", "TVM 0.21 or older (before 2025-08-17)")),
        (OLD, REGISTER, ("TVM 0.21 or older (before 2025-08-17)", "TVM 0.22 or newer (since 2025-08-20)")),
    ],
)
def test_two_generations_met(library, runtime, models, offered, names):
    shipped = read_shipped(runtime(tvm_runtime=(offered,)))
    check = check_shipped(library([Fake("first_model_", register=models)], HOST), shipped)
    assert check.state == "failed"
    assert "another generation of TVM" in check.saw
    asked, _, has = check.saw.partition(", and the runtime")
    assert models in asked
    assert names[0] in asked
    assert offered in has
    assert names[1] in has
    assert "runtime.source" in check.hint


def test_a_runtime_that_registers_nothing(library, runtime):
    check = check_shipped(library([Fake("first_model_")], HOST), read_shipped(runtime(tokenizers=("encode",))))
    assert "has no function of the kind" in check.saw


@pytest.mark.parametrize(
    ("offered", "version", "state"),
    [
        (REGISTER, "0.22.0", "proven"),
        (REGISTER, "0.21", "failed"),
        (OLD, "0.18.0", "proven"),
        (OLD, "0.22", "failed"),
        ("encode", "0.22", "not proven"),
    ],
)
def test_a_runtime_of_another_release_than_was_declared(runtime, offered, version, state):
    check = check_declared(read_shipped(runtime(tvm_runtime=(offered,))), version)
    assert check.state == state
    if state == "failed":
        assert offered in check.saw
        assert "`runtime_version: 0.2" in check.saw
