"""Layouts in targets.yaml: patterns are checked, with their place, before anything is built."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MatrixError
from pipeline.matrix.layouts import _folded, wrong_pattern
from pipeline.plan import plan
from pipeline.plan.products import placements

IOS = "ios: {{library: {}, bundle: {}}}"
ANDROID = 'android-arm64: {library: "mali/{model}/{subject}.tar", bundle: "mali/{subject}"}'
LAYOUT = """\
products:
  ava:
    kind: layout
    backends: [ios, android-arm64]
    layout:
      {}
      {}
"""


APP = """\
products:
  app:
    kind: {}
    backends: [android-arm64]
    maven: {{group: {}, artifact: a, version: {}{}}}
"""


def of(good: str, library: str, bundle: str = '"ios/{subject}"', android: str = ANDROID) -> str:
    return good + LAYOUT.format(IOS.format(library, bundle), android)


def test_patterns_are_filled_in_for_every_cell(good, expand):
    matrix = expand(of(good, '"ios/{backend}/{model}-{variant}.a"'))
    (product,) = matrix.products
    found = {(one.subject, one.backend): (one.library, one.form, one.bundle) for one in placements(product, matrix)}
    assert len(found) == 6
    assert found["minilm-f16", "ios"] == ("ios/ios/minilm-f16.a", "archive", "ios/minilm-f16")
    assert found["decoder-q4", "android-arm64"] == ("mali/decoder/decoder-q4.tar", "tar", "mali/decoder-q4")


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ('"{name}.tar"', "unknown placeholder `{name}`"),
        ('"{model!r}.tar"', "unknown placeholder `{model!r}`"),
        ('"{model:>9}.tar"', "unknown placeholder `{model:>9}`"),
        ('"{model.tar"', "is no pattern"),
        ('"/tmp/{subject}.tar"', "is not a path inside the product"),
        ('"../{subject}.tar"', "is not a path inside the product"),
        ('"a//{subject}.tar"', "is not a path inside the product"),
        ('"C:{subject}.tar"', "is not a path inside the product"),
        ('"{subject}.so"', "no form that a library for ios has"),
        ('"{subject}.wasm"', "no form that a library for ios has"),
        ('"{subject}"', "let it end in .tar or .a"),
        ('"{model}.tar"', "the library of minilm-f16 for ios would be where the library of minilm-f32 for ios is"),
        ('"MALI/{subject}.tar"', "differ only in upper and lower case"),
        ('"mali/{model}/{subject}.tar"', "would be where the library of minilm-f32 for"),
        ('"Link.json/{subject}.tar"', "is a file that every product has"),
        ('"aux/{subject}.tar"', "holds aux, which is a device on Windows"),
        ('"mali. /{subject}.tar"', "ends in a dot or a blank"),
        (f'"{"x" * 256}/{{subject}}.tar"', "is longer than files may be called"),
        (f'"{"x/" * 600}{{subject}}.tar"', "is longer than files may be called"),
        ('"ma?li/{subject}.tar"', "holds ?, which Windows has in no name"),
    ],
)
def test_a_wrong_path_of_a_library_is_refused_where_it_is(good, refuse, library, message):
    said = refuse(of(good, library))
    assert message in said
    assert re.search(r"targets\.yaml:2[45]:\d+: products\.ava\.layout\.(ios|android-arm64)\.library: ", said)


@pytest.mark.parametrize(
    ("bundle", "message"),
    [
        ('"ios/{model}"', "the bundle of minilm-f16 for ios would be where the bundle of minilm-f32 for ios is"),
        ('"{subject}.tar"', "would be where the library of"),
        ('"mali/{subject}"', None),
        ('"link.json"', "is a file that every product has"),
    ],
)
def test_bundles_share_a_directory_only_where_they_are_one(good, refuse, expand, bundle, message):
    text = of(good, '"{subject}.tar"', bundle)
    if message is None:
        expand(text)
    else:
        assert message in refuse(text)


def test_every_backend_has_its_place_and_no_other(good, refuse):
    other = 'web: {library: "w/{subject}.tar"}'
    said = refuse(of(good, '"{subject}.tar"', android=other))
    assert "nothing says where `android-arm64` goes" in said
    assert "`web` is no backend of this product" in said


def test_a_module_needs_a_runtime_to_be_linked_with(good, refuse, expand):
    text = good.replace("[ios, android-arm64]", "[web]")
    text += 'products:\n  ava: {kind: layout, backends: [web], layout: {web: {library: "{subject}.wasm"}}}\n'
    assert "there is none for `web`" in refuse(text)
    matrix = expand(text + "runtime: {wheel: true}\n")
    assert matrix.runtime.backends == ("web",)


def test_keys_of_layouts_belong_to_layouts(good, refuse):
    text = good + "products:\n  app: {kind: android, backends: [android-arm64], runtime_libraries: [x], layout: {}}\n"
    said = refuse(text)
    assert "a tree of its own" in said
    assert "only an AAR has shared libraries" in said
    said = refuse(text.replace("kind: android", "kind: native").replace(", layout: {}", ""))
    assert "no shared library is linked for a product of kind native" in said
    said = refuse(good + "products:\n  app: {kind: native, backends: [ios], files: {x: {file: y}}}\n")
    assert "products.app.files: a product of kind native has a tree of its own" in said
    for kind, hint in (("native", "add `backends:`"), ("layout", "add `backends:`, or `files:`")):
        said = refuse(good + f"products:\n  app: {{kind: {kind}}}\n")
        assert said == f"targets.yaml:20:3: products.app: the key `backends` is missing\n  hint: {hint}"


FINE_TUNES = """\
version: 1
models:
  base: {prebuilt: {ios: lib.a}, system_lib_prefix: shared_prefix_, weights: {path: base}}
  tuned: {prebuilt: {ios: lib.a}, system_lib_prefix: shared_prefix_, weights: {path: tuned}}
