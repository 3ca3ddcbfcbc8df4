"""Programs in C++ and Rust, built from a product's kit by the real `doit`, run a model's check before it is published.

The tiny project is built once, with TVM's shared runtime in its kit: nothing else is linked, and nothing else is there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from projects import DODO, Project, tiny_project

from pipeline.action import Tool
from pipeline.binary.objects import read_object
from pipeline.documents.link_json import LinkJson
from pipeline.errors import StepError, ToolMissing
from pipeline.runners.linked import recent
from pipeline.runners.machine import Launch
from pipeline.runners.program import Program

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at ELF files"),
    *(pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name}") for name in ("cmake", "c++")),
]

LANGUAGES = {"cpp": "build/program", "rust": "build/release/program"}
CPP, RUST = (f"check:kit/tiny-f32@host/{language}" for language in LANGUAGES)


def native(root: Path, languages: str = "[cpp, rust]") -> Project:
    """The tiny project with a native product for this machine, and the runtime in it."""
    project = tiny_project(root)
    project.edit("targets.yaml", "backend: [host, ios-arm64]", "backend: [host]")
    product = f"{{kind: native, backends: [host], programs: {languages}}}\nruntime: {{wheel: true}}"
    project.edit("targets.yaml", "{kind: xcframework, backends: [ios-arm64]}", product)
    return project


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Project:
    """The project, built; read-only."""
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo")
    project = native(tmp_path_factory.mktemp("native") / "project")
    project.ok("--strict", timeout=900)
    return project


@pytest.fixture
def copied(made, tmp_path) -> Project:
    """A copy of it that a test may spoil."""
    shutil.copytree(made.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def program(project: Project, language: str) -> Path:
    return project.path(f"build/cache/programs/kit/host/native-{language}") / LANGUAGES[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_with_nothing_but_the_kit_gives_the_right_numbers(made, language):
    run = made.json(f"build/check/kit/tiny-f32@host/{language}/run.json")
    assert run["control"] == "weights"
    assert run["compared"][0]["max_abs_error"] <= 1e-5
    assert not run.get("emulated")
    data = program(made, language).read_bytes()
    assert {"libtvm_runtime.so", "libtvm_ffi.so"} <= set(read_object(data, language).needed)
    assert b"site-packages" not in data, "the toolchain's runtime is not looked for"


def test_what_was_measured_is_shipped_with_the_product(made):
    runs = {run.runner: run for run in LinkJson.read(made.path("dist/kit")).runs}
    assert set(runs) == {"host", "native-cpp", "native-rust"}
    for run in runs.values():
        times = run.milliseconds["forward"]
        assert times.calls == 20
        assert 0 < times.p50 <= times.p90
        assert times.first > 0
        assert run.peak_bytes > 1 << 20
        assert run.load_seconds < 60
    manifest = made.json("dist/kit/manifest.json")
    (listed,) = [one for one in manifest["files"] if one["path"] == "link.json"]
    assert listed["size"] == made.path("dist/kit/link.json").stat().st_size
    assert made.json("build/linkkit/kit/link.json")["runs"] == [], "what a build gives has no times in it"
    assert made.ok().idle


def test_the_headers_of_the_runtime_are_in_the_kit(made):
    for name in ("tvm/ffi/function.h", "tvm/runtime/device_api.h", "dlpack/dlpack.h"):
        assert made.path(f"dist/kit/include/{name}").is_file(), name


def test_a_kit_that_gives_other_numbers_is_not_published(copied):
    """The archive is right, and the code around it is not: here it spoils a parameter that it loads."""
    ours = (Path(__file__).parents[2] / "templates/core.cpp.j2").read_text()
    old = "    if (place == copy.data()) fill"
    assert old in ours
    copied.write("mine/core.cpp.j2", ours.replace(old, "    place[3] ^= 1;\n" + old))
    copied.edit("targets.yaml", "kind: native,", "kind: native, templates: mine,")
    before = copied.products()
    run = copied.doit("--continue", timeout=900)
    assert run.status == 1
    for name in (CPP, RUST):
        assert f"{name}: FAILED: " in run.output
    assert "1 of 1 comparison differs" in run.output
    assert copied.products() == before


@pytest.mark.parametrize("template", ["core.cpp.j2", "models.hpp.j2"])
def test_a_kit_that_does_not_compile_is_told_with_the_compilers_words(copied, template):
    copied.write(f"mine/{template}", "#error this is not for you\n")
    copied.edit("targets.yaml", "kind: native,", "kind: native, templates: mine,")
    run = copied.doit(CPP, timeout=900)
    assert run.status == 1
    assert "this is not for you" in run.output
    assert "Traceback" not in run.output


def test_a_program_that_is_kept_is_held_against_all_that_its_compiler_read(copied):
    """A header in a folder that only CMake and the compiler know of; the check runs again for another reason."""
    ours = Path(__file__).parents[2] / "templates"
    copied.write("mine/models.hpp.j2", (ours / "models.hpp.j2").read_text() + "#include <own.hpp>\n")
    also = f'target_include_directories(slipway::kit INTERFACE "{copied.root}")\n'
    copied.write("mine/config.cmake.j2", (ours / "config.cmake.j2").read_text() + also)
    copied.write("own.hpp", "")
    copied.edit("targets.yaml", "kind: native,", "kind: native, templates: mine,")
    copied.ok(CPP, timeout=900)
    built = program(copied, "cpp").stat()
    copied.write("recipe.py", copied.path("recipe.py").read_text() + "# again\n")
    assert CPP in copied.ok(CPP, timeout=900).built
    assert program(copied, "cpp").stat() == built, "it is kept"
    copied.write("own.hpp", "#error this is not for you\n")
    copied.write("recipe.py", copied.path("recipe.py").read_text() + "# once more\n")
    run = copied.doit(CPP, timeout=900)
    assert run.status == 1
    assert "this is not for you" in run.output


def without(tmp_path: Path, *names: str) -> str:
    """A PATH with all programs but some."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in reversed(os.get_exec_path()):
        for one in Path(place).iterdir() if Path(place).is_dir() else ():
            if one.name not in names:
                (folder / one.name).unlink(missing_ok=True)
                (folder / one.name).symlink_to(one)
    return str(folder)


