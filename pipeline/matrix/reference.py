"""docs/reference/targets.md: the reference of `targets.yaml`, made from its JSON Schema and the presets.

`python -m pipeline.matrix.reference` writes it, and a test compares it with what is checked in. What a key means is
said in `schema.py`; only what concerns several keys at once is said here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic.json_schema import JsonSchemaValue

from .fields import NAME_PATTERN
from .json_schema import json_schema
from .presets import Preset, presets

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "targets.md"

_HEAD = """\
<!-- Made by `python -m pipeline.matrix.reference`. Change pipeline/matrix/schema.py instead. -->
# targets.yaml

One file says what is wanted. It is strict: an unknown key, a name that does not exist and a missing file are errors
with file, line, column and a hint, and all of them are reported at once. Paths are relative to the directory of the
file.

The first line lets editors complete and check it:

```yaml
# yaml-language-server: $schema=pipeline/matrix/targets.schema.json
```

YAML anchors and merge keys (`<<`) work. Versions belong in quotes: to YAML, 14.10 is the number 14.1.
"""

_MATRIX = """\
`include` and `exclude` mean exactly what they mean in GitHub Actions:

1. The product of the axes is made.
2. `exclude` removes every combination that has all the values of one of its entries. Its keys must be axes.
3. Each entry of `include` is added to every combination left by 1 and 2 whose own values it would not change. So an
   entry with a key that is not an axis, say `{model: decoder, toolchain: nightly}`, adds that value to the combinations
   it fits.
4. An entry that fits none becomes a combination of its own. It needs a model and a backend.

A model's name stands for all of its variants: wherever it is written, it is as if each of them were. `minilm-f32` is
the variant `f32` of `minilm` alone. A combination without a toolchain is compiled by its model's `toolchain`.

All models of one backend share a library, so their prefixes must differ there; two variants that never meet in a
backend may share a prefix, and an app then finds either by the same name.
"""

_PRODUCTS = """\
| kind | backends it can hold |
|---|---|
| `xcframework` | Apple platforms, each platform and architecture once; architectures of one platform are merged |
| `android` | Android |
| `native` | anything but wasm |
| `web` | wasm |
| `layout` | anything |

`bundle` is no name for a product, and neither is the name of a backend.
"""

_STEPS = """\
An input is a mapping, or short for one: a text with a colon in it is a `task`, any other a `path`.

| key | meaning |
|---|---|
| `path` | a file or directory, relative to targets.yaml |
| `task` | a task, by its whole name: `bundle:minilm-f32`; its outputs are a directory to the step |
| `task`, `*` behind the colon | several tasks, `ava3:*`: a directory that has one for each, by subject (`.` for `/`) |
| `files` | of a task: patterns of the outputs that are read; all where there are none |

| placeholder | stands for |
|---|---|
| `{in.NAME}`, `{out}` | an input, the directory of the outputs; in `command` and `environment` |
| `{subject}` | what the step is for: `minilm-f32`, `minilm-f32@host`, a product, `once` |
| `{model}`, `{variant}`, `{option.NAME}` | for models and cells; an option that is a text, a number, true or false |
| `{backend}`, `{toolchain}`, `{arch}`, `{platform}`, `{triple}` | for cells |
| `{product}` | for products |

