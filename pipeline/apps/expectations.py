"""Which models ought to be in an app: from the command line, an `mlc-app-config.json`, our `link.json` or targets.yaml.

`pipeline.commands.verify_app` asks for one of them, `contents` for those that the app itself ships.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.documents import untrusted
from pipeline.documents.codec import decode
from pipeline.errors import FormatError, SlipwayError

MOST_RECORDS = 2000
"""Records of one list; WebLLM's own, which is the longest, has 150."""

_CONFIG_HINT = "give the mlc-app-config.json that the app ships"


@dataclass(frozen=True, slots=True)
class Expected:
    """A model that ought to be there.

    Attributes:
        prefixes: `system_lib_prefix`es it may have, the likely one first; more than one where a user may have left
            the last underscore out.
        asked: the value that was written, where it was written by hand (`model_lib`); None for what a build wrote.
        platforms: those it is built for; None where it is not known.
        archives: platform -> archive to force-load there, as link.json says.
    """

    name: str
    prefixes: tuple[str, ...]
    source: str
    asked: str | None = None
    platforms: frozenset[str] | None = None
    archives: Mapping[str, str] = field(default_factory=dict, hash=False)

    def is_for(self, platforms: frozenset[str]) -> bool:
        """Whether it is built for one of these platforms (no platform: it cannot be told)."""
        return self.platforms is None or not platforms or bool(self.platforms & platforms)


def models_named(text: str) -> list[Expected]:
    """From `--models a,b`: prefixes or values of `model_lib`.

    Raises:
        SlipwayError: nothing is named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise SlipwayError("names no model", where="--models", hint="--models PREFIX[,PREFIX...]")
    # As a prefix, and as a `model_lib`.
    spellings = {name: (name,) if name.endswith("_") else (_system_library(name), name) for name in names}
    return [Expected(name, tuple(dict.fromkeys(spellings[name])), "--models", asked=name) for name in names]


def models_of_config(data: bytes, where: str, notes: list[str] | None = None) -> list[Expected]:
    """From an `mlc-app-config.json`, which errors name `where`: the `model_lib` of every record.

    MLC asks the runtime for it with every `-` replaced and one `_` at the end. `notes` takes what is said of records
    without a `model_lib`, which are another engine's; None refuses them.

    Raises:
        SlipwayError: it is no such file.
    """
    document = untrusted.parse(data, where)
    records = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise SlipwayError("has no model_list", where=where, hint=_CONFIG_HINT)
    if len(records) > MOST_RECORDS:
        raise SlipwayError(f"has {len(records)} records, more than {MOST_RECORDS}", where=where, hint=_CONFIG_HINT)
    found: list[Expected] = []
    for number, record in enumerate(records, 1):
        library = record.get("model_lib") if isinstance(record, dict) else None
        if isinstance(library, str) and library:
            name = record.get("model_id") or library
            found.append(Expected(str(name), (_system_library(library),), where, asked=library))
            continue
        lacking = f"record {number} of model_list has no model_lib"
        if notes is None:
            hint = "copy model_lib from the mlc-app-config.json that the build wrote"
            raise SlipwayError(lacking, where=where, hint=hint)
        notes.append(f"{where}: {lacking}, so no library is expected for it")
    return found


@dataclass(frozen=True)
class _Archive:
    """What matters here of `documents.link_json.LinkedArchive`."""

    platform: str
    archive: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class _Kit:
    """What matters here of `documents.link_json.LinkJson`."""

    prefixes: Mapping[str, str]
    archives: tuple[_Archive, ...]


def models_of_link(data: bytes, where: str) -> list[Expected]:
    """From a kit's link.json: its models, the platforms of the archives they are in, and the archives to load.

    Raises:
        SlipwayError: it is no such file.
    """
    try:
        kit = decode(_Kit, untrusted.parse(data, where), where)
    except FormatError as error:
        what = f"is not written by this version of Slipway: {error.what}"
        raise SlipwayError(what, where=error.where, hint="give dist/<product>/link.json") from error
    found: list[Expected] = []
    for subject, prefix in kit.prefixes.items():
        archives = {one.platform: one.archive for one in kit.archives if subject in one.models}
        found.append(Expected(subject, (prefix,), where, platforms=frozenset(archives), archives=archives))
    return found


def of_targets(path: Path) -> tuple[list[Expected], str | None]:
    """From targets.yaml: every model, for the platforms it is compiled for; and the release of TVM that is declared.

    A model of mlc_llm's has the name that slipway.lock pins, which may be another on other platforms.

    Raises:
        MatrixError: the file is wrong.
        DownloadError: a name is not pinned, and what it follows from cannot be had.
    """
    from pipeline.matrix.expand import load  # noqa: PLC0415 - YAML and pydantic are needed in this case only
    from pipeline.plan.library_names import Place, named  # noqa: PLC0415
    from pipeline.plan.lockfile import read_lock  # noqa: PLC0415

    matrix = load(path, building=False)
    pins = matrix.root / "slipway.lock"
    platforms: dict[tuple[str, str], set[str]] = {}
    for cell in named(matrix, Place(matrix.root, pins, read_lock(pins), lambda _: None)).cells:
        platforms.setdefault((cell.model.subject, cell.model.prefix), set()).add(cell.backend.platform)
    models = (
        Expected(subject, (prefix,), path.name, platforms=frozenset(found))
        for (subject, prefix), found in platforms.items()
    )
    return list(models), matrix.runtime_version


def checked_version(text: str) -> str:
    """A release of TVM from the command line.

    Raises:
        SlipwayError: it is none.
    """
    from pipeline.matrix.fields import MEANINGS, TVM_PATTERN  # noqa: PLC0415 - as above

    if not re.search(TVM_PATTERN, text):
        what, hint = MEANINGS[TVM_PATTERN]
        raise SlipwayError(f"`{text}` {what}", where="--runtime-version", hint=hint)
    return text


def _system_library(name: str) -> str:
    return name.removeprefix("system://").replace("-", "_") + "_"
