"""Everything at once, on objects that TVM compiled: merge, archive, fat file, links."""

from __future__ import annotations

import pytest
from lief_agreement import agree_on_elf, agree_on_macho
from llvm_tools import COFF_TRIPLES, ELF_TRIPLES, MACHO_TRIPLES, MODELS, WASM_TRIPLE

from pipeline.binary.ar import read_archive, write_archive
from pipeline.binary.coff_edit import stub_object
from pipeline.binary.fat import Slice, write_fat
from pipeline.binary.merge import Merged, ModelObjects, merge_objects
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL, find_models

pytestmark = pytest.mark.tvm

TRIPLES = [*MACHO_TRIPLES, *ELF_TRIPLES, *COFF_TRIPLES, WASM_TRIPLE]
BOTH = CONSTRUCTORS_PER_MODEL * len(MODELS)


@pytest.fixture
def merged(real_objects):
    def of(triple: str) -> Merged:
        return merge_objects(ModelObjects(p, p, objects) for p, objects in real_objects[triple].items())

    return of


@pytest.mark.parametrize("triple", TRIPLES)
def test_archives_equal_llvm_ar_and_come_back_whole(merged, llvm_ar, triple):
    models = merged(triple)
    archive = write_archive(models.members, models.flavour)
    assert archive == llvm_ar(models.members, models.flavour)
    assert read_archive(archive) == models.members


@pytest.mark.parametrize("triple", TRIPLES)
def test_models_are_found_with_both_constructors(merged, triple):
    models = merged(triple)
    found = find_models(models.infos)
    assert [model.prefix for model in found] == list(MODELS)
    assert all(model.functions == ("fused_matmul_relu",) for model in found)
    assert all(model.generation.name == "2025-09" for model in found)
    assert all(model.registration in model.generation.registrations for model in found)
    assert [(model.blob_object, model.host_object) for model in found] == [(f"{p}devc.o", f"{p}lib0.o") for p in MODELS]
    assert sum(info.constructors for info in models.infos) == BOTH


@pytest.mark.parametrize("triple", MACHO_TRIPLES)
def test_the_platform_is_that_of_the_triple(merged, triple):
    arch, platform, minimum = MACHO_TRIPLES[triple]
    for info in merged(triple).infos:
        assert (info.arch, info.platform, info.minimum_os) == (arch, platform, minimum)


@pytest.mark.parametrize("triple", [*MACHO_TRIPLES, *ELF_TRIPLES])
def test_the_readers_agree_with_lief(merged, triple):
    for member in merged(triple).members:
        (agree_on_macho if triple in MACHO_TRIPLES else agree_on_elf)(member.data)


def test_catalyst_archives_make_the_fat_file_of_llvm_lipo(merged, tool, tmp_path):
    slices = []
    for arch in ("arm64", "x86_64"):
        models = merged(f"{arch}-apple-ios18.0-macabi")
        slices.append(Slice(arch, write_archive(models.members, models.flavour)))
        (tmp_path / f"{arch}.a").write_bytes(slices[-1].data)
    tool("llvm-lipo", "-create", "arm64.a", "x86_64.a", "-output", "fat.a", cwd=tmp_path)
    assert write_fat(slices) == (tmp_path / "fat.a").read_bytes()


@pytest.mark.parametrize("triple", MACHO_TRIPLES)
@pytest.mark.parametrize("force_load", [True, False])
def test_a_strict_mach_o_link_keeps_the_models_only_when_forced_to(merged, link_dylib, triple, force_load):
    arch, platform, _ = MACHO_TRIPLES[triple]
    models = merged(triple)
    archive = write_archive(models.members, models.flavour)
    info = read_object(link_dylib(archive, "-dead_strip", arch=arch, platform=platform, force_load=force_load), "out")
    assert (info.kind, info.arch, info.platform) == ("dylib", arch, platform)
    assert info.constructors == (BOTH if force_load else 0)
    assert [model.prefix for model in find_models([info])] == (list(MODELS) if force_load else [])


@pytest.mark.parametrize("triple", ELF_TRIPLES)
@pytest.mark.parametrize("options", [["--whole-archive"], []], ids=["whole", "plain"])
def test_an_elf_link_keeps_the_models_only_when_forced_to(merged, tool, tmp_path, triple, options):
    models = merged(triple)
    (tmp_path / "models.a").write_bytes(write_archive(models.members, models.flavour))
    tool("ld.lld", "-shared", "--gc-sections", *options, "models.a", "-o", "x.so", cwd=tmp_path)
    data = (tmp_path / "x.so").read_bytes()
    info = read_object(data, "x.so")
    assert (info.kind, info.arch) == ("dylib", ELF_TRIPLES[triple])
    assert info.constructors == (BOTH if options else 0)
    assert [model.prefix for model in find_models([info])] == (list(MODELS) if options else [])
    agree_on_elf(data)


@pytest.mark.parametrize("triple", COFF_TRIPLES)
@pytest.mark.parametrize("whole", ["/WHOLEARCHIVE:", ""], ids=["whole", "plain"])
def test_a_link_for_windows_keeps_the_models_only_when_forced_to(merged, tool, tmp_path, triple, whole):
    models = merged(triple)
    (tmp_path / "models.a").write_bytes(write_archive(models.members, models.flavour))
    arch, machine = {"x86_64": ("x86_64", "X64"), "aarch64": ("arm64", "ARM64")}[COFF_TRIPLES[triple]]
    wanted = {symbol.name for info in models.infos for symbol in info.undefined}
    (tmp_path / "runtime.obj").write_bytes(stub_object(arch, wanted))
    words = ["/DLL", "/NOENTRY", "/NODEFAULTLIB", f"/MACHINE:{machine}", "/OUT:x.dll", "runtime.obj"]
    tool("lld-link", *words, f"{whole}models.a", cwd=tmp_path)
    info = read_object((tmp_path / "x.dll").read_bytes(), "x.dll")
    assert (info.kind, info.arch) == ("dylib", COFF_TRIPLES[triple])
    assert info.constructors == (BOTH if whole else 0)
    assert [model.prefix for model in find_models([info])] == (list(MODELS) if whole else [])


def test_two_models_as_tvm_writes_them_do_not_link_for_windows(real_objects, tool, tmp_path):
    """Which is why `merge` gives each its own weak symbols (quirk COFF-1)."""
    names = []
    for prefix, objects in real_objects["x86_64-pc-windows-msvc"].items():
        for one in objects:
            names.append(f"{prefix}{one.name}")
            (tmp_path / names[-1]).write_bytes(one.data)
    words = ["/DLL", "/NOENTRY", "/FORCE:UNRESOLVED", "/OUT:x.dll", *names]
    assert "duplicate symbol: __truncsfhf2" in tool("lld-link", *words, cwd=tmp_path, check=False).stderr


def test_a_wasm_link_keeps_both_constructors_of_every_model(merged, tool, tmp_path):
    models = merged(WASM_TRIPLE)
    (tmp_path / "models.a").write_bytes(write_archive(models.members, models.flavour))
    tool(
        "wasm-ld", "--no-entry", "--allow-undefined", "--export=__wasm_call_ctors", "--whole-archive", "models.a",
        "-o", "x.wasm", "-shared", "--experimental-pic", cwd=tmp_path,
    )  # fmt: skip
    info = read_object((tmp_path / "x.wasm").read_bytes(), "x.wasm")
    assert (info.kind, info.constructors) == ("dylib", BOTH)
    assert {found.name for found in info.imports} >= {"TVMFFIEnvModRegisterSystemLibSymbol"}
