"""What of an app matters: its binaries, what its property lists say it is for, and the model lists it ships.

`pipeline.commands.verify_app` calls `read_contents`; `verdicts` judges the result.
"""

from __future__ import annotations

import fnmatch
import plistlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.errors import FormatError, SlipwayError
from pipeline.platforms import APPLE, SDKS

from .containers import Container, File, read_limited
from .expectations import MOST_RECORDS, Expected, models_of_config
from .images import Image, looks_like_code, read_images

CONFIG = "mlc-app-config.json"
_LARGEST_TEXT = 64 << 20
_LARGEST_PLIST = 4 << 20

_SYSTEMS = {sdk: frozenset(name for name, one in APPLE.items() if one.sdk == sdk) for sdk in SDKS.values()}
"""CFBundleSupportedPlatforms and DTPlatformName, in lower case -> platforms of LC_BUILD_VERSION.

They are called as the SDKs are, so the property list of a Catalyst app says MacOSX.
"""
_SLICES = {(apple.supported, apple.variant or ""): platform for platform, apple in APPLE.items()}
"""(SupportedPlatform, SupportedPlatformVariant) of an xcframework -> platform of LC_BUILD_VERSION."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a property list says about the binaries in its folder.

    Attributes:
        root: the folder it speaks for.
        platforms: what LC_BUILD_VERSION of a binary there may name.
    """

    root: str
    says: str
    platforms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contents:
    """An app, read.

    Attributes:
        images: every binary, one entry a processor.
        programs: paths of the images that are started as the app itself (not those of its extensions).
        claims: of property lists, the innermost folders last.
        config: models that the lists inside the app ask for.
        notes: files that look like code and could not be read, with the reason, and what was left out.
        bad_lists: lists of models that the app itself cannot read.
    """

    name: str
    kind: str
    images: tuple[Image, ...]
    programs: frozenset[str]
    claims: tuple[Claim, ...]
    config: tuple[Expected, ...]
    notes: tuple[str, ...]
    bad_lists: tuple[SlipwayError, ...] = ()

    @property
    def lacking(self) -> list[str]:
        """Libraries that images load, and that are not here."""
        here = {PurePosixPath(image.path).name for image in self.images}
        loaded = dict.fromkeys(library for image in self.images for library in image.needed)
        return [one for one in loaded if not _is_systems(one) and PurePosixPath(one).name not in here]

    @property
    def complete(self) -> bool:
        """Whether everything that will run together is here: what a lone binary lacks may be in a library it loads."""
        if self.kind == "binary":
            return bool(self.programs) and not self.lacking
        return bool(self.programs) or self.kind in {"apk", "aab", "apks"}


@dataclass
class _Reading:
    """What has been found so far in the files of a container."""

    container: Container
    images: list[Image] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    config: list[Expected] = field(default_factory=list)
    executables: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    bad_lists: list[SlipwayError] = field(default_factory=list)

    def take(self, file: File) -> None:
        """Read one file, where it is of any interest."""
        name = PurePosixPath(file.path).name
        if name == "Info.plist":
            self._take_property_list(file)
        elif name == CONFIG:
            try:
                data = read_limited(file, file.path, _LARGEST_TEXT)
                self.config += models_of_config(data, file.path, self.notes)
            except SlipwayError as error:
                self.bad_lists.append(error)
            if len(self.config) > MOST_RECORDS:
                what = f"its lists have more than {MOST_RECORDS} models in all"
                raise FormatError(what, where=self.container.path, hint="leave some out: --exclude PATTERN")
        elif self.container.kind == "binary" or (looks_like_code(file.head) and self._runs(file)):
            try:
                self.images += read_images(read_limited(file, self.container.path), file.path, file.stored_at)
            except FormatError as error:
                if self.container.kind == "binary":
                    raise
                self.notes.append(_one_line(error))

    def _take_property_list(self, file: File) -> None:
        path = PurePosixPath(file.path).parent  # of its bundle
        if path.name == "Resources":  # of a framework for the Mac: X.framework/Versions/A/Resources
            path = path.parent.parent.parent if path.parent.parent.name == "Versions" else path.parent
        elif path.name == "Contents":
            path = path.parent
        try:
            plist = plistlib.loads(read_limited(file, file.path, _LARGEST_PLIST))
        except Exception as broken:  # noqa: BLE001 - plistlib raises whatever it trips over in a malformed file
            self.notes.append(f"{file.path}: is not a property list: {_one_line(FormatError(str(broken)))}")
            return
        if isinstance(plist, dict):
            root, executable = path.as_posix(), plist.get("CFBundleExecutable")
            self.claims += _claims(root, plist)
            if isinstance(executable, str):
                self.executables |= {f"{root}/{executable}", f"{root}/Contents/MacOS/{executable}"}

    def _runs(self, file: File) -> bool:
        """Whether code is where it can run: a static archive only as what a framework or a slice is made of."""
        if not file.head.startswith(b"!<arch>"):
            return True
        folder = PurePosixPath(file.path).parent
        if self.container.kind == "xcframework" and len(folder.parts) == _SLICE_DEPTH:
            return True
        if folder.parent.name == "Versions":
            folder = folder.parent.parent
        is_frameworks = folder.suffix == ".framework" and folder.stem == PurePosixPath(file.path).name
        return self.container.kind in {"framework", "xcframework"} and is_frameworks


