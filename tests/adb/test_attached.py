"""Which device is meant, and what is said when it cannot be used."""

from __future__ import annotations

import os
import shutil

import pytest
from phones import SERIAL
from stand_in_adb import NO_PERMISSIONS

from pipeline.adb.device import attached, failure


def test_several_devices_are_listed_and_one_is_to_be_chosen(phone, dist, deploy, monkeypatch):
    phone.set(devices={"R58M12ABCDE": "device", SERIAL: "device", "old": "unauthorized"})
    status, _, err = deploy()
    assert status == 3
    assert "3 devices are attached:" in err
    assert f"{SERIAL} (device) product:sdk_phone model:Stand_In device:folder" in err
    assert "old (unauthorized)" in err
    assert "hint: choose one: --device SERIAL" in err
    status, _, err = deploy("--device", "R58")
    assert status == 3
    assert "no device 'R58' is attached; there is:" in err
    monkeypatch.setenv("ANDROID_SERIAL", SERIAL)
    assert deploy()[0] == 0
    assert deploy("-s", "R58M12ABCDE")[0] == 0
    assert phone.files()


@pytest.mark.parametrize(
    ("state", "said", "cure"),
    [
        ("unauthorized", "unauthorized", "allow USB debugging"),
        ("offline", "offline", "restart adb"),
        (NO_PERMISSIONS, "no permissions", "udev rules"),
        ("recovery", "recovery", "wait until Android has started"),
        ("authorizing", "authorizing", "allow USB debugging"),
    ],
)
def test_a_device_that_is_not_ready(phone, dist, deploy, state, said, cure):  # noqa: PLR0917 - three are parameters
    phone.set(devices={SERIAL: state})
    status, _, err = deploy("--device", SERIAL)
    assert status == 3
    assert f"{SERIAL} cannot be used: {said}" in err
    assert cure in err
    assert "Traceback" not in err


def test_no_device(phone, dist, deploy):
    phone.set(devices={})
    status, _, err = deploy()
    assert status == 3
    assert "no device is attached" in err
    assert "USB debugging" in err


def test_a_server_that_does_not_start(phone, dist, deploy):
    phone.set(server=False)
    status, _, err = deploy()
    assert status == 3
    assert "adb cannot list the devices: failed to check server version: cannot connect to daemon" in err


def test_adb_is_found_in_the_sdk_and_else_how_to_get_it_is_said(phone, dist, deploy, monkeypatch, tmp_path):
    tools = os.environ["PATH"].split(os.pathsep)[0]
    clean = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if one != tools)
    if shutil.which("adb", path=clean):
        pytest.skip("adb is installed")
    monkeypatch.setenv("PATH", clean)
    status, _, err = deploy()
    assert status == 3
    assert "there is no adb" in err
    assert "platform-tools" in err
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    assert deploy()[0] == 0


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("adb: error: failed to get feature set: device offline\n", "restart adb"),
        ("adb: error: failed to get feature set: device 'x' not found\n", "plug the device in again"),
        (
            "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server'",
            "allow USB",
        ),
        ("adb: error: failed to copy 'a' to '/b': remote couldn't create file: Read-only file system", "--to"),
        ("error: closed\n", "plug the device in again"),
        ("", "plug the device in again"),
    ],
)
def test_each_text_of_adb_has_a_cure(said, cure):
    error = failure("it", said)
    assert cure in str(error)
    assert "$ADB_VENDOR_KEYS" not in error.what


def test_a_warning_of_adbs_is_no_device(tmp_path):
    adb = tmp_path / "adb"
    adb.write_text(
        "#!/bin/sh\necho WARNING: odd thing >&2\nprintf 'List of devices attached\\nS1 device model:Pixel\\n'\n"
    )
    adb.chmod(0o755)
    assert [str(one) for one in attached(adb)] == ["S1 (device) model:Pixel"]
