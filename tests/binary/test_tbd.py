"""Stubs of libraries: what ld64.lld makes of them."""

from __future__ import annotations

import pytest
from llvm_tools import LINKER_PLATFORMS

from pipeline.binary.tbd import write_tbd

TRIPLES = {
    "ios": "arm64-apple-ios14.0",
    "ios-simulator": "arm64-apple-ios14.0-simulator",
    "maccatalyst": "arm64-apple-ios18.0-macabi",
    "macos": "arm64-apple-macosx14.0",
}


@pytest.mark.parametrize("platform", TRIPLES)
@pytest.mark.parametrize("called", ["_known", "_unknown"])
def test_a_link_finds_the_symbols_of_the_stub_and_no_others(assemble, tool, tmp_path, platform, called):
    (tmp_path / "x.o").write_bytes(assemble(f".globl _f\n_f: b {called}\n", TRIPLES[platform]))
    (tmp_path / "stub.tbd").write_text(
        write_tbd("arm64", platform, ["known", "dyld_stub_binder", "-[Odd selector:]"], "/usr/lib/libstub.dylib")
    )
    version = "18.0"
    done = tool(
        "ld64.lld", "-dylib", "-arch", "arm64", "-platform_version", LINKER_PLATFORMS[platform], version, version,
        "x.o", "stub.tbd", "-o", "x.dylib", cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (called == "_known"), done.stderr
    assert ("undefined symbol: _unknown" in done.stderr) == (called == "_unknown")


def test_text_is_the_same_whatever_the_order():
    first = write_tbd("x86_64", "maccatalyst", ["b", "a", "a", "dyld_stub_binder"], "/x")
    assert first == write_tbd("x86_64", "maccatalyst", ["dyld_stub_binder", "a", "b"], "/x")
    assert "[ x86_64-maccatalyst ]" in first
    assert "symbols: [ _a, _b, 'dyld_stub_binder' ]" in first


def test_odd_names_are_quoted():
    assert "[ '_it''s', _x$y ]" in write_tbd("arm64", "ios", ["it's", "x$y"], "/x")


def test_a_stub_may_export_nothing():
    assert "exports" not in write_tbd("arm64", "ios", [], "/x")
