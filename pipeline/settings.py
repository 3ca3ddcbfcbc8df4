"""Slipway's variables of the environment: what each of them takes, and the one place where they are read.

A call with nothing to do comes by, so nothing is imported here that it does not need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from .errors import SlipwayError
from .nearest import did_you_mean

PREFIX = "SLIPWAY_"
_LONGEST = 1e9
"""Seconds that any timer takes."""
_FLAG, _SECONDS, _TEXT = "0 or 1", "seconds, such as 1200", "text"

TAKES = {
    "SLIPWAY_TARGETS": _TEXT,
    "SLIPWAY_STRICT": _FLAG,
    "SLIPWAY_DEBUG": _FLAG,
    "SLIPWAY_STORE": _TEXT,
    "SLIPWAY_REMOTE": _TEXT,
    "SLIPWAY_REMOTE_WRITE": _FLAG,
    "SLIPWAY_REMOTE_TOKEN": _TEXT,
    "SLIPWAY_REMOTE_USER": _TEXT,
    "SLIPWAY_REMOTE_PASSWORD": _TEXT,
    "SLIPWAY_ON": _TEXT,
    "SLIPWAY_CHECK_SECONDS": _SECONDS,
    "SLIPWAY_WAIT": _FLAG,
    "SLIPWAY_CACHE": _TEXT,
}
"""What each takes. An empty one is as good as none."""

TOOL_VARIABLES = (
    "DEVELOPER_DIR", "MLC_LLM_SOURCE_DIR", "TVM_SOURCE_DIR", "VK_DRIVER_FILES",
    "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK", "ANDROID_HOME", "ANDROID_SDK_ROOT",
)  # fmt: skip
"""Variables of others by which tools are found. The no-op stamp has what they say."""


def text(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The value of a variable; empty where it is not set.

    Raises:
        SlipwayError: it is none that this variable takes.
    """
    written = environ.get(name, "")
    if written and not _fits(TAKES[name], written):
        raise SlipwayError(
            f"{name} takes {TAKES[name]}, not {written!r}", hint=f"correct it, or leave it out: unset {name}"
        )
    return written


def flag(name: str, environ: Mapping[str, str] = os.environ, *, default: bool = False) -> bool:
    """Whether a variable that takes 0 or 1 says yes.

    Raises:
        SlipwayError: it is neither.
    """
    return (text(name, environ) or str(int(default))) == "1"


def seconds(name: str, default: float, environ: Mapping[str, str] = os.environ) -> float:
    """The number in a variable that takes seconds.

    Raises:
        SlipwayError: it is none.
    """
    return float(text(name, environ) or default)


def of_tools(name: str) -> str:
    """The value of one of `TOOL_VARIABLES`; empty where it is not set.

    Raises:
        KeyError: it is none of them, so that the no-op stamp would miss a change.
    """
    if name not in TOOL_VARIABLES:
        raise KeyError(name)
    return os.environ.get(name, "")


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Refuse what a variable does not take, also where nobody will ask for it today.

    Raises:
        SlipwayError: with the variable, its value and what it takes.
    """
    for name in TAKES:
        text(name, environ)


def slips(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A sentence on each variable that has nearly the name of one of ours, which nobody reads."""
    for name in environ:
        if name.startswith(PREFIX) and name not in TAKES:
            known = (one.removeprefix(PREFIX) for one in TAKES)
            if meant := did_you_mean(name.removeprefix(PREFIX), known, f"{PREFIX}{{}}"):
                yield f"{name} is no variable of Slipway, and does nothing: {meant}"


def are_plain(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether there is nothing to say of them, and nothing that they ask to be said."""
    fit = all(_fits(kind, environ[name]) for name, kind in TAKES.items() if environ.get(name))
    return fit and environ.get("SLIPWAY_DEBUG") != "1" and not any(slips(environ))


def _fits(kind: str, written: str) -> bool:
    if kind is _FLAG:
        return written in {"0", "1"}
    if kind is _SECONDS:
        try:
            return 0 < float(written) <= _LONGEST
        except ValueError:
            return False
    return True
