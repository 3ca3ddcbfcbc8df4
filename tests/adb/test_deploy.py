"""`doit deploy` against a stand-in for adb: what travels, what is verified, what is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from phones import SERIAL, list_files, shipped
from projects import DOIT

from pipeline.adb.device import Device
from pipeline.documents.codec import dumps, load
from pipeline.documents.manifest import Manifest

ALL = ("bundle/", "phone/")
RECORD = ".slipway-deploy.json"


def test_all_of_it_arrives_and_the_second_time_nothing_travels(phone, dist, deploy):
    status, out, err = deploy("--device", SERIAL)
    assert (status, err) == (0, "")
    assert phone.files() == shipped(dist, *ALL)
    assert '[1/4] bundle/it\'s a "model"/über $(x).bin: 7 B\n' in out
    assert f"{SERIAL}:/sdcard/slipway: 4 files (10.3 kB) pushed in" in out
    assert "SHA-256 taken on the device; 0 of 4 were there" in out
    assert phone.pushes == 4 + 1  # the record
    status, out, _ = deploy()
    assert (status, out) == (0, f"{SERIAL}:/sdcard/slipway: 4 files, all there\n")
    assert phone.pushes == 0


def test_only_what_changed_travels(phone, dist, deploy):
    deploy()
    assert phone.pushes
    (dist / "phone/llm-mali/tiny.tar").write_bytes(b"LIBRARY")  # as long as before
    list_files(dist)
    assert deploy("--dry-run")[0] == 1
    assert phone.pushes == 0
    assert deploy()[0] == 0
    assert phone.pushes == 2
    assert phone.files() == shipped(dist, *ALL)


def test_what_somebody_put_there_by_hand_is_seen(phone, dist, deploy):
    deploy()
    assert phone.pushes
    file = phone.sdcard / "slipway/phone/llm-mali/tiny.tar"
    file.write_bytes(b"x" * file.stat().st_size)  # as long as it is to be
    os.utime(file, (1_600_000_000, 1_600_000_000))
    assert deploy("--dry-run")[0] == 1
    assert deploy()[0] == 0
    assert phone.files() == shipped(dist, *ALL)
    assert phone.pushes == 2


def test_equal_files_travel_once_and_a_bundle_that_a_product_holds_not_twice(phone, dist, deploy):
    for backend in ("llm", "llm-mali"):
        for file in (dist / "bundle/tiny-f32").iterdir():
            target = dist / "phone" / backend / "tiny" / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    list_files(dist)
    assert deploy()[0] == 0
    assert phone.files() == shipped(dist, "phone/", "bundle/it's")
    assert phone.pushes == 1 + 2 + 1 + 1  # the other bundle, the files of two models, a library, the record
    (phone.sdcard / "slipway/phone/llm/tiny/params_shard_0.bin").write_bytes(bytes(10240))  # of the recorded size
    (dist / "phone/llm").rename(dist / "phone/renamed")
    (dist / "phone/llm-mali/tiny/params_shard_0.bin").unlink()
    list_files(dist)
    assert deploy("--prune")[0] == 0
    assert phone.files()["phone/renamed/tiny/params_shard_0.bin"] == bytes(range(256)) * 40
    assert deploy("bundle/tiny-f32")[0] == 0
    assert phone.files()["bundle/tiny-f32/tensor-cache.json"] == b"{}"


def test_names_choose_and_a_folder_may_have_any_name(phone, dist, deploy):
    folder = 'it\'s "here" $(touch pwned); `id` \\ *'
    status, _, err = deploy("bundle/tiny-f32", "native", "--to", f"/sdcard/{folder}/")
    assert (status, err) == (0, "")
    assert phone.files(folder) == shipped(dist, "bundle/tiny-f32", "native")
    assert deploy("bundle/tiny-f32", "native", "--to", f"/sdcard/{folder}")[1].endswith("all there\n")
    assert not list(phone.home.rglob("pwned"))


def test_prune_takes_what_a_deploy_put_there_and_nothing_else(phone, dist, deploy):
    deploy()
    top = phone.sdcard / "slipway"
    (top / "phone/mine.txt").write_text("mine")
    (top / "bundle/tiny-f32/tensor-cache.json").write_text("[]")  # somebody's own now, as long as it was
    for path in ("bundle/tiny-f32/tensor-cache.json", "bundle/tiny-f32/params_shard_0.bin", "phone/llm-mali/tiny.tar"):
        (dist / path).unlink()
    list_files(dist)
    status, out, _ = deploy()
    assert status == 0
    assert "no longer shipped: 3 files of an earlier deploy (--prune removes them)" in out
    status, out, _ = deploy("--prune", "--dry-run")
    assert (status, out.count("would remove")) == (1, 3)
    status, out, _ = deploy("--prune")
    assert (status, out.count("removed ")) == (0, 2)
    assert set(phone.files()) == {
        "bundle/it's a \"model\"/über $(x).bin", "bundle/tiny-f32/tensor-cache.json", "phone/mine.txt",
    }  # fmt: skip
    assert not (top / "phone/llm-mali").exists()
    assert (top / "phone").exists()


def test_a_record_cannot_have_anything_removed_elsewhere(phone, dist, deploy):
    deploy()
    victim = phone.sdcard / "victim"
    victim.write_bytes(b"{}")
    record = phone.sdcard / "slipway" / RECORD
    entries = json.loads(record.read_text())
    entries["files"] |= {
        name: {"size": 2, "sha256": "0" * 64} for name in ("../victim", "/sdcard/victim", "a/../../victim")
    }
    record.write_text(json.dumps(entries))
    assert deploy("--prune")[0] == 0
    assert victim.exists()


def test_a_damaged_or_missing_record_costs_digests_and_no_push(phone, dist, deploy):
    deploy()
    assert phone.pushes
    path = phone.sdcard / "slipway" / RECORD
    for record in (b"", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1, "files": {"a": 1}}', None):
        path.unlink() if record is None else path.write_bytes(record)
        assert deploy()[:2] == (0, f"{SERIAL}:/sdcard/slipway: 4 files, all there\n")
        assert phone.pushes == 1  # a new record


def test_a_record_is_not_believed_when_a_file_was_cut(phone, dist, deploy):
    deploy()
    (phone.sdcard / "slipway/bundle/tiny-f32/params_shard_0.bin").write_bytes(b"cut")
    (phone.sdcard / "slipway/phone/llm-mali/tiny.tar").unlink()
    assert phone.pushes
    assert deploy()[0] == 0
    assert phone.pushes == 3
    assert phone.files() == shipped(dist, *ALL)


def test_a_device_that_is_pulled_loses_nothing_and_the_next_deploy_goes_on(phone, dist, deploy):
    deploy()
    old = phone.files()
    assert phone.pushes
    for path in sorted(dist.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            path.write_bytes(path.read_bytes() + b"more")
    list_files(dist)
    phone.set(pulled_at=3)
    status, _, err = deploy()
    assert status == 3
    assert f"could not be pushed to {SERIAL}: failed to read copy response" in err
    assert "hint: plug the device in again" in err
    new = shipped(dist, *ALL)
    now = phone.files()
    assert len(now.pop(".slipway-part")) > 0  # what was on its way
    assert all(now[path] in (old[path], new[path]) for path in now)
    assert [path for path in now if now[path] == new[path]] != []
    phone.set()
    status, _, err = deploy()
    assert status == 3
    assert "no device is attached" in err
    phone.plug_in()
    assert phone.pushes == 3
    assert deploy()[0] == 0
    assert phone.pushes == 2 + 1  # two had arrived
    assert phone.files() == new


def test_what_arrives_changed_gets_no_name(phone, dist, deploy):
    phone.set(garbles="")
    status, _, err = deploy()
    assert status == 3
    assert "arrived on emulator-5554 with other content" in err
    assert phone.files() == {}
    phone.set()
    assert deploy()[0] == 0


def test_without_sha256sum_files_are_read_back(phone, dist, deploy):
    phone.set(without=["sha256sum"])
    status, out, _ = deploy()
    assert status == 0
    assert "read back, as the device has no sha256sum" in out
    assert phone.files() == shipped(dist, *ALL)
    assert json.loads(deploy("--json")[1])["verified"] == "pull"
    phone.set(without=["sha256sum"], garbles="")
    (dist / "phone/llm-mali/tiny.tar").write_bytes(b"changed")
    list_files(dist)
    assert "with other content" in deploy()[2]
    assert phone.files()["phone/llm-mali/tiny.tar"] == b"library"


def test_a_sha256sum_that_says_something_else_is_not_asked(phone, dist, deploy):
    deploy()
    phone.set(says={"sha256sum": "echo 'SHA256 (stdin) = 0'"})
    (dist / "phone/llm-mali/tiny.tar").write_bytes(b"changed")
    list_files(dist)
    status, out, _ = deploy()
    assert status == 0
    assert "read back" in out
    assert phone.files() == shipped(dist, *ALL)


def test_prune_without_sha256sum_reads_back_what_it_removes(phone, dist, deploy):
    phone.set(without=["sha256sum"])
    deploy()
    mine = phone.sdcard / "slipway/bundle/tiny-f32/tensor-cache.json"
    mine.write_text("[]")  # somebody's own now, as long as it was
    for path in ("bundle/tiny-f32/tensor-cache.json", "phone/llm-mali/tiny.tar"):
        (dist / path).unlink()
    list_files(dist)
    status, out, _ = deploy("--prune")
    assert (status, out.count("removed ")) == (0, 1)
    assert mine.read_text() == "[]"


def test_an_old_device_without_exit_status_and_with_ends_of_lines_of_a_terminal(phone, dist, deploy):
    phone.set(old=True, noise=b"WARNING: linker: \xff\xfe unused DT entry\r\n".hex())
    assert deploy()[0] == 0
    assert phone.files() == shipped(dist, *ALL)
    assert deploy()[1].endswith("all there\n")


def test_a_full_device_is_told_before_anything_is_pushed(phone, dist, deploy):
    phone.set(free=8192)
    status, _, err = deploy()
    assert status == 3
    assert "24,576 bytes are needed in /sdcard/slipway of emulator-5554, and 8,192 are free" in err
    assert phone.pushes == 0
    phone.set(free=24576)
    assert deploy()[0] == 0


def test_a_device_that_becomes_full_keeps_what_it_has(phone, dist, deploy):
    phone.set(full_after=9000)
    status, _, err = deploy()
    assert status == 3
    assert "remote write failed: No space left on device" in err
    assert "hint: free some space on the device" in err
    assert phone.files() == shipped(dist, "bundle/it's")
    phone.set()
    assert deploy()[0] == 0
    assert phone.files() == shipped(dist, *ALL)


def test_free_space_that_a_device_does_not_tell_is_no_obstacle(phone, dist, deploy):
    phone.set(without=["df"])
    assert deploy()[0] == 0
    assert json.loads(deploy("--json")[1])["free"] is None


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("/system/models", "Read-only file system"),
        ("/vendor/models", "Permission denied"),
        ("relative", "is no folder"),
        ("/", "is no folder"),
        ("/sdcard/../data", "is no folder"),
        ("/sdcard/a\nb", "is no folder"),
    ],
)
def test_a_folder_that_cannot_be_written(phone, dist, deploy, to, said):
    status, _, err = deploy("--to", to)
    assert status == 3
    assert said in err
    assert "hint: " in err
    assert "--to /" in err


def test_a_folder_where_a_file_should_be(phone, dist, deploy):
    (phone.sdcard / "slipway/phone/llm-mali/tiny.tar/full").mkdir(parents=True)
    status, _, err = deploy()
    assert status == 3
    assert "tiny.tar could not be put into /sdcard/slipway of emulator-5554: Is a directory" in err
    assert "name another folder" in err


def test_a_file_where_a_folder_should_be(phone, dist, deploy):
    phone.sdcard.mkdir(parents=True)
    (phone.sdcard / "slipway").write_text("")
    status, _, err = deploy()
    assert status == 3
    assert "name another folder" in err


def test_json_for_programs(phone, dist, deploy):
    status, out, err = deploy("--json", "bundle/tiny-f32")
    document = json.loads(out)
    seconds = document.pop("seconds")
    assert status == 0
    assert seconds > 0
    assert "[1/2] bundle/tiny-f32/params_shard_0.bin: 10.2 kB" in err
    assert document.pop("free") > 1e6
    assert document == {
        "schema": 1, "ok": True, "device": SERIAL, "as": None, "to": "/sdcard/slipway",
        "dry_run": False, "bytes": 10242,
        "push": [
            {"path": "bundle/tiny-f32/params_shard_0.bin", "size": 10240},
            {"path": "bundle/tiny-f32/tensor-cache.json", "size": 2},
        ],
        "there": 0, "stray": [], "removed": [], "needed": 16384, "verified": "sha256sum",
    }  # fmt: skip
    phone.set(devices={SERIAL: "offline"})
    status, out, _ = deploy("--json")
    assert status == 3
    assert json.loads(out)["error"]["what"] == f"{SERIAL} cannot be used: offline"


def test_what_is_not_what_the_manifest_says_does_not_leave(phone, dist, deploy):
    (dist / "phone/llm-mali/tiny.tar").write_bytes(b"LIBRARY")
    status, _, err = deploy("phone")
    assert status == 3
    assert "dist/phone/llm-mali/tiny.tar: is not the file that dist/manifest.json lists" in err
    assert "hint: run doit" in err
    assert phone.files() == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["phnoe"], "hint: did you mean `phone`?"),
        (["other"], 'name one of: native, phone, bundle/it\'s a "model", bundle/tiny-f32'),
        (["--dist", "nowhere"], "nowhere/manifest.json: is not there"),
    ],
)
def test_names_of_nothing(phone, dist, deploy, words, said):
    status, _, err = deploy(*words)
    assert status == 3
    assert said in err


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../outside", "leaves its directory"),
        ("/etc/passwd", "is absolute"),
        ("phone/a\nb", "cannot be the name of a file on a device"),
        ("phone/LLM-mali/Tiny.tar", "are one file on a device"),
    ],
)
def test_a_manifest_with_a_path_that_no_device_can_have(phone, dist, deploy, path, said):
    document = load(Manifest, dist / "manifest.json")
    files = (*document.files, replace(document.files[-1], path=path))
    (dist / "manifest.json").write_text(dumps(replace(document, files=files)))
    status, _, err = deploy()
    assert status == 3
    assert said in err
    assert phone.pushes == 0


def test_ctrl_c_is_quiet_and_the_next_deploy_goes_on(phone, dist, deploy):
    phone.set(seconds=1)
    run = subprocess.Popen(
        [DOIT, "deploy"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stdout is not None
    assert "[1/4]" in run.stdout.readline()
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert "Traceback" not in out + err
    assert err.endswith("interrupted\n")
    assert run.returncode != 0
    assert set(phone.files()) - {".slipway-part"} == {'bundle/it\'s a "model"/über $(x).bin'}
    phone.set()
    assert phone.pushes
    assert deploy()[0] == 0
    assert phone.pushes == 3 + 1


def test_two_deploys_at_once_leave_what_one_of_them_ships(phone, dist, tmp_path):
    """Files of equal size, as shards are: what one pushes must not get the name that the other has looked at."""
    trees = [tmp_path / name for name in ("first", "second")]
    for tree in trees:
        shutil.copytree(dist, tree / "dist")
        for number in range(6):
            (tree / f"dist/bundle/tiny-f32/shard{number}.bin").write_bytes(f"{number}{tree.name[0]}".encode() * 999)
        list_files(tree / "dist")
    phone.set(seconds=0.05)
    script = "from pipeline.commands.deploy import Deploy; raise SystemExit(Deploy().parse_execute([]))"
    with ExitStack() as ended:
        running = [ended.enter_context(subprocess.Popen([sys.executable, "-c", script], cwd=tree)) for tree in trees]
    assert [one.returncode for one in running] == [0, 0]
    now = phone.files()
    assert now in [shipped(tree / "dist", *ALL) for tree in trees]


def test_what_waits_for_a_device_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path))
    device = Device(Path("adb"), "S1")
    ended = []

    def second():
        with device.alone():
            ended.append("second")

    with ThreadPoolExecutor(1) as pool:
        with device.alone():
            assert not capsys.readouterr().err
            waits, said = pool.submit(second), ""
            while not said and not waits.done():
                said = capsys.readouterr().err
            assert said == "another deploy or bench uses S1; waiting for it to end\n"
            ended.append("first")
        waits.result()
    assert ended == ["first", "second"]
