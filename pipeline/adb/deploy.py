"""Brings a folder of a device up to what `dist/` ships: only what differs travels, and nothing is believed unread.

A file is pushed under another name, its digest taken on the device, and then renamed: at each moment a name has the old
content or the new one, whole. A record beside the files says which digests were seen; where it is missing or lags
behind (the cable was pulled), digests are taken once more instead of pushing again.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.documents import untrusted
from pipeline.documents.codec import decode, dumps
from pipeline.errors import DeviceError, FormatError, SlipwayError
from pipeline.files import Digest, digest_path, sha256_bytes
from pipeline.files.names import unsafe_path

from .device import Device, failure
from .shipment import Shipment

RECORD = ".slipway-deploy.json"
PART = ".slipway-part"
"""The name under which a file arrives. There is one, so that a deploy that was cut off leaves one at most."""

_SCHEMA = 1
_EMPTY = sha256_bytes(b"")
"""What a device that can take digests says of nothing."""
_NEXT = "slipway-next"
"""What the device's shell says between two answers."""

_BLOCK = 4096
_LONGEST = 3000
"""Bytes of a command line; older devices take 4096 (see quirk ADB-3)."""


@dataclass(frozen=True)
class Seen:
    """A file as it was when its digest was taken on the device, and when it was last written there (Unix seconds)."""

    size: int
    sha256: str
    written: int = 0

    @property
    def content(self) -> Digest:
        """What is in it."""
        return Digest(self.sha256, self.size)


@dataclass(frozen=True)
class Record:
    """What deploys have put into a folder of a device: relative path -> file."""

    schema: int = _SCHEMA
    files: Mapping[str, Seen] = field(default_factory=dict)


@dataclass(frozen=True)
class Survey:
    """How a device's folder differs from what is shipped.

    Attributes:
        hashes: whether the device can take digests itself.
        files: what is there and right, or was recorded and has the size and time it had; see `Record`.
        push: paths that are missing or differ, sorted.
        stray: recorded paths that the manifest no longer has.
        lags: whether the record does not say so yet.
        needed: bytes of free space that it takes at the most.
        free: bytes of free space; None where the device does not say.
    """

    folder: str
    hashes: bool
    files: Mapping[str, Seen]
    push: tuple[str, ...]
    stray: tuple[str, ...]
    lags: bool
    needed: int
    free: int | None


def folder_of(text: str) -> str:
    """A folder on a device in its plain form.

    Raises:
        DeviceError: it is not absolute, or too much.
    """
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if not text.startswith("/") or not parts or ".." in parts or not text.isprintable():
        raise DeviceError(f"{text!r} is no folder for files of ours", hint="give an absolute path: --to /sdcard/models")
    return "/" + "/".join(parts)


def survey(device: Device, shipment: Shipment, folder: str) -> Survey:
    """Look at the device; nothing on it is changed.

    Raises:
        DeviceError: it cannot be read.
    """
    wanted = {path: Digest(file.sha256, file.size) for path, file in shipment.files.items()}
    hashes, free, record, there = _look(device, folder, {path.split("/")[0] for path in wanted})
    if more := {path.split("/")[0] for path in record} - {path.split("/")[0] for path in wanted}:
        there |= _look(device, folder, more)[3]
    sizes = {path: size for path, (size, _) in there.items()}
    known = {path.casefold() for path in shipment.known}  # on a device, case may make no difference
    files = {path: seen for path, seen in record.items() if there.get(path) == (seen.size, seen.written)}
    if hashes:
        right = {path for path, seen in files.items() if seen.content == wanted.get(path)}
        unsure = {path: one.size for path, one in wanted.items() if sizes.get(path) == one.size and path not in right}
        taken = _digests(device, folder, unsure)
        files |= {path: Seen(sizes[path], digest, there[path][1]) for path, digest in taken.items()}
    push = tuple(sorted(path for path, one in wanted.items() if path not in files or files[path].content != one))
    needed = _most_needed((wanted[path].size, sizes.get(path, 0)) for path in push)
    others = {path for path in record if path.casefold() not in known and sizes.get(path) == record[path].size}
    files |= {path: record[path] for path in others}  # a digest decides whether one may be removed
    return Survey(folder, hashes, files, push, tuple(sorted(others)), files != record, needed, free)


