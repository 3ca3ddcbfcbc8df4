"""From a valid file to cells, and the mistakes that take two places of the file to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.documents.codec import encode
from pipeline.matrix.expand import load
from pipeline.matrix.fields import check_prefix
from pipeline.matrix.models import default_prefix
from pipeline.matrix.source import WeightsSource


def subjects(matrix) -> list[str]:
    return [cell.subject for cell in matrix.cells]


def with_matrix(good: str, block: str) -> str:
    return good[: good.index("matrix:")] + block


def test_a_model_stands_for_all_its_variants(good, expand):
    assert subjects(expand(good)) == [
        "minilm-f32@ios",
        "minilm-f32@android-arm64",
        "minilm-f16@ios",
        "minilm-f16@android-arm64",
        "decoder-q4@ios",
        "decoder-q4@android-arm64",
    ]


def test_one_variant_can_be_named_alone(good, expand):
    text = with_matrix(good, "matrix: {model: [minilm-f16], backend: [ios]}")
    assert subjects(expand(text)) == ["minilm-f16@ios"]


def test_only_what_a_cell_uses_is_in_the_matrix(good, expand):
    matrix = expand(with_matrix(good, "matrix: {model: [decoder], backend: [ios]}"))
    assert [model.subject for model in matrix.models] == ["decoder-q4"]
    assert [backend.name for backend in matrix.backends] == ["ios"]
    assert [toolchain.name for toolchain in matrix.toolchains] == ["current"]


def test_exclude_and_include_speak_of_models_and_of_variants(good, expand):
    block = """
matrix:
  model: [minilm, decoder]
  backend: [ios, web]
  exclude: [{model: minilm, backend: web}, {model: decoder-q4, backend: ios}]
  include: [{model: minilm-f16, backend: web}, {model: decoder, backend: android-arm64}]