def test_without_cargo_or_cmake_it_is_published_and_the_table_says_what_to_install(copied, tmp_path):
    copied.env["PATH"] = without(tmp_path, "cargo", "cmake")
    run = copied.ok(timeout=600)
    assert "not run: install CMake 3.18 or later" in run.output
    strict = copied.doit("--strict", timeout=600)
    assert strict.status == 1
    assert "not run by native-rust: there is no Cargo" in strict.output
    assert "`programs`" in strict.output
    copied.edit("targets.yaml", "[cpp, rust]", "[]")
    assert "native" not in copied.ok("--strict", timeout=600).output.rpartition("dist/kit/")[2]


@pytest.mark.parametrize("version", ["cmake version 3.13.4", "cmake"])
def test_an_old_tool_is_no_failure_of_the_model(version):
    with pytest.raises(ToolMissing, match="is too old") as caught:
        recent(Tool("cmake", Path("/usr/bin/cmake"), version), "CMake", (3, 18), "install CMake")
    assert caught.value.hint == "install CMake"
    assert recent(Tool("cmake", Path("/x"), "cmake version 4.1.0"), "CMake", (3, 18), "").version.endswith("4.1.0")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda shard: shard.unlink(), r"params_shard_0\.bin is missing: ship the whole folder"),
        (lambda shard: shard.write_bytes(b"1234567"), r"params_shard_0\.bin has 7 bytes where .* says 64: it was cut"),
        (lambda shard: shutil.rmtree(shard.parent), r"tensor-cache\.json is missing: ship the whole folder"),
    ],
)
def test_a_damaged_bundle_is_refused_by_the_program(made, tmp_path, language, spoil, said):
    bundle = tmp_path / "bundle"
    shutil.copytree(made.path("dist/bundle/tiny-f32"), bundle, symlinks=False)
    (bundle / "params_shard_0.bin").chmod(0o644)
    spoil(bundle / "params_shard_0.bin")
    machine = Program(Launch(command=(str(program(made, language)), "tiny_f32_")), 60)
    try:
        with pytest.raises(StepError, match=f"loading the parameters failed: .*{said}"):
            machine.use_parameters(bundle)
        with pytest.raises(StepError, match="has parameters: open it with the folder"):
            machine.call("forward", [])
    finally:
        machine.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_that_is_not_in_the_program_is_named(made, language):
    machine = Program(Launch(command=(str(program(made, language)), "other_f32_")), 60)
    try:
        with pytest.raises(StepError, match="forward failed: other_f32_ is not linked into this program"):
            machine.call("forward", [])
    finally:
        machine.close()


