"""One file over HTTP, with patience: resumes where it stopped, tries again with growing pauses, and proves the size.

Called by the `url` source, and for large files of the hub. What has arrived is kept, and a later run goes on from there
if the file behind the URL is still the same: that is asked with the validator that the server gave for it (`If-Range`),
unless the URL names its content. What arrives is hashed on its way.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from netrc import NetrcParseError
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.documents import untrusted
from pipeline.documents.codec import decode
from pipeline.errors import DownloadError, FormatError, StoreError
from pipeline.files import Digest, fed
from pipeline.transport.http import (
    BUSY,
    Meter,
    Patience,
    TooSlow,
    asked_to_wait,
    redact,
    redact_url,
    streamed,
    supervised,
)

from .cache import disk_errors
from .entry import Progress

if TYPE_CHECKING:
    import httpx

_HEADWAY = 1 << 20
"""An attempt that brought this many bytes is no failed attempt: a long file over a bad line arrives in the end."""


class _AgainError(Exception):
    """This attempt failed, another may not. `wait` is what the server asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def download(
    url: str,
    target: Path,
    *,
    part: Part,
    sha256: str | None,
    progress: Progress,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
    headers: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Digest:
    """Get a URL into a file; gives the digest of what came. User information in the URL is used and never shown.

    `part` is the half-done file, on the same file system, which is kept when this fails. The headers are for this host
    and no other, in place of a login from ~/.netrc.

    Raises:
        DownloadError: refused, not there, cut off again and again, or not the promised content.
        StoreError: the disk is full or closed.
    """
    with disk_errors(part.data.parent), _client(url, headers, patience) as client:
        part.data.parent.mkdir(parents=True, exist_ok=True)
        transfer = _Transfer(client, url, part, progress)
        in_pieces = _complete(transfer, patience, sleep)
        if sha256 is not None and in_pieces and transfer.digest().sha256 != sha256:
            # An old piece may be at fault (a server that lies about its validator): once more, from the start.
            part.drop()
            _complete(transfer, patience, sleep)
        got = transfer.digest()
        if sha256 is not None and got.sha256 != sha256:
            part.drop()
            raise DownloadError(
                f"is not what was promised: expected sha256 {sha256}, got {got.sha256} ({got.size} bytes)",
                where=transfer.where,
                hint="nothing was replaced. If the new content is wanted, correct `sha256` in targets.yaml, "
                "or delete the model's entry from slipway.lock, and run doit again",
            )
        part.data.replace(target)
        part.drop()
        return got


def _complete(transfer: _Transfer, patience: Patience, sleep: Callable[[float], None]) -> bool:
    """Make attempts until the part is whole; say whether it came in several pieces."""
    part = transfer.part
    failures, pieces = 0, 1 if part.size else 0
    while True:
        before = part.size
        pieces += 1
        try:
            supervised(transfer.attempt, patience)
        except (_AgainError, TooSlow) as problem:
            failures = 1 if part.size - before >= _HEADWAY else failures + 1
            if failures >= patience.attempts:
                reason = f"the server is too slow: {problem}" if isinstance(problem, TooSlow) else problem
                raise DownloadError(
                    f"could not be downloaded in {failures} attempts: {reason}",
                    where=transfer.where,
                    hint="check the network, proxy (HTTPS_PROXY) and address; what has arrived is kept, run doit again",
                ) from problem
            sleep(patience.pause(failures, problem.wait if isinstance(problem, _AgainError) else None))
        else:
            return pieces > 1


@dataclass(frozen=True, slots=True)
class Part:
    """A half-done file, and one for the validator it came with; None where the URL names what never changes."""

    data: Path
    validator: Path | None

    @staticmethod
    def of_url(folder: Path) -> Part:
        """What comes from a URL behind which there may be another file tomorrow."""
        return Part(folder / "part", folder / "validator.json")

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.data.stat().st_size if self.data.is_file() else 0

    def request(self) -> dict[str, str]:
        """The headers that ask for the rest; none where nothing has come, or nobody knows of which file."""
        wanted = {"Range": f"bytes={self.size}-"} if self.size else {}
        if self.validator is None or not wanted:
            return wanted
        with suppress(FormatError):
            return wanted | {"If-Range": decode(str, untrusted.load(self.validator), "the validator")}
        return {}

    def start(self, offset: int, validator: str | None) -> None:
        """Get ready to append at `offset`; the validator is written first, so that it is never newer than the data."""
        if offset == 0:
            self.drop()
            if self.validator is not None:
                self.validator.parent.mkdir(exist_ok=True)
                self.validator.write_text(json.dumps(validator), encoding="utf-8")

    def drop(self) -> None:
        """Forget what has come."""
        self.data.unlink(missing_ok=True)
        if self.validator is not None:
            shutil.rmtree(self.validator.parent, ignore_errors=True)


@dataclass
class _Transfer:
    """What stays the same from attempt to attempt, and the digest of what has come so far."""

    client: httpx.Client
    url: str
    part: Part
    progress: Progress
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    _hashed: int = 0

    @property
    def where(self) -> str:
        """The URL, for messages."""
        return redact_url(self.url)

    def digest(self) -> Digest:
        """Of what has come; it is read again only where it came before this process did."""
        self._resume_hash(self.part.size)
        return Digest(self._hash.hexdigest(), self._hashed)

    def attempt(self, meter: Meter) -> None:
        """Ask once and append what comes.

        Raises:
            _AgainError: it is worth another try.
            DownloadError: it is not.
        """
        rest = self.part.request()
        offset = self.part.size if rest else 0
        headers = {"Accept-Encoding": "identity", **rest}
        with _transport(self.where), streamed(self.client, "GET", self.url, headers=headers) as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if offset and response.headers.get("content-range") == f"bytes */{offset}":
                    return  # it was whole already
                self.part.drop()
                raise _AgainError("the server could not resume")
            _refuse(response, self.where)
            if response.status_code != HTTPStatus.PARTIAL_CONTENT:
                offset = 0  # all of it: no part was asked for, or the file has changed since
            elif not response.headers.get("content-range", "").startswith(f"bytes {offset}-"):
                self.part.drop()
                raise _AgainError("the server resumed at another place")
            self._receive(response, offset, meter)

    def _receive(self, response: httpx.Response, offset: int, meter: Meter) -> None:
        self._refuse_encoding(response)
        length = response.headers.get("content-length", "")
        total = offset + int(length) if length.isdecimal() else None
        self.part.start(offset, _validator_of(response))
        if total is not None:
            _require_space(self.part.data.parent, total - offset)
        self._resume_hash(offset)
        self.progress(offset, total)
        with self.part.data.open("ab") as file:
            for block in meter.counted(response.iter_raw()):
                file.write(block)
                self._hash.update(block)
                self._hashed += len(block)
                offset += len(block)
                self.progress(offset, total)
        if total is not None and offset != total:
            raise _AgainError(f"the connection ended after {offset} of {total} bytes")

    def _refuse_encoding(self, response: httpx.Response) -> None:
        """Refuse what must be decoded, which it was asked not to be: 300 bytes may decode to 4 GB."""
        encoding = response.headers.get("content-encoding", "identity")
        packed = urlsplit(self.url).path.endswith((".gz", ".tgz"))  # some servers call the file's own packing so
        if encoding not in {"identity", *(("gzip", "x-gzip") if packed else ())}:
            raise DownloadError(
                f"the server sends it encoded ({encoding[:40]}), though it was asked not to",
                where=self.where,
                hint="download it by hand, and name the file as `path`",
            )

    def _resume_hash(self, offset: int) -> None:
        """Have hashed just what is there."""
        if offset == self._hashed:
            return
        self._hash, self._hashed = hashlib.sha256(), offset
        if offset:
            with self.part.data.open("rb") as file:
                fed(self._hash, file)


def _require_space(directory: Path, wanted: int) -> None:
    """Fail before the first byte rather than after the last that fits."""
    free = shutil.disk_usage(directory).free
    if wanted > free:
        raise StoreError(
            f"no space left: {wanted} bytes are to come and {free} are free",
            where=directory,
            hint="free some space, or move the downloads: set SLIPWAY_CACHE to a directory on a larger disk",
        )


def _validator_of(response: httpx.Response) -> str | None:
    etag = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):  # a weak one does not promise the same bytes
        return str(etag)
    modified = response.headers.get("last-modified")
    return str(modified) if modified else None