def check_space(device: Device, found: Survey) -> None:
    """Refuse to start what cannot end well.

    Raises:
        DeviceError: there is too little space on the device.
    """
    if found.free is not None and found.push and found.needed > found.free:
        what = f"{found.needed:,} bytes are needed in {found.folder} of {device.serial}, and {found.free:,} are free"
        hint = "free some space on the device (adb shell df -h), or deploy less: name a bundle; nothing was pushed"
        raise DeviceError(what, hint=hint)


def deploy(
    device: Device, shipment: Shipment, found: Survey, done: Callable[[str], None], *, prune: bool
) -> tuple[str, ...]:
    """Push and verify; with `prune`, remove what is stray, and return those paths. `done` is told of each that arrives.

    Raises:
        SlipwayError: it broke off; every file on the device is whole, and the next deploy goes on.
    """
    files = dict(found.files)
    holders = {seen.content: path for path, seen in files.items()} if found.hashes else {}
    try:
        for path in found.push:
            wanted = Digest(shipment.files[path].sha256, shipment.files[path].size)
            local = shipment.checked(path)
            if not _copied(device, found.folder, holders.get(wanted), wanted):
                device.push(local, f"{found.folder}/{PART}", wanted.size)
            files[path] = _place(device, found, path, wanted)
            if found.hashes:
                holders[wanted] = path
            done(path)
        removed = found.stray if prune else ()
        sizes = {path: found.files[path].size for path in removed}
        if found.hashes:
            taken = _digests(device, found.folder, sizes)
        else:
            taken = {path: _read_back(device, f"{found.folder}/{path}", size) for path, size in sizes.items()}
        removed = tuple(
            path for path in removed if taken[path] == found.files[path].sha256
        )  # still as it was put there
        _remove(device, found.folder, removed)
        files = {path: seen for path, seen in files.items() if path not in removed}
    except SlipwayError:
        with suppress(SlipwayError):  # without it the next deploy takes digests, and pushes no more for it
            _write_record(device, replace(found, files=files))
        raise
    if found.push or removed or found.lags:
        _write_record(device, replace(found, files=files))
    return removed


def _copied(device: Device, folder: str, holder: str | None, wanted: Digest) -> bool:
    """Whether a file that is on the device already, under another name, could be copied there."""
    if holder is None:
        return False
    source, part = shlex.quote(f"{folder}/{holder}"), shlex.quote(f"{folder}/{PART}")
    said = device.shell(f"cp {source} {part} && sha256sum < {part}", reads=2 * wanted.size)
    return said.status == 0 and said.text.startswith(wanted.sha256)


def _place(device: Device, found: Survey, path: str, wanted: Digest) -> Seen:
    """Give what has arrived its name, if it is what it should be."""
    part, target = f"{found.folder}/{PART}", f"{found.folder}/{path}"
    here, there, parent = map(shlex.quote, (part, target, target.rpartition("/")[0]))
    move = f"mkdir -p {parent} && mv -f {here} {there} && stat -c 'written %Y' {there}"
    place = f"if [ -d {there} ]; then echo Is a directory; false; else {move}; fi"
    if found.hashes:
        said = device.shell(
            f'd=$(sha256sum < {here}); echo "$d"; case "$d" in {wanted.sha256}*) {place};; *) false;; esac',
            reads=wanted.size,
        )
        arrived = re.search(r"^[0-9a-f]{64}\b", said.text, re.MULTILINE)
        digest = arrived[0] if arrived else ""
    else:
        digest = _read_back(device, part, wanted.size)
        if digest == wanted.sha256:
            said = device.shell(place)
    if digest and digest != wanted.sha256:
        device.shell(f"rm -f {here}")
        hint = "deploy again; if it stays so, try another cable, or another storage of the device"
        raise DeviceError(f"{path} arrived on {device.serial} with other content", hint=hint)
    if said.status:
        raise failure(f"{path} could not be put into {found.folder} of {device.serial}", said.text)
    written = re.search(r"^written (\d+)$", said.text, re.MULTILINE)
    return Seen(wanted.size, wanted.sha256, int(written[1]) if written else 0)


def _read_back(device: Device, path: str, size: int) -> str:
    """The SHA-256 of a file on a device that cannot take it itself."""
    with TemporaryDirectory(prefix="slipway-deploy-") as scratch:
        device.pull(path, Path(scratch, "back"), size)
        return digest_path(Path(scratch, "back")).sha256


