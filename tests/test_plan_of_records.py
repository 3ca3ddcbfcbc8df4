"""What apps are told of a model: addresses, libraries that several models share, and what an app could not read."""

from __future__ import annotations

import pytest

from pipeline.documents.chat_config import NAME as CONFIG
from pipeline.documents.codec import encode
from pipeline.doit_plugin.session import Session
from pipeline.engine.options import Options
from pipeline.errors import MatrixError
from pipeline.files import Digest
from pipeline.matrix.expand import load
from pipeline.plan import plan
from pipeline.plan.apps import remarks
from pipeline.weights.entry import Entry

LIB = "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2"
HEAD = "version: 1\nmodels:\n"
REST = """\
backends:
  ios: {preset: iphone}
  mac: {preset: macabi}
  droid: {preset: android}
  page: {preset: webgpu}
products:
  PRODUCT
runtime: {source: tvm, backends: [page]}
"""


@pytest.fixture
def matrix(tmp_path):
    (tmp_path / "tvm").mkdir()
    (tmp_path / "w").mkdir()

    def make(models: str, product: str, backends: str = "ios, droid, page"):
        names = ", ".join(line.split(":")[0].strip() for line in models.splitlines())
        rest = REST.replace("PRODUCT", product)
        (tmp_path / "targets.yaml").write_text(
            f"{HEAD}{models}{rest}matrix: {{model: [{names}], backend: [{backends}]}}\n"
        )
        return load(tmp_path / "targets.yaml")

    return make


def one(name="a", weights="{path: w}", options=f"model_lib: {LIB}") -> str:
    return f"  {name}: {{compiler: mlc, weights: {weights}, variants: {{q: {{{options}}}}}}}\n"


APPLE = "apple: {kind: xcframework, backends: [ios]}"
DROID = "droids: {kind: android, backends: [droid]}"
WEB = "web: {kind: web, backends: [page]}"


def models(found, product):
    return {action.name: action for action in plan(found, {})}[f"app_config:{product}"].params.models


def test_weights_on_a_server_of_ones_own(matrix):
    own = f"model_lib: {LIB}, model_url: https://example.org/qwen"
    for product in (APPLE, DROID, WEB):
        (model,) = models(matrix(one(options=own + ", bundle_weight: false"), product), product.split(":")[0])
        assert model.url == "https://example.org/qwen"
        assert not model.bundle_weight


def test_android_needs_an_address(matrix):
    with pytest.raises(MatrixError, match="ends at a record without a model_url"):
        plan(matrix(one(), DROID), {})


def test_android_needs_none_where_somebody_puts_the_weights_on_the_phone(matrix):
    found = matrix(one(options=f"model_lib: {LIB}, bundle_weight: true"), DROID)
    (model,) = models(found, "droids")
    assert (model.url, model.bundle_weight) == (None, True)
    (said,) = remarks(found)
    assert "no address has the weights of a-q: they must be on the phone" in said


ON_TWO = "apple: {kind: xcframework, backends: [ios, mac]}"
APART = """exclude: [{model: a-phone, backend: mac}, {model: a-mac, backend: ios}]"""


def for_two_systems(tmp_path, phone, mac):
    """One model in two variants, each for one system of an app."""
    variants = f"phone: {{model_id: A, {phone}}}, mac: {{model_id: A, {mac}}}"
    models = f"  a: {{compiler: mlc, weights: {{hf: x/y, revision: main}}, variants: {{{variants}}}}}\n"
    rest = REST.replace("PRODUCT", ON_TWO).replace("runtime: {source: tvm, backends: [page]}\n", "")
    (tmp_path / "targets.yaml").write_text(
        f"{HEAD}{models}{rest}matrix: {{model: [a], backend: [ios, mac], {APART}}}\n"
    )
    return load(tmp_path / "targets.yaml")


def test_two_variants_that_are_one_model_to_an_app_have_one_record(tmp_path):
    same = f"model_lib: {LIB}"
    (model,) = models(for_two_systems(tmp_path, same, same), "apple")
    assert (model.subject, model.model_id, model.model_lib) == ("a-phone", "A", LIB)


