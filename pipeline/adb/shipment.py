"""What of `dist/` goes to a device, which declared one that is, and whether it holds the models: `doit deploy` asks.

All of it comes from the manifest of `dist/`, whose sizes and digests are held against the files. Nothing is guessed: a
device is known by the name that it is given on the command line, or by what adb calls it; where neither says which it
is, or what a model takes, nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.documents.codec import load
from pipeline.documents.link_json import LinkJson
from pipeline.documents.manifest import SCHEMA, Manifest, ManifestDevice, ManifestFile, ManifestProduct
from pipeline.documents.memory import gigabytes
from pipeline.errors import DeviceError, FormatError, StoreError
from pipeline.files import Digest, digest_path
from pipeline.files.names import unsafe_path
from pipeline.nearest import did_you_mean

from .device import Device

BUNDLE = "bundle/"

NOT_FOR_ANDROID = frozenset({"native", "web", "xcframework"})
"""Kinds of products that are pushed only when they are named."""

_SYSTEMS = frozenset({"android", "linux"})
"""What adb reaches."""

_OTHER = re.compile(r"[^A-Za-z0-9*?]")
"""What adb writes as `_` in the model of a device, but for the signs of patterns."""

_BUILD = "run doit, which writes what is up to date and proven"


@dataclass(frozen=True)
class Shipment:
    """Files that belong on a device.

    Attributes:
        files: relative path -> file, of what was asked for.
        known: every path of the manifest, asked for or not.
    """

    dist: Path
    files: Mapping[str, ManifestFile]
    known: frozenset[str]

    def checked(self, path: str) -> Path:
        """A file, whose content is what the manifest says.

        Raises:
            StoreError: it is not.
        """
        local, wanted = self.dist / path, self.files[path]
        try:
            found = digest_path(local)
        except OSError as error:
            raise StoreError(f"cannot be read: {error.strerror}", where=local, hint=_BUILD) from error
        if found != Digest(wanted.sha256, wanted.size):
            raise StoreError(f"is not the file that {self.dist / Manifest.NAME} lists", where=local, hint=_BUILD)
        return local.absolute()


@dataclass(frozen=True)
class Fit:
    """What a declared device is to hold.

    Attributes:
        models: what is pushed, and fits.
        unknown: those of which nobody says all that they take.
    """

    device: ManifestDevice
    models: tuple[str, ...]
    unknown: tuple[str, ...]


def choose_shipment(dist: Path, document: Manifest, names: Sequence[str]) -> Shipment:
    """What goes to a device.

    `names` are products, `bundle/<model>`, and other folders of `dist`; none for all but what no Android device reads.

    Raises:
        SlipwayError: a name is unknown, or a file could not be on a device.
    """
    files = {file.path: file for file in document.files}
    products = {product.name: product for product in document.products}
    bundles = sorted({"/".join(path.split("/")[:2]) for path in files if path.startswith(BUNDLE)})
    chosen = _chosen(names, products, bundles, files) if names else _all(files, products, bundles)
    kits = [dist / name for name in chosen & products.keys() if (dist / name / LinkJson.NAME).is_file()]
    chosen |= {f"{BUNDLE}{model}" for kit in kits for model in LinkJson.read(kit).models} & {*bundles}
    asked = {path: file for path, file in files.items() if any(path.startswith(f"{name}/") for name in chosen)}
    if not asked:
        raise DeviceError(f"there is nothing in {dist} for a device", hint=_choices(products, bundles))
    _check_names(asked)
    return Shipment(dist, asked, frozenset(files))


def read_manifest(dist: Path) -> Manifest:
    """The list of what a folder ships.

    Raises:
        SlipwayError: nothing is built, or the list is damaged.
    """
    path = dist / Manifest.NAME
    try:
        document = load(Manifest, path)
    except FileNotFoundError as error:
        raise StoreError("is not there, so nothing is known of what is shipped", where=path, hint=_BUILD) from error
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=path, hint=_BUILD) from error
    if document.schema != SCHEMA:
        raise FormatError(f"has schema {document.schema}, and this version reads {SCHEMA}", where=path, hint=_BUILD)
    for file in document.files:
        if why := unsafe_path(file.path):
            raise FormatError(f"the path {file.path[:80]!r} {why}", where=path, hint=_BUILD)
    return document


def _chosen(
    names: Sequence[str], products: Mapping[str, ManifestProduct], bundles: Sequence[str], files: Iterable[str]
) -> set[str]:
    given = [name.rstrip("/") for name in names]
    for name in given:
        if name not in products and not any(path.startswith(f"{name}/") for path in files):
            hint = did_you_mean(name, [*products, *bundles]) or _choices(products, bundles)
            raise DeviceError(f"there is no product, bundle or folder {name!r}", hint=hint)
    return {*given}


def _all(
    files: Mapping[str, ManifestFile], products: Mapping[str, ManifestProduct], bundles: Iterable[str]
) -> set[str]:
    """What goes to a device where nothing is named; a bundle that a product holds already does not go twice."""
    chosen = {name for name, one in products.items() if one.kind not in NOT_FOR_ANDROID}

    def digests(name: str) -> set[str]:
        return {file.sha256 for path, file in files.items() if path.startswith(f"{name}/")}

    held = {digest for name in chosen for digest in digests(name)}
    return chosen | {name for name in bundles if not digests(name) <= held}


def _choices(products: Iterable[str], bundles: Iterable[str]) -> str:
    known = ", ".join([*products, *bundles])
    return f"name one of: {known}" if known else _BUILD


def _check_names(paths: Iterable[str]) -> None:
    """Refuse what a device cannot tell apart, or what its shell would print in two lines.

    Raises:
        DeviceError: see above; /sdcard takes no notice of case (see quirk ADB-6).
    """
    seen: dict[str, str] = {}
    for path in paths:
        if not path.isprintable():
            raise DeviceError(f"{path!a} cannot be the name of a file on a device", hint="rename it in the project")
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            what = f"{other} and {path} are one file on a device, where case makes no difference"
            raise DeviceError(what, hint="rename one of them in the project")


def declared(document: Manifest, device: Device, name: str) -> ManifestDevice | None:
    """The declared device of that name, if any, which one behind adb is; None where nothing says so.

    Raises:
        DeviceError: no such device is declared, adb cannot reach it, or several are declared that it may be.
    """
    known = {one.name: one for one in document.devices or ()}
    if not name:
        found = [
            one
            for one in known.values()
            if device.model and any(fnmatchcase(device.model, _OTHER.sub("_", pattern)) for pattern in one.adb_model)
        ]
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            what = f"{device.serial}, a {device.model}, is declared more than once: {names}"
            raise DeviceError(what, hint=f"say which it is: --as {found[0].name}")
        return found[0] if found else None
    if name not in known:
        listed = (
            f"declared are: {', '.join(known)}" if known else "declare it: `devices` in targets.yaml, then run doit"
        )
        raise DeviceError(f"no device {name!r} is declared", hint=f"{did_you_mean(name, known)} {listed}".lstrip())
    if known[name].os not in _SYSTEMS:
        what = f"{name} runs {known[name].os}, and {device.serial} is behind adb"
        raise DeviceError(what, hint="--as takes the name of a device that runs Android")
    return known[name]


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
            takes = ", ".join(device.backends) or "none that was built"
            problems.append(f"{model} is there for {', '.join(sorted(backends))} only, and the device takes {takes}")
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