_SLICE_DEPTH = 2
"""`m.xcframework/ios-arm64`: the folder of a slice."""


def read_contents(container: Container, exclude: Sequence[str] = ()) -> Contents:
    """Read the binaries and the lists of an app, but for paths in it and models in its lists that match `exclude`.

    Raises:
        FormatError: it is damaged, or holds no binary that can be read.
    """
    reading = _Reading(container)
    left_out: dict[str, int] = dict.fromkeys(exclude, 0)
    for file in container.files():
        if not _is_excluded((file.path, PurePosixPath(file.path).name), left_out):
            reading.take(file)
    config = [one for one in reading.config if not _is_excluded((one.name, one.asked or one.name), left_out)]
    reading.notes += (f"--exclude {pattern}: {count} left out" for pattern, count in left_out.items())
    images = reading.images
    if not images:
        said = f" ({'; '.join(reading.notes)})" if reading.notes else ""
        hint = "give an app, or a library that a compiler or a linker wrote"
        raise FormatError(f"holds no binary that can be read{said}", where=container.path, hint=hint)
    programs = _programs(images, reading.executables)
    named = {PurePosixPath(library).name for image in images for library in image.needed}
    strangers = [one.name for one in container.libraries if programs and one.name not in named]
    if strangers:
        hint = f"give what is loaded: {', '.join(sorted(named)) or 'nothing'}"
        raise FormatError(f"nothing in it loads {', '.join(strangers)}", where=container.path, hint=hint)
    return Contents(
        name=container.path.name,
        kind=container.kind,
        images=tuple(images),
        programs=programs,
        claims=tuple(sorted(reading.claims, key=lambda claim: len(claim.root))),
        config=tuple(config),
        notes=tuple(reading.notes),
        bad_lists=tuple(reading.bad_lists),
    )


def _is_excluded(names: Sequence[str], patterns: dict[str, int]) -> bool:
    """Whether a pattern matches one of the names of something; counts it for that pattern."""
    for pattern in patterns:
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            patterns[pattern] += 1
            return True
    return False


def _one_line(error: SlipwayError) -> str:
    return str(error).replace("\n ", ";")


def _is_systems(library: str) -> bool:
    """Whether a needed library is surely not the runtime: a path of the system, or (ELF) a name without TVM or MLC."""
    return library.startswith(("/usr/lib/", "/System/")) or not ("/" in library or "tvm" in library or "mlc" in library)


def claim_on(image: Image, claims: tuple[Claim, ...]) -> Claim | None:
    """The claim of the innermost folder that an image is in."""
    inside = [claim for claim in claims if image.path.startswith(f"{claim.root}/")]
    return inside[-1] if inside else None


def _claims(root: str, plist: Mapping[str, object]) -> Iterator[Claim]:
    libraries = plist.get("AvailableLibraries")
    for library in libraries if isinstance(libraries, list) else ():
        keys = ("SupportedPlatform", "SupportedPlatformVariant", "LibraryIdentifier")
        words = [library.get(key, "") if isinstance(library, dict) else None for key in keys]
        system, variant, identifier = (word if isinstance(word, str) else "?" for word in words)
        if platform := _SLICES.get((system, variant)):
            yield Claim(f"{root}/{identifier}", f"LibraryIdentifier {identifier}", frozenset({platform}))
    for key in ("CFBundleSupportedPlatforms", "DTPlatformName"):
        value = plist.get(key)
        names = [name for name in (value if isinstance(value, list) else [value]) if isinstance(name, str)]
        known = [_SYSTEMS[name.lower()] for name in names if name.lower() in _SYSTEMS]
        if known:
            yield Claim(root, f"{key} {' '.join(names)}", frozenset().union(*known))
            return


def _programs(images: list[Image], executables: set[str]) -> frozenset[str]:
    """Programs of the outermost apps; a lone program is one."""
    found = {image.path for image in images if image.kind == "executable"}
    named = {path for path in found if path in executables and ".appex/" not in path} or found
    depth = min((_apps(path) for path in named), default=0)
    return frozenset(path for path in named if _apps(path) == depth)


def _apps(path: str) -> int:
    return sum(part.endswith(".app") for part in PurePosixPath(path).parts)
