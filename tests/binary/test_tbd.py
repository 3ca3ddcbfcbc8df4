"""Stubs of libraries: what ld64.lld makes of them."""

from __future__ import annotations

import pytest
from llvm_tools import LINKER_PLATFORMS

from pipeline.binary.tbd import write_tbd
from pipeline.errors import FormatError

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
    targets = [(arch, name) for name in TRIPLES for arch in ("arm64", "x86_64")]
    (tmp_path / "stub.tbd").write_text(
        write_tbd(targets, ["_known", "dyld_stub_binder", "-[Odd selector:]"], "/usr/lib/libstub.dylib")
    )
    version = "18.0"
    done = tool(
        "ld64.lld", "-dylib", "-arch", "arm64", "-platform_version", LINKER_PLATFORMS[platform], version, version,
        "x.o", "stub.tbd", "-o", "x.dylib", cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == (called == "_known"), done.stderr
    assert ("undefined symbol: _unknown" in done.stderr) == (called == "_unknown")


def test_text_is_the_same_whatever_the_order():
    targets = [("x86_64", "maccatalyst"), ("arm64", "ios"), ("arm64", "ios")]
    first = write_tbd(targets, ["_b", "_a", "_a"], "/x")
    assert first == write_tbd(targets[::-1], ["_a", "_b"], "/x")
    assert "[ arm64-ios, x86_64-maccatalyst ]" in first
    assert "symbols: [ _a, _b ]" in first


def test_odd_names_are_quoted():
    assert "[ _x$y, 'it''s', 'no' ]" in write_tbd([("arm64", "ios")], ["it's", "no", "_x$y"], "/x")


def test_a_stub_may_export_nothing():
    assert "exports" not in write_tbd([("arm64", "ios")], [], "/x")


@pytest.mark.parametrize("targets", [[], [("aarch64", "linux")]])
def test_targets_that_cannot_be_are_refused(targets):
    with pytest.raises(FormatError, match="a stub cannot be for"):
        write_tbd(targets, [], "/x")
