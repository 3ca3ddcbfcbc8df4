"""`Info.plist` of an xcframework: which library is for which platform; `xcframework` writes it, proofs read it."""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

from pipeline.errors import FormatError

from .codec import decode, encode

NAME = "Info.plist"


@dataclass(frozen=True)
class AvailableLibrary:
    """A slice, in Apple's words; what is empty is not there.

    `BinaryPath` is what current Xcode writes for libraries too; older ones ignore it.
    """

    LibraryIdentifier: str = ""
    LibraryPath: str = ""
    SupportedArchitectures: tuple[str, ...] = ()
    SupportedPlatform: str = ""
    SupportedPlatformVariant: str | None = None
    BinaryPath: str | None = None


@dataclass(frozen=True)
class InfoPlist:
    """The whole list. Format 1.1 would say that a library has mergeable metadata, and archives have none."""

    AvailableLibraries: tuple[AvailableLibrary, ...] = ()
    CFBundlePackageType: str | None = None
    XCFrameworkFormatVersion: str | None = None


def dumps(found: InfoPlist) -> bytes:
    """Its text, with sorted keys."""
    return plistlib.dumps(encode(found), sort_keys=True)


def read_info_plist(bundle: Path) -> InfoPlist:
    """Read that of an xcframework.

    Raises:
        FormatError: it is no such list.
        OSError: it cannot be read.
    """
    try:
        found = decode(InfoPlist, plistlib.loads((bundle / NAME).read_bytes()), NAME)
    except (plistlib.InvalidFileException, ExpatError, ValueError) as error:
        raise FormatError(str(error), where=NAME) from error
    return found
