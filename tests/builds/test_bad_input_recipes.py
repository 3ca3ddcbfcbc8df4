"""Mistakes in a recipe: the line, the reason, the log; nothing but what needs the recipe fails, and nothing is lost."""

from __future__ import annotations

import pytest
from bad_input import nothing_lost, refused

pytestmark = pytest.mark.tvm

SIZE = "    size = json.loads"
WEIGHT = "lambda: weight(spec.weights).astype(dtype)"
RETURN = "    return module, {"

CELL = "compile:tiny-f32@host"
PARAMS = "params:tiny-f32"
CHECK = "check:tiny-f32@host"

MISTAKES = {
    "raises": (
        (SIZE, f'    raise ValueError("the size is odd")\n{SIZE}'),
        CELL,
        "recipe.py:21: build raised ValueError: the size is odd",
        "correct the recipe; the traceback is in the log",
    ),
    "exits": (
        (SIZE, f"    raise SystemExit(3)\n{SIZE}"),
        CELL,
        "recipe.py:21: build raised SystemExit: 3",
        "correct the recipe; the traceback is in the log",
    ),
    "returns no parameters": (
        (RETURN, f"    return module\n{RETURN}"),
        CELL,
        "recipe.py:20: build returned an IRModule, not a module and its parameters",
        "a factory ends with `return module, parameters`",
    ),
    "returns no module": (
        (RETURN, '    return "module", {'),
        CELL,
        "recipe.py:20: build returned a str where a tvm.IRModule belongs",
        "a factory ends with `return module, parameters`",
    ),
    "is not Python": (
        ("def build(spec: BuildSpec):", "def build(spec: BuildSpec:"),
        CELL,
        "recipe.py:20:26: this is not Python: ",
        "correct the recipe",
    ),
    "imports what is not there": (
        ("import json\n", "import jsn\n"),
        CELL,
        "recipe.py:3: importing it raised ModuleNotFoundError: No module named 'jsn'",
        "install what provides 'jsn' in the toolchain's environment; a module of your own must lie beside the recipe",
    ),
    "reads a tensor while compiling": (
        (SIZE, f"    weight(spec.weights)\n{SIZE}"),
        CELL,
        "recipe.py:29: build raised FileNotFoundError: weight.txt not found.",
        "while compiling, a recipe sees only the weight files that match the model's `config` patterns ",
    ),
    "has a parameter that raises": (
        (WEIGHT, WEIGHT.replace("astype", "asttype")),
        PARAMS,
        "recipe.py:24: the parameter 'linear.weight' raised AttributeError: ",
        "correct the recipe; the traceback is in the log",
    ),
    "has a parameter that is no array": (
        (WEIGHT, 'lambda: "zeros"'),
        PARAMS,
        "recipe.py: parameter 'linear.weight' is a str: ",
        "give a numpy array, or a tensor on the CPU that needs no gradient (tensor.detach().cpu())",
    ),
    "has a parameter of another shape": (
        (WEIGHT, WEIGHT.replace(").astype", ")[:1].astype")),
        CHECK,
        "forward: it takes linear.weight as float32[4, 4], and linear.weight is float32[1, 4]",
        "let the factory return a mapping with one entry per parameter",
    ),
    "has a check that raises": (
        ("weight(session.weights)", "weight(session.wights)"),
        CHECK,
        "recipe.py:32: check raised AttributeError: ",
        "correct the recipe; the traceback is in the log",
    ),
    "has a check that compares nothing": (
        ("    yield Comparison", "    Comparison"),
        CHECK,
        "recipe.py: the check returned a NoneType",
        "let it yield one Comparison for each result",
    ),
    "has numbers that differ": (
        ("np.maximum(x @ w.T, 0)", "np.maximum(x @ w.T, 1)"),
        CHECK,
        "1 of 1 comparison differs: forward: max abs error 1.0e+00, ",
        "compare the recipe with the implementation its reference values come from; ",
    ),
}
"""Mistake -> (the edit that makes it, the task that meets it, what is said, how its hint begins)."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_recipe_that(mistake, built):
    edit, task, what, hint = MISTAKES[mistake]
    with nothing_lost(built):
        built.edit("recipe.py", *edit)
        told = refused(built, task)
        assert f"{task}: FAILED: " in told
        assert what in told
        assert f"\n  hint: {hint}" in told
        log = built.path(f"build/log/{task.replace(':', '.')}.log")
        if "the log" in hint:
            assert f"\n  log: build/log/{log.name}" in told
            assert "Traceback" in log.read_text()


def test_one_cause_is_told_once_for_all_the_tasks_that_met_it(built):
    with nothing_lost(built):
        built.edit("recipe.py", SIZE, f'    raise ValueError("the size is odd")\n{SIZE}')
        told = refused(built, "-c")
        end = told[told.index("✗") :]
        assert end.count("the size is odd") == 1
        assert {line for line in end.splitlines() if line.startswith("✗")} == {
            "✗ params:tiny-f32",
            "✗ compile:tiny-f32@host",
            "✗ compile:tiny-f32@ios-arm64",
        }
        assert end.endswith("  12 more tasks wait for this\n")
        assert "17 tasks: 2 fresh, 3 failed, 12 not started\n" in told


def test_a_crash_of_the_compiler_fails_its_cell_and_no_other(built):
    crash = 'import os, signal\n    if spec.device == "metal": os.kill(os.getpid(), signal.SIGSEGV)'
    with nothing_lost(built):
        built.edit("recipe.py", SIZE, f"    {crash}\n{SIZE}")
        run = built.doit("-c")
        assert run.status != 0
        assert "Traceback" not in run.output
        assert run.output.count("FAILED") == 1
        assert "compile:tiny-f32@ios-arm64: FAILED: " in run.output
        assert " died of SIGSEGV (" in run.output
        assert "\n  log: build/log/compile.tiny-f32@ios-arm64.log\n" in run.output
        assert {"compile:tiny-f32@host", "params:tiny-f32", "verify:host"} <= run.built
        assert "tiny-f32@host" in run.output
        assert "1 failed, 8 not started" in run.output