def _digests(device: Device, folder: str, sizes: Mapping[str, int]) -> dict[str, str]:
    """The SHA-256 of files, taken on the device."""
    taken: dict[str, str] = {}
    for some, names in _portions(folder, list(sizes)):
        said = device.shell(
            f'for f in {names}; do sha256sum < "$f" || break; done', reads=sum(sizes[path] for path in some)
        )
        found = re.findall(r"^([0-9a-f]{64})\b", said.text, re.MULTILINE)
        if len(found) != len(some):
            raise failure(
                f"the digest of {some[min(len(found), len(some) - 1)]} cannot be taken on {device.serial}", said.text
            )
        taken |= dict(zip(some, found, strict=True))
    return taken


def _portions(folder: str, paths: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Paths in groups, each with its words for a command, which they fit into."""
    group: list[str] = []
    words = ""
    for path in paths:
        word = shlex.quote(f"{folder}/{path}")
        if group and len(f"{words} {word}".encode()) > _LONGEST:
            yield group, words
            group, words = [], ""
        group.append(path)
        words = f"{words} {word}"
    if group:
        yield group, words


def _look(
    device: Device, folder: str, tops: Iterable[str]
) -> tuple[bool, int | None, dict[str, Seen], dict[str, tuple[int, int]]]:
    """What a device has to say of a folder, in one call.

    Returns:
        Whether it can take digests; the bytes that are free where the folder is, or would be made, None where it does
        not tell; what earlier deploys have written down, nothing where that is damaged; and the size of each file below
        `tops` and when it was written, by relative path.
    """
    where, file = shlex.quote(folder), shlex.quote(f"{folder}/{RECORD}")
    names = " ".join(shlex.quote(f"./{top}") for top in sorted(tops))
    said = device.shell(
        f"sha256sum < /dev/null; echo {_NEXT}; "
        f'd={where}; while [ -n "$d" ] && [ ! -e "$d" ]; do d=${{d%/*}}; done; df -k "${{d:-/}}"; echo {_NEXT}; '
        f"[ ! -f {file} ] || [ $(wc -c < {file}) -gt {untrusted.LARGEST_BYTES} ] || cat {file}; echo; echo {_NEXT}; "
        f"if [ ! -e {where} ]; then :; elif [ ! -d {where} ]; then echo Not a directory; false; "
        f"else cd {where} && for d in {names}; do "
        '[ ! -e "$d" ] || find "$d" -type f -exec stat -c \'%s %Y %n\' {} +; done; fi'
    )
    parts = said.text.split(f"{_NEXT}\n")
    if said.status or len(parts) != len(("sha256sum", "df", "record", "sizes")):
        raise failure(f"{folder} cannot be read on {device.serial}", parts[-1])
    found = re.search(r"Available[^\n]*\n(?:.*\s)?(\d+)\s+\d+%\s", parts[1], re.DOTALL)
    lines = (re.fullmatch(r"(\d+) (\d+) \./(.+)", line) for line in parts[3].splitlines())
    there = {match[3]: (int(match[1]), int(match[2])) for match in lines if match}
    return _EMPTY in parts[0], int(found[1]) * 1024 if found else None, _recorded(parts[2]), there


def _recorded(text: str) -> dict[str, Seen]:
    try:
        record = decode(Record, untrusted.parse(text.encode(), RECORD), RECORD)
    except FormatError:
        return {}
    return {path: seen for path, seen in record.files.items() if record.schema == _SCHEMA and not unsafe_path(path)}


def _most_needed(sizes: Iterable[tuple[int, int]]) -> int:
    """The most space that is taken while files replace others, each being there twice for a moment."""
    now = most = 0
    for size, before in sizes:
        now += _blocks(size)
        most = max(most, now)
        now -= _blocks(before)
    return most


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _write_record(device: Device, found: Survey) -> None:
    with TemporaryDirectory(prefix="slipway-deploy-") as scratch:
        local = Path(scratch, RECORD)
        local.write_text(dumps(Record(files=dict(sorted(found.files.items())))), encoding="utf-8")
        digest = digest_path(local)
        device.push(local, f"{found.folder}/{PART}", digest.size)
        _place(device, found, RECORD, digest)


def _remove(device: Device, folder: str, paths: Sequence[str]) -> None:
    """Remove files, and the folders that are empty then."""
    for _, names in _portions(folder, paths):
        said = device.shell(f"rm -f {names}")
        if said.status:
            raise failure(f"files could not be removed from {folder} of {device.serial}", said.text)
    parents = {"/".join(parts[:end]) for parts in (path.split("/") for path in paths) for end in range(1, len(parts))}
    for _, names in _portions(folder, sorted(parents, key=lambda path: -path.count("/"))):
        device.shell(f"rmdir {names} 2>/dev/null")
