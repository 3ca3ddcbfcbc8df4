"""Directories of inputs on the far side, each named by what is in it: `performer` hands them to steps."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from pipeline.engine import keys
from pipeline.files import Digest, temporary_in
from pipeline.store.action_result import Output
from pipeline.store.cas import Cas


class Folders:
    """Directories below one. The same files are the same directory, so that orders can share a lowering."""

    def __init__(self, home: Path, blobs: Cas) -> None:
        self._home = home
        self._blobs = blobs
        self._guard = threading.Lock()

    def __call__(self, files: Mapping[str, Output]) -> Path:
        """A directory with these files, whose blobs are there.

        Raises:
            BlobMissing: one is gone.
            OSError: it cannot be written.
        """
        folder = self._home / keys.digest({path: list(output) for path, output in files.items()})
        with self._guard:
            if not folder.is_dir():
                new = Path(temporary_in(self._home))
                new.mkdir(parents=True)
                for path, (sha256, size, mode) in files.items():
                    self._blobs.materialise(Digest(sha256, size), str(new / path), mode)
                new.rename(folder)
        return folder

    def relative(self, text: str) -> str:
        """A text in which files are named as in the tree that an order came from."""
        for folder in self._home.glob("*"):
            text = text.replace(f"{folder}/", "")
        return text
