"""A machine that lacks a linker, or may not build: said in the summary, an error where that is asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from bad_input import nothing_lost, refused
from projects import Project

pytestmark = pytest.mark.tvm

MISSING = "not proven: no ld64.lld found, install lld"
COMPILER = ("cc", "gcc", "clang", "ld", "as")


@pytest.fixture
def bare(built: Project, tmp_path: Path) -> Project:
    """A built project on a machine with a C compiler and no linker of LLVM's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in COMPILER:
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    built.env["PATH"] = str(programs)
    return built


def test_a_missing_linker_is_visible_in_the_summary_and_no_error(bare):
    products = bare.products()
    run = bare.ok()
    assert run.built == {
        "verify:ios-arm64", "verify:kit", "product:kit", "product:bundle/tiny-f32", "manifest:dist"
    }  # fmt: skip
    proven = {line.split()[0]: line for line in run.output.splitlines() if line.startswith(("tiny-f32@", "dist/"))}
    assert proven["tiny-f32@ios-arm64"].endswith(MISSING)
    assert proven["dist/kit/"].endswith(MISSING)
    assert "not proven" not in proven["tiny-f32@host"]
    told = bare.json("dist/manifest.json")["proofs"]
    assert {proof["subject"]: proof["proven"].startswith("not proven") for proof in told} == {
        "host": False, "ios-arm64": True, "kit": True
    }  # fmt: skip
    manifests = {"manifest.json": b"", "kit/manifest.json": b""}  # which say how it is proven
    assert {**bare.products(), **manifests} == {**products, **manifests}
    assert bare.ok().idle


def test_a_missing_linker_is_an_error_when_strict(bare):
    with nothing_lost(bare):
        told = refused(bare, "--strict", "-c")
        assert (
            "✗ verify:ios-arm64\ntargets.yaml:11:3: 1 of 5 checks could not be made: constructors: no ld64.lld" in told
        )
        assert "\n  hint: install lld (Debian, Ubuntu: apt-get install lld; " in told
        assert "\n  log: build/log/verify.ios-arm64.log" in told
        assert "✗ verify:kit\ntargets.yaml:16:3: 3 of 8 checks could not be made\n" in told
        assert told.partition("✗ verify:kit")[2].partition("✗")[0].count("hint: ") == 1
        bare.env["PATH"] = os.environ["PATH"]


def test_what_was_left_open_is_no_good_when_strict(bare):
    bare.ok()
    told = refused(bare, "--strict", "-c")
    assert "✗ verify:ios-arm64" in told
    assert "✗ verify:kit" in told
    assert "verify:host" not in told
    assert bare.ok().idle


def test_what_was_not_proven_is_proven_once_the_linker_is_there(bare):
    bare.ok()
    bare.env["PATH"] = os.environ["PATH"]
    run = bare.ok()
    assert not run.built
    assert "verify:ios-arm64" in run.worked


def test_a_machine_that_may_not_build_says_what_the_store_lacks(built):
    with nothing_lost(built):
        built.edit("targets.yaml", '"14.0"', '"15.0"')
        told = refused(built, "--from-store-only", "-c")
        assert "compile:tiny-f32@ios-arm64" in told
        assert "  hint: build it where that is allowed and share the store, or drop --from-store-only\n" in told
        assert "  8 more tasks wait for this\n" in told


def test_a_machine_that_may_not_build_restores_what_the_store_has(built):
    products = built.products()
    shutil.rmtree(built.path("dist"))
    shutil.rmtree(built.path("build/archive"))
    run = built.ok("--from-store-only")
    assert not run.built
    assert built.products() == products
