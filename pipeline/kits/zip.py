"""Writes zip files whose bytes depend on nothing but the names, modes and contents of what is in them.

`xcframework` calls it: SwiftPM pins a binary target by the SHA-256 of its zip, so the zip of an unchanged product must
not change.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip can carry."""

_UNIX = 3
_FILE, _PROGRAM = 0o644, 0o755


def write_zip(archive: Path, folder: Path) -> None:
    """Pack `folder`, with its own name as the only entry at the root, into `archive`.

    Names are sorted, times fixed, modes 0644 or 0755, and no entry carries an extra field. Entries are stored, not
    deflated: what deflate writes differs between builds of zlib, and then so would the checksum.

    Args:
        archive: file to write.
        folder: what to pack. Symbolic links in it are followed.
    """
    with zipfile.ZipFile(archive, "w", compression=zipfile.ZIP_STORED, allowZip64=True) as packed:
        for path in sorted(folder.rglob("*"), key=lambda found: found.relative_to(folder).as_posix()):
            if not path.is_file():
                continue
            info = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", EPOCH)
            info.create_system = _UNIX
            status = path.stat()
            mode = _PROGRAM if status.st_mode & stat.S_IXUSR else _FILE
            info.external_attr = (stat.S_IFREG | mode) << 16
            info.file_size = status.st_size
            with path.open("rb") as source, packed.open(info, "w") as entry:
                shutil.copyfileobj(source, entry, 1 << 20)
