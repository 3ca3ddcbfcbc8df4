"""A `dist/` made by hand, a folder that stands for a phone, and the command, in this process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from phones import Phone, list_files

from pipeline.commands.deploy import Deploy


@pytest.fixture
def phone(tmp_path, monkeypatch) -> Phone:
    tools = tmp_path / "platform-tools"
    tools.mkdir()
    shutil.copy(Path(__file__).with_name("stand_in_adb.py"), tools / "adb")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    for name in ("ANDROID_SERIAL", "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    made = Phone(monkeypatch, tmp_path / "phone")
    made.home.mkdir()
    made.set()
    return made


@pytest.fixture
def dist(tmp_path, monkeypatch) -> Path:
    """Two bundles, and two products without kits; the current directory has it."""
    made = tmp_path / "project" / "dist"
    for path, content in {
        "bundle/tiny-f32/tensor-cache.json": b"{}",
        "bundle/tiny-f32/params_shard_0.bin": bytes(range(256)) * 40,
        'bundle/it\'s a "model"/über $(x).bin': b"strange",
        "phone/llm-mali/tiny.tar": b"library",
        "native/README.md": b"for programs",
    }.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(content)
    list_files(made)
    monkeypatch.chdir(made.parent)
    return made


@pytest.fixture
def deploy(capsys):
    """Run the command in this process: (exit status, stdout, stderr)."""

    def run(*words):
        status = Deploy().parse_execute(list(words))
        return status, *capsys.readouterr()

    return run
