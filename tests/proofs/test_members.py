"""Every object is for the backend, every model is whole, and what is wrong is named."""

from __future__ import annotations

import pytest
from proof_subjects import backend
from standins import StandIn

from pipeline.binary.object_info import ObjectInfo, WasmImport
from pipeline.proofs.members import check_imports, check_members, check_pages, check_symbols

IOS, HOST = backend("ios-arm64"), backend("host")


def test_good_members_are_proven_with_what_they_are(library):
    check = check_members(library([StandIn("first_model_", "ios"), StandIn("other_model_", "ios")], IOS))
    assert (check.state, check.saw) == ("proven", "4 objects, all macho arm64, ios 14.0")


@pytest.mark.parametrize(
    ("build_version", "saw"),
    [
        (".build_version iossimulator, 14, 0", "is for platform ios-simulator, and should be for ios"),
        (".build_version macCatalyst, 14, 0", "is for platform maccatalyst, and should be for ios"),
        (".build_version ios, 15, 0", "is for ios from 15.0 on, and should be for 14.0"),
        (".build_version ios, 13, 0", "is for ios from 13.0 on, and should be for 14.0"),
        ("", "names no platform (it has no LC_BUILD_VERSION)"),
    ],
)
def test_one_object_of_another_system_fails_and_is_named(library, build_version, saw):
    odd = StandIn("other_model_", "ios", build_version=build_version)
    check = check_members(library([StandIn("first_model_", "ios"), odd], IOS))
    assert check.state == "failed"
    assert f"other_model_lib0.o) {saw}" in check.saw
    assert "first_model_" not in check.saw
    assert "must carry the deployment target" in check.hint


def test_versions_are_compared_as_numbers(library):
    lib = library([StandIn("first_model_", "ios")], backend("ios-arm64", deployment_target="14"))
    assert check_members(lib).state == "proven"


def test_an_object_of_another_format_or_processor_fails(library, tmp_path):
    check = check_members(library([StandIn("first_model_")], backend("linux-arm64", arch="riscv64")))
    assert check.state == "failed"
    assert "should be for riscv64" in check.saw
    stranger = StandIn("other_model_", "ios").objects(tmp_path / "ios")["other_model_lib0.o"].read_bytes()
    check = check_members(library([StandIn("first_model_")], HOST, add={"stranger.o": stranger}))
    assert check.state == "failed"
    assert "stranger.o) is of format macho, and should be of format elf" in check.saw


def test_an_empty_archive_fails(library):
    assert check_members(library([], IOS)).state == "failed"


def test_good_symbols_name_models_and_generation(library):
    check = check_symbols(library([StandIn("first_model_"), StandIn("other_model_")], HOST))
    assert check.state == "proven"
    assert check.saw == "2 models, 2 functions, generation 2025-09 (__tvm_ffi__library_bin)"


def test_a_model_without_its_blob_fails(library):
    lib = library([StandIn("first_model_"), StandIn("other_model_")], HOST, drop=("other_model_devc.o",))
    check = check_symbols(lib)
    assert check.state == "failed"
    assert check.saw == "no library_bin symbol of other-model (other_model_)"


def test_a_model_without_its_functions_fails(library):
    check = check_symbols(library([StandIn("first_model_")], HOST, drop=("first_model_lib0.o",)))
    assert check.state == "failed"
    assert check.saw == "first-model has a blob and no object with its functions"


@pytest.mark.parametrize("half", ["host", "blob"])
def test_a_lost_constructor_fails_and_names_the_model(library, half):
    check = check_symbols(library([StandIn("first_model_", without=(half,)), StandIn("other_model_")], HOST))
    assert check.state == "failed"
    assert check.saw == "first-model has 1 of 2 constructors"


def test_a_model_nobody_asked_for_fails(library):
    check = check_symbols(library([StandIn("first_model_"), StandIn("other_model_")], HOST, expect=["first_model_"]))
    assert check.state == "failed"
    assert "nobody asked for: other_model_" in check.saw


def test_an_older_generation_fails_and_is_named(library):
    check = check_symbols(library([StandIn("first_model_", blob="__tvm_ffi_library_bin")], HOST))
    assert check.state == "failed"
    assert "generation 2025-06 (__tvm_ffi_library_bin)" in check.saw


def test_one_strong_symbol_in_two_members_fails(library, tmp_path):
    again = StandIn("first_model_").objects(tmp_path / "again")["first_model_lib0.o"].read_bytes()
    check = check_symbols(library([StandIn("first_model_")], HOST, add={"again.o": again}))
    assert check.state == "failed"
    assert "__tvm_ffi_first_model_forward" in check.saw


@pytest.mark.parametrize(
    ("alignment", "state"), [(65536, "proven"), (16384, "proven"), (4096, "failed"), (None, "failed")]
)
def test_pages(alignment, state):
    assert check_pages(ObjectInfo("x.so", "elf", "aarch64", "dylib", load_alignment=alignment)).state == state


@pytest.mark.parametrize(
    ("module", "name", "kind", "state"),
    [
        ("env", "expf", "function", "proven"),
        ("env", "nowhere", "function", "failed"),
        ("wasi_snapshot_preview1", "expf", "function", "failed"),
        ("env", "expf", "global", "failed"),
    ],
)
def test_imports(module, name, kind, state):
    linked = ObjectInfo("x.wasm", "wasm", "wasm32", "executable", imports=(WasmImport(module, name, kind),))
    check = check_imports(linked, {"expf"})
    assert check.state == state
    assert check.state == "proven" or f"{module}.{name} ({kind})" in check.saw
