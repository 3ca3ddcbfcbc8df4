"""The command line of `doit verify-app`: its exit status, what it prints, and where it takes the models from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from app_builders import MODELS, app, write_ipa

from pipeline.apps.checks import CheckState
from pipeline.apps.verdicts import ModelState
from pipeline.commands.verify_app import VerifyApp

DOIT = Path(sys.executable).parent / "doit"
pytestmark = pytest.mark.tvm


@pytest.fixture
def ipa(good_program, tmp_path, monkeypatch) -> str:
    """A good app, in the current directory."""
    monkeypatch.chdir(tmp_path)
    return write_ipa(Path("Chat.ipa"), app(good_program)).name


@pytest.fixture
def command(capsys):
    """Run the command in this process: (exit status, stdout, stderr)."""

    def run(*words):
        status = VerifyApp().parse_execute(list(words))
        return status, *capsys.readouterr()

    return run


def test_a_good_app(ipa, command):
    status, out, err = command(ipa, "--models", ",".join(MODELS))
    assert (status, err) == (0, "")
    assert "Chat.ipa: ipa, 1 x ios arm64" in out
    assert "tiny_model_a_  ios arm64  alive  yes     yes   1          Payload/Chat.app/Chat" in out
    assert out.endswith("ok: 2 of 2 alive, 0 checks failed\n")


@pytest.mark.parametrize("order", [("Chat.ipa", "--models", "tiny_model_z_"), ("--models=tiny_model_z_", "Chat.ipa")])
def test_options_may_stand_before_and_after_the_path(ipa, command, order):
    status, out, _ = command(*order)
    assert status == 1
    assert "tiny_model_z_  ios arm64  wrong-name" in out
    assert "  hint: " in out


def test_json_for_programs(ipa, command):
    status, out, _ = command("--json", ipa, "--models", "tiny_model_a,nothing_like_it")
    document = json.loads(out)
    assert (status, document["schema"], document["ok"], document["kind"]) == (1, 1, False, "ipa")
    good, bad = document["models"]
    assert good["evidence"] == {
        "image": "Payload/Chat.app/Chat",
        "generation": "2025-09",
        "symbol_table": True,
        "exports": True,
        "blob_constructor": True,
        "functions_constructor": True,
        "functions": 1,
        "blob_bytes": good["evidence"]["blob_bytes"],
        "modules": ["relax.VMExecutable"],
    }
    assert (good["prefix"], good["arch"], good["platform"], good["state"]) == ("tiny_model_a_", "arm64", "ios", "alive")
    assert (bad["state"], bad["evidence"]["image"]) == ("not-linked", None)
    assert {check["check"]: check["state"] for check in document["checks"]} == {"platform": "ok", "runtime": "ok"}
    assert [found["prefix"] for found in document["found"]] == list(MODELS)
    assert document["images"] == [
        {
            "path": "Payload/Chat.app/Chat", "arch": "arm64", "kind": "executable", "platform": "ios",
            "minimum_os": "14.0", "constructors": 5,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "takes a PATH"),
        (["Chat.ipa", "Chat.ipa"], "Chat.ipa, Chat.ipa: only a lone program or library is given with libraries"),
        (["missing.ipa"], "missing.ipa: cannot be read"),
        (["Chat.ipa", "--config", "missing.json"], "missing.json: cannot be read"),
        (["Chat.ipa", "--config=a", "--link=b"], "--config and --link say the same thing twice"),
    ],
)
def test_a_question_that_cannot_be_answered(ipa, command, words, message):
    status, out, err = command(*words)
    assert (status, out) == (3, "")
    assert err.startswith("ERROR: ")
    assert message in err
    status, out, err = command("--json", *words)
    error = json.loads(out)["error"]
    assert (status, err[:7]) == (3, "ERROR: ")
    assert message.endswith(error["what"].split(": ")[-1]) or message in f"{error['where']}: {error['what']}"


def test_models_come_from_an_option_or_else_from_targets_yaml(ipa, command, config):
    recipe = "models: {tiny: {factory: 'r.py:build', system_lib_prefix: tiny_model_b_}}\n"
    rest = "backends: {phone: {preset: iphone}}\nmatrix: {model: [tiny], backend: [phone]}\n"
    Path("r.py").write_text("def build(spec): ...\n")
    Path("targets.yaml").write_text(f"version: 1\n{recipe}{rest}")
    Path("c.json").write_bytes(config("tiny_model_a"))
    Path("link.json").write_text(
        json.dumps(
            {"prefixes": {"x": "tiny_model_b_"}, "archives": [{"platform": "ios", "archive": "a", "models": ["x"]}]}
        )
    )
    for words, source, prefix in (
        ([], "targets.yaml", "tiny_model_b_"),
        (["--models", "tiny_model_a_"], "--models", "tiny_model_a_"),
        (["--config", "c.json"], "c.json", "tiny_model_a_"),
        (["--link", "link.json"], "link.json", "tiny_model_b_"),
    ):
        status, out, _ = command("--json", ipa, *words)
        document = json.loads(out)
        assert (status, document["expected_from"]) == (0, [source])
        assert [model["prefix"] for model in document["models"]] == [prefix]


def test_names_of_models_need_no_checkout(ipa, command, monkeypatch):
    monkeypatch.delenv("MLC_LLM_SOURCE_DIR", raising=False)
    Path("r.py").write_text("def build(spec): ...\n")
    Path("targets.yaml").write_text(
        "version: 1\n"
        "toolchains: {mlc: {requirements: [tvm], source: $MLC_LLM_SOURCE_DIR}}\n"
        "models: {tiny: {factory: 'r.py:build', system_lib_prefix: tiny_model_a_}}\n"
        "backends: {phone: {preset: iphone}}\n"
        "matrix: {model: [tiny], backend: [phone]}\n"
        "runtime: {source: $MLC_LLM_SOURCE_DIR}\n"
        "products: {app: {kind: xcframework, backends: [phone]}}\n"
    )
    status, out, err = command("--json", ipa)
    assert (status, err) == (0, "")
    assert [model["prefix"] for model in json.loads(out)["models"]] == ["tiny_model_a_"]


def test_a_wrong_targets_yaml_is_no_traceback(ipa, command):
    Path("targets.yaml").write_text("version: 1\nmodel: {}\n")
    status, _, err = command(ipa)
    assert status == 3
    assert "targets.yaml:2:1: model: unknown key" in err


def test_doit_runs_it_where_there_is_no_dodo_py(ipa):
    run = lambda *words: subprocess.run([DOIT, "verify-app", *words], capture_output=True, text=True, check=False)  # noqa: E731
    done = run(ipa, "--models", "tiny_model_a")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok: 1 of 1 alive" in done.stdout
    assert run(ipa, "--models", "other_model_entirely").returncode == 1
    assert run(ipa, "--no-such-option").returncode == 3


def test_the_guide_explains_every_state_and_check():
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "verify-app.md").read_text()
    named = {*get_args(ModelState), *get_args(CheckState), "platform", "registration", "runtime"}
    assert not {name for name in named if f"`{name}`" not in guide}
