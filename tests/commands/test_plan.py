"""`doit plan` foresees what `doit` then does, in a used tree and in a fresh clone."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from projects import clone

pytestmark = pytest.mark.tvm


def planned(project, *words: str) -> dict[str, str]:
    return {task["name"]: task["state"] for task in json.loads(project.ok("plan", "--json", *words).output)["tasks"]}


CHANGES = {
    "a deployment target": ("targets.yaml", '"14.0"', '"15.0"'),
    "a tensor": ("weights/weight.txt", "0.25", "0.75"),
    "a comment in the recipe": ("recipe.py", '"""A model small', '"""Still a model small'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_does_what_was_planned(built, change):
    built.edit(*CHANGES[change])
    plan = planned(built)
    run = built.ok()
    assert {name for name, state in plan.items() if state == "build"} <= run.built
    assert not run.worked.keys() & {name for name, state in plan.items() if state == "fresh"}
    assert run.worked.keys() <= {name for name, state in plan.items() if state in {"build", "unknown"}}
    assert set(planned(built).values()) == {"fresh"}


def test_nothing_is_foreseen_behind_what_was_never_built(project):
    plan = planned(project)
    assert plan["toolchain:current"] == "build"
    assert plan["manifest:dist"] == "unknown"
    text = project.ok("plan").output
    assert "not counted, because never seen to run: 17 tasks" in text
    assert not project.path("dist").exists()


def test_a_toolchain_that_cannot_compile_for_a_backend_is_named(built):
    built.edit("targets.yaml", "{preset: host}", "{preset: host}\n  gpu: {preset: vulkan}")
    built.edit("targets.yaml", "backend: [host, ios-arm64]", "backend: [host, ios-arm64, gpu]")
    said = built.ok("plan").output
    assert "toolchain current has no code generator for vulkan, which gpu needs\n  hint: use a toolchain" in said


def test_a_clone_with_a_full_store_restores_everything(built, tmp_path):
    other = clone(built, tmp_path / "other")
    shutil.copytree(built.path("build/store"), other.path("build/store"))
    assert set(planned(other).values()) == {"restore"}
    run = other.ok()
    assert set(run.worked.values()) == {"restored"}
    assert len(run.worked) == 17


def test_a_spoilt_output_is_restored_and_what_reads_it_stays_fresh(built):
    built.path("build/archive/host/libmodels.a").unlink()
    plan = planned(built)
    assert {name for name, state in plan.items() if state != "fresh"} == {"archive:host"}
    assert plan["archive:host"] == "restore"


def test_the_estimate_comes_from_earlier_runs_whatever_has_changed_since(built, tmp_path):
    other = clone(built, tmp_path / "other")
    shutil.copytree(built.path("build/store"), other.path("build/store"))
    other.edit("targets.yaml", '"14.0"', '"15.0"')
    found = json.loads(other.ok("plan", "--json", "-n", "2").output)
    estimate = found["estimate"]
    assert estimate["without_history"] == 0
    assert 0 < estimate["certain"] <= estimate["at_most"]
    assert 0 < estimate["elapsed"] <= estimate["at_most"]
    assert estimate["jobs"] == 2


def test_a_forecast_for_many_machines(built, tmp_path):
    other = clone(built, tmp_path / "other")
    other.env["SLIPWAY_STORE"] = str(built.path("build/store"))
    other.edit("recipe.py", "relu", "silu")
    found = json.loads(other.ok("plan", "--json", "--workers", "4").output)
    one, two, four = found["fleets"]
    assert [one["machines"], two["machines"], four["machines"]] == [1, 2, 4]
    assert 0 < four["elapsed"] <= two["elapsed"] <= one["elapsed"]
    assert four["elapsed"] >= max(four["limits"].values()) - 1e-6
    assert "machines  by the clock" in other.ok("plan", "--workers", "4").output
    assert "nothing is to do" in built.ok("plan", "--workers", "4").output
    assert "machines  by" not in built.ok("plan", "--workers", "4").output
    assert "machines" not in other.ok("plan").output


def test_a_remote_store_that_is_down_is_told_and_the_plan_is_made_without_it(built):
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    text = built.ok("plan", env={"SLIPWAY_REMOTE": "http://127.0.0.1:9/slipway"}).output
    assert text.count("going on without it") == 1
    assert "1 to build" in text


def test_what_a_run_takes_away_is_planned(built):
    built.edit("targets.yaml", "  kit: {", "  apple: {")
    text = built.ok("plan").output
    assert re.search(r"^- product:kit +remove +no longer in targets.yaml, [0-9]+ files$", text, re.MULTILINE)
    gone = json.loads(built.ok("plan", "--json").output)["removed"]
    assert "product:kit" in gone
    assert built.path("build/manifest/xcframework.kit.txt").exists()
    run = built.ok()
    assert [line.split()[0] for line in run.output.splitlines() if "is no longer in" in line] == sorted(gone)
    assert not built.path("dist/kit").exists()
    assert not built.path("build/manifest/xcframework.kit.txt").exists(), "what stood for its outputs is gone with them"
    assert json.loads(built.ok("plan", "--json").output)["removed"] == {}


def test_an_ignored_task_blocks_what_needs_it(built):
    built.ok("ignore", "params:tiny-f32")
    plan = planned(built, "bundle")
    assert plan["params:tiny-f32"] == plan["bundle:tiny-f32"] == "blocked"
    assert plan["weights:tiny"] == "fresh"


def test_an_unreadable_input_blocks_its_task_and_leaves_the_rest_of_the_plan(built):
    built.path("weights/out").symlink_to("nowhere")
    plan = planned(built)
    assert plan["weights:tiny"] == plan["compile:tiny-f32@host"] == "blocked"
    assert plan["toolchain:current"] == "fresh"
    assert "a link to a place where nothing is" in built.ok("plan").output
