"""The steps `layout` and its proof on fake models: every form of a library, and every way to spoil one."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import lief
import pytest
from fake_kits import ANDROID, HOST, IOS, LINUX_ARM, MAC, MODELS
from fake_models import find_tool, run_tool
from placed_job import PlacedJob

from pipeline.action import Tool
from pipeline.binary.ar import Member, read_archive
from pipeline.binary.objects import read_object
from pipeline.documents.codec import decode, dumps
from pipeline.documents.link_json import LinkJson
from pipeline.documents.manifest import ModelFile
from pipeline.documents.runtime import ModuleFile, Modules
from pipeline.errors import StepError, ToolMissing, VerifyError
from pipeline.files import digest_path
from pipeline.matrix.cells import Backend, FilePlacement, Placement, form_of
from pipeline.steps import layout, shared_library, verify_layout
from pipeline.steps.shared_library import Models, link_shared, providers_of

SUFFIXES = {"host": "so", "linux-arm64": "so", "android-arm64": "so", "mac-arm64": "dylib"}


class Quiet:
    """Services of a run that nobody watches, and that leaves no question open."""

    strict = True

    def progress(self, done, total, unit):  # noqa: ARG002 - the protocol's name
        assert 0 <= done <= total


@pytest.fixture
def tools() -> dict[str, Tool | None]:
    def lld(name):
        return Tool(name, find_tool(name), "LLD 19")

    return {"ld.lld": lld("ld.lld"), "ld64.lld": lld("ld64.lld"), "ndk": None}


@pytest.fixture
def tree(build_archive, tmp_path, tools):
    """Lay out the models for backends; `tree.prove()` runs the proof on what is there then."""

    class Tree:
        def __init__(self, backends, suffixes=SUFFIXES, **more):
            self.backends = tuple(decode(Backend, one, "backend") for one in backends)
            bundle = tmp_path / "bundle"
            bundle.mkdir(exist_ok=True)
            (bundle / "params_shard_0.bin").write_bytes(b"w" * 100_000)
            self.inputs = {f"archive:{one['name']}": build_archive(one, MODELS) for one in backends}
            self.inputs |= {f"bundle:{one['subject']}": bundle for one in MODELS}
            paths = {one.name: f"{one.name}/{{}}.{suffixes[one.name]}" for one in self.backends}
            self.placements = tuple(
                Placement(
                    subject := one["subject"], subject, one["prefix"], name, path.format(subject),
                    form_of(path)[0], f"{name}/{subject}",
                )
                for name, path in paths.items() for one in MODELS
            )  # fmt: skip
            params = layout.Params("ava", "models", self.backends, self.placements, **more)
            self.runtime = params.runtime_libraries
            self.folder = tmp_path / f"tree{len(list(tmp_path.glob('tree*')))}"
            self.folder.mkdir()
            made = PlacedJob(params, self.inputs, tools, self.folder, tmp_path / "log.txt", Quiet())
            layout.run(made)

        def read(self, name):
            return read_object((self.folder / name).read_bytes(), name)

        def prove(self):
            out = self.folder.with_name("proof")
            out.mkdir(exist_ok=True)
            proof = verify_layout.Params("ava", "models", self.backends, self.placements, self.runtime)
            inputs = {**self.inputs, "kit": self.folder}
            return verify_layout.run(PlacedJob(proof, inputs, {}, out, out.with_name("log2.txt"), Quiet()))

        def spoil(self, name, data: bytes):
            """Another library at a place, of which link.json says the truth."""
            (self.folder / name).unlink()
            (self.folder / name).write_bytes(data)
            document = json.loads((self.folder / "link.json").read_text())
            entry = next(one for one in document["libraries"] if one["file"] == name)
            entry |= {"size": len(data), "sha256": layout.sha256_bytes(data)}
            if entry["form"] == "shared":
                entry["needed"] = list(read_object(data, name).needed)
            (self.folder / "link.json").write_text(json.dumps(document))

        def fails(self, message):
            with pytest.raises(VerifyError, match=message):
                self.prove()

    return Tree


def test_a_tar_has_the_objects_as_mlc_writes_them_and_nothing_of_the_machine(tree):
    made = tree([ANDROID], {"android-arm64": "tar"})
    data = (made.folder / "android-arm64/tiny_bert-f32.tar").read_bytes()
    assert data == (tree([ANDROID], {"android-arm64": "tar"}).folder / "android-arm64/tiny_bert-f32.tar").read_bytes()
    archived = {
        one.name: one.data for one in read_archive((made.inputs["archive:android-arm64"] / "libmodels.a").read_bytes())
    }
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        entries = tar.getmembers()
        assert [one.name for one in entries] == ["lib0.o", "tiny_bert_f32_devc.o"]
        assert {(one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode) for one in entries} == {
            (0, 0, 0, "", "", 0o644)
        }
        assert tar.extractfile("lib0.o").read() == archived["tiny_bert_f32_lib0.o"]
    assert made.prove()["proven"] == "2 tars: of the proven objects; 2 files of 2 bundles"


def test_an_archive_has_one_model(tree):
    made = tree([IOS], {"ios-arm64": "a"})
    names = [one.name for one in read_archive((made.folder / "ios-arm64/tiny_bert-f32.a").read_bytes())]
    assert names == ["tiny_bert_f32_devc.o", "tiny_bert_f32_lib0.o"]
    made.prove()


@pytest.mark.parametrize(("target", "machine"), [(HOST, "X86_64"), (LINUX_ARM, "AARCH64"), (ANDROID, "AARCH64")])
def test_a_shared_object_is_what_a_loader_of_android_takes(tree, target, machine):
    made = tree([target])
    name = f"{target['name']}/tiny_bert-f32.so"
    library = lief.parse(made.folder / name)
    assert library.header.machine_type.name == machine
    assert [one.name for one in library.dynamic_entries if one.tag.name == "SONAME"] == ["tiny_bert-f32.so"]
    assert library.libraries == ["libtvm_ffi.so"]
    assert {one.alignment for one in library.segments if one.type.name == "LOAD"} == {16384}
    assert {one.name for one in library.dynamic_symbols if one.name and one.shndx == 0} == {
        "TVMFFIEnvModRegisterSystemLibSymbol"
    }
    prefix = "tiny_bert_f32_"
    by_path = {"__tvm_ffi__library_bin", "__tvm_ffi__library_ctx", f"__tvm_ffi_{prefix}forward"}
    assert {one.name for one in library.exported_symbols} == {f"{prefix}__tvm_ffi__library_bin", *by_path}
    assert made.read(name).constructors == 2
    made.prove()


def test_a_dylib_is_linked_without_an_sdk(tree):
    made = tree([MAC])
    info = made.read("mac-arm64/tiny_bert-f32.dylib")
    assert (info.kind, info.platform, info.minimum_os, info.constructors) == ("dylib", "macos", "11.0", 2)
    assert set(info.needed) == {"/usr/lib/libSystem.B.dylib", "@rpath/libtvm_ffi.dylib"}
    library = lief.parse(made.folder / "mac-arm64/tiny_bert-f32.dylib")
    assert library.has_code_signature
    assert "___tvm_ffi__library_bin" in {one.name for one in library.exported_symbols}
    made.prove()


def test_linking_again_gives_the_same_bytes(tree):
    backends = [HOST, ANDROID, MAC]
    one, two = (
        {p.relative_to(t.folder): p.read_bytes() for p in t.folder.rglob("*") if p.is_file()}
        for t in (tree(backends), tree(backends))
    )
    assert one == two


def test_the_runtime_may_be_in_a_library_of_another_name(tree):
    made = tree([ANDROID], runtime_libraries=("tvm4j_runtime_packed", "tvm_extra"))
    assert made.read("android-arm64/tiny_bert-f32.so").needed == ("libtvm4j_runtime_packed.so", "libtvm_extra.so")
    made.prove()
    made.runtime = None
    made.fails("needs libtvm4j_runtime_packed.so, libtvm_extra.so, which nobody declared")


def objects_of(made, prefix="tiny_bert_f32_", name="host"):
    members = read_archive((made.inputs[f"archive:{name}"] / "libmodels.a").read_bytes())
    return tuple(one for one in members if one.name.startswith(prefix))


def test_a_library_that_lost_a_constructor_fails(tree, tools, tmp_path):
    made = tree([HOST])
    objects = objects_of(made)
    (host,) = (one for one in objects if one.name.endswith("lib0.o"))
    (tmp_path / "host.o").write_bytes(host.data)
    gone = ("--remove-section=.init_array", "--remove-section=.rela.init_array")
    run_tool("llvm-objcopy", *gone, tmp_path / "host.o")
    broken = replace(host, data=(tmp_path / "host.o").read_bytes())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    others = tuple(one for one in objects if one is not host)
    models = Models("tiny_bert-f32.so", made.backends[0], ("tiny_bert_f32_",), (*others, broken), by_path=True)
    made.spoil("host/tiny_bert-f32.so", link_shared(models, tools, scratch, tmp_path / "log"))
    made.fails("has 1 of 2 constructors")


def test_a_library_of_another_model_fails(tree):
    made = tree([HOST])
    made.spoil("host/tiny_bert-f32.so", (made.folder / "host/tiny_llama-q4f16_1.so").read_bytes())
    made.fails("lost tiny_bert_f32___tvm_ffi__library_bin of tiny_bert-f32")


def test_pages_of_four_kilobytes_fail(tree):
    made = tree([HOST])
    data = bytearray((made.folder / "host/tiny_bert-f32.so").read_bytes())
    while (at := data.find((16384).to_bytes(8, "little"), 64)) >= 0:
        data[at : at + 8] = (4096).to_bytes(8, "little")
    made.spoil("host/tiny_bert-f32.so", bytes(data))
    made.fails("LOAD segments aligned to 4096")


def test_objects_that_nobody_proved_fail(tree):
    made = tree([ANDROID], {"android-arm64": "tar"})
    data = (made.folder / "android-arm64/tiny_llama-q4f16_1.tar").read_bytes()
    made.spoil("android-arm64/tiny_bert-f32.tar", data)
    made.fails("tiny_bert-f32.tar does not hold the objects of tiny_bert-f32 that were proven")


def test_what_is_not_there_or_not_what_link_json_says_fails(tree):
    made = tree([ANDROID], {"android-arm64": "tar"})
    (made.folder / "android-arm64/tiny_bert-f32/params_shard_0.bin").unlink()
    path = made.folder / "android-arm64/tiny_bert-f32.tar"
    path.write_bytes(path.read_bytes() + b"\0")
    made.fails("(?s)bytes, and [0-9]+ in link.json.*params_shard_0.bin is not what the bundle has")
    path.unlink()
    made.fails("tiny_bert-f32.tar is not there")


def test_a_cut_library_fails_without_a_traceback(tree):
    made = tree([HOST])
    data = (made.folder / "host/tiny_bert-f32.so").read_bytes()
    (made.folder / "host/tiny_bert-f32.so").unlink()
    (made.folder / "host/tiny_bert-f32.so").write_bytes(data[: len(data) // 2])
    made.fails("has [0-9]+ bytes, and [0-9]+ in link.json")


def test_a_library_where_the_bundle_has_a_file_is_refused(tree):
    made = tree([ANDROID], {"android-arm64": "tar"})
    place = replace(made.placements[0], library="android-arm64/tiny_bert-f32/params_shard_0.bin")
    params = layout.Params("ava", "models", made.backends, (place,))
    out = made.folder.with_name("other")
    out.mkdir()
    with pytest.raises(StepError, match=r"has a file params_shard_0\.bin"):
        layout.run(PlacedJob(params, made.inputs, {}, out, out.with_name("log"), Quiet()))


def test_no_linker_and_strange_symbols_are_told_with_a_way_out(tree, tmp_path):
    made = tree([HOST])
    models = Models("x.so", made.backends[0], ("tiny_bert_f32_",), objects_of(made))
    for tool in (None, Tool("ld.lld", tmp_path, "GNU ld 2.40")):
        with pytest.raises(ToolMissing, match=r"linked by ld\.lld"):
            link_shared(models, {"ld.lld": tool}, tmp_path, tmp_path / "log")
    mac = Models("x.dylib", decode(Backend, MAC, "backend"), ("tiny_bert_f32_",), ())
    with pytest.raises(ToolMissing, match=r"takes ld64\.lld 15, and this is 14"):
        link_shared(mac, {"ld64.lld": Tool("ld64.lld", tmp_path, "Debian LLD 14.0.6")}, tmp_path, tmp_path / "log")
    android = decode(Backend, ANDROID, "backend")
    needed = providers_of(["TVMFFIFunctionCall", "TVMBackendParallelLaunch", "expf", "memcpy"], android, None)
    assert {name.removesuffix(".so"): len(names) for name, names in needed.items()} == dict.fromkeys(
        ("libtvm_ffi", "libtvm_runtime", "libm", "libc"), 1
    )
    with pytest.raises(StepError, match="ask for pthread_create, which neither"):
        providers_of(["pthread_create"], android, None)


def test_helpers_of_the_compiler_need_the_ndk_on_android(tmp_path):
    android = decode(Backend, ANDROID, "backend")
    needed = providers_of(["__extendhfdf2"], android, None)
    with pytest.raises(ToolMissing, match="__extendhfdf2, which the NDK's compiler brings"):
        shared_library._libraries(Models("x.so", android, (), ()), needed, {}, tmp_path, tmp_path / "log")


def fake_ndk(folder) -> Tool:
    """A folder laid out like an NDK's, with Debian's linker, and libraries that have three names."""
    toolchain = folder / "toolchains/llvm/prebuilt/linux-x86_64"
    system = toolchain / "sysroot/usr/lib/aarch64-linux-android/24"
    builtins = toolchain / "lib/clang/18/lib/linux/libclang_rt.builtins-aarch64-android.a"
    for path in (toolchain / "bin", system, builtins.parent):
        path.mkdir(parents=True)
    (toolchain / "bin/ld.lld").symlink_to(find_tool("ld.lld"))
    start = [find_tool("ld.lld"), "-shared", "-m", "aarch64linux"]
    for name, symbols in (("libc.so", ["memcpy"]), ("libm.so", ["expf"])):
        shared_library._write_stub(system / name, [*start, "-soname", name], symbols, folder / "log")
    (folder / "half.c").write_text("int __extendhfdf2(void) { return 1; }\n")
    run_tool("aarch64-linux-gnu-gcc", "-c", "-fPIC", folder / "half.c", "-o", folder / "half.o")
    run_tool("llvm-ar", "rcs", builtins, folder / "half.o")
    return Tool("ndk", folder, "27.2.12479018")


CALLS = """
int memcpy(void), expf(void), {helper}(void);
volatile int kept;
__attribute__((constructor)) static void call(void) {{ kept = memcpy() + expf() + {helper}(); }}
"""


@pytest.mark.parametrize("helper", ["__extendhfdf2", "sinf"])
def test_the_ndk_brings_its_linker_its_libraries_and_helpers_of_the_compiler(tree, tmp_path, helper):
    ndk = fake_ndk(tmp_path / "ndk")
    made = tree([ANDROID], {"android-arm64": "tar"})
    (tmp_path / "calls.c").write_text(CALLS.format(helper=helper))
    run_tool(
        "aarch64-linux-gnu-gcc", "-w", "-fno-builtin", "-c", "-fPIC", tmp_path / "calls.c", "-o", tmp_path / "calls.o"
    )
    objects = (*objects_of(made, name="android-arm64"), Member("calls.o", (tmp_path / "calls.o").read_bytes()))
    models = Models("x.so", made.backends[0], ("tiny_bert_f32_",), objects, by_path=True)
    (tmp_path / "scratch").mkdir()
    if helper == "sinf":  # which this C library lacks: a name that no device has is an error here
        with pytest.raises(StepError, match="undefined symbol: sinf"):
            link_shared(models, {"ndk": ndk}, tmp_path / "scratch", tmp_path / "log")
        return
    info = read_object(link_shared(models, {"ndk": ndk}, tmp_path / "scratch", tmp_path / "log"), "x.so")
    assert set(info.needed) == {"libc.so", "libm.so", "libtvm_ffi.so"}
    assert info.constructors == 3
    assert "__extendhfdf2" not in {one.name for one in info.undefined}


def test_a_module_is_the_one_that_was_linked_and_any_other_fails(tree, build_archive, tmp_path):
    """The module is a stand-in of eight bytes, and so are the objects, which are for Linux; nothing here reads them."""
    made = tree([HOST])
    folder = tmp_path / "wasm"
    folder.mkdir()
    (folder / "tiny-webgpu.wasm").write_bytes(b"\0asm\1\0\0\0")
    web = replace(made.backends[0], name="web", platform="wasm")
    digest = digest_path(folder / "tiny-webgpu.wasm")
    modules = Modules(web, (ModuleFile("tiny_bert-f32", "tiny-webgpu.wasm", digest.size, digest.sha256),))
    (folder / "wasm.json").write_text(dumps(modules))
    place = Placement("tuned-f32", "tiny_bert-f32", "tiny_bert_f32_", "web", "pages/tuned.wasm", "module", None)
    inputs = {"archive:web": build_archive(HOST, MODELS), "wasm:web": folder}
    out = tmp_path / "web"
    out.mkdir()
    layout.run(PlacedJob(layout.Params("ava", "models", (web,), (place,)), inputs, {}, out, tmp_path / "log3", Quiet()))
    assert (out / "pages/tuned.wasm").stat().st_ino == (folder / "tiny-webgpu.wasm").stat().st_ino
    made.folder, made.backends, made.placements, made.inputs = out, (web,), (place,), inputs
    assert made.prove()["proven"] == "1 module: of the proven objects"
    made.spoil("pages/tuned.wasm", b"\0asm\1\0\0\0more")
    made.fails("is not the module of tiny_bert-f32 that was linked")
    (folder / "wasm.json").write_text(dumps(Modules(web, (), "no emscripten")))
    with pytest.raises(StepError, match="there is no module of tiny_bert-f32 for web: no emscripten"):
        layout.run(
            PlacedJob(layout.Params("ava", "models", (web,), (place,)), inputs, {}, out, tmp_path / "log3", Quiet())
        )


def test_link_json_says_what_is_where(tree):
    made = tree([HOST, ANDROID], {"host": "so", "android-arm64": "tar"})
    document = LinkJson.read(made.folder)
    assert document.archives == ()
    assert set(document.models) == {one["subject"] for one in MODELS}
    (entry,) = (one for one in document.libraries if one.file == "host/tiny_bert-f32.so")
    assert (entry.backend, entry.form, entry.needed, entry.bundle) == (
        "host",
        "shared",
        ("libtvm_ffi.so",),
        "host/tiny_bert-f32",
    )


@pytest.fixture
def files_only(tmp_path):
    """A layout of a GGUF model's file and a step's outputs, and its proof."""
    gemma = ModelFile("gemma", "llama.cpp", "gguf", "hub.gguf", 9, "0" * 64)
    given = {
        "gemma": {"hub.gguf": b"the model", ModelFile.NAME: dumps(gemma).encode()},
        "seal": {"a/x": b"x", "y": b"y"},
    }
    for name, contents in given.items():
        for path, content in contents.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
    inputs = {"laid out:bundle:gemma": tmp_path / "gemma", "laid out:seal:gemma": tmp_path / "seal"}
    places = (FilePlacement("bundle:gemma", "llama/gemma.amg", True), FilePlacement("seal:gemma", "sealed", False))
    out, proof = tmp_path / "out", tmp_path / "proof"
    out.mkdir()
    proof.mkdir()
    params = layout.Params("ava", "models", (), (), files=places)
    layout.run(PlacedJob(params, inputs, {}, out, tmp_path / "log", Quiet()))

    def prove():
        wanted = verify_layout.Params("ava", "models", (), (), files=places)
        return verify_layout.run(PlacedJob(wanted, {**inputs, "kit": out}, {}, proof, tmp_path / "log", Quiet()))

    return out, prove


def test_files_of_other_tasks_are_linked_listed_and_proven(files_only):
    out, prove = files_only
    listed = {one.file: (one.task, one.runtime) for one in LinkJson.read(out).files}
    assert listed == {
        "llama/gemma.amg": ("bundle:gemma", "llama.cpp"),
        "sealed/a/x": ("seal:gemma", None),
        "sealed/y": ("seal:gemma", None),
    }
    assert (out / "llama/gemma.amg").read_bytes() == b"the model"
    assert prove()["proven"] == "3 files of 2 tasks"


@pytest.mark.parametrize("spoil", ["gone", "other", "swapped", "unlisted"])
def test_files_of_other_tasks_that_are_not_what_they_were_fail(files_only, spoil):
    out, prove = files_only
    said = "sealed/y is not what seal:gemma has put out"
    if spoil == "gone":
        (out / "sealed/y").unlink()
    elif spoil == "other":
        (out / "sealed/y").unlink()
        (out / "sealed/y").write_bytes(b"Y")
    else:
        document = json.loads((out / "link.json").read_text())
        entries = {one["file"]: one for one in document["files"]}
        if spoil == "swapped":  # link.json tells the truth of a file that no task has put out
            (out / "sealed/y").unlink()
            (out / "sealed/y").write_bytes(b"Y")
            entries["sealed/y"]["sha256"] = layout.sha256_bytes(b"Y")
        else:
            del entries["sealed/y"]
            said = "not all that seal:gemma has put out is there"
        document["files"] = list(entries.values())
        (out / "link.json").write_text(json.dumps(document))
    with pytest.raises(VerifyError, match=said):
        prove()
