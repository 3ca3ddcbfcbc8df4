"""`doit deploy`: what dist/ ships, on an Android device behind adb, and only what is not there yet.

Needs no dodo.py and no compiler: a folder with its manifest.json is enough. The parts are in `pipeline.adb`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.adb import deploy as deploying
from pipeline.adb.deploy import Survey
from pipeline.adb.device import Device, choose, find_adb
from pipeline.adb.shipment import Fit, Shipment, check_fits, choose_shipment, declared, read_manifest
from pipeline.documents.memory import gigabytes
from pipeline.reports.events import size
from pipeline.reports.transfer import shown

from .base import PlainCommand, flag, json_flag, value
from .wording import count, duration

FOLDER = "/sdcard/slipway"
SCHEMA = 1


@dataclass(frozen=True)
class DeployOptions:
    """See `doit help deploy`."""

    device: str = value("serial number of the device [default: ANDROID_SERIAL, else the only one]", short="s")
    declared: str = value(
        "the device that it is in targets.yaml, which must hold what is pushed [default: by `adb_model`]", long="as"
    )
    to: str = value("folder on the device [default: %(default)s]", default=FOLDER)
    dist: str = value("folder with manifest.json [default: %(default)s]", default="dist")
    prune: bool = flag("remove what an earlier deploy put there and is no longer shipped")
    dry_run: bool = flag("say what would change, and change nothing")
    json: bool = json_flag()


@dataclass(frozen=True)
class _Deployed:
    """What came of it: the device, what goes there, how it differed, what was removed, and the seconds it took.

    `fit` is what the declared device holds, where it is known which one it is.
    """

    device: Device
    shipment: Shipment
    fit: Fit | None
    found: Survey
    removed: tuple[str, ...]
    seconds: float


class Deploy(PlainCommand[DeployOptions]):
    """push what dist/ ships to an Android device, over adb (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "deploy"
    doc_usage = "[PRODUCT|bundle/MODEL|FOLDER ...] [--device SERIAL] [--as NAME] [--to FOLDER] [--prune] [--dry-run]"
    doc_description = (
        "A product travels with the bundles of its models. Without names all of dist/ does, but products of kind "
        "xcframework, native and web. Only what is missing or differs is pushed; the SHA-256 of every pushed file is "
        "taken on the device before it gets its name. A device that targets.yaml declares gets no model that does not "
        "fit. A deploy that broke off goes on when it is called again. Exit "
        "status: 0 the device has it all, 1 a dry run found that it has not, 3 it cannot be done."
    )

    def answer(self, options: DeployOptions, args: Sequence[str]) -> int:
        """See `ProjectCommand`."""
        done = _deploy(options, args)
        lines = [*_changes(done, options), *_summary(done, options)]
        self.show(_document(done, dry_run=options.dry_run), lines, as_json=options.json)
        stale = done.found.push or (options.prune and done.found.stray)
        return 1 if options.dry_run and stale else 0


def _deploy(options: DeployOptions, names: Sequence[str]) -> _Deployed:
    began = time.monotonic()
    folder = deploying.folder_of(options.to)
    dist = Path(options.dist)
    document = read_manifest(dist)
    shipment = choose_shipment(dist, document, names)
    device = choose(find_adb(), options.device)
    known = declared(document, device, options.declared)
    fit = check_fits(document, shipment, known, device.serial) if known is not None else None
    removed: tuple[str, ...] = ()
    with device.alone():  # two deploys would rename each other's files
        found = deploying.survey(device, shipment, folder)
        deploying.check_space(device, found)
        if not options.dry_run:
            stream = sys.stderr if options.json else sys.stdout
            with shown(stream, len(found.push), _bytes(shipment, found.push)) as arrived:
                removed = deploying.deploy(
                    device, shipment, found, lambda path: arrived(path, shipment.files[path].size), prune=options.prune
                )
    return _Deployed(device, shipment, fit, found, removed, time.monotonic() - began)


def _bytes(shipment: Shipment, paths: Sequence[str]) -> int:
    return sum(shipment.files[path].size for path in paths)


def _changes(done: _Deployed, options: DeployOptions) -> Iterator[str]:
    if not options.dry_run:
        yield from (f"removed {path}" for path in done.removed)
        return
    for path in done.found.push:
        yield f"would push {path} ({size(done.shipment.files[path].size)})"
    if options.prune:
        yield from (f"would remove {path}" for path in done.found.stray)


def _summary(done: _Deployed, options: DeployOptions) -> Iterator[str]:
    found, total = done.found, len(done.shipment.files)
    place = f"{done.device.serial}:{found.folder}"
    if done.fit is not None:
        usable = gigabytes(done.fit.device.usable)
        unknown = f"; of {len(done.fit.unknown)} it is not known" if done.fit.unknown else ""
        yield f"{done.fit.device.name}: {count(len(done.fit.models), 'model')} of at most {usable}{unknown}"
    if not found.push:
        yield f"{place}: {count(total, 'file')}, all there"
    else:
        amount = f"{count(len(found.push), 'file')} ({size(_bytes(done.shipment, found.push))})"
        how = "SHA-256 taken on the device" if found.hashes else "read back, as the device has no sha256sum"
        what = "to push" if options.dry_run else f"pushed in {duration(done.seconds)}, {how}"
        yield f"{place}: {amount} {what}; {total - len(found.push)} of {total} were there"
    if found.stray and not options.prune:
        yield f"no longer shipped: {count(len(found.stray), 'file')} of an earlier deploy (--prune removes them)"


def _document(done: _Deployed, *, dry_run: bool) -> dict[str, object]:
    shipment, found = done.shipment, done.found
    return {
        "schema": SCHEMA,
        "ok": True,
        "device": done.device.serial,
        "as": done.fit.device.name if done.fit is not None else None,
        "to": found.folder,
        "dry_run": dry_run,
        "push": [{"path": path, "size": shipment.files[path].size} for path in found.push],
        "bytes": _bytes(shipment, found.push),
        "there": len(shipment.files) - len(found.push),
        "stray": list(found.stray),
        "removed": list(done.removed),
        "free": found.free,
        "needed": found.needed,
        "verified": "sha256sum" if found.hashes else "pull",
        "seconds": round(done.seconds, 3),
    }
