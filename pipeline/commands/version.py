"""`doit version`: which Slipway this is, and what it runs on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from doit.version import VERSION as DOIT

from pipeline import __version__

from .base import JsonOptions, PlainCommand

PACKAGE = Path(__file__).resolve().parent.parent


class Version(PlainCommand[JsonOptions]):
    """print the versions of Slipway, doit, Python and TVM (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "version"
    doc_description = "`doit --version` knows only doit's. Exit status: 0."

    def answer(self, options: JsonOptions, args: Sequence[str]) -> int:
        """Print them."""
        named = ", ".join(f"{name} {number or 'not installed'}" for name, number in versions().items())
        self.show({**versions(), "path": str(PACKAGE)}, [named, str(PACKAGE)], as_json=options.json)
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
