"""Package configs of mlc_llm become a targets.yaml that builds the same: told by turning it back."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from mlc_projects import CHAT
from projects import DOIT

from pipeline.commands import import_config
from pipeline.errors import MatrixError
from pipeline.importers.mlc_package import merge, read
from pipeline.importers.package_yaml import Systems, backends_of, render, scalar
from pipeline.matrix.expand import load
from pipeline.plan import library_names, plan
from pipeline.plan.library_names import Place
from pipeline.plan.lockfile import read_lock


def hub(name, vram=3_000_000_000, model_id=None, **more):
    return {"model": f"HF://mlc-ai/{name}", "model_id": model_id or name, "estimated_vram_bytes": vram, **more}


def small(chunk, window=None):
    return {"prefill_chunk_size": chunk, **({"context_window_size": window} if window else {})}


EISONAI = {
    "device": "iphone",
    "model_list": [hub("Qwen3-0.6B-q4f16_1-MLC", bundle_weight=True, overrides=small(128, 2048))],
}
EISONAI_CATALYST = {
    "device": "macabi",
    "model_list": [
        hub(
            "Qwen3-0.6B-q4f16_1-MLC", bundle_weight=True, overrides=small(128, 2048),
            model_lib="qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2",
        )
    ],
}  # fmt: skip
IOS_CHAT = {
    "device": "iphone",
    "model_list": [
        hub("Llama-3.2-3B-Instruct-q4f16_1-MLC", overrides=small(128, 2048), bundle_weight=True),
        hub("gemma-2-2b-it-q4f16_1-MLC", model_id="gemma-2-2b-q4f16_1-MLC", overrides=small(128)),
        hub("Phi-3.5-mini-instruct-q4f16_1-MLC", 3_043_000_000, overrides=small(128)),
        hub("Qwen3-0.6B-q0f16-MLC", overrides=small(128, 2048)),
        hub("Qwen3-1.7B-q4f16_1-MLC", overrides=small(128, 2048)),
    ],
}
ANDROID_CHAT = {
    "device": "android",
    "model_list": [
        hub("Phi-3.5-mini-instruct-q4f16_0-MLC", 4_250_586_449, overrides=small(128)),
        hub("Qwen3-0.6B-q0f16-MLC", overrides=small(128, 2048)),
        hub("Qwen3-1.7B-q4f16_1-MLC", overrides=small(128, 2048)),
        hub("gemma-2-2b-it-q4f16_1-MLC"),
        hub("Llama-3.2-3B-Instruct-q4f16_0-MLC", 4_679_979_417),
        hub("Mistral-7B-Instruct-v0.3-q4f16_1-MLC", overrides={"sliding_window_size": 768, "prefill_chunk_size": 256}),
    ],
}
IOS_ENGINE = {
    "device": "iphone",
    "model_list": [
        hub("Llama-3-8B-Instruct-q3f16_1-MLC", 3_316_000_000, bundle_weight=True, model_lib="llama_q3f16_1")
    ],
}
ANDROID_ENGINE = {"device": "android", "model_list": [hub("phi-2-q4f16_1-MLC", 2_036_816_936, overrides=small(1024))]}


@pytest.fixture(autouse=True, scope="module")
def checkout(tmp_path_factory):
    """What `mlc_llm package` wants as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLC_LLM_SOURCE_DIR", str(tmp_path_factory.mktemp("mlc-llm")))
        yield


