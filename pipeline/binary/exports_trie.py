"""Reads which names a linked Mach-O image exports: what `dlsym` and other images find, whatever `strip` did since.

A linked image lists names twice. `nm` reads the symbol table, which `strip` empties; the loader reads the exports trie.
`read_exports` reads the second. The layout is that of Apple's public header `mach-o/loader.h` (LC_DYLD_EXPORTS_TRIE,
and `export_off` of LC_DYLD_INFO): a tree whose edges are labelled with pieces of names, with ULEB128 numbers.
"""

from __future__ import annotations

import struct

from .macho import load_commands, read_header
from .reader import LONGEST_NAME, Window, decode_name

_LC_DYLD_INFO = {0x22, 0x80000022}
_LC_DYLD_EXPORTS_TRIE = 0x80000033
_DYLD_INFO = struct.Struct("<40x2I")
_LINKEDIT_DATA = struct.Struct("<8x2I")
_LONGEST_NUMBER = 10
"""Bytes of a ULEB128 number of 64 bits."""


def read_exports(data: bytes, name: str) -> frozenset[str]:
    """Names that an image exports, spelt as in the file (with the leading underscore); empty for an object.

    Args:
        data: the whole file (one slice of it, when it came out of a fat file).
        name: how errors name it.

    Raises:
        FormatError: it is no Mach-O file, or its trie is malformed.
    """
    window = Window(data, name)
    for command, offset, _size in load_commands(window, read_header(data, name)):
        if command in _LC_DYLD_INFO:
            at, size = window.unpack(_DYLD_INFO, offset, "LC_DYLD_INFO")
        elif command == _LC_DYLD_EXPORTS_TRIE:
            at, size = window.unpack(_LINKEDIT_DATA, offset, "LC_DYLD_EXPORTS_TRIE")
        else:
            continue
        if size:
            return read_trie(window.cut(at, size, "the exports trie"), name)
    return frozenset()


def read_trie(trie: bytes, name: str) -> frozenset[str]:
    """Names in an exports trie.

    Every node may be reached once only, so a crafted trie can neither loop nor grow beyond its own bytes, but for the
    names themselves, which are bounded.

    Raises:
        FormatError: a number, a label or a node goes beyond the end, or a node is reached twice.
    """
    window = Window(trie, name)
    names: set[str] = set()
    seen: set[int] = set()
    total = 0
    waiting = [(0, b"")]
    while waiting:
        at, prefix = waiting.pop()
        if at in seen:
            raise window.bad(f"the exports trie reaches its node at {at} twice")
        seen.add(at)
        terminal, at = _number(window, at)
        if terminal:
            names.add(decode_name(prefix))
        window.cut(at, terminal, "an exported symbol")
        at += terminal
        (children,) = window.cut(at, 1, "a node of the exports trie")
        at += 1
        for _ in range(children):
            end = trie.find(b"\0", at, at + LONGEST_NAME)
            if end < 0:
                raise window.bad("a label of the exports trie has no end")
            label = prefix + trie[at:end]
            total += len(label)
            if len(label) > LONGEST_NAME or total > LONGEST_NAME + 64 * len(trie):
                raise window.bad("the names in the exports trie are longer than any linker would write them")
            child, at = _number(window, end + 1)
            waiting.append((child, label))
    return frozenset(names)


def _number(window: Window, at: int) -> tuple[int, int]:
    """(the ULEB128 number at an offset, the offset behind it)."""
    value = 0
    for place in range(_LONGEST_NUMBER):
        (byte,) = window.cut(at + place, 1, "a number of the exports trie")
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:  # noqa: PLR2004 - the bit that says another byte follows
            return value, at + place + 1
    raise window.bad(f"a number of the exports trie at {at} has no end")
