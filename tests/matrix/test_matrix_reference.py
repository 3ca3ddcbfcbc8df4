"""What is generated from the classes is what is checked in, and the default matrix is what was promised."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from pipeline.matrix.expand import load
from pipeline.matrix.presets import presets

ROOT = Path(__file__).parents[2]
MADE = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
PAGE, SCHEMA, json_schema, page, text = (MADE[name] for name in ("PAGE", "SCHEMA", "json_schema", "page", "text"))


def test_the_schema_is_true():
    assert SCHEMA.read_text(encoding="utf-8") == text(), "run doit docs"


def test_the_reference_is_true():
    assert PAGE.read_text(encoding="utf-8") == page(), "run doit docs"


def test_the_schema_offers_the_presets_and_refuses_unknown_keys():
    schema = json_schema()
    assert schema["$defs"]["Backend"]["properties"]["preset"]["enum"] == list(presets())
    closed = {name for name, part in schema["$defs"].items() if part.get("additionalProperties") is False}
    assert closed == set(schema["$defs"]) - {"Variant", "JsonValue"}
    assert schema["properties"]["models"]["additionalProperties"] is False


def test_every_list_but_arguments_refuses_what_is_named_twice():
    def lists(node, place=()):
        found = [place] if isinstance(node, dict) and node.get("type") == "array" and "uniqueItems" not in node else []
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        return found + [one for key, value in pairs for one in lists(value, (*place, key))]

    assert lists(json_schema()) == [("$defs", "Step", "properties", "command")]


def test_every_key_is_described():
    schema = json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for key, value in part.get("properties", {}).items():
            assert value.get("description"), key


def test_every_class_and_preset_is_in_the_reference():
    made = page()
    for name, part in json_schema()["$defs"].items():
        assert name == "JsonValue" or part["description"] in made, name
    for preset in presets():
        assert f"| `{preset}` |" in made


def test_the_default_matrix_names_the_schema_in_its_first_line():
    first = (ROOT / "targets.yaml").read_text(encoding="utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert named is not None
    assert (ROOT / named[1]).resolve() == SCHEMA.resolve()
    assert json.loads(SCHEMA.read_text(encoding="utf-8"))["$schema"].startswith("https://json-schema.org/")


@pytest.fixture(scope="module")
def default():
    return load(ROOT / "targets.yaml")


def test_the_default_matrix_is_two_models_for_eight_backends_and_one_for_a_ninth(default):
    backends = {cell.backend.name for cell in default.cells} - {"wasm"}
    assert backends == {
        "host",
        "linux-arm64",
        "ios-arm64",
        "ios-sim-arm64",
        "catalyst-arm64",
        "catalyst-x86_64",
        "android-arm64",
        "webgpu",
    }
    assert {(cell.model.subject, cell.backend.name) for cell in default.cells} == {
        ("minilm-f32", "wasm"),
        *((model, backend) for model in ("minilm-f32", "decoder-q4f16_1") for backend in backends),
    }


def test_the_default_products_hold_every_backend_once(default):
    held = [backend for product in default.products for backend in product.backends]
    assert sorted(held) == sorted(backend.name for backend in default.backends)
