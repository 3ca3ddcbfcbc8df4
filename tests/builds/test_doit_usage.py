"""doit's own commands behave as a doit user expects."""

from __future__ import annotations

import os
import subprocess

import pytest
from projects import DOIT

pytestmark = pytest.mark.tvm


def test_list_names_the_steps_and_with_all_the_tasks(built):
    assert "compile" in built.ok("list").output
    listed = built.ok("list", "--all", "--status").output
    assert "U compile:tiny-f32@host" in listed


def test_info_says_what_a_task_reads_and_writes_and_why_it_would_run(built):
    text = built.ok("info", "compile:tiny-f32@host").output
    assert "recipe.py" in text
    assert "tiny_f32_lib0.o" in text
    assert "up-to-date" in text
    built.edit("recipe.py", "relu", "gelu")
    assert "files.source changed" in built.doit("info", "compile:tiny-f32@host").output


def test_one_task_alone_builds_what_it_needs_and_no_more(project):
    run = project.ok("compile:tiny-f32@host")
    assert run.built == {"toolchain:current", "weights:tiny", "compile:tiny-f32@host"}


def test_a_target_can_be_named_instead_of_its_task(project):
    assert "archive:ios-arm64" in project.ok("build/archive/ios-arm64/libmodels.a").built


def test_forget_does_the_work_again(built):
    built.ok("forget", "archive:host")
    assert built.ok().built == {"archive:host"}
    assert built.ok().idle


def test_always_execute_runs_fresh_tasks(built):
    assert built.ok("-a", "archive:host").built >= {"archive:host", "compile:tiny-f32@host"}


def test_clean_removes_the_outputs_and_a_run_restores_them(built):
    products = built.products()
    shown = built.ok("clean", "-n").output
    assert "dist/manifest.json" in shown
    assert built.products() == products
    built.ok("clean")
    assert not built.path("dist").exists()
    run = built.ok()
    assert not run.built
    assert built.products() == products


def test_clean_goes_on_when_nobody_reads_what_it_says_any_more(built):
    names = [path for path in built.path("dist").rglob("*") if path.is_file()]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [DOIT, "clean"], cwd=built.root, stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert names
    assert not [path for path in names if path.exists()], done.stderr
    assert done.stderr == ""


def test_ignore_leaves_a_task_alone_until_it_is_forgotten(built):
    built.ok("ignore", "linkkit:kit")
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    run = built.doit()
    assert "linkkit:kit" not in run.worked
    said = [line for line in run.output.splitlines() if "doit forget" in line]
    assert len(said) == 1, "what waits for it is not ignored itself, and forgetting that would end nothing"
    assert said[0].startswith("linkkit:kit: ignored")
    built.ok("forget", "linkkit:kit")
    assert "linkkit:kit" in built.ok().worked


def test_two_at_a_time(project):
    assert len(project.ok("-n", "2").built) == 17


def test_plan_says_what_would_run_and_why(built):
    assert "17 fresh" in built.ok("plan").output
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    text = built.ok("plan").output
    assert "compile:tiny-f32@ios-arm64" in text
    assert "params.backend.deployment_target" in text
    assert not any("@host" in line for line in text.splitlines())


def test_another_matrix_file_builds_beside_itself(built, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("recipe.py", "targets.yaml"):
        (other / name).write_text(built.path(name).read_text())
    (other / "weights").symlink_to(built.path("weights"))
    assert len(built.ok(f"targets={other}/targets.yaml").built) == 17
    assert (other / "dist/manifest.json").is_file()
    assert built.ok(env={"SLIPWAY_TARGETS": f"{other}/targets.yaml"}).idle
    assert built.ok().idle


OWN = """

def task_publish():
    return {"actions": ["cp dist/manifest.json published.json"], "file_dep": ["dist/manifest.json"],
            "targets": ["published.json"]}
"""


def test_tasks_of_the_user_stand_beside_ours(built):
    built.write("dodo.py", built.path("dodo.py").read_text() + OWN)
    first = built.ok().output
    assert "] publish: done in 0." in first
    assert first.splitlines()[-1].endswith(" fresh, 1 done")
    assert built.path("published.json").is_file()
    assert "publish" not in built.ok().output, "it is up to date"
    built.path("published.json").unlink()
    assert "] publish: done in 0." in built.ok().output
    built.ok("forget", "publish")
    assert "] publish: done in 0." in built.ok().output
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    run = built.ok()
    assert "manifest:dist" in run.worked
    assert run.output.index("] manifest:dist: ") < run.output.index("] publish: done in 0.")
    assert built.path("published.json").read_bytes() == built.path("dist/manifest.json").read_bytes()


def test_processes_of_doits_own_are_not_needed(project):
    assert "compile:tiny-f32@host" in project.ok("run", "-n", "2", "-P", "process").built


def test_what_doit_knows_of_tasks_of_the_user_may_be_damaged(built):
    built.write("dodo.py", built.path("dodo.py").read_text() + OWN)
    built.ok()
    built.write("build/doit.json", "no json")
    assert "] publish: done in 0." in built.ok().output
    assert "publish" not in built.ok().output


def test_a_task_of_the_user_that_fails_shows_what_it_printed(built):
    failing = OWN.replace("cp dist/manifest.json published.json", "echo so far; echo no such bucket >&2; false")
    built.write("dodo.py", built.path("dodo.py").read_text() + failing)
    run = built.doit()
    assert run.status == 1
    assert "\n  | so far\n  | no such bucket\n" in run.output
