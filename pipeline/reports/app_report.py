"""What verify-app found, as text and as JSON; `commands.verify_app` prints one of the two.

docs/how-to/verify-app.md documents the JSON; `SCHEMA` changes when a reader of it would break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from pipeline.apps.findings import Finding
from pipeline.apps.verdicts import ModelVerdict, Report
from pipeline.errors import SlipwayError, printable
from pipeline.proofs.report import counted

from . import tables

SCHEMA = 1


def document(report: Report) -> dict[str, object]:
    """The report as JSON."""
    contents = report.contents
    return {
        "schema": SCHEMA,
        "app": contents.name,
        "kind": contents.kind,
        "ok": report.ok,
        "expected_from": list(report.sources),
        "models": [{**_picked(model, _OF_MODEL), "evidence": _finding(model.finding)} for model in report.models],
        "checks": [asdict(check) for check in report.checks],
        "found": [{"prefix": found.prefix, "arch": found.image.arch, **_finding(found)} for found in report.found],
        "images": [_picked(image, _OF_IMAGE) for image in contents.images],
        "notes": list(contents.notes),
    }


_OF_MODEL = ("model", "prefix", "source", "arch", "platform", "state", "saw", "hint")
_OF_IMAGE = ("path", "arch", "kind", "platform", "minimum_os", "constructors")


def _picked(value: object, fields: Sequence[str]) -> dict[str, object]:
    return {field: getattr(value, field) for field in fields}


def error_document(error: SlipwayError) -> dict[str, object]:
    """The JSON of a check that could not be made."""
    where = None if error.where is None else str(error.where)
    return {"schema": SCHEMA, "ok": False, "error": {"what": error.what, "where": where, "hint": error.hint}}


def _finding(found: Finding | None) -> dict[str, object]:
    if found is None:
        return {
            "image": None, "generation": None, "symbol_table": False, "exports": False, "blob_constructor": False,
            "functions_constructor": False, "functions": 0, "blob_bytes": None, "modules": [],
        }  # fmt: skip
    return {
        "image": found.image.path,
        "generation": found.generation.name if found.generation else None,
        "symbol_table": found.listed,
        "exports": found.exported,
        "blob_constructor": found.blob,
        "functions_constructor": found.host,
        "functions": found.functions,
        "blob_bytes": found.size or None,
        "modules": list(found.kinds),
    }


def text(report: Report, width: int | None = None) -> str:
    """The report as a table, with what is wrong and its hints below. `width` is that of the terminal, if any."""
    paragraphs = groupby(_lines(report, width), key=bool)
    return printable("\n".join(line for full, lines in paragraphs for line in (lines if full else ("",)))) + "\n"


def _lines(report: Report, width: int | None) -> Iterator[str]:
    contents = report.contents
    systems = Counter(f"{image.platform or image.format} {image.arch}" for image in contents.images)
    yield f"{contents.name}: {contents.kind}, {', '.join(f'{n} x {name}' for name, n in systems.items())}"
    yield f"models expected by: {', '.join(report.sources) or 'nobody; what is there is listed'}"
    yield ""
    if report.models:
        header = ("MODEL", "FOR", "STATE", "SYMBOL", "BLOB", "FUNCTIONS", "IN")
        yield from tables.lines([header, *(_row(model) for model in report.models)], width=width)
        yield ""
    elif not report.sources:
        yield "no model of TVM is in it; say which ought to be, with --models, --config or --link"
        yield ""
    for check in report.checks:
        yield f"{check.check:<13}{check.state:<9}{check.where}: {check.saw}"
        if check.hint:
            yield f"{'':<13}hint: {check.hint}"
    for note in contents.notes:
        yield f"{'note':<13}{note}"
    for (saw, hint), models in _alike(report.models).items():
        yield ""
        yield f"{', '.join(f'{model.prefix} ({_system(model)})' for model in models)}: {saw}"
        yield f"  hint: {hint}"
    yield ""
    alive = sum(model.state == "alive" for model in report.models)
    wrong = sum(check.state == "wrong" for check in report.checks)
    yield f"{'ok' if report.ok else 'WRONG'}: {alive} of {len(report.models)} alive, {counted(wrong, 'check')} failed"


def _row(model: ModelVerdict) -> tuple[str, ...]:
    found = model.finding
    if found is None:
        return model.prefix, _system(model), model.state, "-", "-", "-", "-"
    symbol = "yes" if found.listed else "exports" if found.exported else "no"
    functions = str(found.functions) if found.host else "no"
    return model.prefix, _system(model), model.state, symbol, "yes" if found.blob else "no", functions, found.image.path


def _system(model: ModelVerdict) -> str:
    return f"{model.platform} {model.arch}" if model.platform else model.arch


def _alike(models: Sequence[ModelVerdict]) -> dict[tuple[str, str], list[ModelVerdict]]:
    """What is wrong, told once for all models that share it."""
    alike: dict[tuple[str, str], list[ModelVerdict]] = {}
    for model in models:
        if model.hint:
            alike.setdefault((f"{model.state}: {model.saw}", model.hint), []).append(model)
    return alike