def test_two_variants_that_differ_to_an_app_are_not_one_model(tmp_path):
    other = f"model_lib: {LIB}, overrides: {{max_batch_size: 1}}"
    with pytest.raises(MatrixError, match="a-phone and a-mac have one model_id in product 'apple': A") as caught:
        plan(for_two_systems(tmp_path, f"model_lib: {LIB}", other), {})
    assert "make a product for each system" in caught.value.hint


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b"])
def test_a_model_id_that_breaks_addresses(name, matrix):
    with pytest.raises(MatrixError, match="is no model_id"):
        matrix(one(options=f"model_lib: {LIB}, model_id: '{name}'"), APPLE)


@pytest.mark.parametrize("name", ["my model", "modèle"])
def test_a_model_id_that_breaks_the_app_for_ios(name, matrix):
    with pytest.raises(MatrixError, match="percent-encoded"):
        plan(matrix(one(options=f"model_lib: {LIB}, model_id: '{name}'"), APPLE), {})


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://example.org/m?token=abcdefgh12345678", "without `?`"),
        ("https://example.org/m#x", "without `?`, `#`"),
        ("https://huggingface.co/a/b/tree/main", "write https://huggingface.co/a/b"),
        ("https://example.org/m/mlc-chat-config.json", "write that of its directory: https://example.org/m"),
    ],
)
def test_an_address_that_is_no_directorys(url, hint, matrix):
    with pytest.raises(MatrixError) as caught:
        matrix(one(options=f"model_lib: {LIB}, model_url: '{url}'"), WEB)
    assert hint in str(caught.value)
    assert "abcdefgh12345678" not in str(caught.value)


def test_apps_of_mlc_put_resolve_behind_an_address_themselves(matrix):
    options = f"model_lib: {LIB}, model_url: 'https://example.org/m/resolve/main'"
    for product in (APPLE, DROID):
        with pytest.raises(MatrixError, match="has a /resolve/ already") as caught:
            plan(matrix(one(options=options), product), {})
        assert "write model_url: https://example.org/m;" in caught.value.hint
    assert models(matrix(one(options=options), WEB), "web")[0].url == "https://example.org/m/resolve/main"


@pytest.mark.parametrize("url", ["https://example.org/m?x=1/", "https://example.org/#/"])
def test_a_base_behind_which_no_name_can_stand(url, matrix):
    with pytest.raises(MatrixError, match="is not the address of a directory"):
        matrix(one(), WEB.replace("]}", f"], base_url: '{url}'}}"))


@pytest.mark.parametrize(
    "option",
    [
        "estimated_vram_bytes: 9223372036854775808",
        "overrides: {context_window_size: true}",
        "overrides: {context_window_size: '4096'}",
        "overrides: {context_window_size: 1000000000000}",
        "overrides: {max_batch_size: 0}",
        "overrides: {prefill_chunk_size: 512.0}",
        "overrides: {disaggregation: 1}",
    ],
)
def test_a_number_that_its_reader_cannot_hold(option, matrix):
    with pytest.raises(MatrixError, match=r"is out of bounds|expected an integer|expected true or false"):
        matrix(one(options=f"model_lib: {LIB}, {option}"), APPLE)


def test_relative_addresses_are_remarked_on(matrix):
    (said,) = remarks(matrix(one(), WEB))
    assert "give the product `base_url`" in said
    assert not list(remarks(matrix(one(), WEB.replace("]}", "], base_url: 'https://e.org/'}"))))


def test_a_revision_that_native_records_cannot_say(matrix):
    hub = "{hf: a/b, revision: REVISION}"
    (said,) = remarks(matrix(one(weights=hub.replace("REVISION", "v2")), APPLE))
    assert "download a-q from `main` of its repository, not from v2" in said
    assert not list(remarks(matrix(one(weights=hub.replace("REVISION", "main")), APPLE)))


def test_records_of_webllm_name_the_commit_that_is_pinned(matrix):
    """They have digests of its files, and a branch moves on."""
    found = matrix(one(weights="{hf: x/y, revision: main}"), WEB)
    pins = {"a": Entry({}, "c" * 40, {}), "b": None}
    (model,) = {action.name: action for action in plan(found, pins)}["app_config:web"].params.models
    assert model.url == f"https://huggingface.co/x/y/resolve/{'c' * 40}/"
    assert models(found, "web")[0].url == "https://huggingface.co/x/y/resolve/main/"


