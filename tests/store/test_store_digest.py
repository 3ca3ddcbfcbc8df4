"""A file is read when it may have changed, and only then."""

import os
import shutil
import socket
import time

import pytest

from pipeline.errors import StoreError
from pipeline.files import RACY_NS, look, stamp
from pipeline.store import stat_cache as module
from pipeline.store.action_result import key_of
from pipeline.store.stat_cache import StatCache, canonical

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def reads(monkeypatch):
    """How often files are opened to be hashed."""
    opened = []
    real = module.open_regular
    monkeypatch.setattr(module, "open_regular", lambda path: (opened.append(path), real(path))[1])
    return opened


def settle():
    time.sleep(RACY_NS / 1e9 * 1.5)


def hello(tmp_path, content=b"hello"):
    path = tmp_path / "input"
    path.write_bytes(content)
    return path


def test_a_settled_file_is_read_once(tmp_path, reads):
    path, stat_cache = hello(tmp_path), StatCache()
    settle()
    assert [stat_cache.digest(path) for _ in range(3)] == [HELLO] * 3
    assert len(reads) == 1


def test_a_file_written_a_moment_ago_is_not_learnt_by_heart(tmp_path, reads):
    path, stat_cache = hello(tmp_path), StatCache()
    stat_cache.digest(path)
    stat_cache.digest(path)
    assert len(reads) == 2


def test_same_size_and_mtime_but_other_content_is_noticed(tmp_path):
    path, stat_cache = hello(tmp_path), StatCache()
    settle()
    assert stat_cache.digest(path) == HELLO
    before = path.stat()
    path.write_bytes(b"jello")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert stat_cache.digest(path) != HELLO


def test_a_file_replaced_by_one_of_the_same_size_and_mtime_is_noticed(tmp_path):
    path, stat_cache = hello(tmp_path), StatCache()
    settle()
    assert stat_cache.digest(path) == HELLO
    other = tmp_path / "other"
    other.write_bytes(b"jello")
    shutil.copystat(path, other)
    other.replace(path)
    assert stat_cache.digest(path) != HELLO


def test_a_touched_file_is_read_once_more_and_is_the_same(tmp_path, reads):
    path, stat_cache = hello(tmp_path), StatCache()
    settle()
    stat_cache.digest(path)
    path.touch()
    settle()
    assert [stat_cache.digest(path), stat_cache.digest(path)] == [HELLO, HELLO]
    assert len(reads) == 2


def test_what_is_known_survives_the_process(tmp_path, reads):
    path, stat_cache = hello(tmp_path), StatCache(tmp_path / "memo")
    settle()
    stat_cache.digest(path)
    stat_cache.save()
    again = StatCache(tmp_path / "memo")
    assert again.digest(path) == HELLO
    assert len(reads) == 1
    path.write_bytes(b"jello")
    assert again.digest(path) != HELLO


def test_old_and_new_knowledge_are_saved_together(tmp_path, reads):
    paths = [tmp_path / f"{i}" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * i)
    settle()
    for path in paths:
        stat_cache = StatCache(tmp_path / "memo")
        stat_cache.digest(path)
        stat_cache.save()
    last = StatCache(tmp_path / "memo")
    assert len({last.digest(path) for path in paths}) == 5
    assert len(reads) == 5


def test_what_is_known_is_saved_again_with_what_has_changed(tmp_path, reads):
    paths = [tmp_path / f"{i}" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * i)
    settle()

    def digests(stat_cache):
        return [stat_cache.digest(path) for path in paths]

    first = StatCache(tmp_path / "memo")
    digests(first)
    first.save()
    paths[3].write_bytes(b"another")
    settle()
    second = StatCache(tmp_path / "memo")
    now = digests(second)
    second.save()
    assert len(reads) == 6
    third = StatCache(tmp_path / "memo")
    third.forget(str(paths[1]))
    assert digests(third) == now
    third.save()
    assert len(reads) == 7
    assert digests(StatCache(tmp_path / "memo")) == now
    assert len(reads) == 7


def test_our_own_stamped_file_can_be_remembered_at_once_and_an_edit_is_noticed(tmp_path, reads):
    path, stat_cache = hello(tmp_path), StatCache()
    stamp(path)
    stat_cache.remember(str(path), look(path), HELLO)
    assert stat_cache.digest(path) == HELLO
    assert reads == []
    with path.open("r+b") as file:  # in place, same size, within the same tick
        file.write(b"j")
    assert stat_cache.digest(path) != HELLO


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_memo_is_an_empty_one(tmp_path, damage):
    path, stat_cache = hello(tmp_path), StatCache(tmp_path / "memo")
    settle()
    stat_cache.digest(path)
    stat_cache.save()
    saved = tmp_path / "memo"
    saved.write_bytes(saved.read_bytes()[:-1] if damage is None else damage)
    assert StatCache(saved).digest(path) == HELLO