"""
    assert subjects(expand(with_matrix(good, block))) == [
        "minilm-f32@ios",
        "minilm-f16@ios",
        "decoder-q4@web",
        "minilm-f16@web",
        "decoder-q4@android-arm64",
    ]


def test_an_include_with_a_key_that_is_no_axis_is_added_to_what_it_fits(good, expand):
    block = "matrix: {model: [minilm-f32, decoder], backend: [ios], include: [{model: decoder, toolchain: nightly}]}"
    text = with_matrix(good, f"toolchains: {{nightly: {{requirements: [apache-tvm], pre: true}}}}\n{block}")
    matrix = expand(text)
    assert subjects(matrix) == ["minilm-f32@ios", "decoder-q4@ios+nightly"]
    assert [toolchain.name for toolchain in matrix.toolchains] == ["current", "nightly"]


def test_a_matrix_of_includes_alone(good, expand):
    block = "matrix: {include: [{model: minilm, backend: ios}]}"
    assert subjects(expand(with_matrix(good, block))) == ["minilm-f32@ios", "minilm-f16@ios"]


def test_what_plan_reads_of_a_model(good, expand):
    text = good.replace(
        "    factory: recipe.py:build\n", "    factory: ./recipe.py:build\n    check: recipe.py:check\n", 1
    )
    text = text.replace("  minilm:\n", "  minilm:\n    options: {depth: 2, dtype: int8, overrides: {a: 1, b: 1}}\n")
    text = text.replace("{dtype: float32}", "{dtype: float32, system_lib_prefix: sentences_, overrides: {b: 2}}")
    text = text.replace("  minilm:\n", "  minilm:\n    weights: {package: gt, version: '1.0', subdir: a/b}\n")
    f32, f16 = expand(text).models[:2]
    assert encode(f32.ref()) == {
        "model": "minilm",
        "variant": "f32",
        "prefix": "sentences_",
        "options": {"depth": 2, "dtype": "float32", "overrides": {"a": 1, "b": 2}},
    }
    assert f16.options == {"depth": 2, "dtype": "float16", "overrides": {"a": 1, "b": 1}}
    assert f16.prefix == "minilm_f16_"
    assert (f32.compiler, f32.source.path) == ("relax", "recipe.py")
    assert encode(f32.source.ref()) == {"kind": "factory", "function": "build"}
    assert f32.check is not None
    assert (f32.check.path, f32.check.function) == ("recipe.py", "check")
    assert f32.weights == WeightsSource("package", package="gt", version="1.0", subdir="a/b")
    assert f32.config == ("*config.json",)
    assert (f32.where.line, f32.where.column) == (9, 7)


@pytest.mark.parametrize(
    ("source", "compiler", "kind"),
    [
        ("onnx: FILE", "relax", "onnx"),
        ("exported: FILE", "relax", "exported"),
        ("prebuilt: FILE", "prebuilt", "prebuilt"),
        ("compiler: mlc\n    weights: {path: ./FILE}", "mlc", "checkpoint"),
    ],
)
def test_other_sources_than_a_factory(source, compiler, kind, good, expand):
    text = good.replace("factory: recipe.py:build\n    variants:\n      q4: {}", source.replace("FILE", "recipe.py"))
    model = expand(text).models[-1]
    assert (model.subject, model.prefix, model.compiler) == ("decoder-default", "decoder_default_", compiler)
    assert encode(model.source.ref()) == {"kind": kind}
    assert model.source.path == ("" if compiler == "mlc" else "recipe.py")
    assert model.weights == (WeightsSource("path", path="recipe.py") if compiler == "mlc" else None)


@pytest.mark.parametrize(
    ("model", "variant", "prefix"),
    [
        ("minilm", "f32", "minilm_f32_"),
        ("qwen3-0.6b", "q4f16_1", "qwen3_0_6b_q4f16_1_"),
        ("a", "b", "model_a_b_"),
        ("3b", "q4f16_1", "model_3b_q4f16_1_"),
    ],
)
def test_default_prefixes_are_always_good_ones(model, variant, prefix):
    assert check_prefix(default_prefix(model, variant)) == prefix


def test_values_can_be_keys_of_a_set(good, expand):
    matrix = expand(good)
    assert len({cell.model for cell in matrix.cells}) == 3
    assert len({cell.backend for cell in matrix.cells}) == 2


def test_products_and_their_templates(good, expand, project):
    (project / "mine").mkdir()
    text = good + "products:\n  Kit: {kind: xcframework, backends: [ios], templates: ./mine/}\n"
    (product,) = expand(text).products
    assert (product.name, product.kind, product.backends, product.templates) == ("Kit", "xcframework", ("ios",), "mine")
    assert str(product.where).endswith("targets.yaml:20:3")


def test_paths_are_relative_to_the_file_from_wherever_it_is_read(good, project, monkeypatch):
    (project / "targets.yaml").write_text(good)
    monkeypatch.chdir("/")
    matrix = load(project / "targets.yaml")
    assert matrix.root == project
    monkeypatch.chdir(project)
    assert load(Path("targets.yaml")).root == project


MISTAKES = {
    "unknown model": (
        "matrix: {model: [minilmm], backend: [ios]}",
        "16:18: matrix.model[0]: unknown model `minilmm`\n  hint: did you mean `minilm`? known models: decoder, dec",
    ),
    "unknown backend": (
        "matrix: {model: [minilm], backend: [iso]}",
        "16:37: matrix.backend[0]: unknown backend `iso`\n  hint: did you mean `ios`? known backends: android-arm64",
    ),
    "unknown toolchain": (
        "matrix: {model: [minilm], backend: [ios], toolchain: [curent]}",
        "16:55: matrix.toolchain[0]: unknown toolchain `curent`\n  hint: did you mean `current`?",
    ),
    "unknown name in an exclude": (
        "matrix: {model: [minilm], backend: [ios], exclude: [{model: minilm-f64}]}",
        "16:61: matrix.exclude[0].model: unknown model `minilm-f64`",
    ),
    "exclude by a key that is no axis": (
        "matrix: {model: [minilm], backend: [ios], exclude: [{toolchain: current}]}",
        "16:54: matrix.exclude[0].toolchain: `toolchain` is not an axis of this matrix",
    ),
    "empty exclude": (
        "matrix: {model: [minilm], backend: [ios], exclude: [{}]}",
        "16:53: matrix.exclude[0]: this exclude says nothing",
    ),
    "named twice": (
        "matrix: {model: [minilm, minilm-f32], backend: [ios]}",
        "16:26: matrix.model[1]: `minilm-f32` is named twice",
    ),
    "an exclude twice": (
        "matrix: {model: [minilm], backend: [ios, web], exclude: [{backend: web}, {backend: web}]}",
        "16:74: matrix.exclude[1]: this is named twice\n  hint: name it once",
    ),
    "same include twice": (
        (
            "matrix: {model: [minilm], backend: [ios], include: [{model: decoder, backend: web}, "
            "{model: decoder-q4, backend: web}]}"
        ),
        "16:85: matrix.include[1]: decoder-q4@web is in the matrix already\n  hint: remove this include",
    ),
    "incomplete include": (
        "matrix: {model: [minilm], backend: [ios], include: [{model: decoder}]}",
        "16:53: matrix.include[0]: the combination {model: decoder-q4} has no backend",
    ),
    "no axis": (
        "matrix: {model: [minilm]}",
        "16:1: matrix: the combination {model: minilm-f32} has no backend",
    ),
    "empty": ("matrix: {}", "16:1: matrix: the matrix is empty: nothing would be built"),
    "all excluded": (
        "matrix: {model: [minilm], backend: [ios], exclude: [{backend: ios}]}",
        "16:1: matrix: the matrix is empty: nothing would be built",
    ),
    "all excluded, and products with it": (
        (
            "matrix: {model: [minilm], backend: [ios], exclude: [{backend: ios}]}\n"
            "products: {p: {kind: xcframework, backends: [ios]}}"
        ),
        "16:1: matrix: the matrix is empty: nothing would be built",
    ),
    "unknown backend of a product": (
        "matrix: {model: [minilm], backend: [ios]}\nproducts: {p: {kind: xcframework, backends: [iso]}}",
        "17:46: products.p.backends[0]: unknown backend `iso`\n  hint: did you mean `ios`?",
    ),
    "backend of a product that is not in the matrix": (
        "matrix: {model: [minilm], backend: [ios]}\nproducts: {p: {kind: web, backends: [web]}}",
        (
            "17:38: products.p.backends[0]: no cell of the matrix is compiled for backend `web`\n"
            "  hint: add web to matrix.backend, or remove it here"
        ),
    ),
    "kind that cannot hold a backend": (
        "matrix: {model: [minilm], backend: [ios, web]}\nproducts: {p: {kind: xcframework, backends: [ios, web]}}",
        (
            "17:51: products.p.backends[1]: a product of kind xcframework cannot hold `web`, whose platform is wasm\n"
            "  hint: put it into a product of kind web"
        ),
    ),
    "backend twice in a product": (
        "matrix: {model: [minilm], backend: [ios]}\nproducts: {p: {kind: xcframework, backends: [ios, ios]}}",
        "17:51: products.p.backends[1]: `ios` is named twice",
    ),
    "language twice": (
        "matrix: {model: [minilm], backend: [ios]}\nproducts: {p: {kind: native, programs: [cpp, rust, cpp]}}",
        "17:52: products.p.programs[2]: `cpp` is named twice",
    ),
    "product named like a backend": (
        "matrix: {model: [minilm], backend: [ios]}\nproducts: {ios: {kind: xcframework, backends: [ios]}}",
        "17:12: products.ios: `ios` is a backend too",
    ),
    "product in the place of the bundles": (
        "matrix: {model: [minilm], backend: [ios]}\nproducts: {bundle: {kind: xcframework, backends: [ios]}}",
        "17:12: products.bundle: dist/bundle is taken",
    ),
    "templates that are not there": (
        (
            "matrix: {model: [minilm], backend: [ios]}\n"
            "products: {p: {kind: xcframework, backends: [ios], templates: nowhere}}"
        ),
        (
            "17:63: products.p.templates: there is no directory `nowhere`\n"
            "  hint: paths are relative to the directory of targets.yaml"
        ),
    ),
    "keys for current": (
        "matrix: {model: [minilm], backend: [ios]}\ntoolchains: {current: {pre: true}}",
        "17:14: toolchains.current: `current` is the Python that runs doit and takes no keys",
    ),
    "one model, one library, two toolchains": (
        "matrix: {model: [decoder], backend: [ios], toolchain: [current, t]}\ntoolchains: {t: {path: env}}",
        "16:1: matrix: decoder-q4@ios and decoder-q4@ios+t would both be in the library of ios",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_place(case, good, refuse):
    block, message = MISTAKES[case]
    told = refuse(with_matrix(good, block))
    assert told.startswith(f"targets.yaml:{message}")
    assert "\n  hint: " in told


def test_two_slices_of_one_platform_and_architecture(good, refuse):
    text = good.replace(
        "  ios: {preset: iphone}\n", "  ios: {preset: iphone}\n  ios16: {preset: iphone, deployment_target: '16.0'}\n"
    )
    text = with_matrix(text, "matrix: {model: [minilm], backend: [ios, ios16]}\n")
    told = refuse(text + "products: {p: {kind: xcframework, backends: [ios, ios16]}}")
    assert told.startswith(
        "targets.yaml:18:51: products.p.backends[1]: `ios` and `ios16` are both ios arm64\n  hint: keep one"
    )


def test_two_architectures_of_one_platform_are_fine(good, expand):
    text = good.replace("  ios: {preset: iphone}\n", "  a: {preset: macabi}\n  b: {preset: macabi, arch: x86_64}\n")
    text = with_matrix(text, "matrix: {model: [minilm], backend: [a, b]}\n")
    assert len(expand(text + "products: {p: {kind: xcframework, backends: [a, b]}}").products) == 1


def test_equal_prefixes_in_one_backend_name_both_models(good, refuse):
    text = good.replace("q4: {}", "q4: {system_lib_prefix: minilm_f32_}")
    assert refuse(text) == (
        "targets.yaml:11:7: models.decoder.variants.q4: "
        "minilm-f32 and decoder-q4 have the same prefix `minilm_f32_` in ios\n"
        "  hint: set `system_lib_prefix` in one of these variants"
    )


def test_equal_prefixes_in_different_backends_are_fine(good, expand):
    text = good.replace("  minilm:\n", "  minilm:\n    system_lib_prefix: sentences_\n")
    block = "matrix: {include: [{model: minilm-f32, backend: web}, {model: minilm-f16, backend: ios}]}"
    assert {cell.model.prefix for cell in expand(with_matrix(text, block)).cells} == {"sentences_"}


@pytest.mark.parametrize(
    ("key", "column", "told"),
    [
        ("factory: recpe.py:build", 14, "there is no file `recpe.py`\n  hint: did you mean `recipe.py` there?"),
        (
            "onnx: nowhere/m.onnx",
            11,
            "there is no file `nowhere/m.onnx`\n  hint: paths are relative to the directory of targets.yaml",
        ),
        ("compiler: mlc\n    weights: {path: w}", 21, "there is no file `w`"),
    ],
)
def test_a_missing_file_is_named(key, column, told, good, refuse):
    text = good.replace("factory: recipe.py:build\n    variants:\n      q4", f"{key}\n    variants:\n      q4")
    line = 9 + key.count("\n")
    place = "weights.path" if "weights" in key else key.partition(":")[0]
    assert refuse(text).startswith(f"targets.yaml:{line}:{column}: models.decoder.{place}: {told}")


@pytest.mark.parametrize(
    ("key", "place", "told"),
    [
        (
            "factory: recipe.py:biuld",
            "9:14: models.decoder.factory",
            "`recipe.py` defines no `biuld`\n  hint: did you mean `build`?",
        ),
        (
            "factory: recipe.py:build\n    check: recipe.py:compare",
            "10:12: models.decoder.check",
            "`recipe.py` defines no `compare`\n  hint: define `compare` there, or name another function",
        ),
        (
            "factory: {function: recipe.py:biuld}",
            "9:14: models.decoder.factory",
            "`recipe.py` defines no `biuld`\n  hint: did you mean `build`?",
        ),
        (
            "factory: recipe.py:build\n    check: {function: recipe.py:build, reads: [recipe.py, recipes.json]}",
            "10:59: models.decoder.check.reads[1]",
            "there is no file `recipes.json`\n  hint: did you mean `recipe.py` there?",
        ),
    ],
)
def test_a_function_that_is_not_in_its_file_is_named(key, place, told, good, refuse):
    text = good.replace("factory: recipe.py:build\n    variants:\n      q4", f"{key}\n    variants:\n      q4")
    assert refuse(text) == f"targets.yaml:{place}: {told}"


@pytest.mark.parametrize(
    "recipe",
    [
        "from somewhere import built as build",
        "from somewhere import *",
        "build = lambda spec: None",
        "if True:\n  def build(spec): ...",
        "try:\n  from fast import build\nexcept ImportError:\n  pass",
        "globals()['build'] = print",
        "class build: ...",
        "not python at all",
    ],
)
def test_a_function_is_missed_only_where_reading_the_recipe_shows_that_it_is_not_there(recipe, good, project, expand):
    (project / "recipe.py").write_text(f"{recipe}\n")
    assert expand(good).cells


def test_files_of_a_model_outside_the_matrix_may_be_missing(good, expand):
    text = good.replace("factory: recipe.py:build\n    variants:\n      q4", "onnx: no.onnx\n    variants:\n      q4")
    assert len(expand(with_matrix(text, "matrix: {model: [minilm], backend: [ios]}")).cells) == 2


def test_names_that_meet_in_one_directory(good, refuse):
    text = good.replace("  decoder:\n", "  Minilm:\n").replace("q4: {}", "F16: {}").replace(", decoder]", "]")
    assert refuse(text).startswith(
        "targets.yaml:11:7: models.Minilm.variants.F16: `Minilm-F16` is also the name of models.minilm.variants.f16, or"
    )


def test_mistakes_of_different_parts_are_reported_together(good, refuse):
    text = good.replace("preset: webgpu", "preset: webgpuu").replace("[ios, android-arm64]", "[ios, androd-arm64, web]")
    told = refuse(text + "products: {p: {kind: web, backends: [wb]}}")
    assert told.startswith("targets.yaml: 3 problems\n")
    assert "unknown preset `webgpuu`\n  hint: did you mean `webgpu`?" in told
    assert "unknown backend `androd-arm64`\n  hint: did you mean `android-arm64`?" in told
    assert "unknown backend `wb`\n  hint: did you mean `web`?" in told
