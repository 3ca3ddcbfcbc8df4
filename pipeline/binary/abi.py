"""TVM's C interface over time: which names compiled objects ask for, which of them a runtime has, in which releases.

One table, from the histories of TVM and tvm-ffi, held against the tags of the releases. Whoever tells the age of
objects or of a runtime asks here. That a runtime has every name is necessary, and no proof that it runs the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

ALWAYS, STILL = "", "9999-12-31"
"""The ends of history. Days are ISO dates, which sort as text."""


class Span(NamedTuple):
    """The days from `since` to the one before `until`."""

    since: str
    until: str

    def both(self, other: Span) -> Span:
        """What two spans share; `since` is not before `until` where that is nothing."""
        return Span(max(self.since, other.since), min(self.until, other.until))

    @property
    def is_empty(self) -> bool:
        """Whether it has no day."""
        return self.since >= self.until


class Row(NamedTuple):
    """A name of the interface.

    Attributes:
        asked: when TVM's code generator wrote objects that ask for it.
        offered: when a runtime had it; of a blob, looked for it.
    """

    asked: Span
    offered: Span


def _row(since: str, until: str, *, offered: tuple[str, str] | None = None) -> Row:
    return Row(Span(since, until), Span(*(offered or (since, until))))


TABLE: Mapping[str, Row] = {
    "TVMAPISetLastError": _row(ALWAYS, "2025-05-06", offered=(ALWAYS, "2025-05-24")),
    "TVMFuncCall": _row(ALWAYS, "2025-05-06", offered=(ALWAYS, "2025-05-24")),
    "TVMBackendRegisterSystemLibSymbol": _row(ALWAYS, "2025-08-17"),
    "TVMBackendGetFuncFromEnv": _row(ALWAYS, "2026-07-04"),
    "TVMFFIFunctionCall": _row("2025-05-06", STILL),
    "TVMFFIErrorSetRaisedByCStr": _row("2025-05-06", "2025-06-16"),
    "TVMFFIErrorSetRaisedFromCStr": _row("2025-06-16", STILL),
    "TVMFFIEnvRegisterSystemLibSymbol": _row("2025-08-17", "2025-08-20"),
    "TVMFFIEnvModRegisterSystemLibSymbol": _row("2025-08-20", STILL),
    "TVMFFIErrorSetRaisedFromCStrParts": _row("2026-03-02", STILL, offered=("2025-10-13", STILL)),
    "TVMFFIEnvModLookupFromImports": _row("2026-07-04", STILL, offered=("2025-08-20", STILL)),
    "TVMFFIHandleInitOnce": _row("2026-07-04", STILL, offered=("2025-12-05", STILL)),
    "__tvm_dev_mblob": _row(ALWAYS, "2025-06-05"),
    "__tvm_ffi_library_bin": _row("2025-06-05", "2025-09-06"),
    "__tvm_ffi__library_bin": _row("2025-09-06", STILL),
    "runtime.module.loadbinary_": _row(ALWAYS, "2025-08-17"),
    "ffi.Module.load_from_bytes.": _row("2025-08-17", STILL),
}
"""By name: a function; the end of the name of a model's blob; or the start of that of a loader of modules."""

RELEASES: Mapping[str, str] = {
    "0.15": "2024-01-02", "0.16": "2024-04-13", "0.17": "2024-07-15", "0.18": "2024-10-12", "0.19": "2025-01-19",
    "0.20": "2025-04-12", "0.21": "2025-07-07", "0.22": "2025-10-21", "0.23": "2026-01-27", "0.24": "2026-05-02",
    "0.25": "2026-06-17", "0.26": "2026-08-05",
}  # fmt: skip
"""Release -> the day it was made; it has everything before that day. What is newer has changed none of the names."""


@dataclass(frozen=True, slots=True)
class Age:
    """Of which TVM something is: the days that fit all the names it was recognised by."""

    span: Span
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{releases(self.span)}, recognised by {', '.join(self.names)}"


def age_of_objects(asked: Iterable[str]) -> Age:
    """Of which TVM objects are, by the C names that they ask for and the end of their blob's name."""
    names = known(asked)
    return Age(_common(TABLE[name].asked for name in names), names)


def age_of_runtime(defined: Iterable[str]) -> Age:
    """Of which TVM a runtime is, by the C names that it has."""
    names = known(defined)
    return Age(_common(TABLE[name].offered for name in names), names)


def servers(asked: Iterable[str]) -> Span:
    """Which runtimes have all that objects ask for; empty where none has."""
    return _common(TABLE[name].offered for name in known(asked))


def can_serve(defined: Iterable[str], asked: Iterable[str]) -> bool:
    """Whether a runtime is of a TVM that has all that objects ask for. It may yet lack some of that."""
    runtime = age_of_runtime(defined)
    return bool(runtime.names) and not _common([runtime.span, servers(asked)]).is_empty


def lacking(asked: Iterable[str], version: str) -> list[str]:
    """The names that objects ask for and the runtime of a release has not, each with the day that it went or came."""
    day = released(version)
    found = []
    for name in known(asked):
        since, until = TABLE[name].offered
        if day < since:
            found.append(f"{name} (there since {since})")
        elif day >= until:
            found.append(f"{name} (gone since {until})")
    return found


def offered(version: str) -> frozenset[str]:
    """The names of the table that the runtime of a release has."""
    day = released(version)
    return frozenset(name for name, row in TABLE.items() if row.offered.since <= day < row.offered.until)


def known(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some names that tell an age, in the order of the table."""
    given = frozenset(names)
    return tuple(name for name in TABLE if name in given)


def released(version: str) -> str:
    """The day of a release: `0.22` and `0.22.0` are one. What is older than the table is ALWAYS."""
    major, minor = (int(part) for part in version.split(".")[:2])
    day = RELEASES.get(f"{major}.{minor}")
    if day is not None:
        return day
    first = tuple(int(part) for part in next(iter(RELEASES)).split("."))
    return ALWAYS if (major, minor) < first else "9999-01-01"


def said(version: str) -> str:
    """A release and its day, where that is known: `0.22.0 (2025-10-21)`."""
    day = released(version)
    return f"{version} ({day})" if day in RELEASES.values() else version


def releases(span: Span) -> str:
    """The releases of some days, for people: `TVM 0.22 to 0.25 (2025-08-20 to 2026-07-04)`."""
    within = [name for name, day in RELEASES.items() if span.since <= day < span.until]
    if span.since == ALWAYS and span.until == STILL:
        return "any TVM"
    if span.is_empty:
        return "more than one TVM"
    if span.until == STILL:
        return f"TVM {within[0]} or newer (since {span.since})" if within else f"TVM since {span.since}"
    if span.since == ALWAYS:
        return f"TVM {within[-1]} or older (before {span.until})"
    days = f"({span.since} to {span.until})"
    if not within:
        return f"TVM between two releases {days}"
    return f"TVM {within[0]} {days}" if len(within) == 1 else f"TVM {within[0]} to {within[-1]} {days}"


def _common(spans: Iterable[Span]) -> Span:
    found = Span(ALWAYS, STILL)
    for span in spans:
        found = found.both(span)
    return found
