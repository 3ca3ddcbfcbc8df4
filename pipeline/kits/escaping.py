"""Text as a literal of the language it is pasted into: one function a language, each a filter of the templates.

`render` registers them by the names in `FILTERS`. A value comes from targets.yaml or a path and may hold spaces,
quotes, backslashes and dollars; what a language cannot carry at all is refused with a `ValueError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pipeline.documents.functions import Value

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _plain(text: object, language: str) -> str:
    """The text, which must be one line of printable characters: no identifier, path or symbol is anything else."""
    string = str(text)
    if _CONTROL.search(string):
        raise ValueError(f"{string!r} has control characters, which {language} text from a kit must not have")
    return string


def c_string(text: object) -> str:
    """A C, C++ or Objective-C string literal. `?` is escaped so that no trigraph can form."""
    out = []
    for byte in _plain(text, "C").encode():
        char = chr(byte)
        # Octal escapes end after three digits; hexadecimal ones would swallow the letters that follow.
        out.append(f"\\{char}" if char in '"\\?' else char if byte < 0x7F else f"\\{byte:03o}")  # noqa: PLR2004 - ASCII
    return '"' + "".join(out) + '"'


def _quoted(language: str, quote: str) -> Callable[[object], str]:
    """A string literal between quotes where only the quote and the backslash mean anything."""

    def literal(text: object) -> str:
        inside = _plain(text, language).replace("\\", "\\\\").replace(quote, f"\\{quote}")
        return f"{quote}{inside}{quote}"

    return literal


swift = _quoted("Swift", '"')  # an unescaped backslash would begin an interpolation
rust = _quoted("Rust", '"')
ruby = _quoted("Ruby", "'")
groovy = _quoted("Groovy", "'")  # in double quotes a dollar would begin an interpolation


def toml(text: object) -> str:
    """A TOML basic string."""
    return json.dumps(_plain(text, "TOML"), ensure_ascii=False)


def to_json(value: object) -> str:
    """Any JSON value, on one line."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def signature(values: Iterable[Value]) -> str:
    """What a tensor or another value of a function is, as JSON: `[{name, dtype, shape}]`."""
    return to_json([{"name": one.name, "dtype": one.dtype, "shape": one.shape} for one in values])


def cmake(text: object) -> str:
    """The inside of a quoted CMake argument (write the quotes yourself: `"${here}/{{ path | cmake }}"`)."""
    return re.sub(r'([\\"$])', r"\\\1", _plain(text, "CMake"))


def xcconfig(text: object) -> str:
    """One word of a list in an xcconfig file, in quotes when it needs them."""
    inside = xcconfig_inside(text)
    return inside if re.fullmatch(r"[A-Za-z0-9_./+,=@-]+", inside) else f'"{inside}"'


def xcconfig_inside(text: object) -> str:
    """A part of a quoted word in an xcconfig file.

    Raises:
        ValueError: it holds `//`, which begins a comment even between quotes, or `$`, which begins a variable.
    """
    string = _plain(text, "xcconfig")
    if "//" in string or "$" in string:
        raise ValueError(
            f"{string!r} cannot be written in an xcconfig file: // begins a comment there, and $ a variable"
        )
    return string.replace("\\", "\\\\").replace('"', '\\"')


def xml(text: object) -> str:
    """An XML attribute's value, with its quotes."""
    return quoteattr(_plain(text, "XML"))


def xml_text(text: object) -> str:
    """The content of an XML element."""
    return escape(_plain(text, "XML"))


def identifier(text: object) -> str:
    """The text as a name in all of the languages: other characters become `_`, and a digit never comes first."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", str(text))
    return f"_{name}" if not name or name[0].isdigit() else name


def comment(text: object) -> str:
    """Text for one line of a comment, in any language: nothing in it can end the line or the comment."""
    return re.sub(r"-(?=-)", "- ", _CONTROL.sub(" ", str(text)).replace("*/", "* /"))


FILTERS: Mapping[str, Callable[[Any], str]] = {
    "c": c_string,
    "cmake": cmake,
    "comment": comment,
    "groovy": groovy,
    "identifier": identifier,
    "json": to_json,
    "ruby": ruby,
    "rust": rust,
    "signature": signature,
    "swift": swift,
    "toml": toml,
    "xcconfig": xcconfig,
    "xcconfig_inside": xcconfig_inside,
    "xml": xml,
    "xml_text": xml_text,
}
"""Name in the templates -> function."""
