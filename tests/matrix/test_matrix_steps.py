"""Custom steps in targets.yaml: who they are for, what stands for what, and what is said of one that is wrong."""

from __future__ import annotations

import pytest

from pipeline.matrix.placeholders import filled, wrong_names


def with_step(good, written):
    return f"{good}products:\n  kit: {{kind: android, backends: [android-arm64]}}\nsteps:\n  pack: {{{written}}}\n"


def test_a_step_is_made_for_each_of_its_subjects(expand, good, project):
    (project / "tool.py").touch()
    command = 'command: [python3, tool.py, "{subject}", "{in.tool}"], inputs: {tool: tool.py}, outputs: [a]'
    subjects = {
        kind: [step.subject for step in expand(with_step(good, f"{command}, for: {kind}")).steps]
        for kind in ("model", "cell", "product", "once")
    }
    assert subjects["model"] == ["minilm-f32", "minilm-f16", "decoder-q4"]
    assert subjects["cell"][:2] == ["minilm-f32@ios", "minilm-f32@android-arm64"]
    assert len(subjects["cell"]) == 6
    assert subjects["product"] == ["kit"]
    assert subjects["once"] == ["once"]


def test_patterns_choose_models_and_backends(expand, good):
    command = "command: [sh], outputs: [a], for: cell, models: [minilm-f*, decoder], backends: [ios]"
    steps = expand(with_step(good, command)).steps
    assert [step.subject for step in steps] == ["minilm-f32@ios", "minilm-f16@ios", "decoder-q4@ios"]


def test_placeholders_stand_for_the_parts_of_the_subject(expand, good):
    words = '"{model}-{variant}", "{option.dtype}", "{backend} {arch} {platform}", "{{{out}}}"'
    written = f'command: [sh, {words}], outputs: ["{{model}}.bin"], for: cell, models: [minilm], backends: [ios]'
    step = expand(with_step(good, written)).steps[0]
    assert step.command == ("sh", "minilm-f32", "float32", "ios arm64 ios", "{{{out}}}")
    assert step.outputs == ("minilm.bin",)
    assert step.program == "sh"
    assert filled(step.command[4], {"out": "there"}) == "{there}"


def test_braces_in_values_stay_braces():
    text = filled("{a} {{x}} {out}", {"a": "{out}"}, later=("out",))
    assert filled(text, {"out": "X"}) == "{out} {x} X"
    assert list(wrong_names("{a} { {{ }}", {"a"})) == ["{"]


def test_a_program_of_the_tree_is_an_input(expand, good, project):
    (project / "tools").mkdir()
    (project / "tools" / "pack.sh").touch()
    step = expand(with_step(good, "command: [./tools/pack.sh, a], outputs: [a]")).steps[0]
    assert step.program is None
    assert [one.path for one in step.inputs.values()] == ["tools/pack.sh"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("command: [sh], outputs: []", "targets.yaml:22:25: steps.pack.outputs: this is empty"),
        ('command: [sh, "{modle}"], outputs: [a], for: model', "did you mean `model`?"),
        ('command: [sh, "{modle}"], outputs: [a], for: model', "steps.pack.command[1]: `{modle}` stands for nothing"),
        ('command: [sh, "{option.dtype}"], outputs: [a], for: model', "`{option.dtype}` stands for nothing here"),
        ('command: [sh, "{"], outputs: [a]', "this brace stands for nothing here"),
        ("command: [sh, recipe.py], outputs: [a]", "`recipe.py` is a file that the step does not declare"),
        ("command: [./recip.py], outputs: [a]", "did you mean `recipe.py` there?"),
        ("command: [sh], outputs: [../a]", "`../a` is not a place below"),
        ("command: [sh], outputs: [a], inputs: {x: ../y}", "leads out of the project"),
        ("command: [sh], outputs: [a], inputs: {x: .}", "holds this project itself"),
        ("command: [sh], outputs: [a], inputs: {x: build/log}", "is where results are put"),
        ("command: [sh], outputs: [a], inputs: {x: {path: a, task: b}}", "an input is a `path` or a `task`"),
        ("command: [sh], outputs: [a], models: [minilm]", "a step for once has no models to choose"),
        ("command: [sh], outputs: [a], for: model, models: [minilmm]", "no model matches `minilmm`"),
        ("command: [sh], outputs: [a], environment: {PATH: /x}", "PATH is set for every step"),
        ("command: [sh], outputs: [a], environment: {A: x}, secrets: [A]", "`A` is in `environment` too"),
        ("command: [sh], outputs: [a], timeout: 0", "steps.pack.timeout"),
        ("command: [sh], outputs: [a], shipp: true", "did you mean `ship`?"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(refuse, good, written, said):
    message = refuse(with_step(good, written))
    assert said in message
    assert "targets.yaml:22:" in message


def test_a_slip_in_a_word_is_said_once_for_all_models(refuse, good):
    assert refuse(with_step(good, 'command: [sh, "{x}"], outputs: [a], for: model')).count("stands for nothing") == 1


@pytest.mark.parametrize("name", ["log", "Store"])
def test_names_of_ours_are_taken(refuse, good, name):
    text = with_step(good, "command: [sh], outputs: [a]").replace("  pack:", f"  {name}:")
    assert f"`{name}` is taken by Slipway" in refuse(text)


@pytest.mark.parametrize(
    ("old", "name"), [("  kit:", "Con"), ("  kit:", "nul.f32"), ("  kit:", "kit."), ("  pack:", "lpt1")]
)
def test_names_that_not_every_system_has_are_refused(refuse, good, old, name):
    text = with_step(good, "command: [sh], outputs: [a]").replace(old, f"  {name}:")
    assert f"the name `{name}` h" in refuse(text)
    assert "Windows" in refuse(text)


def test_a_name_that_makes_names_of_files_too_long_is_refused(refuse, good):
    text = with_step(good, "command: [sh], outputs: [a]")
    assert "is longer than 80 characters" in refuse(text.replace("  kit:", f"  {'x' * 81}:"))


def test_what_is_shipped_needs_a_place_of_its_own(refuse, good):
    text = with_step(good, "command: [sh], outputs: [a], ship: true").replace("  pack:", "  kit:")
    assert "`kit` is a product too" in refuse(text)