def test_a_first_run_names_the_commit_as_soon_as_it_is_known(matrix, tmp_path):
    (tmp_path / "dodo.py").write_text("")
    matrix(one(weights="{hf: x/y, revision: main}"), WEB)
    session = Session(tmp_path / "targets.yaml", Options())
    weights = session.engine.actions["weights:a"]
    source, digest = weights.params.source, Digest("d" * 64, 3)
    session.engine._pin(weights, encode(Entry.of(source, "c" * 40, {CONFIG: digest})))
    (model,) = session.engine.actions["app_config:web"].params.models
    assert model.url == f"https://huggingface.co/x/y/resolve/{'c' * 40}/"
    session.worker.close()


@pytest.mark.parametrize("product", [APPLE, WEB])
def test_fine_tunes_share_one_library(product, matrix, tmp_path):
    (tmp_path / "tuned").mkdir()
    found = matrix(one() + one("b", "{path: tuned}"), product, "ios, page")
    actions = {action.name: action for action in plan(found, {})}
    assert [name for name in actions if name.startswith("compile:")] == ["compile:a-q@ios", "compile:a-q@page"]
    assert {"bundle:a-q", "bundle:b-q", "weights:a", "weights:b"} <= actions.keys()
    name = product.split(":")[0]
    first, second = models(found, name)
    assert (first.subject, second.subject) == ("a-q", "b-q")
    assert (first.model_lib, first.file) == (second.model_lib, second.file)
    upstream = actions[f"app_config:{name}"].upstream
    assert upstream["objects:b-q"].action == f"compile:a-q@{'ios' if name == 'apple' else 'page'}"


def test_fine_tunes_share_a_library_that_somebody_else_compiled(matrix, tmp_path):
    (tmp_path / "tuned").mkdir()
    (tmp_path / "x.tar").write_bytes(b"")
    models_of = "".join(
        f"  {name}: {{prebuilt: x.tar, system_lib_prefix: {LIB}_, weights: {{path: {folder}}}, "
        f"variants: {{q: {{model_id: {name}}}}}}}\n"
        for name, folder in (("a", "w"), ("b", "tuned"))
    )
    found = matrix(models_of, APPLE, "ios, page")
    assert [action.name for action in plan(found, {}) if action.step == "compile"] == [
        "compile:a-q@ios", "compile:a-q@page",
    ]  # fmt: skip
    first, second = models(found, "apple")
    assert (first.model_id, second.model_id, second.library_of) == ("a", "b", "a-q")
    (tmp_path / "y.tar").write_bytes(b"")
    with pytest.raises(MatrixError, match="have the same prefix"):
        matrix(models_of.replace("b: {prebuilt: x.tar", "b: {prebuilt: y.tar"), APPLE, "ios, page")


def test_only_what_is_the_same_shares_a_library(matrix):
    with pytest.raises(MatrixError, match="have the same prefix"):
        matrix(one() + one("b", options=f"model_lib: {LIB}, overrides: {{context_window_size: 512}}"), APPLE, "ios")


def test_two_backends_of_one_abi_are_known_at_plan_time(matrix, tmp_path):
    found = "droids: {kind: android, backends: [droid, other]}"
    own = f"model_lib: {LIB}, model_url: https://e.org/q"
    text = (
        HEAD
        + one(options=own)
        + REST.replace("PRODUCT", found).replace("  droid: ", '  other: {preset: "android:mali"}\n  droid: ')
    )
    (tmp_path / "targets.yaml").write_text(text + "matrix: {model: [a], backend: [droid, other]}\n")
    with pytest.raises(MatrixError, match="are both android arm64"):
        load(tmp_path / "targets.yaml")


def test_a_slice_without_a_model_is_known_at_plan_time(matrix):
    product = "apple: {kind: xcframework, backends: [ios, mac]}"
    other = one("b", options="model_lib: another_library")
    with pytest.raises(MatrixError, match="`mac` lacks b-q, which other slices have"):
        matrix(one() + other, product, "ios, mac], exclude: [{model: b, backend: mac}")
