"""Which linker is used, what it is told, and what its absence is called."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from proof_subjects import MACHINE, backend

from pipeline.action import Tool
from pipeline.kits import link_flags
from pipeline.proofs.links import Flags, Linker, full_flags, is_native, link, linker_for, missing_linker

TOOLS = {name: Tool(name, Path("/bin", name), "LLD 19") for name in ("ld64.lld", "ld.lld", "wasm-ld", "cc")}
FOREIGN = "linux-arm64" if MACHINE != "aarch64" else "android-arm64"


@pytest.mark.parametrize(
    ("name", "tool"),
    [("ios-arm64", "ld64.lld"), ("wasm", "wasm-ld"), ("android-arm64", "ld.lld"), (FOREIGN, "ld.lld"), ("host", "cc")],
)
def test_the_linker_fits_the_backend(name, tool):
    assert linker_for(backend(name), TOOLS).tool.name == tool


def test_without_a_compiler_the_host_is_linked_by_lld():
    assert linker_for(backend("host"), {**TOOLS, "cc": None}).tool.name == "ld.lld"


def test_the_systems_own_ld_links_for_this_machine_only():
    gnu = {"ld.lld": Tool("ld.lld", Path("/usr/bin/ld"), "GNU ld (GNU Binutils) 2.40")}
    assert linker_for(backend("host"), gnu) is not None
    assert linker_for(backend("android-arm64"), gnu) is None


@pytest.mark.parametrize(
    ("name", "what"),
    [("ios-arm64", "no ld64.lld found"), ("wasm", "no wasm-ld found"), ("host", "no cc or ld.lld found")],
)
def test_a_missing_linker_is_named_with_its_hint(name, what):
    assert linker_for(backend(name), {}) is None
    saw, hint = missing_linker(backend(name))
    assert saw == what
    assert "apt-get install" in hint


def test_native_is_this_system_and_processor():
    assert is_native(backend("host"))
    assert not is_native(backend(FOREIGN))
    assert not is_native(replace(backend("host"), platform="android"))


def test_a_compiler_passes_every_word_on():
    assert Linker(TOOLS["cc"], driver=True).words(["-u", "a,b"]) == ["-Xlinker", "-u", "-Xlinker", "a,b"]
    assert Linker(TOOLS["ld.lld"]).words(["-u", "a,b"]) == ["-u", "a,b"]


def test_an_elf_linker_is_told_the_architecture(tmp_path):
    # lld 14 does not look into archives for it: "target emulation unknown".
    told = tmp_path / "ld.lld"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.words"\n')
    told.chmod(0o755)
    linker = Linker(Tool("ld.lld", told, "fake LLD"))
    flags = full_flags(backend("android-arm64"), Path("x.a"), ["first_model_"])
    link(linker, backend("android-arm64"), flags, tmp_path / "out.so", offered=(), log=tmp_path / "log")
    words = (tmp_path / "ld.lld.words").read_text().splitlines()
    assert words[words.index("-m") + 1] == "aarch64linux"


def test_a_folder_with_a_percent_sign_in_its_name(tmp_path, monkeypatch):
    """See quirk ELF-14; a real linker writes here."""
    lld = shutil.which("ld.lld-19") or shutil.which("ld.lld")
    if lld is None:
        pytest.skip("no ld.lld")
    folder = tmp_path / "feature%2Fx"
    folder.mkdir()
    (tmp_path / "log").touch()
    monkeypatch.chdir(tmp_path)
    linker = Linker(Tool("ld.lld", Path(lld), "LLD"))
    for cwd in (None, folder):
        out = folder / f"out{cwd is None}.so"
        flags = Flags(("-b", "binary", str(tmp_path / "log")))
        link(linker, backend("android-arm64"), flags, out, offered=(), log=tmp_path / "log", cwd=cwd)
        assert out.is_file()


def test_the_flags_are_those_of_the_kits():
    macho = full_flags(backend("ios-arm64"), Path("x.a"), ["first_model_"])
    assert macho.words == (
        "-u", "_first_model___tvm_ffi__library_bin", "-u", "_first_model___tvm_ffi__library_ctx", "-force_load", "x.a",
    )  # fmt: skip
    assert macho.exports == "_first_model___tvm_ffi__library_bin\n"
    android = full_flags(backend("android-arm64"), Path("x.a"), ["first_model_"])
    assert android.words[-5:] == ("--whole-archive", "x.a", "--no-whole-archive", "-z", "max-page-size=16384")
    assert "    first_model___tvm_ffi__library_bin;\n  local:\n    *;" in android.exports
    assert full_flags(backend("wasm"), Path("x.a"), ["first_model_"]).words == (
        "--whole-archive",
        "x.a",
        "--no-whole-archive",
    )


def test_a_version_script_can_export_more():
    assert "    Java_*;\n" in link_flags.version_script(["first_model_"], also=["Java_*"])
