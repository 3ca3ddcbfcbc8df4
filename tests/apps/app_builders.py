"""Builds apps to check: real links of real models, in every kind of package.

The models are what TVM compiled. What stands in for the rest is small and real, too: `RUNTIME` is an object that
defines the functions models call and names the loaders a runtime registers; `MAIN` is a program that does nothing.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import plistlib
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.fat import Slice, write_fat
from pipeline.binary.tbd import write_tbd

MODELS = ("tiny_model_a_", "tiny_model_b_")
TRIPLES = {
    ("ios", "arm64"): "arm64-apple-ios14.0",
    ("ios-simulator", "arm64"): "arm64-apple-ios14.0-simulator",
    ("maccatalyst", "arm64"): "arm64-apple-ios18.0-macabi",
    ("maccatalyst", "x86_64"): "x86_64-apple-ios18.0-macabi",
    ("android", "aarch64"): "aarch64-linux-android24",
}
PLISTS = {
    "ios": {"CFBundleSupportedPlatforms": ["iPhoneOS"], "DTPlatformName": "iphoneos"},
    "ios-simulator": {"CFBundleSupportedPlatforms": ["iPhoneSimulator"], "DTPlatformName": "iphonesimulator"},
    "maccatalyst": {"CFBundleSupportedPlatforms": ["MacOSX"], "UIDeviceFamily": [2], "LSMinimumSystemVersion": "15.0"},
}

RUNTIME = """
.text
.globl _{registration}
_{registration}: ret
.globl _TVMFFIErrorSetRaisedFromCStrParts
_TVMFFIErrorSetRaisedFromCStrParts: ret
_startup:
{load}
  ret
.section __TEXT,__cstring,cstring_literals
l_name: .asciz "{loader}"
.section {section}
.p2align 3
.quad _startup
.subsections_via_symbols
"""
LOADS = {
    "arm64": "  adrp x0, l_name@PAGE\n  add x0, x0, l_name@PAGEOFF",
    "x86_64": "  leaq l_name(%rip), %rdi",
}
MAIN = ".text\n.globl _main\n_main: ret\n.subsections_via_symbols\n"
NEW_LOADER = "ffi.Module.load_from_bytes.relax.VMExecutable"
OLD_LOADER = "runtime.module.loadbinary_relax.Executable"


def program(name: str) -> str:
    """A program of LLVM. A missing one is a skip at a desk and a failure in Linux CI."""
    found = next((path for suffix in ("-19", "", "-18", "-20") if (path := shutil.which(name + suffix))), None)
    if found is None:
        missing = f"{name} is not installed (apt: llvm-19 lld-19)"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def tool(name: str, *words: str | Path) -> None:
    done = subprocess.run([program(name), *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass
class Linker:
    """Links apps of one processor.

    Attributes:
        objects: prefix -> (the object with the functions, the object with the blob).
    """

    platform: str
    arch: str
    objects: Mapping[str, tuple[bytes, bytes]]
    folder: Path
    _made: list[Path] = field(default_factory=list)

    @property
    def triple(self) -> str:
        return TRIPLES[self.platform, self.arch]

    def assemble(self, source: str, triple: str | None = None) -> Path:
        path = self._new("o")
        path.with_suffix(".s").write_text(source)
        tool("llvm-mc", f"-triple={triple or self.triple}", "-filetype=obj", "-o", path, path.with_suffix(".s"))
        return path

    def runtime(self, *, registration: str = "TVMFFIEnvModRegisterSystemLibSymbol", loader: str = NEW_LOADER) -> Path:
        """The fake of the runtime, as an archive."""
        section = "__DATA,__mod_init_func,mod_init_funcs"
        source = RUNTIME.format(registration=registration, loader=loader, load=LOADS[self.arch], section=section)
        path = self._new("a")
        path.write_bytes(write_archive([Member("runtime.o", self.assemble(source).read_bytes())], "darwin"))
        return path

    def archive(self, prefixes: Iterable[str] = MODELS) -> Path:
        members = [
            Member(prefix + name, data)
            for prefix in prefixes
            for name, data in zip(("lib0.o", "devc.o"), self.objects[prefix], strict=True)
        ]
        path = self._new("a")
        path.write_bytes(write_archive(members, "darwin"))
        return path

    def link(
        self,
        *options: str | Path,
        models: Iterable[str] = MODELS,
        force_load: bool = True,
        runtime: Path | None = None,
        kind: str = "executable",
        export: Iterable[str] | None = None,
    ) -> bytes:
        """A program or a dynamic library, with dead code removed."""
        out, stub = self._new("out"), self._new("tbd")
        names = [
            "dyld_stub_binder",
            *(["TVMFFIErrorSetRaisedFromCStrParts"] if kind == "dylib" and not runtime else []),
        ]
        stub.write_text(write_tbd(self.arch, self.platform, names, "/usr/lib/libSystem.B.dylib"))
        name = {"maccatalyst": "mac-catalyst"}.get(self.platform, self.platform)
        version = "18.0" if self.platform == "maccatalyst" else "14.0"
        start = ["-dylib"] if kind == "dylib" else [self.assemble(MAIN)]
        if export is not None:
            start += [word for symbol in export for word in ("-exported_symbol", symbol)]
        tool(
            "ld64.lld", "-arch", self.arch, "-platform_version", name, version, "18.0", "-dead_strip", *start,
            *(["-force_load"] if force_load else []), self.archive(models),
            *(["-force_load", runtime] if runtime else []), *options, stub, "-o", out,
        )  # fmt: skip
        return out.read_bytes()

    def stripped(self, image: bytes) -> bytes:
        path = self._new("stripped")
        path.write_bytes(image)
        tool("llvm-strip", path)
        return path.read_bytes()

    def _new(self, ending: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{len(self._made)}.{ending}"
        self._made.append(path)
        return path


def app(
    image: bytes, *, platform: str = "ios", name: str = "Chat", more: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The files of a `.app`: flat for a phone, with `Contents` for a Mac."""
    mac = platform == "maccatalyst"
    plist = plistlib.dumps({"CFBundleExecutable": name, "CFBundleIdentifier": "org.example.chat", **PLISTS[platform]})
    inner = "Contents/" if mac else ""
    files = {
        f"{inner}Info.plist": plist,
        f"{inner}MacOS/{name}" if mac else name: image,
        f"{inner}Resources/Assets.car" if mac else "Assets.car": b"BOMStore" + bytes(64),
    }
    files |= {inner + path: data for path, data in (more or {}).items()}
    return {f"{name}.app/{path}": data for path, data in files.items()}


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root / next(iter(files)).split("/")[0]


