"""Ages by names: the manual's claim that objects of TVM 0.18 run on 0.22 is checked."""

from __future__ import annotations

import re

import pytest

from pipeline.binary import abi
from pipeline.binary.abi import ALWAYS, STILL, Span
from pipeline.binary.symbols import GENERATIONS, REGISTRATIONS

OF_018 = {
    "TVMAPISetLastError", "TVMFuncCall", "TVMBackendGetFuncFromEnv", "TVMBackendRegisterSystemLibSymbol",
    "TVMBackendParallelLaunch", "__tvm_dev_mblob",
}  # fmt: skip
OF_021 = {
    "TVMFFIFunctionCall", "TVMFFIErrorSetRaisedFromCStr", "TVMBackendGetFuncFromEnv",
    "TVMBackendRegisterSystemLibSymbol", "__tvm_ffi_library_bin",
}  # fmt: skip
OF_022 = {
    "TVMFFIFunctionCall", "TVMFFIErrorSetRaisedFromCStr", "TVMBackendGetFuncFromEnv",
    "TVMFFIEnvModRegisterSystemLibSymbol", "__tvm_ffi__library_bin",
}  # fmt: skip
OF_025 = OF_022 | {"TVMFFIErrorSetRaisedFromCStrParts"}
OF_026 = OF_025 - {"TVMBackendGetFuncFromEnv"} | {"TVMFFIEnvModLookupFromImports", "TVMFFIHandleInitOnce"}


@pytest.mark.parametrize(
    ("asked", "releases", "served"),
    [
        (OF_018, "TVM 0.20 or older (before 2025-05-06)", "TVM 0.20 or older (before 2025-05-24)"),
        (OF_021, "TVM 0.21 (2025-06-16 to 2025-08-17)", "TVM 0.21 (2025-06-16 to 2025-08-17)"),
        (OF_022, "TVM 0.22 to 0.25 (2025-09-06 to 2026-07-04)", "TVM 0.22 to 0.25 (2025-09-06 to 2026-07-04)"),
        (OF_025, "TVM 0.24 to 0.25 (2026-03-02 to 2026-07-04)", "TVM 0.22 to 0.25 (2025-10-13 to 2026-07-04)"),
        (OF_026, "TVM 0.26 or newer (since 2026-07-04)", "TVM 0.23 or newer (since 2025-12-05)"),
        ({"memcpy"}, "any TVM", "any TVM"),
    ],
)
def test_objects_tell_their_age_and_their_runtimes(asked, releases, served):
    assert abi.releases(abi.age_of_objects(asked).span) == releases
    assert abi.releases(abi.servers(asked)) == served


@pytest.mark.parametrize(
    ("asked", "version", "lacks"),
    [
        (OF_018, "0.18.0", set()),
        (OF_018, "0.20", set()),
        (
            OF_018,
            "0.22.0",
            {
                "TVMAPISetLastError (gone since 2025-05-24)", "TVMFuncCall (gone since 2025-05-24)",
                "TVMBackendRegisterSystemLibSymbol (gone since 2025-08-17)",
                "__tvm_dev_mblob (gone since 2025-06-05)",
            },
        ),
        (OF_022, "0.25.0.post1", set()),
        (OF_022, "0.26", {"TVMBackendGetFuncFromEnv (gone since 2026-07-04)"}),
        (OF_025, "0.22", set()),
        (OF_026, "0.22", {"TVMFFIHandleInitOnce (there since 2025-12-05)"}),
        (OF_026, "0.23", set()),
        (OF_026, "0.99", set()),
        (OF_018, "0.9", set()),
    ],
)  # fmt: skip
def test_what_a_runtime_of_a_release_lacks(asked, version, lacks):
    assert set(abi.lacking(asked, version)) == lacks


def test_no_runtime_serves_objects_of_018_and_of_022():
    assert abi.servers(OF_018 | OF_022).is_empty
    assert not abi.servers(OF_022 | OF_025).is_empty
    assert abi.releases(abi.age_of_objects(OF_018 | OF_022).span) == "more than one TVM"


@pytest.mark.parametrize(
    ("defined", "releases"),
    [
        ({"TVMFuncCall", "TVMBackendGetFuncFromEnv"}, "TVM 0.20 or older (before 2025-05-24)"),
        (
            {"TVMBackendGetFuncFromEnv", "TVMFFIHandleInitOnce", "ffi.Module.load_from_bytes."},
            "TVM 0.23 to 0.25 (2025-12-05 to 2026-07-04)",
        ),
        ({"TVMFFIEnvRegisterSystemLibSymbol"}, "TVM between two releases (2025-08-17 to 2025-08-20)"),
    ],
)
def test_a_runtime_tells_its_age(defined, releases):
    age = abi.age_of_runtime(defined)
    assert str(age).startswith(f"{releases}, recognised by ")
    assert all(name in str(age) for name in defined)


def test_days_and_releases_are_in_order_and_every_generation_is_in_the_table():
    days = [*abi.RELEASES.values(), *(day for row in abi.TABLE.values() for span in row for day in span)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for day in set(days) - {ALWAYS})
    assert list(abi.RELEASES.values()) == sorted(abi.RELEASES.values())
    assert not [name for name, row in abi.TABLE.items() if row.asked.is_empty or row.offered.is_empty]
    never = [name for name, row in abi.TABLE.items() if row.asked.both(row.offered).is_empty]
    assert not never, "what objects ask for, some runtime of their time had"
    assert {one.blob_suffix for one in GENERATIONS} | REGISTRATIONS <= abi.TABLE.keys()
    assert Span(ALWAYS, STILL).both(Span("2025-01-01", "2025-02-01")) == Span("2025-01-01", "2025-02-01")


@pytest.mark.tvm
def test_the_runtime_that_is_installed_has_what_the_table_says():
    from pathlib import Path

    tvm_ffi, tvm = (__import__("importlib.util").util.find_spec(name) for name in ("tvm_ffi", "tvm"))
    from pipeline.proofs.closure import runtime_symbols

    found = runtime_symbols(
        {
            "ffi": str(next(Path(tvm_ffi.submodule_search_locations[0]).glob("lib/libtvm_ffi.*"))),
            "tvm": str(next(Path(tvm.submodule_search_locations[0]).glob("lib/libtvm_runtime.*"))),
        }
    )
    functions = {name: row.offered.until == STILL for name, row in abi.TABLE.items() if name.startswith("TVM")}
    assert {name: name in found for name in functions} == functions