def test_the_kits_runtime_is_of_the_tvm_that_compiled_the_models(copied):
    """One backend, two toolchains, and the runtime of one of them: refused before anything is linked."""
    from pipeline.documents.archive import Archive
    from pipeline.kits.runtime import check_versions

    folder = copied.path("build/runtime/host")
    models = {"host": Archive.read(copied.path("build/archive/host")).models}
    check_versions({"runtime:host": folder}, models)
    about = json.loads((folder / "runtime.json").read_text())
    shutil.copytree(folder, copied.path("other"))
    (copied.path("other") / "runtime.json").unlink()
    (copied.path("other") / "runtime.json").write_text(json.dumps({**about, "tvm": "0.26.0"}))
    with pytest.raises(
        StepError, match=r"tiny-f32 was compiled with TVM 0\.27.*, and the runtime for host is of 0\.26\.0"
    ) as caught:
        check_versions({"runtime:host": copied.path("other")}, models)
    assert "toolchain" in caught.value.hint


MANY = """
import numpy as np
from tvm import relax
from pipeline.compilers.recipe import Comparison

def build(spec):
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType([2], "float32"))
    with builder.function("many", [x]):
        with builder.dataflow():
            more = [builder.emit(relax.op.add(x, relax.const(float(i), "float32"))) for i in range(70)]
            outputs = builder.emit_output(relax.Tuple(more))
        builder.emit_func_output(outputs)
    return builder.get(), {}

def check(session):
    for i, got in enumerate(session.call("many", np.array([1, 2], "float32"))):
        yield Comparison(f"output {i}", got, np.array([1 + i, 2 + i], "float32"), 1e-6)
"""


def test_a_function_may_have_more_than_64_results(tmp_path):
    project = Project(tmp_path / "project")
    project.write("recipes/many.py", MANY)
    project.write("dodo.py", DODO)
    model = '{factory: "recipes/many.py:build", check: "recipes/many.py:check", variants: {f32: {}}}'
    project.write(
        "targets.yaml",
        f"version: 1\nname: models\nmodels: {{many: {model}}}\nbackends: {{host: {{preset: host}}}}\n"
        "matrix: {model: [many], backend: [host]}\n"
        "products: {kit: {kind: native, backends: [host], programs: [cpp]}}\n",
    )
    project.ok()
    assert len(project.json("build/check/kit/many-f32@host/cpp/run.json")["compared"]) == 70


KINDS = """
import numpy as np
from tvm import relax
from pipeline.compilers.recipe import Comparison

def build(spec):
    builder = relax.BlockBuilder()
    kind = relax.TensorType([2, 3], "float32")
    small = [relax.TensorType([2], one) for one in ("float16", "int64", "bool")]
    def define(name, kinds, body):
        arguments = [relax.Var(f"argument_{i}", one) for i, one in enumerate(kinds)]
        with builder.function(name, arguments):
            with builder.dataflow():
                made = builder.emit_output(body(*arguments))
            builder.emit_func_output(made)
    op = relax.op
    define("minus", [kind, kind], lambda x, y: op.subtract(x, y))
    define("times", [kind, kind], lambda x, y: op.multiply(x, y))
    define("small", small, lambda half, index, true: relax.Tuple(
        [builder.emit(op.multiply(half, op.astype(index, "float16"))), builder.emit(op.logical_not(true))]))
    define("ones", [relax.ShapeType(values=[3])], lambda n: op.ones(relax.ShapeExpr([3]), "float32"))
    define("paired", [kind, kind], lambda x, y: relax.Tuple([builder.emit(relax.Tuple([x, y])), x]))
    define("second", [relax.TupleType([kind, kind])], lambda pair: relax.TupleGetItem(pair, 1))
    return builder.get(), {}

def check(session):
    x, y = np.arange(6, dtype="float32").reshape(2, 3), np.full((2, 3), 0.5, "float32")
    yield Comparison("minus", session.call("minus", x, y), x - y, 1e-6)
    yield Comparison("times", session.call("times", x, y), x * y, 1e-6)
    half, flipped = session.call("small", np.array([1, 2], "float16"), np.array([3, 4]), np.array([True, False]))
    yield Comparison("half", half, np.array([3, 8], "float16"), 1e-3)
    yield Comparison("not", flipped.astype("float32"), np.array([0, 1], "float32"), 1e-3)
    yield Comparison("ones", session.call("ones", (3,)), np.ones(3, "float32"), 1e-6)
    pair, same = session.call("paired", x, y)
    yield Comparison("same", same, x, 1e-6)
    yield Comparison("second", session.call("second", pair), y, 1e-6)
"""


