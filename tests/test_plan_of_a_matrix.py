"""The plan of a matrix: which actions there are, and what they read. No file is touched but the matrix."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.action import Action
from pipeline.errors import MatrixError
from pipeline.matrix.expand import load
from pipeline.plan import plan
from pipeline.plan.models import WINDOW
from pipeline.project import Project
from pipeline.weights.entry import Entry

ROOT = Path(__file__).parent.parent
SMALL = """\
version: 1
models: {m: {factory: "recipe.py:build", variants: {f32: {}}}}
backends: {host: {preset: host}}
matrix: {model: [m], backend: [host]}
"""
TINY = Path(__file__).parent / "builds" / "tiny"


@pytest.fixture(scope="module")
def default() -> dict[str, Action]:
    return {action.name: action for action in plan(load(ROOT / "targets.yaml"), {})}


def test_the_default_matrix_has_seventeen_cells(default):
    assert sum(action.step == "compile" for action in default.values()) == 17


def test_upstream_comes_first(default):
    seen: set[str] = set()
    for action in default.values():
        assert {edge.action for edge in action.upstream.values()} <= seen, action.name
        seen.add(action.name)


def test_a_compile_sees_config_files_of_the_weights_and_no_tensors(default):
    edge = default["compile:minilm-f32@ios-arm64"].upstream["config"]
    assert edge.action == "weights:minilm"
    assert edge.only == ("*config.json",)
    assert default["params:minilm-f32"].upstream["weights"].only == ()


def test_what_has_a_runner_is_run_on_the_artifact_that_ships(default):
    running = {name for name, action in default.items() if action.step == "check"}
    models = ("minilm-f32", "decoder-q4f16_1")
    in_programs = {"native/{}@host/cpp", "native/{}@host/rust", "native/{}@linux-arm64/cpp"}
    ran = {"{}@host", "{}@linux-arm64", "{}@webgpu", "{}@webgpu/browser"} | in_programs
    assert running == {f"check:{one.format(model)}" for model in models for one in ran} | {"check:minilm-f32@wasm"}
    programs = {f"check:{one.format(model)}" for model in models for one in in_programs}
    assert programs <= upstream(default["verify:native"]), "a product is proven by running what is built from it"
    assert running >= upstream(default["product:native"]) & running > programs, "link.json has every run"
    module = default["check:minilm-f32@webgpu"].upstream["modules"]
    assert module == ("wasm:webgpu", ("minilm-f32-webgpu.wasm",))
    assert default["verify:host"].upstream["check:minilm-f32@host"].action == "check:minilm-f32@host"


def test_linkers_are_in_the_keys_of_the_proofs_that_need_them(default):
    assert default["verify:ios-arm64"].tools == ("ld64.lld",)
    assert default["verify:android-arm64"].tools == ("ld.lld",)
    assert default["verify:webgpu"].tools == ("wasm-ld",)
    assert default["compile:minilm-f32@ios-arm64"].tools == ()


def test_the_manifest_covers_all_that_is_shipped_and_waits_for_every_proof(default):
    shipped = {name for name, action in default.items() if action.out.startswith("dist/") and name != "manifest:dist"}
    proofs = {name for name, action in default.items() if action.step == "verify"}
    assert {default[name].step for name in shipped} == {"product"}, "nothing else writes there"
    assert set(default["manifest:dist"].upstream) == shipped | proofs


def test_nothing_is_shipped_before_every_archive_in_it_is_proven(default):
    assert {"verify:models", "verify:ios-arm64", "linkkit:models", "xcframework:models"} <= upstream(
        default["product:models"]
    )
    assert {"verify:host", "verify:ios-arm64"} <= upstream(default["product:bundle/minilm-f32"])


def upstream(action):
    return {edge.action for edge in action.upstream.values()}


def test_neighbours_of_one_family_do_not_follow_each_other(default):
    cells = [action for action in default.values() if action.step == "compile"]
    families = [
        (cell.params.model.subject, str(cell.params.backend.device)) for cell in cells
    ]  # fmt: skip
    assert len(set(families[:WINDOW])) == WINDOW


def test_a_pin_is_in_the_parameters_of_the_weights():
    pin = Entry({"hf": "a/b"}, "1", {})
    pinned = {action.name: action for action in plan(load(ROOT / "targets.yaml"), {"minilm": pin})}
    assert pinned["weights:minilm"].params.lock == pin


def test_files_of_the_users_are_not_pinned():
    actions = {action.name: action for action in plan(load(TINY / "targets.yaml"), {})}
    assert actions["weights:tiny"].params.lock is None
    assert actions["weights:tiny"].files == {"path": "weights"}


def test_a_product_with_the_name_of_a_backend_is_refused(tmp_path):
    text = (TINY / "targets.yaml").read_text().replace("  kit: {", "  host: {")
    for name in ("recipe.py", "targets.yaml"):
        (tmp_path / name).write_text(text if name == "targets.yaml" else (TINY / name).read_text())
    (tmp_path / "weights").mkdir()
    with pytest.raises(MatrixError, match="host"):
        plan(load(tmp_path / "targets.yaml"), {})


@pytest.mark.parametrize("size", [475, 476, 3600])
def test_a_path_that_is_too_long_for_sqlite_is_told_before_anything_is_made(tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    while (left := size - len(str(Path.cwd())) - 1) > 0:  # in steps, since mkdir takes no such path either
        Path("d" * min(left if left <= 200 else left // 2, 200)).mkdir()
        monkeypatch.chdir(next(Path.cwd().iterdir()))
    Path("recipe.py").write_text("def build(spec): ...\n")
    Path("targets.yaml").write_text(SMALL)
    table = Path("build/workspace-targets.yaml").absolute()
    table.parent.mkdir()
    project = Project(Path("targets.yaml"), print)
    if size == 475:
        assert project.matrix.cells
        with closing(sqlite3.connect(table)) as opened:
            opened.execute("PRAGMA journal_mode = WAL")
        return
    with pytest.raises(MatrixError, match=f"path has {size} bytes, and SQLite takes no more than 475") as caught:
        _ = project.matrix
    assert "shorter path" in caught.value.hint
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(table)