@pytest.fixture(scope="module")
def hub_answers():
    """The hub answers with the same config for every model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library_names, "_fetched_config", lambda *_: json.dumps(CHAT).encode())
        yield


DEVICES = {"ios": "iphone", "maccatalyst": "macabi", "android": "android"}


def imported(folder: Path, *configs, systems: Systems | None = None):
    """The matrix that a set of configs becomes."""
    folder.mkdir(exist_ok=True)
    records = []
    for number, config in enumerate(configs):
        path = folder / f"config{number}.json"
        path.write_text(json.dumps(config))
        records += read(path, folder)
    (folder / "targets.yaml").write_text(render(merge(records), ["config.json"], systems or Systems()))
    return load(folder / "targets.yaml")


def turned_back(matrix):
    """What each device gets, as a package config would say it."""
    seen = {}
    for cell in matrix.cells:
        model, device = cell.model, DEVICES[cell.backend.platform]
        record = {"model": f"HF://{model.weights.hf}", **said(model.app)}
        if model.options.get("overrides"):
            record["overrides"] = dict(model.options["overrides"])
        record |= {key: model.options[key] for key in ("model_lib", "opt") if key in model.options}
        seen[device, cell.model.subject] = (device, json.dumps(record, sort_keys=True))
    return Counter(seen.values())


def said(app):
    return {key: value for key, value in asdict(app).items() if value is not None}


def told(*configs):
    return Counter(
        (config["device"], json.dumps({k: v for k, v in record.items() if v not in ({}, False)}, sort_keys=True))
        for config in configs
        for record in config["model_list"]
    )


@pytest.mark.parametrize(
    "configs",
    [
        (EISONAI,), (EISONAI, EISONAI_CATALYST), (IOS_CHAT,), (ANDROID_CHAT,), (IOS_CHAT, ANDROID_CHAT), (IOS_ENGINE,),
        (ANDROID_ENGINE,), (IOS_CHAT, ANDROID_CHAT, EISONAI_CATALYST, ANDROID_ENGINE),
    ],
)  # fmt: skip
def test_a_round_trip_says_the_same(tmp_path, configs):
    assert turned_back(imported(tmp_path, *configs)) == told(*one_name(configs))


def one_name(configs):
    """The configs of an app, in which iPhone and Catalyst have one name for a model: that which one of them says."""
    if configs == (EISONAI, EISONAI_CATALYST):
        return ({**EISONAI, "model_list": EISONAI_CATALYST["model_list"]}, EISONAI_CATALYST)
    return configs


def test_the_lists_of_iphone_and_catalyst_are_one_product_where_they_are_the_same(tmp_path):
    matrix = imported(tmp_path, EISONAI, EISONAI_CATALYST)
    assert [(one.name, one.backends) for one in matrix.products] == [("apple", ("ios-arm64", "catalyst-arm64"))]
    (record,) = {one.name: one for one in plan(matrix, {})}["app_config:apple"].params.models
    assert record.model_lib == "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2"


def test_lists_that_differ_are_two_products(tmp_path):
    matrix = imported(tmp_path, IOS_CHAT, EISONAI_CATALYST, ANDROID_CHAT)
    assert [(one.name, one.backends) for one in matrix.products] == [
        ("iphone", ("ios-arm64",)), ("macabi", ("catalyst-arm64",)), ("android", ("android-arm64",)),
    ]  # fmt: skip
    assert plan(matrix, {})


def configs_of(draw):
    """Package configs for one to three devices, with models that are alike, shared, renamed or local."""
    models = st.sampled_from(
        [
            {"model": "HF://mlc-ai/a-q4f16_1-MLC", "model_id": "a"},
            {"model": "HF://mlc-ai/b-q4f16_1-MLC", "model_id": "b"},
            {"model": "HF://mlc-ai/a-q4f16_1-MLC", "model_id": "A"},
            {"model": "HF://mlc-ai/a-q4f16_1-MLC", "model_id": "é"},
            {"model": "mine", "model_id": "mine", "bundle_weight": True},
            {"model": "mine", "model_id": "mine"},
            {"model": "https://huggingface.co/mlc-ai/b-q4f16_1-MLC/", "model_id": "a", "bundle_weight": True},
        ]
    )
    more = st.fixed_dictionaries(
        {"estimated_vram_bytes": st.sampled_from([0, 1, 3e9, 10**20])},
        optional={
            "overrides": st.sampled_from([{}, {"prefill_chunk_size": 128}, {"context_window_size": -1, "opt": "O3"}]),
            "model_lib": st.sampled_from(["library_one", "library-two", "library_of_mine"]),
            "group": st.just("mine"),
        },
    )
    entry = st.builds(lambda one, rest: {**one, **rest}, models, more)
    entries = st.lists(entry, min_size=1, max_size=4)
    devices = draw(st.lists(st.sampled_from(["iphone", "macabi", "android"]), min_size=1, max_size=3, unique=True))
    libraries = st.sampled_from([{}, {"library_of_mine": "mine.tar"}])
    return [
        {"device": one, "model_list": draw(entries), "model_lib_path_for_prepare_libs": draw(libraries)}
        for one in devices
    ]


@settings(max_examples=150)
@given(configs=st.composite(configs_of)())
def test_whatever_is_written_is_planned(tmp_path_factory, hub_answers, configs):
    folder = tmp_path_factory.mktemp("planned")
    (folder / "mine").mkdir()
    (folder / "mine" / "mlc-chat-config.json").write_text(json.dumps(CHAT))
    (folder / "mine.tar").write_bytes(b"")
    paths = [folder / f"{number}.json" for number, _ in enumerate(configs)]
    for path, config in zip(paths, configs, strict=True):
        path.write_text(json.dumps(config))
    options = import_config.ImportOptions(output=str(folder / "targets.yaml"), no_runtime=True)
    try:
        import_config.convert(options, [str(path) for path in paths])
    except MatrixError as refused:
        event(refused.what.splitlines()[-1].partition("targets.yaml")[2][:60] or refused.what[-60:])
        assert not (folder / "targets.yaml").exists()
        return
    event("written")
    matrix = load(folder / "targets.yaml")
    lock = folder / "slipway.lock"
    assert plan(library_names.named(matrix, Place(folder, lock, read_lock(lock), lambda _: None)), {})


def test_what_is_the_same_for_two_devices_is_one_variant(tmp_path):
    matrix = imported(tmp_path, IOS_CHAT, ANDROID_CHAT)
    subjects = [cell.model.subject for cell in matrix.cells]
    assert subjects.count("Qwen3-0.6B-q0f16") == 2
    assert len({model.subject for model in matrix.models}) == 9
    assert {cell.toolchain for cell in matrix.cells} == {"mlc"}
    assert [(product.name, product.kind) for product in matrix.products] == [
        ("apple", "xcframework"), ("android", "android"),
    ]  # fmt: skip


def test_what_mlc_reads_from_variables_are_options(tmp_path):
    systems = Systems(ios="15.0", catalyst="17.0", catalyst_archs=("arm64", "x86_64"))
    matrix = imported(tmp_path, EISONAI, EISONAI_CATALYST, systems=systems)
    assert {backend.name: backend.triple for backend in matrix.backends} == {
        "ios-arm64": "arm64-apple-ios15.0",
        "catalyst-arm64": "arm64-apple-ios17.0-macabi",
        "catalyst-x86_64": "x86_64-apple-ios17.0-macabi",
    }
    assert matrix.products[0].backends == ("ios-arm64", "catalyst-arm64", "catalyst-x86_64")


def test_the_runtime_comes_from_the_same_checkout(tmp_path, monkeypatch):
    matrix = imported(tmp_path, EISONAI, EISONAI_CATALYST)
    assert matrix.runtime.source == os.environ["MLC_LLM_SOURCE_DIR"]
    assert matrix.runtime.backends == ("ios-arm64", "catalyst-arm64")
    monkeypatch.delenv("MLC_LLM_SOURCE_DIR")
    assert imported(tmp_path, EISONAI, systems=Systems(runtime=False)).runtime.source is None
    with pytest.raises(MatrixError, match="MLC_LLM_SOURCE_DIR is not set"):
        imported(tmp_path, EISONAI)


def test_a_library_that_is_there_is_taken_as_it_is(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"")
    config = {
        "device": "android",
        "model_list": [hub("phi-2-q4f16_1-MLC", model_lib="phi_q4f16_1")],
        "model_lib_path_for_prepare_libs": {"phi_q4f16_1": "x.tar"},
    }
    (cell,) = imported(tmp_path, config).cells
    assert (cell.model.compiler, cell.model.prefix) == ("prebuilt", "phi_q4f16_1_")
    assert cell.model.source.prebuilt_for("android-arm64") == ("x.tar", None)


def test_paths_stay_where_they_point(tmp_path):
    (tmp_path / "app" / "dist" / "mine").mkdir(parents=True)
    path = tmp_path / "app" / "config.json"
    record = {"model": "dist/mine", "model_id": "mine", "estimated_vram_bytes": 1, "bundle_weight": True}
    path.write_text(json.dumps({"device": "iphone", "model_list": [record]}))
    assert read(path, tmp_path)[0].weights == {"path": "app/dist/mine"}
    assert read(path, tmp_path / "app")[0].weights == {"path": "dist/mine"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is not JSON"),
        ("[]", "has no `device`"),
        ('{"device": "webgpu", "model_list": [1]}', "has no `device` out of iphone, macabi, android"),
        ('{"device": "iphone"}', "has no `model_list`"),
        ('{"device": "iphone", "model_list": [{"model": "x"}]}', "needs `model`, `model_id`"),
        (json.dumps({"device": "iphone", "model_list": [hub("a") | {"modle_lib": "x"}]}), "knows no `modle_lib`"),
        (json.dumps({"device": "iphone", "model_list": [hub("a") | {"model": "ftp://x/y"}]}), "neither a repository"),
        (
            json.dumps({"device": "iphone", "model_list": [hub("a"), hub("a", 1), hub("a", 2)]}),
            "is there twice for iphone",
        ),
    ],
)  # fmt: skip
def test_a_config_that_mlc_would_refuse_is_refused(tmp_path, text, what):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(MatrixError, match=what) as caught:
        merge(read(path, tmp_path))
    assert caught.value.hint


letters = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="/\\:")
names = st.text(letters, min_size=1, max_size=12).filter(lambda name: not name.startswith("."))


@example(names=["0."], chunk=1, both=False)
@example(names=["con", "Aux.x"], chunk=1, both=True)
@example(names=["x" * 100], chunk=1, both=False)
@settings(max_examples=60)
@given(names=st.lists(names, min_size=1, max_size=3, unique=True), chunk=st.integers(1, 4096), both=st.booleans())
def test_any_id_survives(tmp_path_factory, names, chunk, both):
    folder = tmp_path_factory.mktemp("any")
    records = [hub("a-q4f16_1-MLC", model_id=name, overrides=small(chunk)) for name in names]
    configs = [{"device": "iphone", "model_list": records}]
    if both:
        configs.append({"device": "android", "model_list": records[:1]})
    said = ""
    try:
        assert turned_back(imported(folder, *configs)) == told(*configs)
    except MatrixError as error:  # some ids leave the same name behind
        said = str(error)
        assert ("is no model_id" in said) <= any(set("#?%") & set(name) for name in names), said
    assert not said or any(words in said for words in ("twice", "also the name of", "different", "is no model_id")), (
        said
    )


@pytest.mark.parametrize(
    "text", ["yes", "No", "null", "1.0", "a: b", "#x", "", "é", "-", "q4f16_1", "~", "0x10", "1e3"]
)
def test_scalars_are_read_as_they_were(text):
    import yaml

    assert yaml.safe_load(scalar(text)) == text


def test_the_command(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(IOS_CHAT))
    done = subprocess.run([DOIT, "import", "a.json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Made by `doit import` from a.json.")
    words = ["import", "a.json", "-o", "targets.yaml", "--catalyst-archs", "arm64 x86_64"]
    assert subprocess.run([DOIT, *words], cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "targets.yaml").read_text() == done.stdout
    alone = subprocess.run([DOIT, "import", "a.json", "--no-runtime"], cwd=tmp_path, capture_output=True, check=True)
    assert b"runtime:" not in alone.stdout
    again = subprocess.run([DOIT, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 3
    assert "is there already" in again.stderr
    (tmp_path / "link.yaml").symlink_to("nowhere")
    words[3] = "link.yaml"
    astray = subprocess.run([DOIT, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "link.yaml: is there already" in astray.stderr
    assert not (tmp_path / "nowhere").exists()
    wrong = subprocess.run([DOIT, "import", "none.json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 3
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(("kilobytes", "said"), [(0, "no usable temporary directory"), (1, "file too large")])
def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path, kilobytes, said):
    (tmp_path / "a.json").write_text(json.dumps(IOS_CHAT))
    limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$0" import a.json -o targets.yaml', str(DOIT)]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def run_import(folder, config, *words):
    """The command's run for a config, given as a value or as bytes."""
    data = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / "c.json").write_bytes(data)
    command = [DOIT, "import", "c.json", "-o", "targets.yaml", "--no-runtime", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def phone(*records, **more):
    return {"device": "iphone", "model_list": list(records), **more}


@pytest.mark.parametrize(
    ("config", "note", "gone"),
    [
        (phone(hub("a-q4f16_1-MLC", 0)), "estimated_vram_bytes: 0` is left out", "estimated_vram_bytes"),
        (phone(hub("a-q4f16_1-MLC", -1)), "estimated_vram_bytes: -1` is left out", "estimated_vram_bytes"),
        (
            phone(hub("a-q4f16_1-MLC", overrides={"prefill_chunk_size": 8, "max_num_sequence": 1})),
            "overrides: `max_num_sequence` is left out: mlc_llm ignores it",
            "max_num_sequence",
        ),
        (phone(hub("a-q4f16_1-MLC", group="g", bytes=1, supports_vision=False)), "`group` is left out", "group"),
        (phone(hub("a-q4f16_1-MLC"), comment="mine"), "`comment` is left out", "mine"),
        (
            phone(hub("a-q4f16_1-MLC"), model_lib_path_for_prepare_libs={"other_library": "x.tar"}),
            "the library `other_library` is left out: no entry",
            "x.tar",
        ),
        (b"\xef\xbb\xbf" + json.dumps(phone(hub("a-MLC"))).encode(), "byte order mark", "\ufeff"),
        (phone(hub("a-q4f16_1-MLC", 3e9)), "", "3000000000.0"),
    ],
)
def test_what_is_left_out_is_said(tmp_path, config, note, gone):
    done = run_import(tmp_path, config)
    assert done.returncode == 0, done.stderr
    assert note in done.stderr
    assert gone not in (tmp_path / "targets.yaml").read_text()
    assert load(tmp_path / "targets.yaml").cells


def test_a_repository_as_git_writes_it_and_numbers_in_quotes(tmp_path):
    address = "https://huggingface.co/mlc-ai/a-q4f16_1-MLC.git"
    record = {**hub("a", overrides={"context_window_size": "4096"}), "model": address}
    done = run_import(tmp_path, phone(record))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "targets.yaml").read_text()
    assert "hf: mlc-ai/a-q4f16_1-MLC," in text
    assert "context_window_size: 4096" in text