def test_a_memo_that_cannot_be_saved_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    stat_cache = StatCache(tmp_path / "file" / "memo")
    path = hello(tmp_path)
    settle()
    stat_cache.digest(path)
    stat_cache.save()
    assert stat_cache.digest(path) == HELLO


def test_a_directory_has_the_digest_of_its_manifest(tmp_path):
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "tool").write_bytes(b"hello")
    (folder / "b" / "tool").chmod(0o755)
    (folder / "a").write_bytes(b"hello")
    (folder / "link").symlink_to("b/tool")
    (folder / "empty").mkdir()
    stat_cache = StatCache()
    assert stat_cache.manifest(folder) == [
        ("a", False, 5, HELLO),
        ("b/tool", True, 5, HELLO),
        ("link", True, 5, HELLO),
    ]
    assert stat_cache.digest(folder) == key_of(stat_cache.manifest(folder))
    before = stat_cache.digest(folder)
    (folder / "a").chmod(0o744)
    assert stat_cache.digest(folder) != before


def test_what_links_lead_to_counts_as_if_it_were_there(tmp_path):
    """As in a snapshot of the hub: `snapshots/<commit>/model.safetensors` is a link to `blobs/<sha256>`."""
    (tmp_path / "plain/deep").mkdir(parents=True)
    (tmp_path / "plain/w").write_bytes(b"hello")
    (tmp_path / "plain/deep/w").write_bytes(b"hello")
    before = StatCache().digest(tmp_path / "plain")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/w").symlink_to("../plain/w")
    (tmp_path / "snapshot/deep").symlink_to(tmp_path / "plain/deep")
    assert StatCache().digest(tmp_path / "snapshot") == before
    (tmp_path / "plain/deep/w").write_bytes(b"other")
    assert StatCache().digest(tmp_path / "snapshot") != before


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere", "nothing is"),
        ("link", "circle"),
        ("..", "circle"),
        (".", "circle"),
        ("/", "circle"),
        ("b/..", "circle"),
        ("../beside", "circle"),
    ],
)
def test_a_symlink_that_leads_nowhere_or_back_is_refused(tmp_path, target, why):
    (tmp_path / "in/b").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "link").symlink_to(target)
    with pytest.raises(StoreError, match=why):
        StatCache().digest(tmp_path / "in")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(StoreError, match="no such file") as caught:
        StatCache().digest(tmp_path / "nowhere")
    assert "hint" in str(caught.value)


def test_what_is_no_file_is_neither_waited_for_nor_hashed(tmp_path, monkeypatch):
    """Nor told to be made anew: it is the user's, and nothing here makes it."""
    (tmp_path / "in").mkdir()
    for make in (os.mkfifo, bind):
        odd = tmp_path / "in" / "odd"
        monkeypatch.chdir(odd.parent)
        make(odd.name)
        for path in (odd, odd.parent):
            with pytest.raises(StoreError, match="not a regular file, but a pipe, a socket or a device") as caught:
                StatCache().digest(path)
            assert str(caught.value.where) == str(odd)
            assert "remove it, or have it made elsewhere" in str(caught.value.hint)
        odd.unlink()


def bind(name):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)


def test_a_file_that_keeps_changing_is_refused(tmp_path, monkeypatch):
    path = hello(tmp_path)
    real = module.open_regular

    def grow(name):
        file = real(name)
        path.write_bytes(b"x" * (os.fstat(file.fileno()).st_size + 1))
        return file

    states = iter(range(100))
    real_state = module.state_of
    monkeypatch.setattr(module, "open_regular", grow)
    monkeypatch.setattr(module, "state_of", lambda found: (*real_state(found)[:3], next(states)))
    with pytest.raises(StoreError, match="keeps changing"):
        StatCache().file(path)


def test_canonical_json_is_what_the_design_says():
    assert canonical({"b": [1, None], "a": "ü\udcff"}) == '{"a":"ü'.encode() + b"\xed\xb3\xbf" + b'","b":[1,null]}'


def test_where_times_are_whole_seconds_a_file_settles_after_two():
    from pipeline.files import is_settled, is_stamped

    second = 1_700_000_000 * 10**9
    coarse, fine = (5, second, 1, second), (5, second + 123_456_789, 1, second + 123_456_789)
    assert not is_settled(coarse, second + 10**9), "it may be written again in its second, or in the next of FAT"
    assert is_settled(coarse, second + 3 * 10**9)
    assert is_settled(coarse, second - 3600 * 10**9), "the clock was an hour ahead"
    assert not is_settled(fine, second - 3 * 10**9), "the clock of a file server is ahead"
    assert is_settled(fine, second + 123_456_789 + 30_000_000)
    assert not is_settled(fine, second + 123_456_789 + 10_000_000)
    assert is_stamped(fine, second), "no other write leaves such a time"
    assert not is_stamped(coarse, second + 10**9), "the file system has rounded our stamp"
    assert is_stamped(coarse, second + 3 * 10**9)