backends: {ios: {preset: iphone}}
matrix: {model: [base, tuned], backend: [ios]}
products:
  ava: {kind: layout, backends: [ios], layout: {ios: {library: "{model}/lib.tar", bundle: "{model}"}}}
"""


def test_fine_tunes_have_a_library_each_of_the_same_objects_and_their_own_weights(project, expand):
    (project / "lib.a").write_bytes(b"!<arch>\n")
    for name in ("base", "tuned"):
        (project / name).mkdir()
        (project / name / "params.bin").write_bytes(name.encode())
    matrix = expand(FINE_TUNES)
    assert len(matrix.cells) == len(matrix.sharing) == 1
    found = {one.subject.partition("-")[0]: one for one in placements(matrix.products[0], matrix)}
    assert {name: (one.library, one.bundle) for name, one in found.items()} == {
        "base": ("base/lib.tar", "base"),
        "tuned": ("tuned/lib.tar", "tuned"),
    }
    assert {one.owner for one in found.values()} == {found["base"].subject}
    actions = {action.name: action for action in plan(matrix, {})}
    edges = actions["layout:ava"].upstream
    assert {name for name in edges if name.startswith("bundle:")} == {f"bundle:{one.subject}" for one in found.values()}
    assert actions["product:ava"].link_outputs


def test_coordinates_of_maven_are_checked(good, refuse, expand):
    (product,) = expand(good + APP.format("android", "com.x", '"1.0"', ", assets: play-asset-pack")).products
    assert (product.maven.group, product.maven.version, product.maven.assets) == ("com.x", "1.0", "play-asset-pack")
    assert "is not a group of Maven" in refuse(good + APP.format("android", "com/x", '"1.0"', ""))
    assert "is not a version of Maven" in refuse(good + APP.format("android", "com.x", '"1 0"', ""))
    assert "an AAR is made of" in refuse(good + APP.format("native", "com.x", '"1.0"', ""))
    assert "assets" in refuse(good + APP.format("android", "com.x", '"1.0"', ", assets: sometimes"))
    said = refuse(good + "products:\n  app: {kind: android, backends: [android-arm64], runtime_libraries: [x]}\n")
    assert "only an AAR has shared libraries" in said


@pytest.mark.parametrize("name", ["android", "log", "tvm_ffi"])
def test_a_library_is_not_called_as_one_that_android_has(good, refuse, expand, name):
    """The loader would take the system's for ours, or ours for the system's."""
    aar = APP.format("android", "com.x", '"1.0"', "")
    text = good + aar.replace("  app:", f"  {name}:")
    assert f"3: products.{name}: its library would be lib{name}.so" in refuse(text)
    assert expand(text.replace("    maven", "    # maven"))
    text = of(good, '"ios/{subject}.a"', android=f"android-arm64: {{library: lib/lib{name}.so}}")
    assert f"called as `lib/lib{name}.so`" in refuse(text)


def test_products_that_code_spells_alike(good, refuse, expand):
    """In an app with both, CMake would take the targets of one for the other's, and Gradle one library for both."""
    kind = "{{kind: android, backends: [android-arm64]{}}}\n"
    twice = f"products:\n  kit-a: {kind}  {{}}: {kind}"
    said = refuse(good + twice.format("", "Kit_a", ""))
    assert "products.Kit_a: `Kit_a` is also the name of products.kit-a, or is spelt like it in code: kit_a" in said
    for name in ("kit-a_", "kit_a_exports"):
        assert f"products.{name}: `{name}` is also the name of" in refuse(good + twice.format("", name, ""))
    swift = "products:\n  ava: {kind: xcframework, backends: [ios]}\n  avaKit: {kind: xcframework, backends: [ios]}\n"
    assert "products.avaKit: `avaKit` is also the name of products.ava" in refuse(good + swift)
    assert expand(good + swift.replace("avaKit", "ava-Kit"))
    first, other = (f", maven: {{group: com.x, artifact: {name}, version: '1'}}" for name in ("a-b", "a_b"))
    assert "products.other.maven.artifact: `com.x.a-b` is also" in refuse(good + twice.format(first, "other", first))
    assert "products.other.maven.artifact: `com.x.a_b` is also" in refuse(good + twice.format(first, "other", other))
    assert expand(good + twice.format(first, "other", other.replace("a_b", "c")))