def write_ipa(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"Payload/{name}", data)
    return path


def cpio(files: Mapping[str, bytes], *, newc: bool = False) -> bytes:
    """A cpio archive, with the folders and a link as `pkgbuild` writes them."""
    entries = [(".", 0o040755, b""), ("./Applications", 0o040755, b""), ("./link", 0o120755, b"Applications")]
    entries += [(f"./Applications/{name}", 0o100755, data) for name, data in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    out = io.BytesIO()
    for number, (name, mode, data) in enumerate(entries):
        raw = name.encode() + b"\0"
        if newc:
            words = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
            head = b"070701" + "".join(f"{word:08x}" for word in words).encode() + raw
            out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
        else:
            short = "".join(f"{value:06o}" for value in (0, number, mode, 0, 0, 1, 0))
            out.write(f"070707{short}{0:011o}{len(raw):06o}{len(data):011o}".encode() + raw + data)
    return out.getvalue()


def pbzx(data: bytes, chunk: int = 1 << 16) -> bytes:
    """The form in which newer tools compress payloads: chunks of xz, or plain where that is shorter."""
    out = b"pbzx" + struct.pack(">Q", chunk)
    for at in range(0, len(data), chunk):
        piece = data[at : at + chunk]
        packed = min(lzma.compress(piece), piece, key=len)
        out += struct.pack(">2Q", len(piece), len(packed)) + packed
    return out


def xar(files: Mapping[str, bytes], *, toc: str | None = None) -> bytes:
    """A xar archive with the files stored as they are."""
    heap, entries = b"\0" * 20, ""
    for number, (path, data) in enumerate(files.items()):
        *folders, name = path.split("/")
        entry = (
            f"<name>{name}</name><type>file</type><data><length>{len(data)}</length><offset>{len(heap)}</offset>"
            f'<size>{len(data)}</size><encoding style="application/octet-stream"/></data>'
        )
        entry = f'<file id="{number}">{entry}</file>'
        for folder in reversed(folders):
            entry = f'<file id="d{number}"><name>{folder}</name><type>directory</type>{entry}</file>'
        entries += entry
        heap += data
    document = toc or f'<?xml version="1.0" encoding="UTF-8"?><xar><toc>{entries}</toc></xar>'
    packed = zlib.compress(document.encode())
    return struct.pack(">4s2H2QI", b"xar!", 28, 1, len(packed), len(document.encode()), 1) + packed + heap


def write_pkg(path: Path, files: Mapping[str, bytes], *, product: bool = True) -> Path:
    """An installer package as Xcode's export for the App Store writes it."""
    payload = gzip.compress(cpio(files))
    folder = "Chat.pkg/" if product else ""
    path.write_bytes(xar({"Distribution": b"<installer/>", f"{folder}PackageInfo": b"", f"{folder}Payload": payload}))
    return path


def fat(**slices: bytes) -> bytes:
    return write_fat([Slice(arch, data) for arch, data in slices.items()])
