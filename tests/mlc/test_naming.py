"""Names of `mlc` models before anything is built: from the lock, or from a config that is fetched once."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from pathlib import Path

import pytest
from mlc_projects import CHAT

from pipeline.compilers import mlc_names
from pipeline.errors import DownloadError, MatrixError
from pipeline.matrix.expand import load
from pipeline.plan.library_names import Place, config_of, named
from pipeline.plan.lockfile import read_lock, write_lock_entry
from pipeline.weights.entry import Entry, LockedFile

TARGETS = """\
version: 1
models:
  small:
    compiler: mlc
    weights: {WEIGHTS}
    variants:
      q0f32: {OPTIONS}
backends:
  ios: {preset: iphone}
  catalyst: {preset: macabi}
  android: {preset: android}
  web: {preset: webgpu}
matrix: {model: [small], backend: [BACKENDS]}
"""


def expected(device, overrides=None):
    return mlc_names.model_lib(
        mlc_names.effective_config(CHAT, overrides or {}),
        model_type="llama",
        quantization="q0f32",
        device=device,
        overrides=overrides,
    )


class Site:
    """A web server with one converted model; `asked` are the paths that were fetched."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                super().do_GET()

            def log_message(self, *_):
                pass

        handler = functools.partial(Handler, directory=str(folder.parent))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/model/"


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "site" / "model"
    folder.mkdir(parents=True)
    (folder / "mlc-chat-config.json").write_text(json.dumps(CHAT))
    served = Site(folder)
    yield served
    served.server.shutdown()
    served.server.server_close()


class Desk:
    """A project's directory; `name()` plans it as a session would."""

    def __init__(self, root):
        self.root, self.notes = root, []

    def write(self, weights, *, options="{}", backends="ios, catalyst, android, web"):
        text = TARGETS.replace("{WEIGHTS}", weights).replace("{OPTIONS}", options).replace("BACKENDS", backends)
        (self.root / "targets.yaml").write_text(text)
        return self

    def name(self):
        matrix = load(self.root / "targets.yaml")
        lock = self.root / "slipway.lock"
        return named(matrix, Place(matrix.root, lock, read_lock(lock), self.notes.append))

    def prefixes(self):
        return {cell.backend.name: cell.model.prefix.removesuffix("_") for cell in self.name().cells}


@pytest.fixture
def desk(tmp_path):
    root = tmp_path / "desk"
    root.mkdir()
    return Desk(root)


def local(desk, chat=CHAT):
    (desk.root / "weights").mkdir(exist_ok=True)
    (desk.root / "weights" / "mlc-chat-config.json").write_text(json.dumps(chat))
    return "{path: weights}"


def test_parts_of_one_app_have_one_name(desk):
    desk.write(local(desk))
    iphone = expected("iphone")
    assert desk.prefixes() == {"ios": iphone, "catalyst": iphone, "android": expected("android"), "web": iphone}


@pytest.mark.parametrize(
    ("backends", "device"),
    [("catalyst", "macabi"), ("catalyst, web", "macabi"), ("android, web", "android"), ("ios, catalyst", "iphone")],
)
def test_the_name_is_that_of_the_app_there_is(desk, backends, device):
    assert set(desk.write(local(desk), backends=backends).prefixes().values()) == {expected(device)}


def test_a_matrix_for_the_web_alone_gets_a_name_too(desk):
    assert desk.write(local(desk), backends="web").prefixes() == {"web": expected("webgpu")}


def test_overrides_and_flags_are_in_the_name(desk):
    weights = local(desk)
    first = desk.write(weights, options="{overrides: {max_batch_size: 2}}").prefixes()
    assert first["ios"] == expected("iphone", {"max_batch_size": 2})
    second = desk.write(weights, options="{overrides: {max_batch_size: 2}, opt: O3}").prefixes()
    assert second["ios"] != first["ios"]


