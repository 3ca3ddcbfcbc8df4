"""Makes the JSON Schema of `targets.yaml`, and docs/reference/targets.md, from the classes of `pipeline.matrix.schema`.

Editors complete and check the file with the schema (its first line names it). `doit docs` writes both, and tests
compare them with what is checked in. What a key means is said in `schema.py`; what concerns several keys at once is in
the page's template, `targets.md.j2`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from pydantic import JsonValue
from pydantic.json_schema import JsonSchemaValue

from pipeline.matrix.fields import NAME_PATTERN
from pipeline.matrix.loader import Node
from pipeline.matrix.presets import presets
from pipeline.matrix.schema import Targets

SCHEMA = Path(__file__).parents[1] / "pipeline" / "matrix" / "targets.schema.json"
PAGE = Path(__file__).parent / "reference" / "targets.md"
TEMPLATE = Path(__file__).with_name("targets.md.j2")
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NONE = "\N{EN DASH}"

_MANY = 10
"""More choices than this are listed elsewhere on the page."""

_KINDS = {"string": "text", "boolean": "true or false", "number": "number", "object": "mapping"}


def json_schema() -> JsonSchemaValue:
    """The schema as JSON.

    It is what pydantic makes of the classes, less what confuses editors: generated titles, and `null` beside every
    optional value. The names of the presets are in it, so that editors offer them.
    """
    made: JsonSchemaValue = _tidy(Targets.model_json_schema())
    made["$defs"]["Backend"]["properties"]["preset"]["enum"] = list(presets())
    return {"$schema": DIALECT, "title": "targets.yaml", **made}


def text() -> str:
    """The schema as it is checked in."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The whole page."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - Markdown
    environment.filters |= {"kind": _kind, "default_value": _default}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(schema=Node.model_validate(json_schema()), presets=presets())


def _tidy(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # A title is a string; a property that happens to be called `title` would be a mapping.
    kept = {key: _tidy(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    if {"type": "null"} in kept.get("anyOf", ()):
        rest = [way for way in kept.pop("anyOf") if way != {"type": "null"}]
        kept = {**rest[0], **kept} if len(rest) == 1 else {**kept, "anyOf": rest}
        kept = {key: value for key, value in kept.items() if key != "default" or value is not None}
    if "patternProperties" in kept:
        kept |= {"additionalProperties": False}
    if isinstance(said := kept.get("description"), str):
        kept |= {"description": " ".join(said.split())}
    return kept


def _default(default: JsonValue) -> str:
    if default in (None, [], {}, ""):
        return _NONE
    if isinstance(default, list | dict):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _kind(value: Node) -> str:
    """What a value is, in words."""
    if value.const is not None:
        return f"`{value.const}`"
    if value.enum:
        return ", ".join(f"`{choice}`" for choice in value.enum) if len(value.enum) < _MANY else "one of the presets"
    if value.one_of or value.any_of:
        return "mapping, one of several" if value.one_of else "text or mapping"
    if value.pattern_properties:
        of_texts = all(one.type == "string" for one in value.pattern_properties.values())
        return "name → text" if of_texts else "name → mapping"
    if value.items is not None:
        of_names = value.items.pattern == NAME_PATTERN
        return f"list of {'mappings' if value.items.ref else 'names' if of_names else 'text'}"
    return "mapping" if value.ref else _KINDS.get(str(value.type), "")


if __name__ == "__main__":
    SCHEMA.write_text(text(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
