"""The JSON Schema of `targets.yaml`, generated from the classes that validate it.

Editors complete and check the file with it (its first line names it), and `reference` turns it into a page. Run
`python -m pipeline.matrix.json_schema` after changing `schema.py` or `presets.yaml`; a test compares it with what is
checked in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import JsonSchemaValue

from .presets import presets
from .schema import Targets

FILE = Path(__file__).with_name("targets.schema.json")
DIALECT = "https://json-schema.org/draft/2020-12/schema"


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


def _tidy(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # A title is a string; a property that happens to be called `title` would be a mapping.
    kept = {key: _tidy(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    ways = kept.get("anyOf", [])
    if {"type": "null"} in ways:
        rest = [way for way in ways if way != {"type": "null"}]
        del kept["anyOf"]
        kept = {**rest[0], **kept} if len(rest) == 1 else {**kept, "anyOf": rest}
        if kept.get("default", "") is None:
            del kept["default"]
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    return kept


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