FILES = """\
models:
  llama: {factory: recipe.py:build, variants: {q4: {}}}
  gemma: {gguf: {hf: a/b, revision: main, file: g.gguf}}
  gemma-task: {litert: {hf: a/b, revision: main, file: g.task}}
backends: {ios: {preset: iphone}}
matrix: {model: [llama], backend: [ios]}
steps:
  seal: {command: [sh, -c, x], for: model, inputs: {b: "bundle:{subject}"}, outputs: ["{model}.sealed"]}
  parts: {command: [sh, -c, x], for: cell, outputs: [a, b]}
version: 1
products:
  ava:
    kind: layout
    backends: [ios]
    layout: {ios: {library: "llm/{model}/lib.tar", bundle: "llm/{model}"}}
    files:
"""


def test_bundles_of_any_model_and_outputs_of_steps_are_laid_out_by_the_names_of_their_tasks(expand):
    lines = """\
      "bundle:gemma": {file: "gguf/{model}.amg"}
      "bundle:gemma-*": {directory: "litert/{subject}"}
      "bundle:llama-*": {directory: "copies/{model}/{variant}"}
      "seal:*": {directory: sealed}
      "parts:*": {directory: "llm/{model}/{backend}"}
"""
    matrix = expand(FILES + lines)
    (product,) = matrix.products
    assert {(one.task, one.path, one.alone) for one in product.files} == {
        ("bundle:gemma", "gguf/gemma.amg", True),
        ("bundle:gemma-task", "litert/gemma-task", False),
        ("bundle:llama-q4", "copies/llama/q4", False),
        *((f"seal:{name}", "sealed", False) for name in ("llama-q4", "gemma", "gemma-task")),
        ("parts:llama-q4@ios", "llm/llama/ios", False),
    }
    actions = {action.name: action for action in plan(matrix, {})}
    names = list(actions)
    assert actions["layout:ava"].upstream["laid out:seal:gemma"].action == "seal:gemma"
    assert actions["verify:ava"].upstream["laid out:seal:gemma"].action == "seal:gemma"
    without = [action.name for action in plan(expand(FILES.replace("    files:\n", "")), {})]
    moved = {"layout:ava", "verify:ava", "product:ava", "manifest:dist"}
    assert [name for name in names if name not in moved] == [name for name in without if name not in moved]
    for name, action in actions.items():
        assert all(names.index(edge.action) < names.index(name) for edge in action.upstream.values())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'gemma: {file: "x"}',
            "files.gemma: there is no bundle and no step `gemma`\n  hint: did you mean `bundle:gemma`",
        ),
        ('"compile:*": {directory: "x"}', "there is no bundle and no step `compile:*`"),
        ('"*:gemma": {directory: "x"}', "there is no bundle and no step `*:gemma`"),
        (
            '"bundle:gemma": {directory: "{variant}"}',
            "directory: `{variant}` stands for nothing here\n  hint: use {subj",
        ),
        ('"bundle:*": {directory: "{variant}"}', "`{variant}` stands for nothing here"),
        ('"bundle:gemma": {file: "../x"}', "is not a path inside the product"),
        ('"bundle:gemma": {}', "outputs are laid out as a `file` or in a `directory`"),
        ('"bundle:llama-q4": {file: "x"}', "file: bundle:llama-q4 puts out several files"),
        ('"parts:*": {file: "x"}', "file: parts:llama-q4@ios puts out several files"),
        ('"seal:*": {file: "x/y"}', "the file of seal:gemma would be where the file of seal:llama-q4 is, in `x/y`"),
        ('"seal:*": {file: "LLM/{subject}"}', "differ only in upper and lower case"),
        ('"seal:gemma": {file: "llm/llama/lib.tar"}', "would be where the library of llama-q4 for ios is"),
        ('"seal:gemma": {directory: "llm/llama/lib.tar"}', "the directory `llm/llama/lib.tar` of seal:gemma would be"),
        ('"seal:gemma": {file: "llm"}', "would be where the directory `llm` of llama-q4 for ios is"),
        ('"seal:gemma": {file: "manifest.json"}', "is a file that every product has"),
    ],
)
def test_what_cannot_be_laid_out_is_refused_where_it_is(refuse, line, said):
    message = refuse(f"{FILES}      {line}\n")
    assert said in message
    assert re.match(r"targets\.yaml(: \d problems\ntargets\.yaml)?:17:\d", message)


