"""The workflows under .github are well-formed, pinned, and have no more rights than they need."""

from __future__ import annotations

import re

import pytest
from fake_runner import WORKFLOWS, workflow

NAMES = sorted(path.name for path in WORKFLOWS.glob("*.yml"))


def steps(name: str):
    return [(job, step) for job, body in workflow(name)["jobs"].items() for step in body["steps"]]


def test_there_are_three():
    assert NAMES == ["ci.yml", "fuzz.yml", "nightly.yml"]


@pytest.mark.parametrize("name", NAMES)
def test_they_may_read_and_nothing_else(name):
    document = workflow(name)
    assert document["permissions"] == {"contents": "read"}
    for body in document["jobs"].values():
        assert "permissions" not in body
        assert body["timeout-minutes"] <= 120


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_githubs_own_and_pinned_by_major_version(name):
    for _, step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+(/[a-z]+)?@v\d+", step["uses"]), step["uses"]
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", NAMES)
def test_no_expression_is_pasted_into_a_script(name):
    for _, step in steps(name):
        assert "${{" not in step.get("run", "")


def test_the_store_is_saved_under_a_new_key_whatever_happened_and_pruned_before():
    products = workflow("nightly.yml")["jobs"]["products"]["steps"]
    restore = next(step for step in products if "cache/restore" in step.get("uses", ""))
    save = next(step for step in products if "cache/save" in step.get("uses", ""))
    prune = next(step for step in products if step.get("run", "").startswith("doit gc"))
    assert "github.run_id" in restore["with"]["key"]
    assert restore["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert save["if"] == prune["if"] == "always()"
    assert save["with"]["path"] == restore["with"]["path"] == "build/store"
    assert save["with"]["key"] == f"${{{{ steps.{restore['id']}.outputs.cache-primary-key }}}}"
    assert products.index(prune) < products.index(save)


def test_what_was_never_run_is_labelled_so():
    job = workflow("nightly.yml")["jobs"]["xcode"]
    assert "not yet run" in job["name"]


def test_ci_runs_what_anybody_can_run():
    assert [step["run"] for _, step in steps("ci.yml") if "run" in step] == [".ci/run"]


def test_ci_begins_with_the_oldest_python_that_is_promised():
    text = (WORKFLOWS.parents[1] / "pyproject.toml").read_text()
    wanted = re.search(r'^requires-python = ">=([\d.]+)"$', text, re.MULTILINE)
    assert workflow("ci.yml")["jobs"]["run"]["strategy"]["matrix"]["python"][0] == wanted[1]
