"""Folders, zips and lone files: what is read, what is left out, and what is refused."""

from __future__ import annotations

import plistlib
import struct
import zipfile

import pytest
from app_builders import app, write_folder, write_ipa

from pipeline.apps import containers
from pipeline.apps.containers import open_container
from pipeline.apps.contents import claim_on, read_contents
from pipeline.errors import FormatError, SlipwayError

ELF = b"\x7fELF" + bytes(60)


def names(path):
    return sorted(file.path for file in open_container(path).files())


def test_a_folder_and_a_zip_give_the_same_files(tmp_path):
    files = app(ELF)
    folder, packed = write_folder(tmp_path, files), write_ipa(tmp_path / "Chat.ipa", files)
    assert names(folder) == sorted(files)
    assert names(packed) == [f"Payload/{name}" for name in sorted(files)]
    assert (open_container(folder).kind, open_container(packed).kind) == ("app", "ipa")
    for path, start in ((folder, ""), (packed, "Payload/")):
        for file in open_container(path).files():
            assert file.load() == files[file.path.removeprefix(start)]
            assert file.head == files[file.path.removeprefix(start)][:8]


def test_links_and_debug_symbols_are_left_out(tmp_path):
    archive = tmp_path / "Chat.xcarchive"
    write_folder(archive / "Products" / "Applications", app(ELF))
    write_folder(archive, {"dSYMs/Chat.app.dSYM/Contents/Resources/DWARF/Chat": b"\xcf\xfa\xed\xfe" + bytes(28)})
    (archive / "Products" / "again").symlink_to("Applications")
    (archive / "Products" / "outside").symlink_to("/etc/hostname")
    assert {name.rpartition("/")[2] for name in names(archive)} == {"Chat", "Info.plist", "Assets.car"}


def test_links_in_a_zip_are_left_out(tmp_path):
    path = tmp_path / "Chat.ipa"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("Payload/Chat.app/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("Payload/Chat.app/Chat", ELF)
    assert names(path) == ["Payload/Chat.app/Chat"]


def test_names_that_lead_outside_are_only_names(tmp_path):
    path = tmp_path / "Chat.ipa"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil", ELF)
    assert [file.load() for file in open_container(path).files()] == [ELF]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Chat.ipa"]


def damaged_zip(tmp_path, *, at=None, cut=None):
    path = write_ipa(tmp_path / "Chat.ipa", app(bytes(range(256)) * 40))
    data = bytearray(path.read_bytes())
    if at is not None:
        data[at] ^= 0xFF
    path.write_bytes(data[:cut])
    return path


@pytest.mark.parametrize("damage", [{"cut": 300}, {"at": 120}])
def test_a_damaged_zip(tmp_path, damage):
    path = damaged_zip(tmp_path, **damage)
    with pytest.raises(FormatError, match="damaged or incomplete") as caught:
        [file.load() for file in open_container(path).files()]
    assert str(caught.value).startswith(str(path))


def test_an_encrypted_zip(tmp_path):
    path = write_ipa(tmp_path / "Chat.ipa", app(ELF))
    data = bytearray(path.read_bytes())
    for at in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="is encrypted"):
        names(path)


def test_a_file_that_claims_to_be_huge_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(containers.read_limited, "__defaults__", (1000,))
    path = write_ipa(tmp_path / "Chat.ipa", app(ELF + bytes(2000)))
    with pytest.raises(FormatError, match="larger than 1000 bytes"):
        read_contents(open_container(path))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("Chat.dmg", b"koly" + bytes(99), "no .dmg that can be read"),
        ("Chat.ipa", b"not a zip at all", "no .ipa that can be read"),
        ("Chat.pkg", b"not a xar at all", "no .pkg that can be read"),
        ("missing", None, "cannot be read: No such file"),
        ("text.so", b"hello, world", "neither Mach-O nor ELF"),
        ("empty.dylib", b"", "neither Mach-O nor ELF"),
        ("module.wasm", b"\0asm\1\0\0\0", "is WebAssembly"),
        ("model.obj", b"\x64\x86" + bytes(18), "is for Windows"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_a_hint(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SlipwayError, match=message) as caught:
        read_contents(open_container(tmp_path / name))
    assert caught.value.hint


def test_a_folder_that_is_no_app(tmp_path):
    with pytest.raises(SlipwayError, match="none of an app"):
        open_container(tmp_path)


def test_an_app_without_code(tmp_path):
    with pytest.raises(FormatError, match="holds no binary"):
        read_contents(open_container(write_folder(tmp_path, app(b"#!/bin/sh\n"))))


def test_a_binary_that_cannot_be_read_is_a_note_where_others_can(good_program, tmp_path):
    watch = b"\xce\xfa\xed\xfe" + bytes(60)
    files = app(good_program, more={"Watch/Wrist.app/Wrist": watch, "broken/Info.plist": b"no plist"})
    contents = read_contents(open_container(write_ipa(tmp_path / "Chat.ipa", files)))
    assert len(contents.images) == 1
    assert any("Wrist.app/Wrist" in note and "32-bit" in note for note in contents.notes)
    assert any("broken/Info.plist: is not a property list" in note for note in contents.notes)


def test_the_innermost_property_list_speaks_for_a_binary(good_program, tmp_path):
    watch = plistlib.dumps({"CFBundleSupportedPlatforms": ["WatchOS"], "CFBundleExecutable": "Wrist"})
    more = {
        "Watch/Wrist.app/Info.plist": watch,
        "Watch/Wrist.app/Wrist": good_program,
        "PlugIns/Share.appex/Info.plist": plistlib.dumps({"CFBundleExecutable": "Share"}),
        "PlugIns/Share.appex/Share": good_program,
    }
    contents = read_contents(open_container(write_ipa(tmp_path / "Chat.ipa", app(good_program, more=more))))
    claims = {image.path.rpartition("/")[2]: claim_on(image, contents.claims) for image in contents.images}
    assert claims["Chat"].platforms == claims["Share"].platforms == {"ios"}
    assert claims["Wrist"].platforms == {"watchos"}
    assert contents.programs == {"Payload/Chat.app/Chat"}


def test_a_frameworks_property_list_speaks_for_the_framework(good_program, tmp_path):
    plist = plistlib.dumps({"DTPlatformName": "macosx"})
    files = {"M.framework/Versions/A/Resources/Info.plist": plist, "M.framework/Versions/A/M": good_program}
    contents = read_contents(open_container(write_folder(tmp_path, files)))
    (claim,) = contents.claims
    assert (claim.root, claim.platforms) == ("M.framework", {"macos", "maccatalyst"})


def test_an_archive_inside_an_app_is_no_code_that_runs(good_program, tmp_path):
    files = app(good_program, more={"libmodels.a": b"!<arch>\n"})
    assert len(read_contents(open_container(write_folder(tmp_path, files))).images) == 1


def test_java_classes_are_no_fat_files(good_program, tmp_path):
    files = app(good_program, more={"Main.class": b"\xca\xfe\xba\xbe" + struct.pack(">2H", 0, 61) + bytes(50)})
    contents = read_contents(open_container(write_folder(tmp_path, files)))
    assert (len(contents.images), contents.notes) == (1, ())


def test_assemblies_of_dotnet_are_no_code_of_the_app(good_program, tmp_path):
    files = app(good_program, more={"Chat.dll": b"MZ\x90\0" + bytes(200)})
    contents = read_contents(open_container(write_folder(tmp_path, files)))
    assert (len(contents.images), contents.notes) == (1, ())
