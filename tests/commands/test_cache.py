"""`doit cache`: statistics, verification, and stores that become one."""

from __future__ import annotations

import json

import pytest
from projects import clone

pytestmark = pytest.mark.tvm


def largest_blob(project):
    return max(project.path("build/store/v2/cas").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def test_stats(built):
    text = built.ok("cache", "stats").output
    assert "records  17" in text
    assert "  compile           2" in text
    assert json.loads(built.ok("cache", "stats", "--json").output)["by_step"]["verify"] == 3


def test_verify_finds_a_flipped_bit_and_the_next_run_heals_it(built):
    assert "all sound" in built.ok("cache", "verify").output
    blob = largest_blob(built)
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[100] ^= 1
    blob.write_bytes(data)
    run = built.doit("cache", "verify")
    assert run.status == 1
    assert f"removed the damaged blob {blob.name[:12]}" in run.output
    assert "will be built again when it is needed" in run.output
    built.ok("clean")
    run = built.ok()
    assert run.built
    assert "all sound" in built.ok("cache", "verify").output


def test_an_export_carries_the_whole_matrix_to_another_machine(built, tmp_path):
    text = built.ok("cache", "export", str(tmp_path / "carried")).output
    assert "17 records" in text
    other = clone(built, tmp_path / "other")
    assert "17 records" in other.ok("cache", "merge", str(tmp_path / "carried")).output
    assert "0 records" in other.ok("cache", "merge", str(tmp_path / "carried")).output
    run = other.ok(*["run", "--from-store-only"])
    assert set(run.worked.values()) == {"restored"}


def test_an_export_of_some_tasks_has_just_those(built, tmp_path):
    carried = tmp_path / "carried"
    built.ok("cache", "export", str(carried), "compile", "weights:tiny")
    other = clone(built, tmp_path / "other")
    other.ok("cache", "merge", str(carried))
    assert json.loads(other.ok("cache", "stats", "--json").output)["by_step"] == {"compile": 2, "weights": 1}


def test_what_the_store_lacks_is_told_and_fails_where_only_hits_are_allowed(built, tmp_path):
    built.edit("targets.yaml", '"14.0"', '"15.0"')
    assert "9 of 17 tasks not in the store" in built.ok("cache", "export", str(tmp_path / "carried")).output
    run = built.doit("run", "--from-store-only")
    assert run.status != 0
    assert "compile:tiny-f32@ios-arm64 is not in the store" in run.output
    assert "Traceback" not in run.output


def test_a_directory_without_a_store_is_refused(built, tmp_path):
    run = built.doit("cache", "merge", str(tmp_path))
    assert run.status == 3
    assert "there is no store" in run.output


@pytest.mark.parametrize("words", [[], ["empty"], ["merge"], ["export"], ["stats", "more"], ["export", "x", "nobody"]])
def test_a_mistake_is_an_error_with_status_3(built, words):
    run = built.doit("cache", *words)
    assert run.status == 3
    assert run.output.startswith("ERROR: ")
    assert "Traceback" not in run.output
