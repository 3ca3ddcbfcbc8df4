"""HTTP as the weights and the remote store speak it: when to try again, how long to wait, what must not be shown.

httpx is imported with the first request.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pipeline.files import CHUNK_BYTES, sha256_bytes

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s'\"<>]+")
_FIELD = re.compile(r"([?&;])([^\s?&;=#'\"<>]*)(=?)([^\s?&;#'\"<>]*)")
"""A field of a query, or a parameter of a path."""
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=[Bb]earer )\S+|(?<=[Bb]asic )[A-Za-z0-9+/=]{4,}")
_SECRET_NAME = re.compile(
    # The signed URLs of Amazon, Google, CloudFront and Azure, and what people call their own.
    r"token|key|sig|secret|pass|pwd|auth|cred|session|policy|jwt|hmac|hdn|ticket|nonce|x-amz-|x-goog-|expires|"
    r"^(se|sp|st|sv|sr|spr|code|otp|pw|acl)$",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"[A-Za-z0-9+/]{20,}|[0-9a-fA-F-]{36}")
"""What no person would write, where it has letters and digits: it may open a door, whatever its field is called."""
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "SLIPWAY_REMOTE_TOKEN", "SLIPWAY_REMOTE_PASSWORD")
_HIDDEN = "***"


# Patience


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try. Times are seconds.

    Attributes:
        attempts: how often in a row nothing may come of it.
        first_wait: the pause after the first failure; each further one is twice as long, give or take a half.
        longest_wait: no pause is longer, whatever a server asks for.
        connect: limit for making a connection.
        read: limit for a silence while data should come.
        whole: limit for one request, however steadily it brings something.
        grace: how long a request may take before its throughput counts.
        floor: bytes a second below which a request is given up.
    """

    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    connect: float = 15.0
    read: float = 60.0
    whole: float = 24 * 3600.0
    grace: float = 60.0
    floor: int = 1 << 10

    def pause(self, failures: int, asked: float | None = None) -> float:
        """Seconds to wait after so many failures in a row; `asked` is what the server wants."""
        grown = self.first_wait * 2 ** (failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311 (not a secret)
        return float(min(self.longest_wait, max(grown, asked or 0)))


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server that is busy asks for."""
    asked = headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() and asked.isascii() else None


def through_proxy(url: str) -> str:
    """How a URL is reached where the environment names a proxy for it, to be told with a failure; else nothing."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - only where something failed

    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return f" through the proxy {redact_url(proxy if '://' in proxy else f'http://{proxy}')}" if proxy else ""


class TooSlow(Exception):
    """A request that brought too little in its time."""


class Meter:
    """Counts the bytes of one request."""

    def __init__(self) -> None:
        self.bytes = 0
        self.stopped = False

    def counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on blocks that arrive, until the request is given up."""
        for block in blocks:
            if self.stopped:
                raise TooSlow
            self.bytes += len(block)
            yield block

    def reading(self, file: IO[bytes]) -> Iterator[bytes]:
        """The content of a file that is sent."""
        while block := file.read(CHUNK_BYTES):
            yield block
            self.bytes += len(block)


def supervised(work: Callable[[Meter], T], patience: Patience, closed: threading.Event | None = None) -> T:
    """Make a request, bounded as a whole: a server that drips, or never ends its headers, is not waited for.

    The request runs in a daemon thread, since a read that still gets a byte now and then cannot be interrupted; what
    it brings after its time, or once `closed` is set, is dropped.

    Raises:
        TooSlow: after `grace` seconds it brought less than `floor` bytes a second, or it lasts longer than `whole`.
    """
    meter, done = Meter(), threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(meter))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)
        finally:
            done.set()

    began = time.monotonic()
    threading.Thread(target=run, name="request", daemon=True).start()
    while not done.wait(min(1.0, patience.grace)):
        taken = time.monotonic() - began
        if closed is not None and closed.is_set():
            meter.stopped = True
            raise TooSlow("it was closed meanwhile")
        if taken > min(patience.grace + meter.bytes / patience.floor, patience.whole):
            meter.stopped = True
            raise TooSlow(f"{meter.bytes} bytes in {taken:.0f} s")
    for error in errors:
        raise error
    return results[0]


@contextmanager
def streamed(
    client: httpx.Client, method: str, url: str, *, headers: Mapping[str, str], content: Iterator[bytes] | None = None
) -> Iterator[httpx.Response]:
    """Make a request, and have the reply until the block ends.

    A client that is closed while a thread still connects does not know that connection: it is closed here.
    """
    with client.stream(method, url, content=content, headers=headers) as reply:
        try:
            yield reply
        finally:
            if client.is_closed:
                reply.extensions["network_stream"].close()


# Secrets


def split_login(url: str) -> tuple[SplitResult, tuple[str, str] | None]:
    """A URL without its user information, and that: people write passwords with `/`, `?`, `#` and `@` in them.

    Raises:
        ValueError: it is no URL, or may be read both as one with a port and as one with a password.
    """
    scheme, colon, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    host, port, number = re.split("[/?#]", rest, maxsplit=1)[0].partition(":")
    if not colon or not at or not (port or "@" in host):
        return urlsplit(url), None
    if number.isdecimal():
        raise ValueError("the @ may belong to a password or to a path")
    user, _, password = login.partition(":")
    return urlsplit(f"{scheme}://{place}"), (unquote(user), unquote(password))


def redact_url(url: str) -> str:
    """The URL without user information and fragment, and without what looks like a secret in its fields.

    A value that looks random, in a field whose name does not say that it is a secret, is replaced by the beginning of
    its digest: that tells one file from another, and opens nothing.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # a bad port is found only when it is asked for
    except ValueError:
        return "(a malformed URL)"
    query = _FIELD.sub(_without_value, f"?{parts.query}")[1:]
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, _FIELD.sub(_without_value, parts.path), query, ""))


