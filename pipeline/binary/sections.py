"""What of a file is in memory when it runs, whatever its format: for looking for strings that outlive a strip.

`pipeline.apps` asks here. Symbol tables, debug entries and string tables are left out on purpose: a name in one of
those proves nothing about the code.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import FormatError

from . import elf, macho
from .object_info import LoadedSection as LoadedSection


def loaded_sections(data: bytes, name: str) -> Iterator[LoadedSection]:
    """The loaded sections of a Mach-O or ELF file.

    Args:
        data: the whole file (one slice of it, when it came out of a fat file).
        name: how errors name it.

    Raises:
        FormatError: it is malformed, or of another format.
    """
    if data.startswith(macho.MAGIC):
        return _bounded(macho.loaded_sections(data, name), data, name)
    if data.startswith(elf.MAGIC):
        return _bounded(elf.loaded_sections(data, name), data, name)
    raise FormatError("is neither Mach-O nor ELF", where=name, hint="give what a compiler or a linker wrote")


def _bounded(sections: Iterator[LoadedSection], data: bytes, name: str) -> Iterator[LoadedSection]:
    """Sections that share bytes only so far as linkers have them do it: a file may name its bytes a thousand times."""
    left = 4 * len(data)
    for section in sections:
        left -= len(section.data)
        if left < 0:
            raise FormatError("its sections overlap", where=name, hint="give what a compiler or a linker wrote")
        yield section
