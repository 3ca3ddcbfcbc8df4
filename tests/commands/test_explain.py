"""`doit explain` names what differs, back to the first causes, and agrees with what a run then does."""

from __future__ import annotations

import json
import shutil

import pytest
from projects import clone

pytestmark = pytest.mark.tvm


def explained(project, *tasks: str):
    return json.loads(project.ok("explain", "--json", *tasks).output)


def test_a_fresh_task_tells_its_key_and_how_it_was_built(built):
    text = built.ok("explain", "compile:tiny-f32@ios-arm64").output
    assert "compile:tiny-f32@ios-arm64 is fresh" in text
    for word in ("key      ", "built    20", "took     ", "of CPU in workers", "slipway 0.", "3 files"):
        assert word in text
    logs = {line.split()[1] for line in built.ok("explain", "verify").output.splitlines() if "  log   " in line}
    assert logs == {str(path) for path in (built.root / "build" / "log").glob("verify.*")}
    (found,) = explained(built, "compile:tiny-f32@ios-arm64")
    assert found["state"] == found["fate"] == "fresh"
    assert len(found["key"]) == 64
    assert found["built"]["seconds"] > 0
    assert found["built"]["peak_bytes"] > 0


def test_a_changed_setting_is_told_once_where_it_first_matters(built):
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    text = built.ok("explain", "verify:kit").output
    assert text.count('params.backend.deployment_target changed: "14.0" → "15.0"') == 1
    assert "because compile:tiny-f32@ios-arm64 is stale" in text
    assert "first cause: compile:tiny-f32@ios-arm64" in text
    assert "would run" not in text
    (found,) = explained(built, "compile:tiny-f32@ios-arm64")
    assert {change["field"] for change in found["changes"]} == {
        "params.backend.deployment_target", "params.backend.triple"
    }  # fmt: skip
    assert found["fate"] == "build"


def test_a_changed_weights_file_is_named_with_both_digests(built):
    built.edit("weights/weight.txt", "0.25", "0.75")
    text = built.ok("explain", "bundle:tiny-f32").output
    assert "because weights:tiny is stale" in text
    assert "files.path changed" in text
    lines = [line.strip() for line in text.splitlines() if "file weight.txt, sha256" in line]
    assert len(lines) == 1
    assert "→" in lines[0]
    assert "config.json" not in text
    assert "first cause: weights:tiny" in text


def test_a_task_upstream_that_was_built_again_meanwhile_is_traced_too(built):
    built.edit("weights/weight.txt", "0.25", "0.75")
    built.ok("weights:tiny")
    (found,) = explained(built, "params:tiny-f32")
    (cause,) = found["because"]
    assert (cause["name"], cause["state"]) == ("weights:tiny", "rebuilt")
    assert [file["field"] for file in cause["files"]] == ["weight.txt"]
    assert [change["field"] for change in cause["changes"]] == ["files.path"]
    assert found["roots"] == ["weights:tiny"]
    assert "weights:tiny gives other files than it gave before" in built.ok("explain", "params:tiny-f32").output


def test_files_that_a_recipe_imports_are_named_when_they_were_written_to(built):
    built.write("shared.py", "SCALE = 1\n")
    built.edit("recipe.py", "import json\n", "import json\n\nimport shared\n")
    built.ok("compile:tiny-f32@host")
    built.write("shared.py", "SCALE = 2\n")
    text = built.ok("explain", "compile:tiny-f32@host").output
    assert "files.source changed" in text
    assert "written to since: shared.py" in text


def test_damaged_outputs_are_named_with_what_is_wrong(built):
    built.path("dist/kit/kit.xcframework/Info.plist").write_text("{}")
    built.path("build/archive/host/libmodels.a").unlink()
    text = built.ok("explain", "product:kit", "archive:host").output
    assert "output dist/kit/kit.xcframework/Info.plist has 2 bytes instead of" in text
    assert "output build/archive/host/libmodels.a is gone" in text
    assert text.count("it would be restored, not run") == 2


def test_a_clone_compares_with_the_newest_result_in_the_store(built, tmp_path):
    other = clone(built, tmp_path / "other")
    shutil.copytree(built.path("build/store"), other.path("build/store"))
    assert "never built here" in other.ok("explain", "compile:tiny-f32@ios-arm64").output
    other.ok("toolchain", "weights")
    assert "it would be restored, not run" in other.ok("explain", "compile:tiny-f32@ios-arm64").output
    other.edit("targets.yaml", '"14.0"', '"15.0"')
    text = other.ok("explain", "compile:tiny-f32@ios-arm64").output
    assert "the newest result in the store was made from other inputs" in text
    assert '"14.0" → "15.0"' in text


def test_what_stands_in_the_way_is_told_without_a_traceback(built):
    built.path("weights/out").symlink_to("nowhere")
    text = built.ok("explain", "bundle:tiny-f32").output
    assert "bundle:tiny-f32 cannot run" in text
    assert "a link to a place where nothing is" in text
    assert "Traceback" not in text


def test_an_ignored_task_holds_up_what_needs_it(built):
    built.ok("ignore", "params:tiny-f32")
    assert "ignored, as asked by `doit ignore`" in built.ok("explain", "params:tiny-f32").output
    assert "params:tiny-f32 is blocked" in built.ok("explain", "bundle:tiny-f32").output


@pytest.mark.parametrize("words", [["explain"], ["explain", "compile:nobody"]])
def test_a_mistake_is_an_error_with_status_3(project, words):
    run = project.doit(*words)
    assert run.status == 3
    assert run.output.startswith("ERROR: ")
    assert "Traceback" not in run.output