@pytest.fixture(scope="module")
def of_all_kinds(tmp_path_factory) -> Project:
    """A model with arguments and results of all kinds, built with programs; read-only."""
    project = Project(tmp_path_factory.mktemp("kinds") / "project")
    project.write("recipes/kinds.py", KINDS)
    project.write("dodo.py", DODO)
    model = '{factory: "recipes/kinds.py:build", check: "recipes/kinds.py:check", variants: {f32: {}}}'
    languages = "cpp" if shutil.which("cargo") is None else "cpp, rust"
    project.write(
        "targets.yaml",
        f"version: 1\nname: models\nmodels: {{kinds: {model}}}\nbackends: {{host: {{preset: host}}}}\n"
        "matrix: {model: [kinds], backend: [host]}\n"
        f"products: {{kit: {{kind: native, backends: [host], programs: [{languages}]}}}}\n",
    )
    project.ok(timeout=900)
    return project


def with_template(made: Project, root: Path, name: str, text: str) -> Project:
    """A copy of a project, with a template of the user's own."""
    shutil.copytree(made.root, root / "project", symlinks=True)
    project = Project(root / "project")
    project.write(f"mine/{name}", text)
    project.edit("targets.yaml", "kind: native,", "kind: native, templates: mine,")
    return project


@pytest.mark.parametrize("language", LANGUAGES)
def test_classes_take_and_give_all_kinds(of_all_kinds, language):
    if language == "rust" and shutil.which("cargo") is None:
        pytest.skip("there is no cargo")
    run = of_all_kinds.json(f"build/check/kit/kinds-f32@host/{language}/run.json")
    assert len(run["compared"]) == 7
    folder = of_all_kinds.path(f"build/cache/programs/kit/host/native-{language}/program")
    (calls,) = folder.glob("calls.*")
    for name in ("minus", "times", "small", "ones", "paired", "second"):
        assert f'"{name}"' in calls.read_text()


CPP_NAME, RUST_NAME = "({{ function.name | c }}", "{{ function.name | rust }}"
OTHER = '({{ ("times" if function.name == "minus" else function.name) | c }}'
REVERSED = "in (function.arguments | reverse if function.name == 'minus' else function.arguments) %}, {{"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("models.hpp.j2", CPP_NAME, '("minsu"'), "<kit.hpp>: kinds-f32 has no function minsu, only: "),
        (("models.hpp.j2", CPP_NAME, OTHER), "minus: max abs error"),
        (("models.hpp.j2", "in function.arguments %}, {{", REVERSED), "minus: max abs error"),
        (
            ("models.hpp.j2", "}} {{ function.snake }}(", "}} my_{{ function.snake }}("),
            "must have the classes and methods of ours",
        ),
        (("models.h.j2", "PREFIX {{ model.prefix | c }}", 'PREFIX "other_"'), "assertion failed"),
        (("lib.rs.j2", RUST_NAME, '"minsu"'), "rust/lib.rs: kinds-f32 has no function minsu, only: "),
        (
            ("lib.rs.j2", "pub fn {{ function.snake }}", "pub fn my_{{ function.snake }}"),
            "must have the classes and methods of ours",
        ),
    ],
)
def test_a_class_that_calls_something_else_is_not_published(of_all_kinds, tmp_path, edit, said):
    template, old, new = edit
    language = "rust" if template == "lib.rs.j2" else "cpp"
    if language == "rust" and shutil.which("cargo") is None:
        pytest.skip("there is no cargo")
    ours = (Path(__file__).parents[2] / "templates" / template).read_text()
    assert old in ours
    project = with_template(of_all_kinds, tmp_path, template, ours.replace(old, new))
    run = project.doit(f"check:kit/kinds-f32@host/{language}", timeout=900)
    assert run.status == 1
    assert said in run.output
    assert f"check:kit/kinds-f32@host/{language}: FAILED" in run.output


def test_a_header_that_names_no_model_is_not_called(of_all_kinds, tmp_path):
    """The user's own: programs call the models without it."""
    project = with_template(of_all_kinds, tmp_path, "models.hpp.j2", "struct mine {};\n")
    project.ok("check:kit/kinds-f32@host/cpp", "verify:kit", timeout=900)
    assert len(project.json("build/check/kit/kinds-f32@host/cpp/run.json")["compared"]) == 7