def _refuse(response: httpx.Response, where: str) -> None:
    status = response.status_code
    if status in BUSY:
        raise _AgainError(f"HTTP status {status}", asked_to_wait(response.headers))
    if response.is_success:
        return
    hints = {
        401: "it wants a login: put one for this host in ~/.netrc",
        403: "the server does not allow it: check the address, and the login for this host in ~/.netrc",
        404: "check `url` in targets.yaml: the server does not have it",
        407: "the proxy wants a login: check HTTPS_PROXY",
        410: "check `url` in targets.yaml: it was there and is gone for good",
    }
    raise DownloadError(
        f"HTTP status {status}", where=where, hint=hints.get(status, "check `url` in targets.yaml in a browser")
    )


@contextmanager
def _transport(where: str) -> Iterator[None]:
    """Sort what httpx raises into what may pass and what will not."""
    import httpx  # noqa: PLC0415 (loaded only when something is downloaded)

    try:
        yield
    except httpx.TransportError as problem:
        text = redact(str(problem)) or type(problem).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text:
            raise DownloadError(
                f"the server's certificate is not trusted: {text}",
                where=where,
                hint="set SSL_CERT_FILE to the certificates of your organisation",
            ) from problem
        if isinstance(problem, httpx.UnsupportedProtocol):
            raise DownloadError(text, where=where, hint="use an http or https URL") from problem
        raise _AgainError(text) from problem
    except (httpx.TooManyRedirects, httpx.InvalidURL, httpx.DecodingError) as problem:
        raise DownloadError(redact(str(problem)), where=where, hint="check `url` in targets.yaml") from problem


def _client(url: str, headers: Mapping[str, str] | None, patience: Patience) -> httpx.Client:
    import httpx  # noqa: PLC0415 (loaded only when something is downloaded)

    auth: httpx.Auth | None = None
    if headers is None and "@" not in urlsplit(url).netloc:
        with suppress(OSError, ValueError, NetrcParseError):  # none, or not readable: then none
            auth = httpx.NetRCAuth()
    timeout = httpx.Timeout(patience.read, connect=patience.connect)
    return httpx.Client(follow_redirects=True, timeout=timeout, auth=auth, headers=headers)
