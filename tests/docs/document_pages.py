"""The documents of the project as text: which there are, their links, headings, commands and variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_SHELLS = frozenset({"sh", "bash", "console"})
_DOIT = re.compile(r"(?:^|[;&|(] ?|\./dev )doit\b([^;&|)#]*)")


@dataclass(frozen=True)
class Page:
    """A Markdown file. `prose` is its text without fenced blocks."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)

    def links(self) -> list[str]:
        """Targets of links to files of the project."""
        found = _LINK.findall(_INLINE.sub("", self.prose))
        return [target for target in found if not re.match(r"[a-z]+:", target)]

    def anchors(self) -> set[str]:
        """What can follow a `#`: GitHub's names of the headings."""
        names: dict[str, int] = {}
        found = set()
        for heading in _HEADING.findall(self.prose):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
            text = text.replace("&lt;", "").replace("&gt;", "")
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = names[name] = names.get(name, -1) + 1
            found.add(f"{name}-{count}" if count else name)
        return found

    def doit_commands(self) -> Iterator[str]:
        """The words behind `doit`, of every command line in a fenced block or between backquotes."""
        for language, body in _FENCE.findall(self.text):
            if language not in _SHELLS:
                continue
            for line in body.splitlines():
                if language == "console" and not line.startswith("$ "):
                    continue
                yield from _DOIT.findall(line.removeprefix("$ "))
        for code in _INLINE.findall(self.prose):
            if code == "doit" or code.startswith(("doit ", "./dev doit")):
                yield from _DOIT.findall(code)

    def variables(self) -> set[str]:
        """Names of environment variables of ours, or what looks like one."""
        return set(re.findall(r"\bSLIPWAY_[A-Z0-9_]*[A-Z0-9]\b", self.text))


def pages() -> list[Page]:
    """Every document that people read."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [Page(path, path.read_text(encoding="utf-8")) for path in sorted(files)]


def page_at(name: str) -> Page:
    """One document, by its path in the project."""
    return next(page for page in pages() if page.name == name)
