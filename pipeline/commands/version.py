"""`doit version`: which Slipway this is, and what it runs on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from doit.version import VERSION as DOIT

from pipeline import __version__

from .base import PlainCommand, json_flag

PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class VersionOptions:
    """See `doit help version`."""

    json: bool = json_flag()


class Version(PlainCommand[VersionOptions]):
    """print versions"""  # noqa: D415 - doit prints this as it is

    name = "version"
    doc_purpose = "print the versions of Slipway, doit, Python and TVM (Slipway)"
    doc_usage = ""
    doc_description = "`doit --version` knows only doit's. Exit status: 0."
    options = VersionOptions

    def answer(self, options: VersionOptions, args: Sequence[str]) -> int:
        """Print them."""
        if options.json:
            self.say_json({**versions(), "path": str(PACKAGE)})
        else:
            named = (f"{name} {number or 'not installed'}" for name, number in versions().items())
            self.say(f"{', '.join(named)}\n{PACKAGE}")
        return 0


def versions() -> dict[str, str | None]:
    """Slipway and what it runs on: name -> version."""
    try:
        tvm = version("apache-tvm")
    except PackageNotFoundError:
        tvm = None
    return {
        "Slipway": __version__, "doit": ".".join(map(str, DOIT)), "Python": platform.python_version(), "TVM": tvm,
    }  # fmt: skip