@pytest.mark.parametrize(
    ("config", "what", "hint"),
    [
        (
            phone(hub("a"), **{"model_lib_path-for-prepare-libs": {}}),
            "`model_lib_path-for-prepare-libs`",
            "write `model_lib_path_for_prepare_libs`",
        ),
        (phone(hub("a", overrides={"prefil_chunk_size": 1})), "knows no `prefil_chunk_size`", "prefill_chunk_size"),
        (phone(hub("a", model_lib="qwen2_0.5b_q4f16_1")), "cannot be part of a C symbol", "write qwen2_0_5b_q4f16_1"),
        (
            phone(hub("a", model_lib="a.b_library"), model_lib_path_for_prepare_libs={"a.b_library": "x.tar"}),
            "cannot be part of a C symbol",
            "compile the library again",
        ),
        (b'{"device": "iphone", // mine\n}', "is not JSON", "neither comments nor trailing commas"),
        (b'{"device": "iphone",\n}', "is not JSON", "neither comments nor trailing commas"),
        (b'{"device":\n}', "c.json:2:1: is not JSON", "correct it"),
        (phone({**hub("a"), "model": "C:/models/a"}), "a path of Windows", "relative to the config"),
        (phone({**hub("a"), "model": "hf://mlc-ai/a"}), "does not take", "write HF://mlc-ai/a"),
        (phone({**hub("a"), "model": "https://hf.co/mlc-ai/a"}), "does not take", "write HF://mlc-ai/a"),
        (
            phone({**hub("a"), "model": "https://huggingface.co/mlc-ai/a/tree/main"}),
            "does not take",
            "write HF://mlc-ai/a\n",
        ),
        (phone({**hub("a"), "model": "https://www.huggingface.co/mlc-ai/a"}), "does not take", "write HF://mlc-ai/a"),
        (phone({**hub("a"), "model": "https://u:hunter22pw@huggingface.co/a/b"}), "neither a repository", "on the hub"),
        (phone({**hub("a"), "model": "https://e.org/m?token=hunter22pw"}), "neither a repository", "on the hub"),
        (phone({**hub("a"), "model": f"hf://a/b?x=hf_{'hunter22pw' * 4}"}), "does not take", "write HF://a/b"),
        (phone(hub("a", overrides={"context_window_size": True})), "expected an integer", "nothing was written"),
        (phone(hub("a", overrides={"max_batch_size": 0})), "`0` is out of bounds", "nothing was written"),
        (phone(hub("a", 1 << 63)), "is out of bounds", "nothing was written"),
        (phone(hub("a", overrides=[1])), "overrides: expected an object", "compare"),
        (phone(hub("a", overrides={"prefill_chunk_size": "many"})), "would be refused", "nothing was written"),
        (phone(hub("a", bundle_weight="yes")), "bundle_weight: expected true or false", "compare"),
        (phone(hub("a", model_lib=7)), "model_lib: expected a text", "compare"),
        (phone(hub("a", model_lib="")), "cannot be part of a C symbol", "remove it"),
        (phone(hub("a", overrides={"opt": "fast"})), "`fast` is no optimisation flag", "write one of O0"),
        (phone(hub("a", overrides={"opt": "cutlass=2"})), "`cutlass=2` is no optimisation flag", "write one of O0"),
        (phone(hub("a", model_id="x" * 300)), "a model_id of 300 bytes is too long", "up to 100"),
        (phone(hub("a", True)), "not a number of bytes", "compare"),
        (phone(hub("a"), model_lib_path_for_prepare_libs={"a": 1}), "not a mapping of names to files", "compare"),
        (phone(hub("a", model_id="../../x")), "would be refused", "leave out `/`"),
        (phone(hub("a", model_lib="short")), "would be refused", "7 or more"),
        (phone({**hub("a"), "model": "mlc-ai/a-MLC"}), "there is no directory", "written HF://mlc-ai/a-MLC"),
        (
            phone(hub("a", model_lib="library_a"), model_lib_path_for_prepare_libs={"library_a": "x.tar"}),
            "would be refused",
            "nothing was written",
        ),
        (b'{"device": "iphone", "x": ' + b"[" * 99999 + b"]" * 99999 + b"}", "nested too deeply", "correct it"),
        (b'{"device": "iphone", "x": 1' + b"0" * 5000 + b"}", "5001 digits", "correct it"),
        (b'{"device": "\\ud800"}', "surrogate", "correct it"),
        (b'{"device": "iphone\xff"}', "is not UTF-8", "save it as UTF-8"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_before_anything_is_written(tmp_path, config, what, hint):
    done = run_import(tmp_path, config)
    assert done.returncode == 3
    assert what in done.stderr
    assert hint in done.stderr
    assert "hunter22pw" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "targets.yaml").exists()


def test_a_device_is_no_config():
    done = subprocess.run([DOIT, "import", "/dev/zero"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    assert "/dev/zero: is not a regular file" in done.stderr


def test_backends_of_every_device_are_there():
    assert list(backends_of("macabi", Systems(catalyst_archs=("x86_64",)))) == ["catalyst-x86_64"]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({f"k{i}": 1 for i in range(50_000)}, "50000 keys"),
        (
            {
                "model_list": [
                    {"model": "HF://a/b", "model_id": str(i), "estimated_vram_bytes": 1} for i in range(5_000)
                ]
            },
            "500",
        ),
        ({"model_lib_path_for_prepare_libs": {f"l{i}": "x" for i in range(50_000)}}, "50000 libraries"),
        ({"x": "y" * (5 << 20)}, "larger than"),
    ],
    ids=["keys", "records", "libraries", "bytes"],
)
def test_what_no_app_has_is_refused_at_once(tmp_path, more, what):
    """See `apps/test_damaged_apps` for what is malformed."""
    entry = {"model": "HF://a/b", "model_id": "m", "estimated_vram_bytes": 1}
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"device": "iphone", "model_list": [entry], **more}))
    began, notes = time.process_time(), []
    with pytest.raises(MatrixError, match=what):
        read(path, tmp_path, notes.append)
    assert time.process_time() - began < 5
    assert not notes
