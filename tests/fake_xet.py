"""A stand-in for Xet storage: what the hub says of a file in it, the CAS API, and xorbs, made as they are asked for.

As the public specification of Xet has them, as far as `hf_xet` asks for it in a download. Chunks have 64 KiB each and
are not compressed; xorbs have a thousand of them. The hashes are no Merkle trees of BLAKE3: downloads do not look at
them.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

CHUNK = 1 << 16
HEADER = 8
XORB = 1000
"""Chunks in a xorb: a little less than the 64 MiB that it may have."""


@dataclass
class FakeXet:
    """Answers the requests of a client; the server around it knows how to send an answer.

    Attributes:
        url: of the server.
        elsewhere: the same by another name: xorbs are on another host than the hub.
        read: the bytes of a file, by its name, offset and size.
        sizes: of the files, by name.
        spoil: xorbs come with other bytes than were stored.
        lifetime: seconds for which a token is good.
    """

    url: str
    elsewhere: str
    read: Callable[[str, int, int], bytes]
    sizes: Mapping[str, int]
    spoil: bool = False
    lifetime: float = 3600
    asked: list[str] = field(default_factory=list)

    def linked(self, name: str, repo: str, commit: str) -> dict[str, str]:
        """What `resolve` says of a file, beside what it says of every large file."""
        route = f"{self.url}/api/models/{repo}/xet-read-token/{commit}"
        return {"X-Xet-Hash": _hash(name), "Link": f'<{route}>; rel="xet-auth"'}

    def answer(self, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers and body; None where it is no path of Xet's. Names of headers are in small letters."""
        token = re.fullmatch(r"/api/models/.+/xet-read-token/\w+", path)
        file = re.fullmatch(r"/v2/reconstructions/(\w+)", path)
        xorb = re.fullmatch(r"/xorbs/default/(\w+)", path)
        if token or file or xorb:
            self.asked.append(path)
        if token:
            until = int(time.time() + self.lifetime)
            said = {"X-Xet-Cas-Url": self.url, "X-Xet-Access-Token": f"xetsecret-{until}"}
            body = json.dumps({"casUrl": self.url, "accessToken": f"xetsecret-{until}", "exp": until})
            return 200, {**said, "X-Xet-Token-Expiration": str(until)}, body.encode()
        if file:
            until = headers.get("authorization", "").rpartition("xetsecret-")[2]
            if not until.isdecimal() or int(until) < time.time():
                return 401, {}, b""
            return self._reconstruction({_hash(name): name for name in self.sizes}[file[1]], headers.get("range", ""))
        return self._xorb(xorb[1], headers["range"]) if xorb else None

    def _reconstruction(self, name: str, wanted: str) -> tuple[int, dict[str, str], bytes]:
        """Which chunks of which xorbs a range of a file is made of."""
        asked, size = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted), self.sizes[name]
        start, end = (int(asked[1]), min(int(asked[2]) + 1, size)) if asked else (0, size)
        if start >= size:
            return 416, {}, b""
        terms, xorbs = [], {}
        first, last = start // CHUNK, -(-end // CHUNK)
        for number in range(first // XORB, -(-last // XORB)):
            base, hashed = number * XORB, _hash(f"{name} {number}")
            chunks = {"start": max(first - base, 0), "end": min(last - base, XORB)}
            unpacked = min((base + chunks["end"]) * CHUNK, size) - (base + chunks["start"]) * CHUNK
            place = chunks["start"] * (CHUNK + HEADER)
            span = {"start": place, "end": place + unpacked + HEADER * (chunks["end"] - chunks["start"]) - 1}
            terms.append({"hash": hashed, "unpacked_length": unpacked, "range": chunks})
            url = f"{self.elsewhere}/xorbs/default/{hashed}?X-Amz-Signature=xorbsecret"
            xorbs[hashed] = [{"url": url, "ranges": [{"chunks": chunks, "bytes": span}]}]
        body = {"offset_into_first_range": start - first * CHUNK, "terms": terms, "xorbs": xorbs}
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    def _xorb(self, hashed: str, wanted: str) -> tuple[int, dict[str, str], bytes]:
        """Chunks of a xorb, each with its header."""
        name, number = next(
            (name, number)
            for name, size in self.sizes.items()
            for number in range(-(-size // (XORB * CHUNK)))
            if _hash(f"{name} {number}") == hashed
        )
        start, end = (int(place) for place in wanted.removeprefix("bytes=").split("-"))
        offset = number * XORB * CHUNK + start // (CHUNK + HEADER) * CHUNK
        body = bytearray()
        while len(body) <= end - start:
            chunk = self.read(name, offset, CHUNK)
            offset += len(chunk)
            if self.spoil:
                chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
            length = struct.pack("<I", len(chunk))[:3]
            body += b"\0" + length + b"\0" + length + chunk
        return 206, {"Content-Range": f"bytes {start}-{end}/*"}, bytes(body)


def _hash(text: str) -> str:
    return hashlib.sha256(f"xet {text}".encode()).hexdigest()
