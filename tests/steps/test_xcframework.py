"""The xcframework step: Apple's rules, the platform read from the objects, and a zip that never changes by itself."""

from __future__ import annotations

import hashlib
import plistlib
import shutil
import zipfile

import pytest
from standin_models import backend, model, run_tool

from pipeline.binary.ar import read_archive
from pipeline.binary.fat import read_fat
from pipeline.binary.objects import read_object
from pipeline.errors import StepError
from pipeline.kits.slices import ArchSlice, slices
from pipeline.platforms import version
from pipeline.steps import xcframework

IOS = backend("ios-arm64", "ios")
SIM_ARM = backend("sim-arm64", "ios-simulator")
SIM_X86 = backend("sim-x86_64", "ios-simulator", arch="x86_64")
CATALYST_ARM = backend("catalyst-arm64", "maccatalyst", version="18.0")
CATALYST_X86 = backend("catalyst-x86_64", "maccatalyst", arch="x86_64", version="18.0")
MAC = backend("mac-arm64", "macos", version="11.0")
BERT = model("bert")


@pytest.fixture
def pack(job, build_archive):
    """Build archives for backends and run the step; return its directory."""

    def run(backends, product="models", archives=None):
        inputs = archives or {f"archive:{one['name']}": build_archive(one, [BERT]) for one in backends}
        made = job({"product": product, "library": "models", "backends": backends}, inputs)
        facts = xcframework.run(made)
        return made.out, facts

    return run


def test_the_property_list_and_the_directories_follow_apples_rules(pack):
    out, facts = pack([CATALYST_X86, SIM_X86, IOS, CATALYST_ARM, SIM_ARM, MAC])

    bundle = out / "models.xcframework"
    document = plistlib.loads((bundle / "Info.plist").read_bytes())
    assert document["CFBundlePackageType"] == "XFWK"
    assert document["XCFrameworkFormatVersion"] == "1.0"
    identifiers = [
        "ios-arm64",
        "ios-arm64_x86_64-maccatalyst",
        "ios-arm64_x86_64-simulator",
        "macos-arm64",
    ]
    assert facts["slices"] == identifiers
    by_name = {entry.pop("LibraryIdentifier"): entry for entry in document["AvailableLibraries"]}
    common = {"LibraryPath": "libmodels.a", "BinaryPath": "libmodels.a"}
    both = ["arm64", "x86_64"]
    assert by_name == {
        "ios-arm64": {**common, "SupportedArchitectures": ["arm64"], "SupportedPlatform": "ios"},
        "ios-arm64_x86_64-maccatalyst": {
            **common,
            "SupportedArchitectures": both,
            "SupportedPlatform": "ios",
            "SupportedPlatformVariant": "maccatalyst",
        },
        "ios-arm64_x86_64-simulator": {
            **common,
            "SupportedArchitectures": both,
            "SupportedPlatform": "ios",
            "SupportedPlatformVariant": "simulator",
        },
        "macos-arm64": {**common, "SupportedArchitectures": ["arm64"], "SupportedPlatform": "macos"},
    }
    found = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert found == sorted(["Info.plist", *(f"{name}/libmodels.a" for name in identifiers)])
    assert b"AvailableLibraries" in (bundle / "Info.plist").read_bytes().partition(b"CFBundlePackageType")[0]


def test_every_slice_holds_what_its_name_says(pack):
    out, _ = pack([CATALYST_X86, IOS, CATALYST_ARM])
    bundle = out / "models.xcframework"

    thin = (bundle / "ios-arm64/libmodels.a").read_bytes()
    assert {read_object(m.data, m.name).platform for m in read_archive(thin)} == {"ios"}
    fat = read_fat((bundle / "ios-arm64_x86_64-maccatalyst/libmodels.a").read_bytes())
    for piece in fat:
        infos = [read_object(member.data, member.name) for member in read_archive(piece.data)]
        assert {(info.platform, info.arch) for info in infos} == {("maccatalyst", piece.arch)}
    assert {piece.arch for piece in fat} == {"arm64", "x86_64"}
    listed = run_tool("llvm-lipo", "-archs", bundle / "ios-arm64_x86_64-maccatalyst/libmodels.a")
    assert sorted(listed.split()) == ["arm64", "x86_64"]


