"""`doit gc` makes the store smaller and never takes what today's matrix needs."""

from __future__ import annotations

import json
import shutil

import pytest
from projects import clone

pytestmark = pytest.mark.tvm


def test_what_the_tree_holds_stays_whatever_the_limits(built):
    run = built.ok("gc", "--max-size", "1", "--max-age", "0s")
    assert "removed 0 results" in run.output
    assert "all of it is needed by the matrix of today" in run.output
    shutil.rmtree(built.path("dist"))
    assert set(built.ok().worked.values()) == {"restored"}


def test_what_a_clone_would_take_from_the_store_stays_too(built, tmp_path):
    other = clone(built, tmp_path / "other")
    shutil.copytree(built.path("build/store"), other.path("build/store"))
    other.ok("gc", "--max-size", "1", "--max-age", "0s")
    run = other.ok()
    assert set(run.worked.values()) == {"restored"}


def test_results_of_yesterday_go_by_age_and_dry_run_only_tells(built):
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    built.ok()
    told = json.loads(built.ok("gc", "--max-age", "0s", "--dry-run", "--json").output)
    assert told["records"] == 9
    assert json.loads(built.ok("cache", "stats", "--json").output)["records"] == 26
    done = json.loads(built.ok("gc", "--max-age", "0s", "--json").output)
    assert {**told, "dry_run": False} == done
    assert json.loads(built.ok("cache", "stats", "--json").output)["records"] == 17
    assert built.ok().idle


def test_another_matrix_file_of_the_tree_keeps_its_results(built):
    text = built.path("targets.yaml").read_text()
    built.write("other.yaml", text.replace('"14.0"', '"15.0"'))
    built.ok("targets=other.yaml", "compile")
    assert json.loads(built.ok("gc", "--max-age", "0s", "--json").output)["records"] == 0


@pytest.mark.parametrize("words", [["--max-size", "much"], ["--max-age", "old"], ["everything"]])
def test_a_mistake_is_an_error_with_status_3(built, words):
    run = built.doit("gc", *words)
    assert run.status == 3
    assert run.output.startswith("ERROR: ")
    assert "hint:" in run.output
