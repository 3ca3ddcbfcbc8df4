"""Lines that were written are there, whatever happens to the file and whoever else writes."""

import os
import subprocess
import sys

import pytest

from pipeline.errors import StoreError
from pipeline.store.journal import Journal, seal, unseal


def lines(path):
    """What a newcomer reads."""
    journal, found = Journal(str(path)), []
    journal.scan(lambda _, line: found.append(unseal(line)), found.clear)
    journal.close()
    return found


def test_lines_come_back_in_order(tmp_path):
    journal = Journal(str(tmp_path / "deep" / "j"))
    places = [journal.append(b"line %d" % i) for i in range(5)]
    assert lines(tmp_path / "deep" / "j") == [b"line %d" % i for i in range(5)]
    assert [unseal(journal.read(*place)) for place in places] == [b"line %d" % i for i in range(5)]


def test_a_torn_tail_is_not_read_and_nothing_is_glued_to_it(tmp_path):
    path = tmp_path / "j"
    Journal(str(path)).append(b"one")
    with path.open("ab") as file:
        file.write(seal(b"torn")[:-4])
    assert lines(path) == [b"one"]
    Journal(str(path)).append(b"two")
    assert lines(path) == [b"one", None, b"two"]


def test_a_flipped_bit_spoils_one_line_only(tmp_path):
    path = tmp_path / "j"
    journal = Journal(str(path))
    for word in (b"one", b"two", b"three"):
        journal.append(word)
    data = bytearray(path.read_bytes())
    data[len(seal(b"one")) + 10] ^= 4
    path.write_bytes(data)
    assert lines(path) == [b"one", None, b"three"]


def test_a_reader_sees_what_others_add(tmp_path):
    path, seen = str(tmp_path / "j"), []
    reader, writer = Journal(path), Journal(path)
    reader.scan(lambda _, line: seen.append(unseal(line)), seen.clear)
    writer.append(b"one")
    reader.scan(lambda _, line: seen.append(unseal(line)), seen.clear)
    reader.append(b"two")
    writer.append(b"three")
    reader.scan(lambda _, line: seen.append(unseal(line)), seen.clear)
    assert seen == [b"one", b"three"]  # its own line the writer knows
    assert lines(path) == [b"one", b"two", b"three"]


def test_a_rewrite_is_followed_by_those_who_had_the_old_file_open(tmp_path):
    path = str(tmp_path / "j")
    one, other = Journal(path), Journal(path)
    for word in (b"a", b"b", b"c"):
        one.append(word)
    other.append(b"d")
    one.rewrite(lambda: [b"a", b"d"])
    other.append(b"e")
    one.append(b"f")
    assert lines(path) == [b"a", b"d", b"e", b"f"]
    resets, seen = [], []
    other.scan(lambda _, line: seen.append(unseal(line)), lambda: resets.append(1))
    assert resets == [1]
    assert seen == [b"a", b"d", b"e", b"f"]


def test_a_directory_that_is_deleted_meanwhile_is_made_again(tmp_path):
    journal = Journal(str(tmp_path / "d" / "j"))
    journal.append(b"one")
    (tmp_path / "d" / "j").unlink()
    (tmp_path / "d").rmdir()
    journal.append(b"two")
    assert lines(tmp_path / "d" / "j") == [b"two"]


def test_a_short_write_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "j"
    journal = Journal(str(path))
    journal.append(b"one")
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    with pytest.raises(StoreError, match="no space left") as caught:
        journal.append(b"two")
    monkeypatch.undo()
    assert "doit gc" in str(caught.value)
    assert path.read_bytes() == seal(b"one")
    journal.append(b"three")
    assert lines(path) == [b"one", b"three"]


def test_a_long_file_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.store.journal.CHUNK", 7)
    journal = Journal(str(tmp_path / "j"))
    for i in range(50):
        journal.append(b"x" * i)
    assert lines(tmp_path / "j") == [b"x" * i for i in range(50)]
    with (tmp_path / "j").open("ab") as file:
        file.write(b"a torn tail")
    assert lines(tmp_path / "j") == [b"x" * i for i in range(50)]


WRITER = """
import sys
from pipeline.store.journal import Journal
journal = Journal(sys.argv[1])
for i in range(300):
    journal.append(f"{sys.argv[2]} {i}".encode() * 50)
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    path = str(tmp_path / "j")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = lines(path)
    assert sorted(found) == sorted(f"{name} {i}".encode() * 50 for name in "ab" for i in range(300))


def test_several_lines_at_once_are_several_lines(tmp_path):
    path = tmp_path / "j"
    journal = Journal(str(path))
    journal.append(b"one")
    places = journal.extend([b"two", b"", b"four"])
    assert lines(path) == [b"one", b"two", b"", b"four"]
    assert [unseal(journal.read(*place)) for place in places] == [b"two", b"", b"four"]
    assert journal.extend([]) == []


@pytest.mark.parametrize("cut", range(1, 3 * len(seal(b"line"))))
def test_of_several_lines_that_were_torn_the_first_ones_are_left(tmp_path, cut):
    path = tmp_path / "j"
    Journal(str(path)).extend([b"line"] * 3)
    os.truncate(path, path.stat().st_size - cut)
    Journal(str(path)).append(b"next")
    found = lines(path)
    assert found[: 2 - (cut - 1) // len(seal(b"line"))] == [b"line"] * (2 - (cut - 1) // len(seal(b"line")))
    assert found[-1] == b"next"
    assert set(found) <= {b"line", b"next", None}


def test_after_a_fork_the_lock_is_not_shared(tmp_path):
    journal = Journal(str(tmp_path / "j"))
    journal.append(b"one")
    child = os.fork()
    if not child:
        status = 1
        try:
            journal.reopen()
            for i in range(200):
                journal.extend([b"child %d" % i] * 3)
            status = 0
        finally:
            os._exit(status)
    for i in range(200):
        journal.extend([b"parent %d" % i] * 3)
    assert os.waitpid(child, 0)[1] == 0
    found = lines(tmp_path / "j")
    assert None not in found
    assert len(found) == 1 + 2 * 200 * 3
    groups = [set(found[at : at + 3]) for at in range(1, len(found), 3)]
    assert all(len(group) == 1 for group in groups), "lines of one call are not torn apart"
