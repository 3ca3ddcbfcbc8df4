"""Mistakes in targets.yaml: where they are, what they are, what to do; and what was built before stands."""

from __future__ import annotations

import pytest
from bad_input import nothing_lost, refused

from pipeline import __version__

pytestmark = pytest.mark.tvm

MISTAKES = {
    "unknown key": (
        ("    check:", "    chek:"),
        "5:5: models.tiny.chek: unknown key",
        "did you mean `check`? known keys: bundle, check, compiler, config, ",
    ),
    "unknown preset": (
        ("preset: iphone,", "preset: ipone,"),
        "11:23: backends.ios-arm64.preset: unknown preset `ipone`",
        "did you mean `iphone`? known presets: ",
    ),
    "duplicate name": (
        ("  host: {preset: host}\n", "  host: {preset: host}\n  host: {preset: linux-arm64}\n"),
        "11:3: duplicate key `host`",
        "keep one; the first is in line 10",
    ),
    "duplicate name to a file system": (
        ("  host: {preset: host}\n", "  host: {preset: host}\n  Host: {preset: linux-arm64}\n"),
        (
            "11:3: backends.Host: `Host` is also the name of backends.host, "
            "or differs from it only in upper and lower case"
        ),
        "rename one",
    ),
    "empty axis": (
        ("  model: [tiny]", "  model: []"),
        "13:3: matrix.model: this is empty",
        "name at least one, or remove the key",
    ),
    "empty matrix": (
        ("  model: [tiny]", "  exclude: [{model: tiny}]\n  model: [tiny]"),
        "12:1: matrix: the matrix is empty: nothing would be built",
        "name a model and a backend in its axes, or exclude less",
    ),
    "prefix too short": (
        ("    variants:", "    system_lib_prefix: tiny_\n    variants:"),
        "7:24: models.tiny.system_lib_prefix: the prefix `tiny_` is too short",
        "use 8 or more characters: TVM fails on shorter ones",
    ),
    "prefix with bad characters": (
        ("    variants:", "    system_lib_prefix: tiny-model-\n    variants:"),
        "7:24: models.tiny.system_lib_prefix: the prefix `tiny-model-` has bad characters",
        "use letters, digits and `_`, not starting with a digit: it becomes part of C symbols",
    ),
    "bracket that is not closed": (
        ("models:\n", "models:\n   - [\n"),
        "5:12: this is not YAML: while parsing a flow sequence, did not find expected ',' or ']'",
        "look at the indentation, brackets and quotes there and in line 3, where it begins",
    ),
    "tab": (
        ("  tiny:\n", "\ttiny:\n"),
        "3:1: this is not YAML: while scanning for the next token, found character that cannot start any token",
        "that is a tab: indent with spaces",
    ),
    "newer version": (
        ("version: 1", "version: 2\nfuture: yes"),
        f"1:10: this file is of version 2, and Slipway {__version__} understands version 1 alone",
        "write `version: 1`, or take the newer Slipway that it was written for",
    ),
    "product of an unknown backend": (
        ("backends: [ios-arm64]", "backends: [ios-amr64]"),
        "16:39: products.kit.backends[0]: unknown backend `ios-amr64`",
        "did you mean `ios-arm64`? known backends: host, ios-arm64",
    ),
    "product of a backend that is not in the matrix": (
        ("backend: [host, ios-arm64]", "backend: [host]"),
        "16:39: products.kit.backends[0]: no cell of the matrix is compiled for backend `ios-arm64`",
        "add ios-arm64 to matrix.backend, or remove it here",
    ),
    "directory of templates that is not there": (
        ("backends: [ios-arm64]}", "backends: [ios-arm64], templates: kit-templates}"),
        "16:62: products.kit.templates: there is no directory `kit-templates`",
        "paths are relative to the directory of targets.yaml",
    ),
    "recipe that does not exist": (
        ("factory: recipe.py:build", "factory: recipes.py:build"),
        "4:14: models.tiny.factory: there is no file `recipes.py`",
        "did you mean `recipe.py` there?",
    ),
    "function that does not exist": (
        ("factory: recipe.py:build", "factory: recipe.py:biuld"),
        "4:14: models.tiny.factory: `recipe.py` defines no `biuld`",
        "did you mean `build`?",
    ),
    "check that does not exist": (
        ("check: recipe.py:check", "check: recipe.py:compare"),
        "5:12: models.tiny.check: `recipe.py` defines no `compare`",
        "define `compare` there, or name another function",
    ),
    "weights that are not there": (
        ("path: weights", "path: weigths"),
        "6:21: models.tiny.weights.path: there is no file `weigths`",
        "did you mean `weights` there?",
    ),
}
"""Mistake -> (the edit that makes it, what is said after the name of the file, how its hint begins)."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_its_hint(mistake, built):
    edit, what, hint = MISTAKES[mistake]
    with nothing_lost(built):
        built.edit("targets.yaml", *edit)
        assert f"targets.yaml:{what}\n  hint: {hint}" in refused(built)


def test_two_slices_of_one_platform_and_architecture(built):
    with nothing_lost(built):
        built.edit("targets.yaml", "  host: {preset: host}\n", "  host: {preset: host}\n  older: {preset: iphone}\n")
        built.edit("targets.yaml", "backend: [host, ios-arm64]", "backend: [host, ios-arm64, older]")
        built.edit("targets.yaml", "backends: [ios-arm64]", "backends: [ios-arm64, older]")
        assert refused(built) == (
            "ERROR: targets.yaml:17:50: products.kit.backends[1]: `ios-arm64` and `older` are both ios arm64\n"
            "  hint: keep one: an xcframework has one slice for each platform and architecture\n"
        )


def test_two_models_of_one_backend_with_one_prefix(built):
    more = "  more:\n    factory: recipe.py:build\n    variants: {f32: {system_lib_prefix: tiny_f32_}}\n"
    with nothing_lost(built):
        built.edit("targets.yaml", "backends:\n  host", f"{more}backends:\n  host")
        built.edit("targets.yaml", "model: [tiny]", "model: [tiny, more]")
        told = refused(built)
        assert "targets.yaml:11:16: models.more.variants.f32: tiny-f32 and more-f32 have the same prefix" in told
        assert "  hint: set `system_lib_prefix` in one of these variants" in told


def test_mistakes_in_several_places_are_told_together_in_the_order_of_the_file(built):
    with nothing_lost(built):
        built.edit("targets.yaml", "preset: iphone,", "preset: ipone,")
        built.edit("targets.yaml", "recipe.py:build", "recipes.py:build")
        told = refused(built)
        assert told.startswith("ERROR: targets.yaml: 2 problems\ntargets.yaml:4:14: models.tiny.factory: ")
        assert "\ntargets.yaml:11:23: backends.ios-arm64.preset: " in told


def test_a_matrix_file_that_is_not_text(built):
    with nothing_lost(built):
        built.path("targets.yaml").write_bytes(b'version: 1\nname: "\xff"\n')
        assert refused(built) == "ERROR: targets.yaml:2:1: the file is not UTF-8 text\n  hint: save it as UTF-8\n"


def test_a_matrix_file_that_is_not_there(built):
    with nothing_lost(built):
        built.path("targets.yaml").unlink()
        hint = "hint: write one with: doit init; or name another: doit targets=PATH"
        assert refused(built) == f"ERROR: targets.yaml: there is no such file\n  {hint}\n"
        assert "nowhere.yaml: there is no such file" in refused(built, "targets=nowhere.yaml")
        assert "there is no setting `targtes=`\n  hint: did you mean targets=PATH?" in refused(built, "targtes=x.yaml")
        assert "weights: the file cannot be read: Is a directory" in refused(built, "targets=weights")


@pytest.mark.parametrize("command", ["list", "plan", "clean", "forget", "info compile:tiny-f32@host"])
def test_every_command_tells_it_and_does_nothing(command, built):
    with nothing_lost(built):
        built.edit("targets.yaml", "    check:", "    chek:")
        assert "ERROR: targets.yaml:5:5: models.tiny.chek: unknown key\n  hint: " in refused(built, *command.split())


def test_a_task_that_does_not_exist(built):
    with nothing_lost(built):
        assert "compile:tiny-f32@hots" in refused(built, "compile:tiny-f32@hots")
        assert "compile:tiny-f32@hots" in refused(built, "plan", "compile:tiny-f32@hots")