def test_two_slices_of_one_platform_and_architecture_are_refused(pack):
    twin = backend("ios-other", "ios", version="16.0")
    with pytest.raises(
        StepError, match=r"ios-arm64 and ios-other are both ios arm64.*\n.*hint: put ios-arm64 and ios-other"
    ):
        pack([IOS, twin])


def test_the_platform_is_read_from_the_objects_and_not_believed(pack, build_archive):
    device = build_archive(IOS, [BERT])
    with pytest.raises(
        StepError,
        match=r"archive of sim-arm64 can not be a slice: .* is for platform ios, and should be for ios-simulator",
    ):
        pack([SIM_ARM], archives={"archive:sim-arm64": device})


def test_an_archive_without_a_platform_is_refused(pack, build_archive, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "bare.s").write_text(".globl _nothing\n_nothing:\n  ret\n")
    run_tool("llvm-mc", "-triple=arm64-apple-ios", "-filetype=obj", "bare.s", "-o", "bare.o", cwd=bare)
    run_tool("llvm-ar", "--format=darwin", "rcsD", "libmodels.a", "bare.o", cwd=bare)
    with pytest.raises(StepError, match="can not be a slice: no member names its platform"):
        pack([IOS], archives={"archive:ios-arm64": bare})


def test_an_archive_of_two_platforms_is_refused(pack, build_archive, tmp_path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for one in (IOS, SIM_ARM):
        build_archive(one, [BERT])
        for path in (tmp_path / "compile" / one["name"] / "bert-f32").glob("*.o"):
            shutil.copy(path, mixed / f"{one['name']}-{path.name}")
    objects = sorted(path.name for path in mixed.glob("*.o"))
    run_tool("llvm-ar", "--format=darwin", "rcsD", "libmodels.a", *objects, cwd=mixed)
    with pytest.raises(StepError, match=r"can not be a slice: .* is for platform ios-simulator, and should be for ios"):
        pack([IOS], archives={"archive:ios-arm64": mixed})


def test_a_backend_of_another_system_is_refused():
    with pytest.raises(StepError, match="backend linux is for linux, which an xcframework can not hold"):
        slices([ArchSlice("linux", "linux", "x86_64", None)])


def test_the_zip_has_the_bundle_at_its_root_and_nothing_of_this_machine(pack):
    out, facts = pack([IOS, CATALYST_ARM])
    packed = out / "models.xcframework.zip"
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
    assert [info.filename for info in infos] == [
        "models.xcframework/Info.plist",
        "models.xcframework/ios-arm64-maccatalyst/libmodels.a",
        "models.xcframework/ios-arm64/libmodels.a",
    ]
    for info in infos:
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert info.external_attr >> 16 == 0o100644
        assert info.extra == b""
        assert info.create_system == 3
    checksum = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert (out / "models.xcframework.zip.checksum").read_text() == f"{checksum}\n"
    assert facts["checksum"] == checksum


def test_two_products_have_libraries_of_two_names(pack, build_archive):
    archives = {"archive:ios-arm64": build_archive(IOS, [BERT])}
    names = set()
    for product in ("models", "more-models"):
        out, _ = pack([IOS], product=product, archives=archives)
        document = plistlib.loads((out / f"{product}.xcframework/Info.plist").read_bytes())
        names |= {entry["LibraryPath"] for entry in document["AvailableLibraries"]}
    assert names == {"libmodels.a", "libmore-models.a"}


def test_the_same_archives_give_the_same_zip(pack, build_archive):
    archives = {f"archive:{one['name']}": build_archive(one, [BERT]) for one in (IOS, CATALYST_ARM)}
    _, one = pack([IOS, CATALYST_ARM], archives=archives)
    _, other = pack([CATALYST_ARM, IOS], archives=archives)
    assert one["checksum"] == other["checksum"]


def test_a_slice_runs_where_all_of_it_runs():
    old, new = ArchSlice("a", "macos", "arm64", "11.0"), ArchSlice("b", "macos", "x86_64", "10.15")
    (piece,) = slices([old, new])
    assert piece.deployment_target == "11.0"  # 11 is more than 10.15
    assert version("14") == version("14.0.0") < version("14.0.1") < version("14.10")
    with pytest.raises(ValueError, match="invalid literal"):
        version("14.x")
