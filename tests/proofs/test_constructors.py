"""Models survive a link with the flags, vanish without them, and each way to lose one is seen."""

from __future__ import annotations

import sys

import pytest
from fakes import REGISTER, Fake
from proof_subjects import BACKENDS, TVM_MODELS, backend, models

from pipeline.action import Tool
from pipeline.kits.link_flags import exported_symbols_list, keep, version_script
from pipeline.proofs.constructors import check_constructors
from pipeline.proofs.links import Flags, full_flags, linker_for
from pipeline.proofs.members import check_imports, check_pages
from pipeline.proofs.subject import read_library
from pipeline.proofs.system_symbols import system_symbols

OFFERED = {REGISTER}
PAIR = (Fake("first_model_"), Fake("other_model_"))
IOS_PAIR = (Fake("first_model_", "ios"), Fake("other_model_", "ios"))


@pytest.fixture
def prove(tools, tmp_path):
    """Run the check on a library, with the full flags unless others are given."""

    def run(lib, flags=None, *, tools=tools, offered=OFFERED):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        flags = flags or full_flags(lib.backend, lib.path, lib.prefixes)
        linker = linker_for(lib.backend, tools)
        return check_constructors(lib, linker, flags, offered=offered, scratch=scratch, log=tmp_path / "log")

    return run


@pytest.mark.parametrize(("pair", "name"), [(PAIR, "host"), (IOS_PAIR, "ios-arm64")])
def test_whole_models_survive_and_the_control_bites(library, prove, pair, name, tmp_path):
    check, linked = prove(library(pair, backend(name)))
    assert check.state == "proven"
    assert "4/4 constructors; negative control passed" in check.saw
    assert linked.constructors == 4
    assert "exports" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("half", ["host", "blob"])
@pytest.mark.parametrize("name", ["host", "ios-arm64"])
def test_a_lost_constructor_is_seen_and_the_model_named(library, prove, name, half):
    system = "linux" if name == "host" else "ios"
    lib = library([Fake("first_model_", system, without=(half,)), Fake("other_model_", system)], backend(name))
    check, _ = prove(lib)
    assert check.state == "failed"
    assert check.saw.startswith("3/4 constructors with the flags: ")
    assert "first-model" in check.saw
    assert "other-model" not in check.saw


@pytest.mark.parametrize("half", ["lib0.o", "devc.o"])
def test_half_a_model_does_not_link_on_apple_systems(library, prove, half):
    """The strict stub is what makes `-u` of a symbol that is not there an error."""
    check, linked = prove(library(IOS_PAIR, backend("ios-arm64"), drop=(f"other_model_{half}",)))
    assert (check.state, linked) == ("failed", None)
    missing = {"lib0.o": "_other_model___tvm_ffi__library_ctx", "devc.o": "_other_model___tvm_ffi__library_bin"}[half]
    assert missing in check.saw


def test_half_a_model_is_seen_in_elf(library, prove):
    check, _ = prove(library(PAIR, backend("host"), drop=("other_model_devc.o",)))
    assert check.state == "failed"
    assert "other_model___tvm_ffi__library_bin" in check.saw


def test_an_exports_list_without_force_load_keeps_only_the_blobs(library, prove):
    lib = library(IOS_PAIR, backend("ios-arm64"))
    check, _ = prove(lib, Flags((str(lib.path),), exported_symbols_list(lib.prefixes)))
    assert check.state == "failed"
    assert check.saw.startswith("2/4 constructors")
    assert "first-model lost 1 of 1 functions" in check.saw


def test_naming_both_symbols_is_enough_without_force_load(library, prove):
    for pair, name in ((IOS_PAIR, "ios-arm64"), (PAIR, "host")):
        lib = library(pair, backend(name))
        exports = exported_symbols_list(lib.prefixes) if name == "ios-arm64" else version_script(lib.prefixes)
        check, _ = prove(lib, Flags((*keep(lib.prefixes, lib.backend.format), str(lib.path)), exports))
        assert check.state == "proven", check


def test_a_version_script_alone_keeps_nothing(library, prove):
    lib = library(PAIR, backend("host"))
    check, _ = prove(lib, Flags((str(lib.path),), version_script(lib.prefixes)))
    assert check.state == "failed"


def test_a_reference_to_nowhere_is_refused_by_the_strict_stub(library, prove):
    check, _ = prove(library([Fake("first_model_", "ios", calls="nowhere")], backend("ios-arm64")))
    assert check.state == "failed"
    assert "_nowhere" in check.saw


def test_a_control_that_does_not_bite_fails(library, prove, tools, tmp_path):
    """Some linkers take the flags and do as they like, such as one that always loads everything."""
    fake = tmp_path / "ld64.lld"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "words = [word for word in sys.argv[1:] if word not in ('-force_load', '-dead_strip')]\n"
        f"os.execv({str(tools['ld64.lld'].path)!r}, ['ld64.lld', '-all_load', *words])\n"
    )
    fake.chmod(0o755)
    lib = library(IOS_PAIR, backend("ios-arm64"))
    check, _ = prove(lib, tools={"ld64.lld": Tool("ld64.lld", fake, "fake LLD")})
    assert check.state == "failed"
    assert check.saw == "control did not bite: without any flag 4 of 4 constructors are left"
    assert str(fake) in check.hint


@pytest.mark.tvm
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "wasm"])
def test_real_models_live_and_die_as_they_should(tvm_archives, prove, name, tools):
    target = backend(name)
    lib = read_library(tvm_archives[name] / "libmodels.a", target, models(TVM_MODELS))
    offered = system_symbols(target.platform) | _runtime(lib)
    check, linked = prove(lib, offered=offered)
    assert check.state == "proven", check
    assert "4/4 constructors" in check.saw
    if target.platform == "android":
        assert check_pages(linked).state == "proven"
    if target.format == "macho":
        assert linked.platform == target.platform


@pytest.mark.tvm
def test_real_wasm_models_live_by_whole_archive_alone(tvm_archives, prove):
    target = backend("wasm")
    lib = read_library(tvm_archives["wasm"] / "libmodels.a", target, models(TVM_MODELS))
    check, linked = prove(lib)
    assert check.state == "proven", check
    assert check_imports(linked, system_symbols("wasm") | set(_runtime(lib))).state == "proven"
    # The symbols are named, the members taken, and their constructors dropped all the same.
    check, _ = prove(lib, Flags((*keep(lib.prefixes, "elf"), str(lib.path))))
    assert check.state == "failed"
    assert check.saw.startswith("0/4 constructors")


@pytest.mark.tvm
def test_real_half_models_are_seen(tvm_archives, prove):
    lib = read_library(tvm_archives["ios-arm64"] / "libmodels.a", backend("ios-arm64"), models(TVM_MODELS))
    offered = system_symbols("ios") | set(_runtime(lib))
    check, _ = prove(lib, Flags((str(lib.path),), exported_symbols_list(lib.prefixes)), offered=offered)
    assert check.state == "failed"
    assert check.saw.startswith("2/4 constructors")


def _runtime(lib) -> set[str]:
    """The names of the runtime that a library refers to."""
    return {
        s.name.lstrip("_") for member in lib.members for s in member.undefined if s.name.lstrip("_").startswith("TVM")
    }
