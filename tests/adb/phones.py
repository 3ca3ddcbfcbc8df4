"""A folder that stands for a phone, and what `dist/` ships. `conftest` makes fixtures of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.documents.codec import dumps
from pipeline.documents.manifest import Manifest, ManifestFile, ManifestProduct
from pipeline.files import digest_path

SERIAL = "emulator-5554"
KINDS = {"android": "android", "native": "native", "phone": "layout"}


@dataclass(frozen=True)
class Phone:
    """A stand-in for a phone: what is attached and what goes wrong is in the environment."""

    monkeypatch: pytest.MonkeyPatch
    home: Path

    @property
    def sdcard(self) -> Path:
        return self.home / SERIAL / "sdcard"

    def set(self, **faults) -> None:
        faults = {"home": str(self.home), "devices": {SERIAL: "device"}, **faults}
        self.monkeypatch.setenv("ANDROID_ADB_STAND_IN", json.dumps(faults))

    def plug_in(self) -> None:
        (self.home / f"{SERIAL}.gone").unlink()

    @property
    def pushes(self) -> int:
        """How many files were pushed since this was asked last."""
        count = self.home / f"{SERIAL}.pushes"
        number = int(count.read_text()) if count.exists() else 0
        count.unlink(missing_ok=True)
        return number

    def files(self, folder: str = "slipway") -> dict[str, bytes]:
        """Everything in a folder of the card, but for the record."""
        top = self.sdcard / folder
        found = {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        found.pop(".slipway-deploy.json", None)
        return found


def list_files(dist: Path) -> None:
    """Write the manifest of what is in dist/."""
    paths = sorted(path for path in dist.rglob("*") if path.is_file() and path != dist / "manifest.json")
    digests = {path.relative_to(dist).as_posix(): digest_path(path) for path in paths}
    files = tuple(ManifestFile(path, found.size, found.sha256) for path, found in digests.items())
    products = tuple(ManifestProduct(n, kind, ()) for n, kind in KINDS.items() if (dist / n).is_dir())
    (dist / "manifest.json").write_text(dumps(Manifest(1, products, (), files)))


def shipped(dist: Path, *tops: str) -> dict[str, bytes]:
    found = {str(path.relative_to(dist)): path.read_bytes() for path in dist.rglob("*") if path.is_file()}
    return {path: data for path, data in found.items() if path.startswith(tops)}
