"""The step `aar` and its proof on fake models: what readers that are not ours see, and every way to spoil it."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import xml.etree.ElementTree as ET
import zipfile

import lief
import pytest
from fake_kits import ANDROID, BINS, MODELS
from fake_models import backend, find_tool
from placed_job import PlacedJob

from pipeline.action import Tool
from pipeline.documents.codec import decode
from pipeline.files import digest_path
from pipeline.matrix.cells import Backend, Maven, ModelRef
from pipeline.proofs.aars import Aar, check_aar
from pipeline.proofs.subject import read_library
from pipeline.steps import aar

EMULATOR = backend("emulator", "android", arch="x86_64", device={"kind": "llvm"})
MAVEN = Maven("com.example.models", "tiny-models", "1.2.0", "yes")
BASE = "maven/com/example/models/tiny-models/1.2.0/tiny-models-1.2.0"
ABIS = {"arm64-v8a": "AARCH64", "x86_64": "X86_64"}
SHARD = b"w" * 100_000
ANDROID_NAME = "{http://schemas.android.com/apk/res/android}"


class Quiet:
    def progress(self, done, total, unit):  # noqa: ARG002 - the protocol's name
        assert 0 <= done <= total


@pytest.fixture
def library(build_archive, tmp_path):
    """Run the step; `library.checks()` runs the proof on what is there then."""

    class Made:
        def __init__(self, maven=MAVEN, **more):
            self.maven = maven
            bundle = tmp_path / "bundle"
            bundle.mkdir(exist_ok=True)
            (bundle / "params_shard_0.bin").write_bytes(SHARD)
            self.bundles = {f"{MODELS[0]['subject']}/params_shard_0.bin": digest_path(bundle / "params_shard_0.bin")}
            self.archives = {one["name"]: build_archive(one, MODELS) for one in (ANDROID, EMULATOR)}
            inputs = {f"archive:{name}": path for name, path in self.archives.items()}
            if maven.assets != "no":
                inputs[f"bundle:{MODELS[0]['subject']}"] = bundle
            self.backends = tuple(decode(Backend, one, "backend") for one in (ANDROID, EMULATOR))
            params = aar.Params("kit", "models", self.backends, maven, **more)
            self.folder = tmp_path / f"made{len(list(tmp_path.glob('made*')))}"
            self.folder.mkdir()
            tools = {"ld.lld": Tool("ld.lld", find_tool("ld.lld"), "LLD 19"), "ndk": None}
            aar.run(PlacedJob(params, inputs, tools, self.folder, tmp_path / "log.txt", Quiet()))
            self.runtime = params.runtime_libraries or ("tvm_ffi", "tvm_runtime")

        @property
        def path(self):
            (found,) = self.folder.glob("maven/**/*.aar")
            return found

        def checks(self):
            models = tuple(decode(ModelRef, one, "model") for one in MODELS)
            libraries = tuple(
                read_library(self.archives[one.name] / "libmodels.a", one, models) for one in self.backends
            )
            scratch = self.folder.with_name("proof")
            scratch.mkdir(exist_ok=True)
            asked = Aar(self.folder, "kit", self.maven, libraries, self.runtime, self.bundles, scratch)
            return {one.name: one for one in check_aar(asked)}

        def repack(self, change=lambda _entries: None, compression=zipfile.ZIP_STORED, *, extra=True):
            """Write the AAR again, with other entries, and checksums that fit."""
            with zipfile.ZipFile(self.path) as old:
                entries = {one.filename: (one, old.read(one)) for one in old.infolist()}
            change(entries)
            with zipfile.ZipFile(self.path, "w") as new:
                for name, (info, data) in entries.items():
                    made = zipfile.ZipInfo(name)
                    made.compress_type, made.extra = compression, info.extra if extra and info is not None else b""
                    new.writestr(made, data)
            self.checksums(self.path)

        @staticmethod
        def checksums(path):
            for kind in ("sha1", "sha256"):
                path.with_name(f"{path.name}.{kind}").write_text(hashlib.new(kind, path.read_bytes()).hexdigest())

        def fails(self, name, message):
            found = self.checks()[name]
            assert found.state == "failed", found
            assert message in found.saw

    return Made


def test_it_is_a_maven_repository(library):
    made = library()
    files = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    artifact = "maven/com/example/models/tiny-models/maven-metadata.xml"
    assert files == {
        f"{one}{end}" for one in (f"{BASE}.aar", f"{BASE}.pom", artifact) for end in ("", ".sha1", ".sha256")
    }
    assert (made.folder / f"{BASE}.aar.sha1").read_text() == hashlib.sha1(made.path.read_bytes()).hexdigest()  # noqa: S324
    pom = ET.parse(made.folder / f"{BASE}.pom").getroot()  # noqa: S314 - our own file
    names = ("groupId", "artifactId", "version", "packaging", "modelVersion")
    assert [pom.findtext(f"{{http://maven.apache.org/POM/4.0.0}}{name}") for name in names] == [
        "com.example.models", "tiny-models", "1.2.0", "aar", "4.0.0",
    ]  # fmt: skip
    metadata = ET.parse(made.folder / artifact).getroot()  # noqa: S314 - our own file
    assert [one.text for one in metadata.iter("version")] == ["1.2.0"]


def test_gradle_and_cmake_find_what_they_look_for(library):
    with zipfile.ZipFile(library().path) as opened:
        assert opened.testzip() is None
        names = set(opened.namelist())
        assert {"AndroidManifest.xml", "classes.jar", "R.txt", "prefab/prefab.json"} <= names
        manifest = ET.fromstring(opened.read("AndroidManifest.xml"))  # noqa: S314 - our own file
        assert manifest.get("package") == "com.example.models.tiny_models"
        assert manifest.find("uses-sdk").get(f"{ANDROID_NAME}minSdkVersion") == "24"
        opencl = manifest.find("application/uses-native-library")
        assert (opencl.get(f"{ANDROID_NAME}name"), opencl.get(f"{ANDROID_NAME}required")) == ("libOpenCL.so", "false")
        assert zipfile.ZipFile(io.BytesIO(opened.read("classes.jar"))).namelist() == ["META-INF/MANIFEST.MF"]
        package = json.loads(opened.read("prefab/prefab.json"))
        assert package == {"schema_version": 2, "name": "tiny-models", "version": "1.2.0", "dependencies": []}
        # Of prefab's rules: each module has its description, each directory of a library one of its own.
        (module,) = {name.split("/")[2] for name in names if name.startswith("prefab/modules/")}
        assert json.loads(opened.read(f"prefab/modules/{module}/module.json")) == {
            "export_libraries": [],
            "library_name": "libkit",
        }
        for abi in ABIS:
            folder = f"prefab/modules/{module}/libs/android.{abi}"
            assert {name for name in names if name.startswith(folder)} == {f"{folder}/libkit.so", f"{folder}/abi.json"}
            about = json.loads(opened.read(f"{folder}/abi.json"))
            assert {name: type(value) for name, value in about.items()} == {
                "abi": str,
                "api": int,
                "ndk": int,
                "stl": str,
                "static": bool,
            }
            assert (about["abi"], about["stl"], about["static"]) == (abi, "none", False)
            assert opened.read(f"{folder}/libkit.so") == opened.read(f"jni/{abi}/libkit.so")
        header = opened.read(f"prefab/modules/{module}/include/kit_models.h").decode()
        assert '#define kit_tiny_bert_f32_PREFIX "tiny_bert_f32_"' in header


def test_libraries_are_mapped_from_the_zip_in_pages_of_16_kib(library):
    made = library()
    data = made.path.read_bytes()
    with zipfile.ZipFile(made.path) as opened:
        libraries = [one for one in opened.infolist() if one.filename.endswith(".so")]
        assert len(libraries) == 4
        for one in libraries:
            name, extra = struct.unpack("<2H", data[one.header_offset + 26 : one.header_offset + 30])
            at = one.header_offset + 30 + name + extra
            assert at % 16384 == 0
            assert one.compress_type == zipfile.ZIP_STORED
            assert data[at : at + 4] == b"\x7fELF"
        for abi, machine in ABIS.items():
            library_ = lief.ELF.parse(list(opened.read(f"jni/{abi}/libkit.so")))
            assert library_.header.machine_type.name == machine
            assert {one.alignment for one in library_.segments if one.type.name == "LOAD"} == {16384}
            assert library_.libraries == ["libtvm_ffi.so"]
            assert {one.name for one in library_.exported_symbols} == set(BINS)


def test_the_proof_agrees_and_nothing_depends_on_the_machine(library):
    made = library()
    checks = made.checks()
    assert {name: one.state for name, one in checks.items()} == dict.fromkeys(checks, "proven")
    assert checks["libraries of the AAR"].saw == "2 shared objects of the proven objects, 16 KiB pages"
    assert made.path.read_bytes() == library().path.read_bytes()


def test_bundles_are_assets_or_an_asset_pack_of_links_or_stay_away(library, tmp_path):
    with zipfile.ZipFile(library().path) as opened:
        assert opened.read("assets/tiny_bert-f32/params_shard_0.bin") == SHARD
    pack = library(Maven("org.x", "a", "2.0-rc1", "play-asset-pack"))
    folder = pack.folder / "play-asset-pack/kit_bundles"
    shard = folder / "src/main/assets/tiny_bert-f32/params_shard_0.bin"
    assert shard.stat().st_ino == (tmp_path / "bundle/params_shard_0.bin").stat().st_ino
    gradle = (folder / "build.gradle").read_text()
    assert "packName = 'kit_bundles'" in gradle
    assert "deliveryType = 'install-time'" in gradle
    with zipfile.ZipFile(pack.path) as opened:
        assert not [name for name in opened.namelist() if name.startswith("assets/")]
        assert "version" not in json.loads(opened.read("prefab/prefab.json")), "CMake would not understand it"
    assert {one.state for one in pack.checks().values()} == {"proven"}
    shard.unlink()
    pack.fails("aar", "the asset pack lacks or has too much")
    none = library(Maven("org.x", "a", "1", "no"))
    none.bundles = {}
    assert {one.state for one in none.checks().values()} == {"proven"}


def swapped(entries):
    (info, _), (_, other) = entries["jni/x86_64/libkit.so"], entries["jni/arm64-v8a/libkit.so"]
    for name in ("jni/x86_64/libkit.so", "prefab/modules/kit/libs/android.x86_64/libkit.so"):
        entries[name] = (info, other)


def stripped(entries):
    entries["assets/tiny_bert-f32/params_shard_0.bin"] = (None, b"v" * len(SHARD))


def hollow(entries):
    del entries["R.txt"], entries["prefab/modules/kit/libs/android.x86_64/libkit.so"]
    del entries["prefab/modules/kit/libs/android.x86_64/abi.json"]


@pytest.mark.parametrize(
    ("change", "options", "check", "message"),
    [
        (swapped, {}, "libraries of the AAR", "is for architecture arm64, and should be for x86_64"),
        (lambda _: None, {"extra": False}, "libraries of the AAR", "which is no page of 16 KiB"),
        (lambda _: None, {"compression": zipfile.ZIP_DEFLATED}, "libraries of the AAR", "is compressed"),
        (stripped, {}, "aar", "assets/tiny_bert-f32/params_shard_0.bin is not what the bundle has"),
        (
            lambda entries: entries.update({"jni/mips/libkit.so": (None, b"")}),
            {},
            "libraries of the AAR",
            "is of no backend",
        ),
        (lambda entries: entries.update({"../x": (None, b"")}), {}, "aar", "../x leads outside"),
        (
            lambda entries: entries.update({"prefab/prefab.json": (None, b"{}")}),
            {},
            "aar",
            "prefab/prefab.json does not say",
        ),
        (lambda entries: entries.update({"AndroidManifest.xml": (None, b"<manifest/>")}), {}, "aar", "the package in"),
        (hollow, {}, "aar", "x86_64"),
    ],
)
def test_an_aar_that_was_spoilt_fails(library, change, options, check, message):
    made = library()
    made.repack(change, **options)
    made.fails(check, message)


def test_files_around_it_that_disagree_fail(library):
    made = library()
    (made.folder / f"{BASE}.aar.sha1").write_text("0" * 40)
    made.fails("maven", ".aar.sha1 is not the digest of")
    pom = made.folder / f"{BASE}.pom"
    pom.write_text(pom.read_text().replace("<version>1.2.0", "<version>1.2.1"))
    made.checksums(pom)
    made.fails("maven", "version in tiny-models-1.2.0.pom is '1.2.1', not '1.2.0'")


def test_a_cut_aar_fails_without_a_traceback(library):
    made = library()
    made.path.write_bytes(made.path.read_bytes()[:-100])
    made.checksums(made.path)
    made.fails("aar", "cannot be read: BadZipFile")
    made.path.unlink()
    made.fails("aar", "cannot be read: FileNotFoundError")
