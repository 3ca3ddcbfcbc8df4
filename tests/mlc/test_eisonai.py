"""`examples/eisonai` is the whole build of an app: it plans without a network, and builds.

Built with fakes of what is not here: the hub, the packages of mlc_llm, the web runtime's sources, and the Apple
runtimes, which take Xcode. Two lines of the example are changed for that; the rest is as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fake_apple_runtime
import fake_web_runtime
import pytest
from fake_web import FakeHub, FakeServer
from fake_wheels import wheel
from mlc_projects import CHAT, FAKE, TENSOR
from projects import Project
from test_mlc_names import OVERRIDES, SMALL, named

from pipeline.binary.objects import read_object
from pipeline.kits import webllm

EXAMPLE = Path(__file__).parents[2] / "examples" / "eisonai"
LIBRARY = "qwen3_q4f16_1_37d26ba247cc02f647af18ad629c48d2"
MODEL = "Qwen3-0.6B-q4f16_1-MLC"
WASM = "Qwen3-0.6B-q4f16_1-ctx4k_cs2k-webgpu.wasm"
PLACES = {
    "ios-arm64": ("ios", "arm64", "14.0"),
    "catalyst-arm64": ("maccatalyst", "arm64", "18.0"),
    "catalyst-x86_64": ("maccatalyst", "x86_64", "18.0"),
}
CONFIG = {
    **CHAT, "model_type": "qwen3", "quantization": "q4f16_1", "tokenizer_files": ["tokenizer.json"],
    "context_window_size": 40960, "model_config": {**SMALL, "num_hidden_layers": 2},
}  # fmt: skip
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def copied(tmp_path) -> Project:
    """The example as it is, in a place where no network can be reached."""
    root = tmp_path / "EisonAI"
    shutil.copytree(EXAMPLE, root)
    checkout = fake_web_runtime.write(tmp_path / "mlc-llm")
    return Project(root, {"MLC_LLM_SOURCE_DIR": str(checkout), "HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path / "hf")})


def test_it_plans_without_a_network(copied):
    said = copied.ok("plan", "--json").output  # after the notes of stderr
    plan = json.loads(said[said.index("{\n") :])
    compiles = {one["name"] for one in plan["tasks"] if one["name"].startswith("compile:")}
    assert compiles == {
        "compile:qwen3-0.6b-native@ios-arm64+mlc", "compile:qwen3-0.6b-native@catalyst-arm64+mlc",
        "compile:qwen3-0.6b-native@catalyst-x86_64+mlc", "compile:qwen3-0.6b-web@webgpu+mlc",
    }  # fmt: skip
    assert not copied.path("slipway.lock").exists()
    names = {line.split()[0] for line in copied.ok("list", "--all").output.splitlines()}
    runtimes = {"runtime:ios-arm64", "runtime:catalyst-arm64", "runtime:catalyst-x86_64", "wasm_runtime:webgpu"}
    assert {*runtimes, "wasm:webgpu", "app_config:eison", "app_config:webllm-assets", "xcframework:eison"} <= names


def test_it_plans_from_another_directory(copied, tmp_path):
    elsewhere = Project(tmp_path, copied.env)
    (tmp_path / "dodo.py").write_text((EXAMPLE / "dodo.py").read_text())
    assert "33 tasks" in elsewhere.ok("targets=EisonAI/targets.yaml", "plan").output


def test_the_app_keeps_the_name_of_its_library():
    assert named(SMALL, "q4f16_1", "iphone") == LIBRARY
    text = (EXAMPLE / "targets.yaml").read_text()
    assert f"model_lib: {LIBRARY}" in text
    assert all(f"{key}: {value}" in text for key, value in OVERRIDES.items())


def packages(folder: Path) -> None:
    """The two packages of the notes: one shows the TVM of this Python, the other brings a program `mlc_llm`."""
    import sysconfig

    shown = {"fake_tvm.pth": f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"}
    wheel(folder, "mlc-ai-nightly-cpu", "0.20.dev1", shown)
    program = {"mlc_llm_nightly_cpu-0.20.dev1.data/scripts/mlc_llm": f"#!python\n{FAKE.read_text()}"}
    wheel(folder, "mlc-llm-nightly-cpu", "0.20.dev1", program)


def hub(server: FakeServer) -> FakeHub:
    files = {
        "mlc-chat-config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": b"{}\n",
        "params_shard_0.bin": os.urandom(200_000),
        "tensor-cache.json": json.dumps(
            {
                "records": [
                    {"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": 200_000, "records": [TENSOR]}
                ]
            }
        ).encode(),
        "README.md": b"of no use to an app",
    }
    return FakeHub(server, repo=f"mlc-ai/{MODEL}", files=files, large={"params_shard_0.bin"})


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Project:
    """The example, built; read-only."""
    if shutil.which("emcc") is None:
        pytest.skip("no emscripten")
    home = tmp_path_factory.mktemp("eisonai")
    root = home / "EisonAI"
    shutil.copytree(EXAMPLE, root)
    packages(root / "wheels")
    archives = {name: fake_apple_runtime.write(root / "libs" / name, *place) for name, place in PLACES.items()}
    prebuilt = {name: [str(path.relative_to(root)) for path in paths] for name, paths in archives.items()}
    text = (root / "targets.yaml").read_text()
    for old, new in (
        ("find_links: [https://mlc.ai/wheels]", "find_links: [wheels]"),
        ("source: $MLC_LLM_SOURCE_DIR", f"source: $MLC_LLM_SOURCE_DIR, prebuilt: {json.dumps(prebuilt)}"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (root / "targets.yaml").write_text(text)
    checkout = fake_web_runtime.write(home / "mlc-llm")
    environment = {"MLC_LLM_SOURCE_DIR": str(checkout), "PIP_NO_INDEX": "1", "HF_HOME": str(home / "hf")}
    project = Project(root, environment)
    with FakeServer() as server:
        hub(server)
        project.ok(env={"HF_ENDPOINT": server.url}, timeout=900)
    project.env["HF_ENDPOINT"] = NOWHERE
    return project


@pytest.mark.tvm
@pytest.mark.slow
class TestBuilt:
    def test_everything_is_proven_and_stays_so_without_a_network(self, built):
        for subject in (*PLACES, "webgpu", "eison", "webllm-assets"):
            checks = built.json(f"build/verify/{subject}/report.json")["checks"]
            assert {check["state"] for check in checks} == {"proven"}, checks
        lock = built.json("slipway.lock")
        assert lock["weights"]["qwen3-0.6b"]["resolved"] == "a" * 40
        (frozen,) = lock["toolchains"]["mlc"]["frozen"].values()
        assert frozen == ["mlc-ai-nightly-cpu==0.20.dev1", "mlc-llm-nightly-cpu==0.20.dev1"]
        assert built.ok().idle

    def test_dist_is_what_the_app_takes(self, built):
        files = {path for path in built.products() if not path.endswith((".plist", ".checksum"))}
        eison = {
            "eison.xcframework/ios-arm64/libeison.a", "eison.xcframework/ios-arm64_x86_64-maccatalyst/libeison.a",
            "tvm_runtime.xcframework/ios-arm64/libtvm_runtime.a", "eison.xcconfig", "eison.exported_symbols.txt",
            "Package.swift", "Sources/eisonKit/eison_keep.m", "bundle/mlc-app-config.json",
            f"bundle/{MODEL}/params_shard_0.bin",
        }  # fmt: skip
        assert {f"eison/{name}" for name in eison} <= files
        pages = {f"wasm/{WASM}", "webllm-model-list.json", f"models/{MODEL}/resolve/main/params_shard_0.bin"}
        assert {f"webllm-assets/{name}" for name in pages} <= files
        assert not any(name.endswith("README.md") for name in files)

    def test_native_and_web_share_one_copy_of_the_weights(self, built):
        places = (f"eison/bundle/{MODEL}", f"webllm-assets/models/{MODEL}/resolve/main", "bundle/qwen3-0.6b-native")
        states = [built.path(f"dist/{place}/params_shard_0.bin").stat() for place in places]
        assert len({state.st_ino for state in states}) == 1
        assert states[0].st_nlink > len(places)

    def test_the_page_finds_what_was_built(self, built):
        (record,) = built.json("dist/webllm-assets/webllm-model-list.json")["model_list"]
        assert record["model"] == f"models/{MODEL}/resolve/main/"
        assert record["model_lib"] == f"wasm/{WASM}"
        assert record["model_id"] == MODEL
        assert record["overrides"] == {"context_window_size": 4096}
        assert record["required_features"] == ["shader-f16"]
        integrity, home = record["integrity"], built.path("dist/webllm-assets")
        assert integrity["config"] == webllm.sri(home / record["model"] / "mlc-chat-config.json")
        assert integrity["model_lib"] == webllm.sri(home / record["model_lib"])
        assert integrity["tokenizer"] == {"tokenizer.json": webllm.sri(home / record["model"] / "tokenizer.json")}
        modules = built.json("dist/webllm-assets/link.json")["modules"]
        assert [one["file"] for one in modules] == [record["model_lib"]]
        assert read_object((home / record["model_lib"]).read_bytes(), WASM).format == "wasm"

    def test_the_record_goes_into_the_app_and_the_libraries_hold_what_it_names(self, built, tmp_path):
        app = tmp_path / "mlc-app-config.json"
        other = {"model_id": "other", "model_url": "https://example.com/other"}
        app.write_text(json.dumps({"model_list": [{"model_id": MODEL, "model_lib": "old", "model_path": MODEL}]}))
        built.ok("merge-app-config", "--product", "eison", str(app))
        (record,) = json.loads(app.read_text())["model_list"]
        assert (record["model_lib"], record["model_path"]) == (LIBRARY, MODEL)
        built.ok("verify-app", "dist/eison/eison.xcframework", "--config", str(app))
        app.write_text(
            json.dumps({"model_list": [{**record, "model_lib": LIBRARY[:-1] + "0"}, {**other, "model_lib": "x"}]})
        )
        wrong = built.doit("verify-app", "dist/eison/eison.xcframework", "--config", str(app))
        assert wrong.status == 1
        assert "wrong-name" in wrong.output


def test_the_schema_that_the_first_line_names_is_a_command_away(copied):
    first = copied.path("targets.yaml").read_text().splitlines()[0]
    copied.ok("init", "--schema")
    assert json.loads(copied.path(first.partition("$schema=")[2]).read_text())["required"]


def test_the_dodo_file_is_what_doit_loads(copied):
    done = subprocess.run(
        [sys.executable, "-c", "import dodo; print(dodo.DOIT_CONFIG['backend'])"],
        cwd=copied.root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "slipway\n"
