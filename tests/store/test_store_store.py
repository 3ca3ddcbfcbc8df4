"""From scratch to the store, from the store into the tree, and back again whatever was done to the tree."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_actions import BIG, MIDDLE, SOME, contents, finish, key_for, log_of

from pipeline.errors import StoreError
from pipeline.store import outputs
from pipeline.store.action_result import ActionResult, key_of
from pipeline.store.os_errors import BlobMissing
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.workspace import Workspace

FILES = {
    "lib/m.o": SOME,
    "t.txt": b"small",
    "tool": (b"#!", 0o755),
    "deep/er/big.bin": BIG,
    "middle": MIDDLE,
    "empty": b"",
}
PLAIN = {path: content[0] if isinstance(content, tuple) else content for path, content in FILES.items()}


def test_a_miss_then_a_hit(store, build, tree, stat_cache):
    assert store.lookup(key_for("compile:m@host")) is None
    record = build(files=FILES)
    found = store.lookup(record.key)
    assert found == (record, "restored")
    placed = store.materialise(record, tree, (), stat_cache)
    assert sorted(placed.written) == sorted(FILES)
    assert contents(tree) == PLAIN
    assert {path: output.size for path, output in record.outputs.items()} == {p: len(c) for p, c in PLAIN.items()}
    assert os.access(tree / "tool", os.X_OK)
    assert not os.access(tree / "t.txt", os.X_OK)
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == []
    assert store.notes == []


def test_another_process_finds_it_without_anything_being_closed(build, tmp_path, tree):
    record = build(files=FILES)
    other = Store(tmp_path / "store")
    found = other.lookup(record.key)
    assert found is not None
    other.materialise(found.record, tree)
    assert contents(tree) == PLAIN
    assert other.record(record.key) == record
    other.close()


def test_a_copied_store_is_a_store(build, tmp_path, tree):
    record = build(files=FILES)
    shutil.copytree(tmp_path / "store", tmp_path / "elsewhere")
    other = Store(tmp_path / "elsewhere")
    other.materialise(other.lookup(record.key).record, tree)
    assert contents(tree) == PLAIN


def test_only_what_differs_is_touched(store, build, tree, stat_cache):
    record = build(files=FILES)
    store.materialise(record, tree, (), stat_cache)
    before = {path: (tree / path).stat().st_mtime_ns for path in FILES}
    (tree / "t.txt").write_bytes(b"SMALL")
    (tree / "middle").unlink()
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == ["middle", "t.txt"]
    assert sorted(store.materialise(record, tree, record.outputs, stat_cache).written) == ["middle", "t.txt"]
    assert contents(tree) == PLAIN
    after = {path: (tree / path).stat().st_mtime_ns for path in FILES}
    assert {path for path in FILES if before[path] != after[path]} == {"middle", "t.txt"}


@pytest.mark.parametrize("path", sorted(FILES))
@pytest.mark.parametrize("fault", ["deleted", "truncated", "edited", "directory", "symlink", "mode", "same mtime"])
def test_whatever_is_done_to_an_output_is_noticed_and_healed(store, build, tree, path, fault):
    stat_cache = StatCache()
    record = build(files=FILES)
    store.materialise(record, tree, (), stat_cache)
    target = tree / path
    state = target.stat()
    if fault == "edited" or (fault == "same mtime" and state.st_size):
        with target.open("r+b") as file:
            file.write(b"?")
    elif fault == "truncated":
        with target.open("ab") as file:
            file.truncate(state.st_size // 2)
            file.write(b"!" if state.st_size == 0 else b"")
    elif fault == "mode":
        if state.st_nlink > 1:
            pytest.skip("the mode of a hard link is the blob's")
        target.chmod(state.st_mode ^ 0o111)
    else:
        target.unlink()
        if fault == "directory":
            target.mkdir()
        elif fault == "symlink":
            target.symlink_to("/etc/hostname")
    if fault == "same mtime":
        os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns)) if target.exists() else target.write_bytes(b"x")
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == [path]
    found = store.lookup(record.key)
    if found is None:  # edited through a hard link: the blob is spoilt as well, which must not go unnoticed
        assert path == "deep/er/big.bin"
        record = build(files=FILES)
    store.materialise(record, tree, record.outputs, stat_cache)
    assert contents(tree) == PLAIN
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == []


@pytest.mark.parametrize("mounted", [0o755, 0o644])
def test_a_file_system_that_keeps_no_modes_holds_what_it_should(store, build, tree, mounted, monkeypatch):
    """FAT, and folders shared with a virtual machine: every file has the mode of the mount, whatever is said to it."""
    stat_cache = StatCache()
    record = build(files=FILES | {"run": (b"#!/bin/sh", 0o755)})
    store.materialise(record, tree, (), stat_cache)
    monkeypatch.setattr("os.chmod", lambda *_, **__: None)
    for path in record.outputs:
        file, data = tree / path, (tree / path).read_bytes()
        file.unlink()  # it has no hard links either
        file.write_bytes(data)
        subprocess.run(["chmod", f"{mounted:o}", file], check=True)
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == []
    (tree / "run").write_bytes(b"#!/bin/zh")
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == ["run"]


def test_what_is_no_longer_owned_goes_and_what_never_was_stays(store, build, tree, stat_cache):
    old = build(files={"a/x": b"1", "a/y": b"2", "b": b"3"})
    new = build(files={"a": b"4", "b": b"3"}, version=2)
    store.materialise(old, tree, (), stat_cache)
    (tree / "mine").write_bytes(b"a human's")
    placed = store.materialise(new, tree, old.outputs, stat_cache)
    assert placed == (("a",), ("a/x", "a/y"))
    assert contents(tree) == {"a": b"4", "b": b"3", "mine": b"a human's"}
    assert store.materialise(old, tree, new.outputs, stat_cache).removed == ("a",)
    assert contents(tree) == {"a/x": b"1", "a/y": b"2", "b": b"3", "mine": b"a human's"}


def test_removing_prunes_empty_directories_only(store, build, tree):
    record = build(files={"a/b/x": b"1", "y": b"2"})
    store.materialise(record, tree)
    (tree / "a" / "mine").write_bytes(b"")
    assert sorted(outputs.remove(record.outputs, str(tree))) == ["a/b/x", "y"]
    assert contents(tree) == {"a/mine": b""}
    (tree / "a" / "mine").unlink()
    outputs.remove(record.outputs, str(tree))
    assert not tree.exists()


def test_a_humans_directory_in_the_way_is_not_removed(store, build, tree):
    record = build()
    (tree / "m.o").mkdir(parents=True)
    (tree / "m.o" / "mine").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write an output") as caught:
        store.materialise(record, tree)
    assert "move it away" in str(caught.value)
    assert (tree / "m.o" / "mine").exists()


def test_symlinks_are_outputs_too(store, tmp_path, tree, stat_cache):
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "link").symlink_to("../t")
    (out / "t").write_bytes(b"target")
    record = store.commit(ActionResult(key=key_of({}), name="a:b", fields={}), out)
    store.materialise(record, tree, (), stat_cache)
    assert str((tree / "a" / "link").readlink()) == "../t"
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == []
    (tree / "a" / "link").unlink()
    (tree / "a" / "link").symlink_to("../u")
    assert outputs.damaged(record.outputs, str(tree), stat_cache, store.blobs) == ["a/link"]
    store.materialise(record, tree, record.outputs, stat_cache)
    assert (tree / "a" / "link").read_bytes() == b"target"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x"])
def test_a_symlink_that_leads_outside_is_no_output(store, tmp_path, target):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(target)
    with pytest.raises(StoreError, match="leads outside"):
        store.commit(ActionResult(key=key_of({}), name="a:b", fields={}), tmp_path / "out")
    assert store.record(key_of({})) is None


@pytest.mark.parametrize("path", ["../x", "/x", "a//b"])
def test_an_output_outside_is_refused(store, tmp_path, path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StoreError, match="relative path"):
        store.commit(ActionResult(key=key_of({}), name="a:b", fields={}), {path: tmp_path / "f"})


def test_many_small_outputs_do_not_bloat_the_record(store, build, tree):
    files = {f"{i}": bytes([i]) * 4000 for i in range(30)}
    record = build(files=files)
    assert sum(map(len, record.small.values())) <= 1 << 16
    assert record.blobs()
    store.materialise(record, tree)
    assert contents(tree) == files


def test_a_blob_that_is_lost_makes_a_miss_and_building_heals_it(store, build, tree):
    record = build(files=FILES)
    victim = record.outputs["lib/m.o"].sha256
    Path(store.blobs.path(victim)).unlink()
    assert store.lookup(record.key) is None
    with pytest.raises(BlobMissing):
        store.materialise(record, tree)
    assert build(files=FILES).outputs == record.outputs
    assert store.lookup(record.key) is not None


def test_logs_are_kept_with_the_record(store, tmp_path):
    log = tmp_path / "log"
    for text in ("short", "long" * 5000, ""):
        log.write_text(text)
        record = finish(store, tmp_path / "scratch", f"compile:{len(text)}", {"x": b"x"}, log=log)
        assert log_of(record, store.blobs) == (text or None)
        assert log_of(store.record(record.key), store.blobs) == (text or None)
    assert log.exists()
    record = finish(store, tmp_path / "scratch", "compile:none", {"x": b"x"}, log=tmp_path / "no such log")
    assert log_of(record, store.blobs) is None


def test_state_is_a_glance(store, build):
    record = build(files=FILES)
    assert store.state(record.key) == "local"
    assert store.state("0" * 64) == "miss"
    Path(store.blobs.path(record.outputs["middle"].sha256)).unlink()
    assert store.state(record.key) == "miss"


def test_a_read_only_store_gives_and_takes_nothing(build, tmp_path, tree):
    record = build(files=FILES)
    before = contents(tmp_path / "store")
    reader = Store(tmp_path / "store", read_only=True)
    reader.materialise(reader.lookup(record.key).record, tree)
    with pytest.raises(StoreError, match="read-only"):
        finish(reader, tmp_path / "scratch", "compile:y", {"x": b""})
    reader.close()
    assert contents(tree) == PLAIN
    assert contents(tmp_path / "store") == before


def test_an_empty_store_that_is_only_asked_is_not_made(tmp_path):
    asked = Store(tmp_path / "nowhere")
    assert asked.lookup("0" * 64) is None
    assert asked.record("0" * 64) is None
    asked.close()
    assert not (tmp_path / "nowhere").exists()


def test_a_later_link_to_the_same_weights_does_not_have_them_read_again(store, build, tree, tmp_path, monkeypatch):
    stat_cache = StatCache()
    one, two = build("weights:w", {"w.bin": BIG}), build("bundle:w", {"w.bin": BIG})
    store.materialise(one, tree / "one", (), stat_cache, link=True)
    store.materialise(two, tree / "two", (), stat_cache, link=True)
    assert (tree / "one" / "w.bin").samefile(tree / "two" / "w.bin")
    monkeypatch.setattr("pipeline.store.stat_cache.sha256_file", pytest.fail)
    monkeypatch.setattr("pipeline.store.cas.sha256_file", pytest.fail)
    assert outputs.damaged(one.outputs, str(tree / "one"), stat_cache, store.blobs) == []


def test_a_store_of_an_earlier_version_is_left_alone_with_a_word(store, build, tmp_path):
    old = tmp_path / "store" / "cas" / "ab" / "abc"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    (tmp_path / "store" / "records").write_bytes(b"old")
    record = build()
    assert store.lookup(record.key) is not None
    assert [note for note in store.notes if "earlier version" in note] == store.notes != []
    assert old.read_bytes() == b"old"
    assert (tmp_path / "store" / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


# What the operating system can do to us


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_reported_and_leaves_nothing_half_published(small_disk, tmp_path):
    store = Store(small_disk / "store")
    kept = finish(store, tmp_path / "scratch", "compile:small", {"x": SOME})
    with pytest.raises(StoreError, match="no space left on device") as caught:
        finish(store, tmp_path / "scratch", "compile:large", {"a": MIDDLE, "x": BIG})
    assert "doit gc" in str(caught.value)
    assert store.lookup(key_for("compile:large")) is None
    assert store.lookup(kept.key) is not None
    assert list((small_disk / "store" / "v2" / "part").iterdir()) == []
    done = 0
    with contextlib.suppress(StoreError):
        while done < 1000:
            finish(store, tmp_path / "scratch", f"compile:{done}", {"x": b"%d" % done * 900})
            done += 1
    assert 0 < done < 1000
    store.close()
    again = Store(small_disk / "store")
    assert len(list(again.records.all())) == 1 + done
    assert again.notes == []
    again.close()


def test_a_file_system_that_is_read_only_is_reported_and_still_read(small_disk, tmp_path, tree):
    store = Store(small_disk / "store")
    kept = finish(store, tmp_path / "scratch", "compile:small", {"x": SOME})
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = Store(small_disk / "store")
    store.materialise(store.lookup(kept.key).record, tree)
    assert contents(tree) == {"x": SOME}
    with pytest.raises(StoreError, match="read-only") as caught:
        finish(store, tmp_path / "scratch", "compile:other", {"x": SOME + b"!"})
    assert "SLIPWAY_STORE" in str(caught.value)
    with pytest.raises(StoreError, match="read-only"):
        finish(store, tmp_path / "scratch", "compile:third", {"x": b"tiny"})
    store.close()


BUILDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_actions import finish, SOME
from pipeline.store.workspace import Entry, Workspace
from pipeline.store.store import Store
root = Path(sys.argv[1])
store, workspace = Store(root / "store"), Workspace(root / "ledger")
for i in range(100_000):
    files = {"small": b"%d" % i, "blob": SOME + b"%d" % i}
    record = finish(store, root / ("scratch" + sys.argv[3]), f"compile:{sys.argv[3]}-{i}", files)
    workspace.set(record.name, Entry(record.key, "out", dict(record.outputs)))
    print(record.key, flush=True)
"""


@pytest.mark.parametrize("life", [0.05, 0.1, 0.15, 0.2])
def test_what_was_finished_survives_kill_9(tmp_path, life):
    here = str(Path(__file__).parent)
    builders = [
        subprocess.Popen([sys.executable, "-c", BUILDER, str(tmp_path), here, name], stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    said = [builder.stdout.readline() for builder in builders]
    time.sleep(life)
    for builder in builders:
        os.kill(builder.pid, signal.SIGKILL)
    finished = [line.strip() for line in said]
    for builder in builders:
        finished += [line.strip() for line in builder.stdout.read().splitlines() if len(line) == 64]
        builder.wait()
        builder.stdout.close()
    store, workspace = Store(tmp_path / "store"), Workspace(tmp_path / "ledger")
    assert len(finished) > 2
    for key in finished:
        record = store.lookup(key).record
        assert workspace.get(record.name).key == key
    assert store.notes == []
    assert workspace.notes == []
    store.close()
