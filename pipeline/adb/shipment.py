"""What of `dist/` goes to a device: by the manifest of `dist/`, whose sizes and digests are held against the files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents.codec import load
from pipeline.documents.link_json import LinkJson
from pipeline.documents.manifest import SCHEMA, Manifest, ManifestFile, ManifestProduct
from pipeline.errors import DeviceError, FormatError, StoreError
from pipeline.files import Digest, digest_path, unsafe_path

BUNDLE = "bundle/"

NOT_FOR_ANDROID = frozenset({"native", "web", "xcframework"})
"""Kinds of products that are pushed only when they are named."""

_BUILD = "run doit, which writes what is up to date and proven"


@dataclass(frozen=True)
class Shipment:
    """Files that belong on a device.

    Attributes:
        dist: the folder that they are in.
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


def choose_shipment(dist: Path, document: Manifest, names: Sequence[str]) -> Shipment:
    """What goes to a device.

    Args:
        dist: the folder.
        document: its manifest.
        names: products, `bundle/<model>`, and other folders of `dist`; none for all but what no Android device reads.

    Raises:
        SlipwayError: a name is unknown, or a file could not be on a device.
    """
    files = {file.path: file for file in document.files}
    products = {product.name: product for product in document.products}
    bundles = sorted({"/".join(path.split("/")[:2]) for path in files if path.startswith(BUNDLE)})
    chosen = _chosen(names, products, bundles, files) if names else _all(files, products, bundles)
    chosen |= {f"{BUNDLE}{model}" for name in chosen & products.keys() for model in _models(dist / name)} & {*bundles}
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
            near = difflib.get_close_matches(name, [*products, *bundles], 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else _choices(products, bundles)
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


def _models(product: Path) -> Iterable[str]:
    """The models in a product; one without a kit holds what belongs to its models itself."""
    return LinkJson.read(product).models if (product / LinkJson.NAME).is_file() else ()


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