def test_what_is_laid_out_waits_for_the_proofs_of_what_it_is_made_of(expand):
    other = FILES.replace("ios: {preset: iphone}", "ios: {preset: iphone}, mali: {preset: android}").replace(
        "backend: [ios]", "backend: [ios, mali]"
    )
    (action,) = (
        one
        for one in plan(expand(f'{other}      "seal:llama-q4": {{directory: "x"}}\n'), {})
        if one.name == "product:ava"
    )
    assert {"verify:ava", "verify:ios", "verify:mali"} <= {edge.action for edge in action.upstream.values()}
    (action,) = (
        one for one in plan(expand(f'{other}      "seal:gemma": {{directory: "x"}}\n'), {}) if one.name == "product:ava"
    )
    assert "verify:mali" not in {edge.action for edge in action.upstream.values()}


def test_a_step_cannot_read_the_layout_that_it_is_in(expand):
    text = FILES.replace(
        "steps:",
        """steps:
  list: {command: [sh, -c, x], inputs: {tree: "product:ava"}, outputs: [list]}""",
    )
    with pytest.raises(MatrixError) as caught:
        plan(expand(f'{text}      "list:once": {{file: "list"}}\n'), {})
    assert "steps.list: " in str(caught.value)
    assert "list:once reads product:ava reads " in str(caught.value)
    assert "targets.yaml:8:47: steps.list" in str(caught.value)


@given(st.text(max_size=30))
@settings(max_examples=300)
def test_any_text_is_a_path_inside_or_refused(text):
    if wrong_pattern(text) is None:
        path = text.format(model="m", variant="v", subject="m-v", backend="b")
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "\0" not in path
        assert _folded(path) == _folded(path.upper()) or not path.isascii()
