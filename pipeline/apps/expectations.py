"""Which models ought to be in an app: from the command line, an `mlc-app-config.json`, our `link.json` or targets.yaml.

`pipeline.commands.verify_app` asks for one of them, `contents` for those that the app itself ships. Must not know how
they are looked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.action import Json
from pipeline.errors import SlipwayError


@dataclass(frozen=True, slots=True)
class Expected:
    """A model that ought to be there.

    Attributes:
        name: what people call it.
        prefixes: `system_lib_prefix`es it may have, the likely one first; more than one where somebody may have left
            the last underscore out.
        asked: the value that was written, where it was written by hand (`model_lib`); None for what a build wrote.
        source: where it was written.
        platforms: those it is built for; None where nobody says.
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
    return [Expected(name, _spellings(name), "--models", asked=name) for name in names]


def models_of_config(data: bytes, where: str) -> list[Expected]:
    """From an `mlc-app-config.json`: the `model_lib` of every record.

    MLC asks the runtime for it with every `-` replaced and one `_` at the end.

    Raises:
        SlipwayError: it is no such file.
    """
    document = _json(data, where, "give the mlc-app-config.json that the app ships")
    records = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise SlipwayError("has no model_list", where=where, hint="give the mlc-app-config.json that the app ships")
    found: list[Expected] = []
    for number, record in enumerate(records):
        library = record.get("model_lib") if isinstance(record, dict) else None
        if not isinstance(library, str) or not library:
            hint = "copy model_lib from the mlc-app-config.json that the build wrote"
            raise SlipwayError(f"record {number + 1} of model_list has no model_lib", where=where, hint=hint)
        name = record.get("model_id") or library
        found.append(Expected(str(name), (_system_library(library),), where, asked=library))
    return found


def models_of_link(data: bytes, where: str) -> list[Expected]:
    """From a kit's link.json: its models, the platforms of the parts they are in, and the archives to load.

    Raises:
        SlipwayError: it is no such file.
    """
    hint = "give dist/<product>/link.json"
    document = _json(data, where, hint)
    try:
        return [
            Expected(
                subject,
                (prefix,),
                where,
                platforms=frozenset(part["platform"] for part in _parts(document, subject)),
                archives={part["platform"]: part["archive"] for part in _parts(document, subject)},
            )
            for subject, prefix in document["prefixes"].items()
        ]
    except (KeyError, TypeError, AttributeError):
        raise SlipwayError("is not written by Slipway, or by a newer one", where=where, hint=hint) from None


def models_of_targets(path: Path) -> list[Expected]:
    """From targets.yaml: every model of the matrix, for the platforms it is compiled for.

    A model of mlc_llm's has the name that slipway.lock pins, which may be another on other platforms.

    Raises:
        MatrixError: the file is wrong.
        DownloadError: a name is not pinned, and what it follows from cannot be had.
    """
    from pipeline.matrix.load import load  # noqa: PLC0415 - YAML and pydantic are needed in this case only
    from pipeline.plan.library_names import Place, named  # noqa: PLC0415
    from pipeline.plan.lockfile import read_lock  # noqa: PLC0415

    matrix = load(path, building=False)
    pins = matrix.root / "slipway.lock"
    platforms: dict[tuple[str, str], set[str]] = {}
    for cell in named(matrix, Place(matrix.root, pins, read_lock(pins), lambda _: None)).cells:
        platforms.setdefault((cell.model.subject, cell.model.prefix), set()).add(cell.backend.platform)
    return [
        Expected(subject, (prefix,), path.name, platforms=frozenset(found))
        for (subject, prefix), found in platforms.items()
    ]


def read_file(path: Path) -> bytes:
    """The bytes of a file that the user named.

    Raises:
        SlipwayError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SlipwayError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from None


def _spellings(name: str) -> tuple[str, ...]:
    """As a prefix, and as a `model_lib`."""
    return tuple(dict.fromkeys((_system_library(name), name) if not name.endswith("_") else (name,)))


def _system_library(name: str) -> str:
    return name.removeprefix("system://").replace("-", "_") + "_"


def _parts(document: Mapping[str, Json], subject: str) -> Sequence[Mapping[str, Json]]:
    return [part for part in document["parts"] if subject in part["models"]]


def _json(data: bytes, where: str, hint: str) -> Json:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as broken:
        raise SlipwayError(f"is no JSON: {broken}", where=where, hint=hint) from None
