"""Mutations of real files, for the fuzz tests: of their bytes, and of the values in them."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import SlipwayError

MUTATIONS = int(os.environ.get("SLIPWAY_MUTATIONS", "400"))
"""Of each kind of file. Every run of CI tries this many, every night 3,000."""

SECONDS = 20
"""Beyond this a mutation counts as a hang, on a machine that does much else."""

PIECES = (
    b"", b"\0", b"\xff" * 8, b"[" * 2_000, b'{"a":' * 500, b"9" * 5_000, b'"\\ud800"', b"null", b"-1", b"1e999", b"NaN",
    b"//", b",", b"\xef\xbb\xbf", b"true", b'"x"', b"<array>" * 500, b"\x7fELF", b"PK\x03\x04", b"../" * 20, b"\n",
    b"\t", b": ", b"- ", b"&a [*a]", b"*a", b"<<: ", b"!!python/object:os.system", b"\xe2\x80\xa8", b"'", b'"',
    b"|", b"{", b"}",
)  # fmt: skip


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = (
    None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 200, 10**399, 1.5, -0.0, 1e308, "", "x", "\0", "\ud800",
    "\x1b[2J", "a\nb", "../../etc", "/etc/passwd", "~", "x" * 300, "x" * 100_000, "é" * 200, "a" * 64, "=" * 64,
    "%s%n{}", [], {}, [[]], [None], {"": None}, {"a": 1}, {"\ud800": 1}, [1] * 999, {str(i): i for i in range(999)},
    _nested(70), _nested(200),
)  # fmt: skip


def of_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes with pieces of them taken out, flipped, doubled, and others put in."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = at + chance.choice((0, 1, 4, 40))
        piece = chance.choice((*PIECES, chance.randbytes(chance.randrange(12)), data[at : at + chance.randrange(200)]))
        data = data[:at] + piece + data[end:]
    return data


def of_value(value: Any, chance: random.Random) -> Any:
    """JSON with some places replaced, removed, added to, or exchanged."""
    result = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(result))
        if not places:
            return chance.choice(VALUES)
        parent, key = chance.choice(places)
        what = chance.randrange(5)
        if what == 0:
            del parent[key]
        elif what == 1 and isinstance(parent, dict):
            parent[chance.choice(("", "x", "a" * 300, "\ud800", "../x", "é", "a\nb", "0", str(key) + "s"))] = parent[
                key
            ]
        elif what == 2:
            other_parent, other = chance.choice(places)
            parent[key] = copy.deepcopy(other_parent[other])
        else:
            parent[key] = copy.deepcopy(chance.choice(VALUES))
    return result


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    todo = [value]
    while todo:
        one = todo.pop()
        items = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for key, inner in items:
            yield one, key
            todo.append(inner)


def of_json(value: Any, chance: random.Random) -> bytes:
    """The text of JSON: values of it changed, or its bytes."""
    if chance.random() < 0.5:
        return of_bytes(json.dumps(value, indent=1).encode(), chance)
    return json.dumps(of_value(value, chance)).encode()


def ends_well(work: Callable[[], object]) -> str | None:
    """Call; it must return soon, or raise an error of ours that can be printed and is not longer than a screen."""
    began, said = time.monotonic(), None
    try:
        work()
    except SlipwayError as error:
        said = str(error)
        said.encode()
        assert len(said) < 60_000
    assert time.monotonic() - began < SECONDS
    return said