A brace that is meant as such is written twice.
"""

_SECTIONS = {
    "": ("The file", ""),
    "Toolchain": ("toolchains.&lt;name&gt;", ""),
    "Model": ("models.&lt;name&gt;", ""),
    "PackageWeights": ("models.&lt;name&gt;.weights from a package", ""),
    "HubWeights": ("models.&lt;name&gt;.weights from the hub", ""),
    "UrlWeights": ("models.&lt;name&gt;.weights from a URL", ""),
    "PathWeights": ("models.&lt;name&gt;.weights from a path", ""),
    "PackageFile": ("models.&lt;name&gt;.gguf, litert from a package", ""),
    "HubFile": ("models.&lt;name&gt;.gguf, litert from the hub", ""),
    "UrlFile": ("models.&lt;name&gt;.gguf, litert from a URL", ""),
    "PathFile": ("models.&lt;name&gt;.gguf, litert from a path", ""),
    "Variant": ("models.&lt;name&gt;.variants.&lt;name&gt;", ""),
    "Backend": ("backends.&lt;name&gt;", ""),
    "MatrixAxes": ("matrix", _MATRIX),
    "Include": ("matrix.include[]", ""),
    "Exclude": ("matrix.exclude[]", ""),
    "Product": ("products.&lt;name&gt;", _PRODUCTS),
    "Maven": ("products.&lt;name&gt;.maven", ""),
    "LaidOut": ("products.&lt;name&gt;.layout.&lt;backend&gt;", ""),
    "LaidOutFiles": ("products.&lt;name&gt;.files.&lt;task&gt;", ""),
    "Runtime": ("runtime", ""),
    "Device": ("devices.&lt;name&gt;", ""),
    "Step": ("steps.&lt;name&gt;", _STEPS),
}


_NONE = "\N{EN DASH}"

_MANY = 10
"""More choices than this are listed elsewhere on the page."""


def page() -> str:
    """The whole page."""
    schema = json_schema()
    parts = [_HEAD]
    for name, (title, more) in _SECTIONS.items():
        part = schema["$defs"][name] if name else schema
        parts.append(f"## {title}\n\n{part['description']}\n")
        parts.append("\n".join(_keys(part)) + "\n")
        if more:
            parts.append(more)
    parts.append("\n".join(_presets()) + "\n")
    return "\n".join(parts)


def _keys(part: JsonSchemaValue) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    required = part.get("required", ())
    for key, value in part["properties"].items():
        default = "required" if key in required else _default(value)
        yield f"| `{key}` | {_type(value)} | {default} | {value['description'].replace('|', chr(92) + '|')} |"


def _default(value: JsonSchemaValue) -> str:
    default = value.get("default")
    if default in (None, [], {}, ""):
        return _NONE
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    if isinstance(default, dict):
        return ", ".join(f"`{key}`" for key in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


_KINDS = {"string": "text", "boolean": "true or false", "number": "number", "object": "mapping", "array": "list"}


def _type(value: JsonSchemaValue) -> str:
    """What a value is, in words, from its schema."""
    if "$ref" in value:
        return "mapping"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        choices = ", ".join(f"`{choice}`" for choice in value["enum"])
        return choices if len(value["enum"]) < _MANY else "one of the presets"
    of_names = value.get("patternProperties", {}).values()
    if of_names and all(one.get("type") == "string" for one in of_names):
        return "name → text"
    known = {"anyOf": "text or mapping", "oneOf": "mapping, one of several", "patternProperties": "name → mapping"}
    if found := known.keys() & value.keys():
        return known[found.pop()]
    kind = _KINDS.get(value["type"], "")
    return f"list of {_plural(value['items'])}" if kind == "list" else kind


def _plural(item: JsonSchemaValue) -> str:
    return "mappings" if "$ref" in item else "names" if item.get("pattern") == NAME_PATTERN else "text"


def _presets() -> Iterator[str]:
    yield "## Presets"
    yield ""
    yield "| preset | what it is | device | triples | deployment target | links |"
    yield "|---|---|---|---|---|---|"
    for name, preset in presets().items():
        if not isinstance(preset, Preset):
            aliases = ", ".join(f"{machine}: `{alias.preset}`" for machine, alias in preset.machines.items())
            yield f"| `{name}` | {preset.summary} | {_NONE} | {aliases} | {_NONE} | {_NONE} |"
            continue
        device = ", ".join(f"{key}: {value}" for key, value in preset.device.items())
        triples = "<br>".join(f"{arch}: `{triple}`" for arch, triple in preset.triples.items())
        links = ", ".join((*preset.system_libraries, *preset.frameworks)) or _NONE
        yield f"| `{name}` | {preset.summary} | {device} | {triples} | {preset.deployment_target or _NONE} | {links} |"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
