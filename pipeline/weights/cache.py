"""The download cache: what was fetched once is not fetched again, by any project of this user.

    <root>/blobs/ab/ab12…   finished files by their SHA-256
    <root>/urls/<id>/       half-done downloads, for resuming (`pipeline.weights.download`)
    <root>/locks/           one small file per thing that two processes must not do at once
    <root>/tmp/             scratch directories of running requests, which hold a lock on them

Deleting any of it, at any time nothing runs, costs only time. The store links to the blobs, so that weights lie on the
disk once. Repositories of the Hugging Face hub stay in the hub's own cache, where other programs find them too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.files import Digest, hash_path, sha256_bytes
from pipeline.files.locks import alone, own_folder, user_cache


@dataclass(frozen=True, slots=True)
class DownloadCache:
    """A cache at `root`; the directory is made when something is put in."""

    root: Path

    @staticmethod
    def default() -> DownloadCache:
        """The cache of this user."""
        return DownloadCache(user_cache())

    def blob(self, sha256: str) -> Path:
        """Where the file of that digest is, or would be."""
        return self.root / "blobs" / sha256[:2] / sha256

    def adopt(self, path: Path, digest: Digest) -> Path:
        """Move a finished file in, under its digest (which the caller has just computed), and return its new place."""
        blob = self.blob(digest.sha256)
        blob.parent.mkdir(parents=True, exist_ok=True)
        path.replace(blob)  # also over one that is there: the new one is known to be intact
        blob.chmod(0o444)
        return blob

    def intact(self, sha256: str) -> bool:
        """Whether the file of that digest is here, and still is what its name says.

        One that is not (a hand edit through a hard link, a bad disk) is dropped, so that it is fetched again.
        """
        blob = self.blob(sha256)
        if not blob.is_file():
            return False
        if hash_path(blob) == sha256:
            return True
        blob.unlink()
        return False

    def held(self, files: Mapping[str, Digest]) -> dict[str, Path] | None:
        """Where these files are, when all of them are here and intact."""
        digests = {digest.sha256 for digest in files.values()}
        if not all(self.blob(sha256).is_file() for sha256 in digests):
            return None  # no need to read the others
        if sum(self.intact(sha256) for sha256 in digests) < len(digests):  # all are looked at, all bad ones go
            return None
        return {path: self.blob(digest.sha256) for path, digest in files.items()}

    def partial(self, url: str) -> Path:
        """The directory for the half-done download of a URL (redacted: a new signature resumes the old download)."""
        return self.root / "urls" / sha256_bytes(url.encode())[:32]

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Hold off other processes that want to do the same thing until the block ends."""
        with ExitStack() as held:
            with disk_errors(self.root):
                held.enter_context(alone(self.root, what))
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory on the cache's file system, gone afterwards; removes what killed processes left."""
        parent = self.root / "tmp"
        with disk_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
        with own_folder(parent) as directory:
            yield directory


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn what a full or closed disk says into a `StoreError` with place and hint."""
    try:
        yield
    except OSError as error:
        place = os.fsdecode(error.filename or where)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreError(
                "no space left while writing weights",
                where=place,
                hint="free some space, or move the downloads: set SLIPWAY_CACHE to a directory on a larger disk",
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise StoreError(
                f"cannot be used: {error.strerror}",
                where=place,
                hint="make it readable and writable, or set SLIPWAY_CACHE to a directory that is",
            ) from error
        raise
