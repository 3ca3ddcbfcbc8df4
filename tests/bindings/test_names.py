"""Bindings of models with names that some language has for itself, or cannot tell apart: they compile all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.documents.archive import ArchivedModel
from pipeline.documents.functions import Function, Value
from pipeline.documents.link_json import LinkedModule
from pipeline.kits.bindings import DTYPES, bound_models
from pipeline.kits.kit import Kit, KitArchive
from pipeline.kits.link_json import link_json
from pipeline.kits.render import Templates
from pipeline.matrix.cells import Backend
from pipeline.steps.linkkit import context

WORDS = """
constexpr nullptr requires co_await and_eq errno box become unsized gen Self associatedtype arguments eval
constructor then wait notify getClass toString hash_code _ model model_ tensor results runtime run last object
float16 x_1 x1 x__1 a.b a_b a-b aB größe 名前 1 2x input.1 onnx::Gather_0 */
"""
NAMES = [*WORDS.split(), "with space", 'quo"te', "back\\slash", "x" * 300, "x" * 299 + "y"]
SUBJECTS = [
    "bert-2",
    "bert2-f32",
    "ber-t2f32",
    "any-model",
    "model-error",
    "model-exception",
    "bool-8",
    "f-16",
    "c-str",
]


def tensor(name: str, dtype: str = "float32", shape: tuple[int | str, ...] = ("n", 4)) -> Value:
    return Value(name, dtype, shape)


FUNCTIONS = (
    *(Function(name, (tensor("x"),), (tensor("y"), tensor("z"))) for name in NAMES),
    Function("all_at_once", tuple(map(tensor, NAMES)), tuple(map(tensor, NAMES))),
    Function("nothing", (), ()),
    Function("sizes", (tensor("x"),), (tensor("y"), Value("output_1", "shape", ("n",)))),
    Function("decode", (tensor("step_x", shape=(2,)),), (tensor("y", shape=()),)),
    Function("decode_step", (tensor("x", shape=(2,)),), tuple(tensor(f"output_{i}") for i in range(70))),
    *(Function(f"of_{dtype}", (tensor("x", dtype, ()),), (tensor("y", dtype, (2, 3)),)) for dtype in DTYPES),
)


def kit(kind: str, backend: Backend) -> Kit:
    functions = {"odd-names": FUNCTIONS, **dict.fromkeys(SUBJECTS, FUNCTIONS[:1])}
    models = tuple(
        ArchivedModel(
            name, "f32", name, f"prefix_{number}_", dict.fromkeys(NAMES, number), (), "bin", "0.27", None, found
        )
        for number, (name, found) in enumerate(functions.items())
    )
    archive = KitArchive("one", "one/libmodels.a", (backend,), (backend.arch,), backend.platform, "elf", models, b"")
    modules = tuple(LinkedModule(name, "one", f"{name}.wasm", 8, "") for name in functions) if kind == "web" else ()
    return Kit("odd", kind, "models", (archive,), modules=modules)


HOST = Backend("one", {"kind": "llvm"}, "x86_64-linux-gnu", "x86_64", "linux", None, "elf", (), ())
PAGE = Backend("one", {"kind": "llvm"}, "wasm32-unknown-unknown-wasm", "wasm32", "wasm", None, "wasm", (), ())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    native, web = context(kit("native", HOST)), context(kit("web", PAGE))
    for template, name in (("models.h", "odd.h"), ("models.hpp", "odd.hpp"), ("core.cpp", "odd.cpp")):
        (folder / name).write_text(Templates().render(template, native))
    for template, name in (("Models.java", "Models.java"), ("lib.rs", "lib.rs")):
        (folder / name).write_text(Templates().render(template, native))
    (folder / "odd.mjs").write_text(Templates().render("web.js", web))
    (folder / "models.rs").write_text("&[]")
    (folder / "main.cpp").write_text('#include "odd.hpp"\n')
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "c++ -std=c++17 -fsyntax-only -Wall -Wextra -Werror main.cpp odd.cpp",
        "c++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror main.cpp",
        "javac -Xlint:all -Werror -d classes Models.java",
        'rustc --edition 2021 --crate-type lib --cfg feature="calls" --emit metadata -D warnings lib.rs',
        "node --check odd.mjs",
    ],
)
def test_every_language_takes_them(rendered, words):
    command = words.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    environment = {**os.environ, "OUT_DIR": str(rendered)}
    done = subprocess.run(command, cwd=rendered, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_are_one_in_any_spelling():
    models = {one.subject: one for one in bound_models(link_json(kit("native", HOST)))}
    odd = models["odd-names"]
    for names in (
        [one.camel for one in odd.functions],
        [one.snake for one in odd.functions],
        [one.camel for one in next(one for one in odd.functions if one.name == "all_at_once").arguments],
        [name.upper() for one in odd.functions for name in one.constants],
        [one.pascal for one in models.values()],
    ):
        assert len({name.casefold() for name in names}) == len(names)
        assert all(name.isidentifier() and len(name) < 120 for name in names)


def test_a_plain_name_stays_what_it_is():
    (model,) = (one for one in bound_models(link_json(kit("native", HOST))) if one.subject == "bert-2")
    assert (model.snake, model.pascal) == ("bert_2", "Bert2")
