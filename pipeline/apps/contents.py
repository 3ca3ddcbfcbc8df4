"""What of an app matters: its binaries, what its property lists say it is for, and the model lists it ships.

`pipeline.commands.verify_app` calls `read_contents`; `verdicts` judges the result. Must not know what is expected.
"""

from __future__ import annotations

import plistlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.parsers.expat import ExpatError

from pipeline.action import Json
from pipeline.errors import FormatError, SlipwayError

from .containers import Container, File, read_limited
from .expectations import Expected, models_of_config
from .images import Image, looks_like_code, read_images

CONFIG = "mlc-app-config.json"
_LARGEST_TEXT = 64 << 20

_SYSTEMS = {
    "iphoneos": frozenset({"ios"}),
    "iphonesimulator": frozenset({"ios-simulator"}),
    "macosx": frozenset({"macos", "maccatalyst"}),  # the property list of a Catalyst app says MacOSX
    "appletvos": frozenset({"tvos"}),
    "appletvsimulator": frozenset({"tvos-simulator"}),
    "watchos": frozenset({"watchos"}),
    "watchsimulator": frozenset({"watchos-simulator"}),
    "xros": frozenset({"xros"}),
    "xrsimulator": frozenset({"xros-simulator"}),
}
"""CFBundleSupportedPlatforms and DTPlatformName, in lower case -> platforms of LC_BUILD_VERSION."""
_SLICES = {
    ("ios", ""): "ios",
    ("ios", "simulator"): "ios-simulator",
    ("ios", "maccatalyst"): "maccatalyst",
    ("macos", ""): "macos",
}
"""(SupportedPlatform, SupportedPlatformVariant) of an xcframework -> platform of LC_BUILD_VERSION."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a property list says about the binaries in its folder.

    Attributes:
        root: the folder it speaks for.
        says: its own words, for people.
        platforms: what LC_BUILD_VERSION of a binary there may name.
    """

    root: str
    says: str
    platforms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contents:
    """An app, read.

    Attributes:
        name: of the file or folder.
        kind: see `Container`.
        images: every binary, one entry a processor.
        programs: paths of the images that are started as the app itself (not those of its extensions).
        claims: of property lists, the innermost folders last.
        config: models that the lists inside the app ask for.
        notes: files that look like code and could not be read, with the reason.
    """

    name: str
    kind: str
    images: tuple[Image, ...]
    programs: frozenset[str]
    claims: tuple[Claim, ...]
    config: tuple[Expected, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether everything that will run together is here: what a lone binary lacks may be in a library it loads."""
        if self.kind == "binary":
            loaded = [library for image in self.images if image.path in self.programs for library in image.needed]
            return bool(self.programs) and all(_is_systems(library) for library in loaded)
        return bool(self.programs) or self.kind in {"apk", "aab"}


def read_contents(container: Container) -> Contents:
    """Read the binaries and the lists of an app.

    Raises:
        FormatError: it is damaged, or holds no binary that can be read.
    """
    images: list[Image] = []
    claims: list[Claim] = []
    config: list[Expected] = []
    executables: set[str] = set()
    notes: list[str] = []
    archives = container.kind in {"framework", "xcframework"}  # elsewhere an archive is no code that runs
    for file in container.files():
        name = PurePosixPath(file.path).name
        if name == "Info.plist":
            for root, plist in _property_list(file, notes):
                claims += _claims(root, plist)
                if executable := plist.get("CFBundleExecutable"):
                    executables |= {f"{root}/{executable}", f"{root}/Contents/MacOS/{executable}"}
        elif name == CONFIG:
            config += _shipped_config(file, notes)
        elif container.kind == "binary" or (
            looks_like_code(file.head) and (archives or not file.head.startswith(b"!<arch>"))
        ):
            try:
                images += read_images(read_limited(file, container.path), file.path)
            except FormatError as error:
                if container.kind == "binary":
                    raise
                notes.append(str(error).replace("\n ", ";"))
    if not images:
        said = f" ({'; '.join(notes)})" if notes else ""
        hint = "give an app, or a library that a compiler or a linker wrote"
        raise FormatError(f"holds no binary that can be read{said}", where=container.path, hint=hint)
    return Contents(
        name=container.path.name,
        kind=container.kind,
        images=tuple(images),
        programs=_programs(images, executables),
        claims=tuple(sorted(claims, key=lambda claim: len(claim.root))),
        config=tuple(config),
        notes=tuple(notes),
    )


def _is_systems(library: str) -> bool:
    """Whether a needed library is surely not the runtime: a path of the system, or (ELF) a name without TVM or MLC."""
    return library.startswith(("/usr/lib/", "/System/")) or not ("/" in library or "tvm" in library or "mlc" in library)


def claim_on(image: Image, claims: tuple[Claim, ...]) -> Claim | None:
    """The claim of the innermost folder that an image is in."""
    inside = [claim for claim in claims if image.path.startswith(f"{claim.root}/")]
    return inside[-1] if inside else None


def _property_list(file: File, notes: list[str]) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """(the bundle's folder, its property list)."""
    path = PurePosixPath(file.path).parent
    if path.name == "Resources":  # of a framework for the Mac: X.framework/Versions/A/Resources
        path = path.parent.parent.parent if path.parent.parent.name == "Versions" else path.parent
    elif path.name == "Contents":
        path = path.parent
    try:
        plist = plistlib.loads(read_limited(file, file.path, _LARGEST_TEXT))
    except (plistlib.InvalidFileException, ExpatError, ValueError, OverflowError, RecursionError) as broken:
        notes.append(f"{file.path}: is no property list: {broken}")
        return
    if isinstance(plist, dict):
        yield path.as_posix(), plist


def _claims(root: str, plist: Mapping[str, Json]) -> Iterator[Claim]:
    for library in plist.get("AvailableLibraries") or ():
        variant = library.get("SupportedPlatformVariant", "")
        if platform := _SLICES.get((library.get("SupportedPlatform", ""), variant)):
            identifier = library.get("LibraryIdentifier", "")
            yield Claim(f"{root}/{identifier}", f"LibraryIdentifier {identifier}", frozenset({platform}))
    for key in ("CFBundleSupportedPlatforms", "DTPlatformName"):
        value = plist.get(key)
        names = [str(name) for name in (value if isinstance(value, list) else [value] if value else [])]
        known = [_SYSTEMS[name.lower()] for name in names if name.lower() in _SYSTEMS]
        if known:
            yield Claim(root, f"{key} {' '.join(names)}", frozenset().union(*known))
            return


def _shipped_config(file: File, notes: list[str]) -> list[Expected]:
    try:
        return models_of_config(read_limited(file, file.path, _LARGEST_TEXT), file.path)
    except SlipwayError as error:
        notes.append(str(error).replace("\n ", ";"))
        return []


def _programs(images: list[Image], executables: set[str]) -> frozenset[str]:
    """Programs of the outermost apps; a lone program is one."""
    found = {image.path for image in images if image.kind == "executable"}
    named = {path for path in found if path in executables and ".appex/" not in path} or found
    depth = min((_apps(path) for path in named), default=0)
    return frozenset(path for path in named if _apps(path) == depth)


def _apps(path: str) -> int:
    return sum(part.endswith(".app") for part in PurePosixPath(path).parts)
