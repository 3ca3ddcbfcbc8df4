"""What the directories of a store have in common: layout, what reaches the disk when, and what killed processes left.

`cas` and `action_cache` keep theirs so.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.files import TEMPORARY, write_atomic

from .os_errors import store_error

STALE_SECONDS = 24 * 3600
"""Age after which a temporary file belongs to a process that was killed."""

CACHEDIR_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of Slipway.\n"
"""See https://bford.info/cachedir/"""


class Unsynced:
    """Files that were written and may not be on the disk yet; with `sync`, `flush` waits for it.

    Methods may be called from any thread.
    """

    def __init__(self, *, sync: bool) -> None:
        self._sync = sync
        self._paths: list[str] = []
        self._lock = threading.Lock()

    def add(self, path: str) -> None:
        """Note a file that was written."""
        self._paths.append(path)

    def flush(self) -> None:
        """Wait until all files so far, of any thread, are on the disk.

        Raises:
            StoreError: the disk says no.
        """
        with self._lock:
            pending, self._paths = self._paths, []
            for path in pending if self._sync else ():
                try:
                    fd = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(fd)
                    finally:
                        os.close(fd)
                except FileNotFoundError:
                    continue  # found damaged and removed meanwhile: nothing to keep
                except OSError as error:
                    raise store_error(error, "write a blob", path) from error


def files_of(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file of a sharded directory (`ab/ab12…`) with its state; temporary files are left out."""
    try:
        shards = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:  # a link to itself, or closed to us
        raise store_error(error, "read the store", folder) from error
    for shard in shards:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{folder}/{shard}") as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.name[:2] == shard and "." not in entry.name:
                        yield entry.name, entry.stat(follow_symlinks=False)


def sweep(*folders: str | Path, age: float = 0.0) -> None:
    """Remove temporary files that killed processes have left in these directories. Failing to is no error.

    A file of that age in seconds is taken to be such a one; 0 is for who is alone there.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            for path in Path(folder).iterdir():
                with contextlib.suppress(OSError):
                    # The ctime: a hard link has the mtime of what it is a link to.
                    if path.name.endswith(TEMPORARY) and path.lstat().st_ctime <= time.time() - age:
                        path.unlink()


def tag_cache(folder: str | Path) -> None:
    """Mark a directory as one that backups may leave out. Failing to is no error."""
    tag = Path(folder, "CACHEDIR.TAG")
    with contextlib.suppress(OSError):
        if not tag.exists():
            write_atomic(tag, CACHEDIR_TAG)
