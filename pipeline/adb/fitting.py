"""Which declared device is behind adb, and does it hold the models that are on their way to it? `doit deploy` asks.

What is declared comes from the manifest of `dist/`. Nothing is guessed: a device is known by the name that it is given
on the command line, or by what adb calls it; where neither says which it is, or what a model takes, nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pipeline.documents.link_json import LinkJson
from pipeline.documents.manifest import Manifest, ManifestDevice
from pipeline.documents.memory import gigabytes
from pipeline.errors import DeviceError

from .device import Device
from .shipment import BUNDLE, Shipment

_SYSTEMS = frozenset({"android", "linux"})
"""What adb reaches."""

_OTHER = re.compile(r"[^A-Za-z0-9*?]")
"""What adb writes as `_` in the model of a device, but for the signs of patterns."""


@dataclass(frozen=True)
class Fit:
    """What a declared device is to hold.

    Attributes:
        device: it.
        models: what is pushed, and fits.
        unknown: those of which nobody says all that they take.
    """

    device: ManifestDevice
    models: tuple[str, ...]
    unknown: tuple[str, ...]


def declared(document: Manifest, device: Device, name: str) -> ManifestDevice | None:
    """The declared device that one behind adb is; None where nothing says so.

    Args:
        document: the manifest of `dist/`.
        device: the one behind adb.
        name: that of the declared one, or empty.

    Raises:
        DeviceError: no such device is declared, adb cannot reach it, or several are declared that it may be.
    """
    known = {one.name: one for one in document.devices or ()}
    if not name:
        found = [one for one in known.values() if _called(device.model, one.adb_model)]
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            what = f"{device.serial}, a {device.model}, is declared more than once: {names}"
            raise DeviceError(what, hint=f"say which it is: --as {found[0].name}")
        return found[0] if found else None
    if name not in known:
        near = get_close_matches(name, known, 1, 0.6)
        listed = (
            f"declared are: {', '.join(known)}" if known else "declare it: `devices` in targets.yaml, then run doit"
        )
        raise DeviceError(
            f"no device {name!r} is declared", hint=f"did you mean {near[0]}? {listed}" if near else listed
        )
    if known[name].os not in _SYSTEMS:
        what = f"{name} runs {known[name].os}, and {device.serial} is behind adb"
        raise DeviceError(what, hint="--as takes the name of a device that runs Android")
    return known[name]


def _called(model: str, patterns: Iterable[str]) -> bool:
    return bool(model) and any(fnmatchcase(model, _OTHER.sub("_", pattern)) for pattern in patterns)


def check_fits(document: Manifest, shipment: Shipment, device: ManifestDevice, serial: str) -> Fit:
    """Hold the models that are to be pushed against a device.

    Raises:
        DeviceError: one does not fit, or all that is pushed of it is for other devices.
    """
    fits: list[str] = []
    unknown: list[str] = []
    problems: list[str] = []
    too_large = False
    for model, backends in sorted(_pushed(document, shipment).items()):
        usable = backends & {*device.backends}
        if backends and not usable:
            problems.append(
                f"{model} is there for {', '.join(sorted(backends))} only, and the device takes {_listed(device)}"
            )
            continue
        ways = [one for one in device.takes if one.model == model and (not usable or one.backend in usable)]
        small = [one for one in ways if one.bytes <= device.usable]
        if ways and not small:
            too_large = True
            least = min(ways, key=lambda one: one.bytes)
            problems.append(f"{model} takes {'at least ' * least.at_least}{gigabytes(least.bytes)}")
        elif any(not one.at_least for one in small):
            fits.append(model)
        else:
            unknown.append(model)
    if problems:
        where = f"{device.name}, where an app can use {gigabytes(device.usable)} of {gigabytes(device.ram)}"
        listed = "".join(f"\n    {one}" for one in problems)
        raise DeviceError(
            f"{serial} is {where}, and it cannot have what is to be pushed:{listed}",
            hint=_hint(fits, too_large=too_large),
        )
    return Fit(device, tuple(fits), tuple(unknown))


def _hint(fits: Sequence[str], *, too_large: bool) -> str:
    names = " ".join(f"{BUNDLE}{model}" for model in fits)
    less = f"name what fits (doit deploy {names})" if fits else "name other models, or folders of a product"
    if not too_large:
        return f"nothing was pushed: {less}"
    more = "if an app can use more there, say so (`usable` or `reserved` of the device in targets.yaml), and run doit"
    return f"nothing was pushed: {less}; or, {more}"


def _listed(device: ManifestDevice) -> str:
    return ", ".join(device.backends) or "none that was built"


def _pushed(document: Manifest, shipment: Shipment) -> dict[str, set[str]]:
    """Each model of a shipment, and the backends of its libraries in it: none where only its bundle is."""
    found: dict[str, set[str]] = {path.split("/")[1]: set() for path in shipment.files if path.startswith(BUNDLE)}
    for product in document.products:
        paths = {
            path.removeprefix(f"{product.name}/") for path in shipment.files if path.startswith(f"{product.name}/")
        }
        if paths and (shipment.dist / product.name / LinkJson.NAME).is_file():
            for model, backend in _of_product(LinkJson.read(shipment.dist / product.name), paths):
                found.setdefault(model, set()).update(backend)
    return found


def _of_product(link: LinkJson, paths: Collection[str]) -> Iterator[tuple[str, set[str]]]:
    for library in link.libraries:
        if library.file in paths:
            yield library.model, {library.backend}
        elif library.bundle is not None and any(path.startswith(f"{library.bundle}/") for path in paths):
            yield library.model, set()
    for archive in link.archives:
        if archive.archive in paths:
            yield from ((model, {one.name for one in archive.backends}) for model in archive.models)
    for module in link.modules:
        if module.file in paths:
            yield module.model, {module.backend}
    for file in link.files or ():
        if file.runtime is not None and file.file in paths:
            yield file.task.removeprefix(BUNDLE.replace("/", ":")), set()
