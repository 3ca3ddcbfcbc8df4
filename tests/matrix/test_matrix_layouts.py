"""Layouts in targets.yaml: patterns are checked, with their place, before anything is built."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.matrix.layouts import _folded, _wrong
from pipeline.plan import plan
from pipeline.plan.layouts import placements

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
        ('"{model!r}.tar"', "unknown placeholder `{model}`"),
        ('"{model:>9}.tar"', "unknown placeholder `{model}`"),
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


@given(st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_path_inside_or_refused(text):
    if _wrong(text) is None:
        path = text.format(model="m", variant="v", subject="m-v", backend="b")
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "\0" not in path
        assert _folded(path) == _folded(path.upper()) or not path.isascii()