@pytest.mark.parametrize(
    ("options", "prefix"),
    [("{model_lib: my-model}", "my_model"), ("{system_lib_prefix: my_model_}", "my_model")],
)
def test_a_name_that_is_given_needs_no_config(desk, options, prefix):
    (desk.root / "weights").mkdir()
    assert set(desk.write("{path: weights}", options=options).prefixes().values()) == {prefix}


def test_a_raw_checkpoint_has_the_name_of_its_variant(desk):
    (desk.root / "weights").mkdir()
    desk.write("{path: weights}", options="{quantization: q0f32, conv_template: LM}")
    assert set(desk.prefixes().values()) == {"small_q0f32"}


def test_a_config_from_afar_is_fetched_once_and_the_name_pinned(desk, site):
    desk.write(f'{{url: "{site.url}", files: [mlc-chat-config.json, params_shard_0.bin]}}')
    assert desk.prefixes()["ios"] == expected("iphone")
    assert site.asked == ["/model/mlc-chat-config.json"], "nothing else was needed"
    pinned = read_lock(desk.root / "slipway.lock").model_libs["small-q0f32"]
    assert pinned.names == {"iphone": expected("iphone"), "android": expected("android")}
    site.server.shutdown()
    assert desk.prefixes()["android"] == expected("android")
    assert len(site.asked) == 1


def test_other_options_or_other_weights_are_no_business_of_the_pin(desk, site):
    weights = f'{{url: "{site.url}", files: [mlc-chat-config.json]}}'
    before = desk.write(weights).prefixes()
    assert desk.write(weights, options="{overrides: {max_batch_size: 2}}").prefixes() != before
    assert desk.write(weights).prefixes() == before
    files = {"mlc-chat-config.json": LockedFile(1, "0" * 64)}
    entry = Entry({"files": ["mlc-chat-config.json"], "url": site.url}, "", files)
    write_lock_entry(desk.root / "slipway.lock", "small", entry)
    with pytest.raises(DownloadError, match="is not what was promised"):
        desk.prefixes()


def test_a_config_that_cannot_be_had_has_another_way_out(desk, site):
    (site.folder / "mlc-chat-config.json").unlink()
    desk.write(f'{{url: "{site.url}", files: [mlc-chat-config.json]}}')
    with pytest.raises(DownloadError) as caught:
        desk.prefixes()
    assert "mlc-chat-config.json" in str(caught.value)
    assert "give the variant a `model_lib`" in str(caught.value)
    assert not (desk.root / "slipway.lock").exists()


@pytest.mark.parametrize("content", ["[]", "{}", '{"model_type": "llama"}', "no json", '{"model_config": 3}'])
def test_a_config_that_is_none(desk, content):
    local(desk)
    (desk.root / "weights" / "mlc-chat-config.json").write_text(content)
    desk.write("{path: weights}")
    with pytest.raises(MatrixError, match=r"not what mlc_llm writes|no optimisation flag"):
        desk.prefixes()


def test_weights_that_are_not_converted_say_what_to_do(desk):
    (desk.root / "weights").mkdir()
    desk.write("{path: weights}")
    with pytest.raises(MatrixError, match="not in MLC's form") as caught:
        desk.prefixes()
    assert "conv_template" in str(caught.value)


def test_the_same_model_twice_is_compiled_once(desk):
    desk.write(local(desk))
    path = desk.root / "targets.yaml"
    path.write_text(path.read_text().replace("      q0f32: {}", "      q0f32: {}\n      again: {}"))
    matrix = desk.name()
    assert {cell.model.subject for cell in matrix.cells} == {"small-q0f32"}
    assert {cell.model.subject for cell in matrix.sharing} == {"small-again"}
    assert {cell.model.prefix for cell in matrix.sharing} == {cell.model.prefix for cell in matrix.cells}


