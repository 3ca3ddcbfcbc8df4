"""The records of a built project, and `doit merge-app-config`, which puts them into an app's own file."""

from __future__ import annotations

import json
import os
import re

import pytest
from mlc_projects import TARGETS, shard
from projects import Project

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

RECORDS = "dist/apple/bundle/mlc-app-config.json"

APP = """\
{
    "model_list": [
        {
            "model_id": "theirs",
            "model_lib": "theirs_x"
        },
        {
            "model_lib": "llama_q0f32_of_last_week",
            "model_id": "small-q0f32",
            "model_path": "webllm-assets/small",
            "title": "Small"
        }
    ]
}"""


def written(project: Project) -> dict:
    (record,) = project.json(RECORDS)["model_list"]
    return record


def test_the_record_says_what_is_linked(mlc_built):
    record = written(mlc_built)
    link = mlc_built.json("dist/apple/link.json")
    assert f"{record['model_lib']}_" == link["prefixes"]["small-q0f32"]
    assert record["model_path"] == "small-q0f32"
    assert record["estimated_vram_bytes"] > 0
    for part in link["archives"]:
        assert f"{record['model_lib']}_".encode() in mlc_built.path(f"dist/apple/{part['archive']}").read_bytes()


def test_verify_app_expects_the_names_that_were_built(mlc_built):
    record = written(mlc_built)
    report = json.loads(mlc_built.ok("verify-app", "dist/apple/apple.xcframework", "--json").output)
    assert {one["prefix"] for one in report["models"]} == {f"{record['model_lib']}_"}
    assert {one["state"] for one in report["models"]} == {"alive"}


def test_all_products_and_the_store_share_one_copy_of_the_weights(fresh):
    shard(fresh.path("weights"), os.urandom(300_000))
    droid = "products:\n  droid: {kind: android, backends: [adreno]}\n"
    address = 'q0f32: {bundle_weight: true, model_url: "https://example.org/small", '
    fresh.write("targets.yaml", TARGETS.replace("products:\n", droid).replace("q0f32: {", address))
    fresh.ok("product")
    places = ("dist/bundle/small-q0f32", "dist/apple/bundle/small-q0f32", "dist/droid/bundle/small-q0f32")
    states = [fresh.path(f"{place}/params_shard_0.bin").stat() for place in places]
    copies = [
        path for path in fresh.path("build/store").rglob("*") if path.is_file() and path.stat().st_size == 300_000
    ]
    assert len(copies) == 1
    assert {state.st_ino for state in states} == {copies[0].stat().st_ino}
    assert states[0].st_nlink >= len(places) + 1
    run = fresh.doit("merge-app-config", "app.json")
    assert run.status == 3
    assert "cannot be read" not in run.output
    assert "products droid and apple have different records for small-q0f32" in run.output


def test_records_go_into_the_file_of_an_app_and_the_rest_of_it_stays(mlc_built):
    mlc_built.ok()
    app = mlc_built.write("App/mlc-app-config.json", APP)
    app.chmod(0o640)
    record = written(mlc_built)

    dry = mlc_built.doit("merge-app-config", "App/mlc-app-config.json", "--dry-run")
    assert dry.status == 1
    assert "nothing is written" in dry.output
    assert app.read_text() == APP

    run = mlc_built.ok("merge-app-config", "App/mlc-app-config.json")
    assert f'small-q0f32: model_lib: "llama_q0f32_of_last_week" → "{record["model_lib"]}"' in run.output
    assert "model_path stays as the app has it" in run.output
    more = f'"Small",\n            "estimated_vram_bytes": {record["estimated_vram_bytes"]}'
    expected = APP.replace("llama_q0f32_of_last_week", record["model_lib"]).replace('"Small"', more)
    assert app.read_text() == expected
    assert app.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in app.parent.iterdir()] == ["mlc-app-config.json"]

    assert mlc_built.doit("merge-app-config", "--dry-run", "App/mlc-app-config.json").status == 0
    again = mlc_built.ok("merge-app-config", "--product", "apple", "--json", "App/mlc-app-config.json")
    document = json.loads(again.output)
    assert (document["written"], document["changed"], document["added"]) == (False, [], [])
    assert document["unchanged"] == ["small-q0f32"]


def test_a_link_stays_a_link_and_a_byte_order_mark_stays(mlc_built):
    mlc_built.ok()
    real = mlc_built.write("elsewhere.json", "")
    real.write_bytes(b'\xef\xbb\xbf{"model_list": []}\r\n')
    mlc_built.path("link.json").symlink_to("elsewhere.json")
    mlc_built.ok("merge-app-config", "link.json")
    assert mlc_built.path("link.json").is_symlink()
    assert real.read_bytes() == b'\xef\xbb\xbf{"model_list": [' + json.dumps(written(mlc_built)).encode() + b"]}\r\n"


def test_records_that_are_not_of_today_are_not_given_to_an_app(mlc_built):
    mlc_built.write("app.json", '{"model_list": []}')
    mlc_built.edit("targets.yaml", "context_window_size: 64", "context_window_size: 32")
    run = mlc_built.doit("merge-app-config", "app.json")
    assert run.status == 3
    assert "the records of apple are not up to date\n  hint: build them first: doit app_config:apple" in run.output
    assert mlc_built.path("app.json").read_text() == '{"model_list": []}'


@pytest.mark.parametrize(
    ("words", "text", "what"),
    [
        ([], "", "takes one APP_FILE, not 0"),
        (["nowhere.json"], "", "nowhere.json: cannot be read: No such file"),
        (["app.json", "--product", "web"], "", "no product 'web' with records\n  hint: name one of: apple"),
        (["app.json"], '{"model_list": [\n  1\n  2]}', "app.json:3:3: is not JSON"),
        (["app.json"], '{"models": []}', "app.json: has no `model_list`"),
    ],
)
def test_what_cannot_be_merged(mlc_built, words, text, what):
    mlc_built.ok()
    mlc_built.write("app.json", text)
    run = mlc_built.doit("merge-app-config", *words)
    assert run.status == 3
    assert what in run.output
    assert "Traceback" not in run.output
    assert mlc_built.path("app.json").read_text() == text


def test_a_matrix_without_such_models_says_so(project):
    project.write("app.json", "{}")
    run = project.doit("merge-app-config", "app.json")
    assert run.status == 3
    assert re.search(r"no product of targets.yaml has records for apps", run.output)
