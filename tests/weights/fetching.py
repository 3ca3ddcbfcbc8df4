"""What the tests of weights share: fetching as the step does, and making archives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pipeline.documents.codec import decode, encode
from pipeline.matrix.source import SourceOfWeights, WeightsSource
from pipeline.weights.cache import DownloadCache
from pipeline.weights.entry import Entry
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
        pin = None if locked is None else decode(Entry, locked, "slipway.lock")
        fetched = fetch(
            "m", source_of(source), locked=pin, path=path, out=out, log=self.log,
            progress=lambda done, total: self.progress.append((done, total)),
        )  # fmt: skip
        return encode(fetched.entry), {path: file.read_bytes() for path, file in fetched.files.items()}


def source_of(settings: Mapping[str, Any]) -> WeightsSource:
    """A source from its settings in targets.yaml."""
    kind = next(kind for kind in get_args(SourceOfWeights) if kind in settings)
    return decode(WeightsSource, {"kind": kind, **settings}, "targets.yaml")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return buffer.getvalue()