def tuned(desk, **changes):
    """Two models with one `model_lib`, whose weights' configs differ by some changes."""
    desk.write(local(desk), options="{model_lib: one_library}", backends="ios, web")
    path = desk.root / "targets.yaml"
    again = "  tuned:\n    compiler: mlc\n    weights: {path: tuned}\n    variants: {q0f32: {model_lib: one_library}}\n"
    path.write_text(path.read_text().replace("backends:", again + "backends:").replace("[small]", "[small, tuned]"))
    (desk.root / "tuned").mkdir()
    config = {key: changes.get(key, value) for key, value in CHAT["model_config"].items()}
    (desk.root / "tuned" / "mlc-chat-config.json").write_text(json.dumps(CHAT | {"model_config": config} | changes))
    return desk


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.1, "conv_template": {"name": "chatml"}, "tokenizer_files": ["vocab.json"]},
        {"vocab_size": 70},  # tokens that were added: Llama's library takes any number
        {"active_vocab_size": 64},  # the other is from before there was such a field
    ],
)
def test_fine_tunes_differ_in_what_no_library_is_compiled_from(desk, changes):
    assert {cell.model.subject for cell in tuned(desk, **changes).name().sharing} == {"tuned-q0f32"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 64}, "hidden_size (32, 64)"),
        ({"num_hidden_layers": 2, "head_dim": 8}, "head_dim (16, 8), num_hidden_layers (1, 2)"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "rope_scaling (null, {"),
        ({"context_window_size": 64}, "context_window_size (128, 64), prefill_chunk_size (128, 64)"),
        ({"quantization": "q4f16_1"}, 'quantization ("q0f32", "q4f16_1")'),
    ],
)
def test_one_library_for_other_configs_is_refused(desk, changes, said):
    with pytest.raises(MatrixError, match="small-q0f32 and tuned-q0f32 are to have one library") as caught:
        tuned(desk, **changes).name()
    assert said in caught.value.what
    assert "model_lib" in caught.value.hint
    assert caught.value.where.line == path_line(desk, "  tuned:") + 3


EXCLUDED = "[{model: small-q0f32, backend: catalyst}, {model: small-again, backend: ios}]"
APPLE = """\
products:
  apple: {kind: xcframework, backends: [ios, catalyst]}
"""


def apple(desk, pinned):
    """`again`, another model for Catalyst alone, beside `q0f32` for the iPhone alone; with `pinned` as its name."""
    desk.write(local(desk), backends="ios, catalyst")
    path = desk.root / "targets.yaml"
    text = path.read_text().replace("      q0f32: {}", f"      q0f32: {{}}\n      again: {{model_lib: {pinned}}}")
    path.write_text(text.replace("catalyst]}", f"catalyst], exclude: {EXCLUDED}}}\n{APPLE}"))
    return desk


def test_two_variants_of_one_name_fill_the_slices_of_an_app(desk):
    names = apple(desk, expected("iphone")).prefixes()
    assert names["ios"].replace("-", "_") == names["catalyst"].replace("-", "_")


def test_slices_are_compared_once_mlc_has_named_their_models(desk):
    with pytest.raises(MatrixError, match="`ios` lacks small-again, which other slices have") as caught:
        apple(desk, "another-name").prefixes()
    assert caught.value.where.line == path_line(desk, "  apple:")
    assert "make two products" in caught.value.hint


def path_line(desk, start):
    lines = (desk.root / "targets.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(start))


def test_a_config_of_the_users_is_watched_under_a_spelling_of_its_own(desk):
    desk.write(local(desk))
    matrix = load(desk.root / "targets.yaml")
    path = config_of(matrix.models[0], matrix.root)
    assert Path(path).is_file()
    assert path != str(matrix.root / "weights" / "mlc-chat-config.json")


def test_a_bad_flag_is_an_error_of_the_matrix(desk):
    desk.write(local(desk), options="{opt: fast}")
    with pytest.raises(MatrixError, match="`fast` is no optimisation flag"):
        desk.prefixes()
