"""A journal that was read before is read on from there, and only if it is the same journal."""

import pytest

from pipeline.store import journal as journals
from pipeline.store.journal import Journal, seal


@pytest.fixture(autouse=True)
def always_worthwhile(monkeypatch):
    monkeypatch.setattr(journals, "WORTHWHILE", 0)


class Reader:
    """Knows the lines of a journal, and which of them it has read itself."""

    def __init__(self, path):
        self.journal = Journal(str(path))
        self.known, self.read = [], []
        self.scan()

    def scan(self):
        self.journal.scan(self.take, self.reset)

    def take(self, _offset, line):
        self.known.append(line)
        self.read.append(line)

    def reset(self):
        self.known = self.journal.resume() or []

    def close(self):
        self.journal.bookmark(lambda: self.known)
        self.journal.close()


def write(path, *words):
    journal = Journal(str(path))
    for word in words:
        journal.append(word)
    journal.close()


@pytest.fixture
def path(tmp_path):
    """A journal of two lines with a bookmark behind the second."""
    write(tmp_path / "j", b"one", b"two")
    first = Reader(tmp_path / "j")
    assert first.read == [seal(b"one"), seal(b"two")]
    first.close()
    return tmp_path / "j"


def test_only_what_came_after_is_read(path):
    write(path, b"three")
    reader = Reader(path)
    assert reader.read == [seal(b"three")]
    assert reader.known == [seal(b"one"), seal(b"two"), seal(b"three")]


def test_own_lines_are_behind_the_bookmark_too(path):
    reader = Reader(path)
    reader.journal.append(b"three")
    reader.known.append(seal(b"three"))
    reader.close()
    assert Reader(path).read == []
    assert len(Reader(path).known) == 3


def test_lines_of_others_between_own_ones_are_not_passed_over(path):
    reader = Reader(path)
    write(path, b"three")
    reader.journal.append(b"four")
    reader.close()
    assert Reader(path).read[-2:] == [seal(b"three"), seal(b"four")]


@pytest.mark.parametrize(
    "words", [(b"one",), (b"two", b"one"), (b"one", b"twa", b"three"), ()], ids=["shorter", "other", "longer", "empty"]
)
def test_another_journal_of_that_name_is_read_from_its_beginning(path, words):
    path.write_bytes(b"".join(map(seal, words)))
    assert Reader(path).known == [seal(word) for word in words]


def test_a_journal_that_was_rewritten_is_read_from_its_beginning(path):
    reader = Reader(path)
    reader.journal.rewrite(lambda: [b"two"])
    reader.close()
    assert Reader(path).known == [seal(b"two")]


@pytest.mark.parametrize("damage", [lambda _: b"", lambda d: d[:-3], lambda d: d[:9] + b"x" + d[10:]])
def test_a_damaged_bookmark_is_none(path, damage):
    mark = path.with_name(".j.seen")
    mark.write_bytes(damage(mark.read_bytes()))
    assert Reader(path).read == [seal(b"one"), seal(b"two")]


def test_a_bookmark_is_kept_until_much_is_new(path, monkeypatch):
    monkeypatch.setattr(journals, "WORTHWHILE", 100)
    before = path.with_name(".j.seen").read_bytes()
    write(path, b"three")
    Reader(path).close()
    assert path.with_name(".j.seen").read_bytes() == before
    write(path, b"x" * 100)
    Reader(path).close()
    assert path.with_name(".j.seen").read_bytes() != before
