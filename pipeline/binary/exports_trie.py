"""Reads which names a linked Mach-O image exports: what `dlsym` and other images find, whatever `strip` did since.

A linked image lists names twice. `nm` reads the symbol table, which `strip` empties; the loader reads the exports trie.
`read_exports` reads the second. The layout is that of Apple's public header `mach-o/loader.h` (LC_DYLD_EXPORTS_TRIE,
and `export_off` of LC_DYLD_INFO): a tree whose edges are labelled with pieces of names, with ULEB128 numbers.
"""

from __future__ import annotations

import struct

from .macho import load_commands, read_header
from .reader import LONGEST_NAME, Cursor, Window, decode_name

_LC_DYLD_INFO = {0x22, 0x80000022}
_LC_DYLD_EXPORTS_TRIE = 0x80000033
_DYLD_INFO = struct.Struct("<40x2I")
_LINKEDIT_DATA = struct.Struct("<8x2I")
_NUMBER = "a number of the exports trie"


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
    cursor = Cursor(trie, name)
    window = cursor.window
    names: set[str] = set()
    seen: set[int] = set()
    total = 0
    waiting = [(0, b"")]
    while waiting:
        cursor.at, prefix = waiting.pop()
        if cursor.at in seen:
            raise window.bad(f"the exports trie reaches its node at {cursor.at} twice")
        seen.add(cursor.at)
        terminal = cursor.number(_NUMBER, bits=64)
        if terminal:
            names.add(decode_name(prefix))
        cursor.take(terminal, "an exported symbol")
        for _ in range(cursor.byte("a node of the exports trie")):
            end = trie.find(b"\0", cursor.at, cursor.at + LONGEST_NAME)
            if end < 0:
                raise window.bad("a label of the exports trie has no end")
            label = prefix + trie[cursor.at : end]
            total += len(label)
            if len(label) > LONGEST_NAME or total > LONGEST_NAME + 64 * len(trie):
                raise window.bad("the names in the exports trie are longer than any linker would write them")
            cursor.at = end + 1
            waiting.append((cursor.number(_NUMBER, bits=64), label))
    return frozenset(names)
