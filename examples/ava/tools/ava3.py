"""A stand-in for AVA's model protection: packs, encrypts and seals files, and checks what was sealed.

    python3 ava3.py encode MODEL -o MODEL.ava3          a file, or a directory as one tar
    python3 ava3.py encode DIRECTORY --batch -o OUT     each file of it by itself
    python3 ava3.py verify MODEL.ava3

The key is the variable AVA3_KEY. It is a stand-in because the standard library has no AES: the key stream is SHA-256 in
counter mode, 64 KiB a block, and each block is sealed with HMAC-SHA-256. The nonce follows from key and content, so the
same input gives the same file. Replace it by the real encoder; the steps in targets.yaml stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import io
import os
import struct
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"AVA3-STANDIN\0"
HEADER = struct.Struct(f"<{len(MAGIC)}sIQ16s32s")
"""Magic, bytes of a block, bytes of the content, nonce, and the seal of all of these."""
BLOCK = 64 << 10
SEAL = hashlib.sha256().digest_size


class NotSealedError(Exception):
    """A file is not what was sealed."""


def keys(secret: str) -> tuple[bytes, bytes]:
    """One key to encrypt and one to seal with."""
    encrypt, seal = (hashlib.sha256(use + secret.encode()).digest() for use in (b"encrypt", b"seal"))
    return encrypt, seal


def crypt(key: bytes, nonce: bytes, number: int, block: bytes) -> bytes:
    """Encrypt a block, or decrypt it: both are the same."""
    first = number * (BLOCK // SEAL)
    counters = range(first, first + -(-len(block) // SEAL))
    hashes = (hashlib.sha256(key + nonce + struct.pack("<Q", counter)).digest() for counter in counters)
    stream = b"".join(hashes)[: len(block)]
    return (int.from_bytes(block, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(block), "little")


def sealed(content: bytes, secret: str) -> Iterator[bytes]:
    """The pieces of a sealed file."""
    encrypt, seal = keys(secret)
    nonce = hmac.digest(seal, content, "sha256")[:16]
    head = HEADER.pack(MAGIC, BLOCK, len(content), nonce, bytes(SEAL))[:-SEAL]
    yield head + hmac.digest(seal, head, "sha256")
    for number, start in enumerate(range(0, len(content), BLOCK)):
        block = crypt(encrypt, nonce, number, content[start : start + BLOCK])
        yield block + hmac.digest(seal, nonce + struct.pack("<Q", number) + block, "sha256")


def opened(data: bytes, secret: str) -> bytes:
    """The content of a sealed file.

    Raises:
        NotSealedError: it is cut, was changed, or was sealed with another key.
    """
    encrypt, seal = keys(secret)
    if len(data) < HEADER.size:
        raise NotSealedError("is cut off in its header")
    magic, size, length, nonce, head_seal = HEADER.unpack_from(data)
    if magic != MAGIC or size != BLOCK:
        raise NotSealedError("is no file of this encoder")
    if not hmac.compare_digest(head_seal, hmac.digest(seal, data[: HEADER.size - SEAL], "sha256")):
        raise NotSealedError("was changed, or sealed with another key")
    blocks = -(-length // BLOCK)
    if len(data) != HEADER.size + length + blocks * SEAL:
        raise NotSealedError(f"should have {HEADER.size + length + blocks * SEAL} bytes and has {len(data)}")
    content, at = [], HEADER.size
    for number in range(blocks):
        end = at + min(BLOCK, length - number * BLOCK)
        block, found, at = data[at:end], data[end : end + SEAL], end + SEAL
        if not hmac.compare_digest(found, hmac.digest(seal, nonce + struct.pack("<Q", number) + block, "sha256")):
            raise NotSealedError(f"was changed in block {number}")
        content.append(crypt(encrypt, nonce, number, block))
    return b"".join(content)


def packed(folder: Path) -> bytes:
    """A directory as one tar, the same for the same content."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry, data = tarfile.TarInfo(path.relative_to(folder).as_posix()), path.read_bytes()
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


def encode(source: Path, out: Path, secret: str, *, batch: bool) -> None:
    """Seal a file, a directory as one, or each file of a directory."""
    whole = {} if batch else {out: packed(source) if source.is_dir() else source.read_bytes()}
    files = sorted(path for path in source.rglob("*") if path.is_file()) if batch else []
    for path in files:
        whole[out / f"{path.relative_to(source).as_posix()}.ava3"] = path.read_bytes()
    for target, content in whole.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(sealed(content, secret)))


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    encoding = commands.add_parser("encode")
    encoding.add_argument("source", type=Path)
    encoding.add_argument("-o", "--out", type=Path, required=True)
    encoding.add_argument("--batch", action="store_true")
    commands.add_parser("verify").add_argument("sealed", type=Path, nargs="+")
    given = parser.parse_args()
    secret = os.environ.get("AVA3_KEY", "")
    if not secret:
        sys.stderr.write("AVA3_KEY is not set\n")
        return 2
    if given.command == "encode":
        encode(given.source, given.out, secret, batch=given.batch)
        return 0
    for path in given.sealed:
        try:
            content = opened(path.read_bytes(), secret)
        except NotSealedError as error:
            sys.stderr.write(f"{path.name} {error}\n")
            return 1
        sys.stdout.write(f"{path.name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
