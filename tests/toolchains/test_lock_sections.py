"""slipway.lock pins toolchains and names beside weights; a lock without them is as it always was."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import MatrixError
from pipeline.plan.lockfile import (
    Lock,
    NamePin,
    ToolchainPin,
    read_lock,
    render,
    write_frozen,
    write_lock_entry,
    write_model_lib,
)
from pipeline.weights.entry import Entry, LockedFile

ENTRY = Entry({"path": "x"}, "1", {"a": LockedFile(1, "0" * 64)})
SPEC = {"requirements": ["a"], "find_links": [], "pre": False, "python": None}
NAMES = NamePin("0" * 64, {}, {"iphone": "llama_q0f32_1"})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "slipway.lock"


def test_each_section_leaves_the_others_alone(path):
    write_lock_entry(path, "m", ENTRY)
    write_frozen(path, "mlc", SPEC, "linux-x86_64-py3.11", ["a==1"])
    write_model_lib(path, "m-v", NAMES)
    write_lock_entry(path, "other", ENTRY)
    lock = read_lock(path)
    assert lock == Lock(
        {"m": ENTRY, "other": ENTRY},
        {"mlc": ToolchainPin(SPEC, {"linux-x86_64-py3.11": ("a==1",)})},
        {"m-v": NAMES},
    )
    assert render(lock) == path.read_text()


def test_without_them_nothing_is_written_about_them(path):
    write_lock_entry(path, "m", ENTRY)
    assert set(json.loads(path.read_text())) == {"version", "weights"}


def test_a_toolchain_is_pinned_for_each_platform_until_its_spec_is_edited(path):
    write_frozen(path, "mlc", SPEC, "linux", ["a==1"])
    write_frozen(path, "mlc", SPEC, "darwin", ["a==1", "b==2"])
    lock = read_lock(path)
    assert lock.frozen("mlc", SPEC, "linux") == ("a==1",)
    assert lock.frozen("mlc", SPEC, "darwin") == ("a==1", "b==2")
    assert lock.frozen("mlc", SPEC, "win") is None
    assert lock.frozen("mlc", {**SPEC, "pre": True}, "linux") is None
    write_frozen(path, "mlc", {**SPEC, "pre": True}, "linux", ["a==2"])
    assert read_lock(path).toolchains["mlc"].frozen == {"linux": ("a==2",)}


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ({"toolchains": []}, "'toolchains' is not a mapping"),
        ({"toolchains": {"m": {"spec": {}}}}, "lacks 'frozen'"),
        ({"toolchains": {"m": {"spec": {}, "frozen": {"linux": "a"}}}}, "not a list of requirements"),
        ({"model_libs": {"m": {"config": "", "options": {}, "names": {"iphone": "../x"}}}}, "is not a model_lib"),
        ({"model_libs": {"m": {"config": 1, "options": {}, "names": {}}}}, "`config` is not a string"),
        ({"models": {}}, "unknown key 'models'"),
    ],
)
def test_what_does_not_belong_there_is_refused(path, section, what):
    path.write_text(json.dumps({"version": 1, "weights": {}, **section}, indent=1))
    with pytest.raises(MatrixError, match=what):
        read_lock(path)
