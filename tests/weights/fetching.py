"""What the tests of weights share: fetching as the step does, and making archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.weights.cache import DownloadCache
from pipeline.weights.fetch import fetch


@dataclass
class Fetcher:
    """Calls `fetch` as the step does, each time into a new directory."""

    root: Path
    cache: DownloadCache
    log: Path
    progress: list[tuple[float, float | None]] = field(default_factory=list)
    runs: int = 0

    def __call__(
        self, source: Mapping[str, Any], *, locked: Any = None, path: Path | None = None
    ) -> tuple[Any, dict[str, bytes]]:
        """The lock entry and the files that are now there."""
        self.runs += 1
        out = self.root / f"out{self.runs}"
        out.mkdir()
        fetched = fetch(
            "m", source, locked=locked, path=path, out=out, log=self.log,
            progress=lambda done, total: self.progress.append((done, total)),
        )  # fmt: skip
        return fetched.entry.to_json(), {path: file.read_bytes() for path, file in fetched.files.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return buffer.getvalue()