def _without_value(field: re.Match[str]) -> str:
    before, name, equals, value = field.groups()
    if equals and _SECRET_NAME.search(unquote(name)):
        return f"{before}{name}={_HIDDEN}"
    said = unquote(value if equals else name)
    runs = (run for run in _RANDOM.findall(said) if re.search("[0-9]", run) and re.search("[A-Za-z]", run))
    if next(runs, None) is None:
        return field.group()
    digest = f"sha256:{sha256_bytes(said.encode())[:16]}"
    return f"{before}{name}={digest}" if equals else f"{before}{digest}"


def redact_urls(text: str) -> str:
    """The text with every URL in it redacted; the same in every environment."""
    return _FIELD.sub(_without_secret, _URL.sub(lambda found: redact_url(found.group()), text))


def _without_secret(field: re.Match[str]) -> str:
    """Behind a URL that a space has cut: only what is called a secret."""
    before, name, equals, _ = field.groups()
    return f"{before}{name}={_HIDDEN}" if equals and _SECRET_NAME.search(unquote(name)) else field.group()


def redact(text: str) -> str:
    """The text with every URL redacted, and every token of the hub or of the environment hidden."""
    for name in _SECRET_VARIABLES:
        value = os.environ.get(name, "")
        for spelling in (value, value.strip(), repr(value)[1:-1], value.strip().partition("\n")[0]):
            if spelling.strip():
                text = text.replace(spelling, _HIDDEN)
    return _TOKEN.sub(_HIDDEN, redact_urls(text))


def redact_variable(name: str, value: str) -> str:
    """The value of an environment variable as a log may show it: nothing of one whose name says that it is a secret."""
    return _HIDDEN if _SECRET_NAME.search(name) else redact(value)


def without_secrets(value: object) -> object:
    """JSON in which every URL is redacted: what identifies bytes stays, what opens the door goes."""
    if isinstance(value, dict):
        return {name: without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return redact_urls(value) if isinstance(value, str) and "://" in value else value
