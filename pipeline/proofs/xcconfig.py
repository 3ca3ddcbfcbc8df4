"""Reads an Xcode settings file the way Xcode does, as far as link flags need it.

`kits` asks it which flags a target gets for one SDK, so that the link that is tried is the one a user's Xcode will make
and not the one we meant to write. Knows Apple's syntax ("Adding a build configuration file to your project"): comments,
`[sdk=…]`, `[arch=…]` and `[config=…]` conditions, `$(NAME)`, `$(NAME:default=…)`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.errors import FormatError

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)((?:\[[^\]]*\])*)\s*=(.*)", re.DOTALL)
_CONDITION = re.compile(r"(\w+)=([^,\]]+)")
_INNERMOST = re.compile(r"\$\((\w+)(?::default=([^()$]*))?\)|\$\{(\w+)\}")

_MOST_EXPANSIONS = 10_000
"""A setting that refers to itself in a circle would otherwise never end."""


@dataclass(frozen=True, slots=True)
class _Assignment:
    name: str
    conditions: tuple[tuple[str, str], ...]
    value: str

    def holds(self, build: Mapping[str, str]) -> bool:
        return all(fnmatchcase(build.get(key, ""), pattern) for key, pattern in self.conditions)


class Settings:
    """The assignments of one file, in order. `#include` is not followed: kits are one file.

    Raises:
        FormatError: a line that is no assignment.
    """

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._assignments: list[_Assignment] = []
        for number, line in enumerate(text.splitlines(), 1):
            code = line.partition("//")[0].strip()
            if not code or code.startswith("#include"):
                continue
            match = _ASSIGNMENT.fullmatch(code)
            if not match:
                raise FormatError(f"no setting: {code!r}", where=f"{name}:{number}", hint="write NAME = value")
            setting, conditions, value = match.groups()
            self._assignments.append(_Assignment(setting, tuple(_CONDITION.findall(conditions)), value.strip()))

    def value(self, setting: str, build: Mapping[str, str], given: Mapping[str, str]) -> str:
        """The text of a setting, fully expanded.

        Conditions match against `build`: `sdk` (with a version, as Xcode has it: `iphoneos18.0`), `arch`, `config`.
        Settings that are given come from outside the file, such as `SRCROOT`; what the file assigns wins over them, and
        `$(inherited)` is the empty text.

        Raises:
            FormatError: settings that refer to each other in a circle.
        """
        text = f"$({setting})"
        for _ in range(_MOST_EXPANSIONS):
            match = _INNERMOST.search(text)
            if not match:
                return text
            bare, default, braced = match.groups()
            name = bare or braced
            value = self._assigned(name, build)
            if value is None:
                value = given.get(name)
            text = text[: match.start()] + (value or default or "") + text[match.end() :]
        raise FormatError(f"{setting} refers to itself in a circle", where=self._name, hint="correct the template")

    def words(self, setting: str, build: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
        """The same, split into words with quotes taken off."""
        return shlex.split(self.value(setting, build, given))

    def _assigned(self, name: str, build: Mapping[str, str]) -> str | None:
        """The value that counts: of all assignments whose conditions hold, one with a condition, or else the last."""
        matching = [one for one in self._assignments if one.name == name and one.holds(build)]
        if not matching:
            return None
        return max(enumerate(matching), key=lambda pair: (len(pair[1].conditions), pair[0]))[1].value


def linker_flags(words: list[str]) -> list[str]:
    """What a compiler driver hands to the linker of its flags: `-Wl,a,b` and `-Xlinker a` unpacked, the rest as it is.

    Frameworks and libraries of the system are left out, as there is no SDK to find them in; a stub stands for them.
    """
    found: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "-framework" and queue:
            queue.pop(0)
        elif word == "-Xlinker" and queue:
            found.append(queue.pop(0))
        elif word.startswith("-Wl,"):
            found += word.split(",")[1:]
        elif not word.startswith("-l"):
            found.append(word)
    return found
