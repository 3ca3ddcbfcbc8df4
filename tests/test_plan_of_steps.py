"""Custom steps in the graph: what they wait for, what is in their keys, and what is proven before they are shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import MatrixError
from pipeline.matrix.expand import load
from pipeline.plan import plan

TINY = Path(__file__).parent / "builds" / "tiny"

STEPS = """
steps:
  list:
    command: [sh, -c, "ls $0 > $1", "{in.packed}", "{out}/list"]
    for: model
    inputs: {packed: {task: "pack:{subject}", files: ["*.bin"]}}
    outputs: ["*"]
    ship: true
  pack:
    command: [python3, recipe.py, "{in.bundle}", "{out}/{model}.bin"]
    for: model
    inputs: {bundle: "bundle:{subject}", tool: recipe.py}
    outputs: ["{model}.bin"]
    environment: {MODE: fast}
    secrets: [PACK_KEY]
    timeout: 5
"""


@pytest.fixture
def actions(tmp_path):
    def planned(text):
        shutil.copytree(TINY, tmp_path / "p")
        (tmp_path / "p" / "targets.yaml").write_text((TINY / "targets.yaml").read_text() + text)
        return {action.name: action for action in plan(load(tmp_path / "p" / "targets.yaml"), {})}

    return planned


def test_a_step_is_an_action_like_any_other(actions):
    step = actions(STEPS)["pack:tiny-f32"]
    assert step.out == "build/pack/tiny-f32"
    assert step.outputs == ("tiny.bin",)
    assert step.files == {"given:tool": "recipe.py"}
    assert step.upstream["given:bundle"].action == "bundle:tiny-f32"
    assert step.tools == ("program:python3",)
    assert step.where is not None
    assert step.where.line == 25


def test_values_are_in_the_key_and_limits_are_not(actions):
    from pipeline.documents.codec import encode

    params = encode(actions(STEPS)["pack:tiny-f32"].params)
    assert params["environment"] == {"MODE": "fast"}
    assert params["secrets"] == ["PACK_KEY"]
    assert "timeout" not in params


def test_steps_wait_for_each_other_whatever_their_order(actions):
    made = actions(STEPS)
    names = list(made)
    assert names.index("pack:tiny-f32") < names.index("list:tiny-f32")
    assert made["list:tiny-f32"].upstream["given:packed"] == ("pack:tiny-f32", ("*.bin",))
    assert made["list:tiny-f32"].outputs == (), "a pattern: only the step knows them"


def test_what_is_made_of_a_model_is_shipped_after_every_proof_of_it(actions):
    made = actions(STEPS)
    shipped = made["product:list/tiny-f32"]
    assert shipped.out == "dist/list/tiny-f32"
    assert {edge.action for edge in shipped.upstream.values()} == {
        "list:tiny-f32", "verify:host", "verify:ios-arm64"
    }  # fmt: skip
    assert "product:list/tiny-f32" in made["manifest:dist"].upstream
    assert "product:pack/tiny-f32" not in made, "nobody asked for it"


def test_a_step_may_read_all_tasks_of_a_kind(actions):
    index = """
  index:
    command: [sh, -c, "ls $0 > $1", "{in.packed}", "{out}/index"]
    inputs: {packed: "pack:*", verified: {task: "verify:*", files: [report.json]}}
    outputs: [index]
"""
    step = actions(STEPS + index)["index:once"]
    assert {role: edge.action for role, edge in step.upstream.items()} == {
        "given:packed/tiny-f32": "pack:tiny-f32",
        "given:verified/host": "verify:host",
        "given:verified/ios-arm64": "verify:ios-arm64",
        "given:verified/kit": "verify:kit",
    }
    assert step.upstream["given:verified/kit"].only == ("report.json",)


def test_without_steps_the_plan_is_what_it_was(actions):
    names = [action.name for action in plan(load(TINY / "targets.yaml"), {})]
    assert [name for name in actions(STEPS) if name in names] == names


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (STEPS.replace("  list:", "  archive:"), "19:3", "the name of the step archive is taken"),
        (STEPS.replace('"pack:{subject}"', '"pack:{model}"'), "22:22", "did you mean `pack:tiny-f32`?"),
        (STEPS.replace("bundle:{subject}", "list:{subject}"), "28:22", "list:tiny-f32 reads pack:tiny-f32 reads list"),
        (STEPS.replace("bundle:{subject}", "*:{subject}"), "28:22", "there is no task *:tiny-f32"),
        (STEPS.replace("bundle:{subject}", "list:*"), "28:22", "list:tiny-f32 reads pack:tiny-f32 reads list"),
        (STEPS.replace("bundle:{subject}", "none:*"), "28:22", "there is no task none:*"),
        (STEPS.replace("bundle:{subject}", "pack:{subject}"), "28:22", "pack:tiny-f32 reads pack:tiny-f32"),
    ],
)
def test_taken_names_unknown_tasks_and_circles_are_refused_with_their_place(actions, text, place, said):
    with pytest.raises(MatrixError) as caught:
        actions(text)
    assert said in str(caught.value)
    assert f"targets.yaml:{place}" in str(caught.value)
