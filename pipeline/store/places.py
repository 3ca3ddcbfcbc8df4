"""Where the record of each key lies in the journal: a dictionary that need not be made to look up a few keys.

`records` keeps one and puts it into the journal's bookmark. Read from there it is a sorted table, in which a key is
found in a dozen steps; who looks up many has it made a dictionary after all. What a place means is not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from struct import Struct

FEW = 100
"""Keys that are looked up in the table before it becomes a dictionary."""

_KEY = 32
_ROW = Struct(f">{_KEY}sQ")


class Places:
    """Places by key.

    Args:
        table: of `packed`.
        more: of `packed`.
    """

    def __init__(self, table: bytes = b"", more: dict[str, int] | None = None) -> None:
        self._table = table
        self._known: dict[str, int | None] = {**(more or {})}
        self._asked = 0

    def get(self, key: str) -> int | None:
        """The place of a key."""
        if self._table and key not in self._known:
            self._asked += 1
            if self._asked > FEW:
                self._known = {**dict(self._rows()), **self._known}
                self._table = b""
            else:
                return self._find(key)
        return self._known.get(key)

    def set(self, key: str, place: int) -> None:
        """A key has a place from now on."""
        self._known[key] = place

    def drop(self, key: str) -> None:
        """A key has none any more."""
        self._known[key] = None

    def in_order(self) -> list[tuple[str, int]]:
        """All keys with their places, in the order of these."""
        known = {**dict(self._rows()), **self._known}
        return sorted(((key, place) for key, place in known.items() if place is not None), key=lambda item: item[1])

    def packed(self) -> tuple[bytes, dict[str, int]]:
        """A table of them, and what is no digest and can be in none: a damaged line may say anything."""
        rows, more = [], {}
        for key, place in self.in_order():
            digest = _digest(key)
            if digest is None:
                more[key] = place
            else:
                rows.append(_ROW.pack(digest, place))
        rows.sort()
        return b"".join(rows), more

    def _find(self, key: str) -> int | None:
        table, wanted = self._table, _digest(key)
        if wanted is None:
            return None
        count = len(table) // _ROW.size
        found = bisect_left(range(count), wanted, key=lambda i: table[i * _ROW.size : i * _ROW.size + _KEY])
        if found == count:
            return None
        there, place = _ROW.unpack_from(table, found * _ROW.size)
        return int(place) if there == wanted else None

    def _rows(self) -> list[tuple[str, int]]:
        return [(key.hex(), place) for key, place in _ROW.iter_unpack(self._table)]


def _digest(key: str) -> bytes | None:
    """A key as it is in the table."""
    try:
        digest = bytes.fromhex(key)
    except ValueError:
        return None
    return digest if digest.hex() == key and len(digest) == _KEY else None
