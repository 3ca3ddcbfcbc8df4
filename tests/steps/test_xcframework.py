"""The xcframework step: Apple's rules, the platform read from the objects, and a zip that never changes by itself."""

from __future__ import annotations

import hashlib
import plistlib
import zipfile

import pytest
from fake_models import backend, model, run_tool

from pipeline.binary.ar import read_archive
from pipeline.binary.fat import read_fat
from pipeline.binary.objects import read_object
from pipeline.documents.codec import decode
from pipeline.kits.slices import slices
from pipeline.matrix.cells import Backend
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
    both = (backend("a", "macos", version="11.0"), backend("b", "macos", arch="x86_64", version="10.15"))
    (piece,) = slices(decode(Backend, one, "backend") for one in both)
    assert piece.deployment_target == "11.0"  # 11 is more than 10.15
    assert version("14") == version("14.0.0") < version("14.0.1") < version("14.10")
    with pytest.raises(ValueError, match="invalid literal"):
        version("14.x")
