"""Whatever moment a file is spoilt in on its way through the store: what is believed afterwards is right."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from pathlib import Path

import pytest
from store_actions import BIG, MIDDLE

from pipeline.errors import StoreError
from pipeline.files import sha256_bytes
from pipeline.store import outputs
from pipeline.store.action_result import Output
from pipeline.store.cas import Cas
from pipeline.store.stat_cache import StatCache


class Spoiler:
    """Zeroes some files in place when our code has returned from a function for the n-th time."""

    def __init__(self, number: int, victims) -> None:
        self.left, self.victims = number, victims

    def __call__(self, frame, event, _argument) -> None:
        if event in {"return", "c_return"} and "/pipeline/" in frame.f_code.co_filename:
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                for path in self.victims():
                    path.chmod(0o644)
                    with path.open("r+b") as file:
                        file.write(bytes(path.stat().st_size))

    @property
    def came(self) -> bool:
        return self.left <= 0


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def one_round(folder: Path, data: bytes, number: int, *, elsewhere: Path | None, victim: str) -> bool:
    """Put a file, take it out, with a spoiler; whether that came into it. Asserts that what is believed is right."""
    store = Cas(str((elsewhere or folder) / f"store{number}"), lambda _: None, scratch=str(folder / f"part{number}"))
    made, tree = folder / f"made{number}", folder / f"tree{number}"
    made.write_bytes(data)
    known, sha256 = StatCache(), sha256_bytes(data)
    victims = {
        "what is put in": lambda: [made] if made.exists() else [],
        "the store": lambda: [path for path in files_in(Path(store.root)) if path.stat().st_size == len(data)],
        "the tree": lambda: files_in(tree),
    }
    spoiler = Spoiler(number, victims[victim])
    output = Output(sha256, len(data))
    sys.setprofile(spoiler)
    try:
        digest = store.put(made)
        if digest.sha256 == sha256:
            record = type("Record", (), {"outputs": {"out": output}, "small": {}})
            outputs.place(record, str(tree), (), known, store)
    except StoreError:
        pass  # it was noticed at once
    finally:
        sys.setprofile(None)
    content = [Path(store.path(sha256)), tree / "out"]
    believed = [store.check(sha256, len(data)), outputs.is_intact(str(tree / "out"), output, known, store)]
    for path, is_believed in zip(content, believed, strict=True):
        assert not is_believed or path.read_bytes() == data, f"{path} is believed when spoilt at {number}"
    return spoiler.came


@pytest.fixture
def memory():
    """A directory on another file system than the temporary one, where there is one."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.parametrize("where", ["same", "another"])
@pytest.mark.parametrize("victim", ["what is put in", "the store", "the tree"])
@pytest.mark.parametrize("data", [MIDDLE, BIG], ids=["copied", "linked"])
def test_what_is_spoilt_at_any_moment_is_not_believed(tmp_path, request, data, victim, where):
    elsewhere = request.getfixturevalue("memory") if where == "another" else None
    for number in itertools.count(1):
        if not one_round(tmp_path, data, number, elsewhere=elsewhere, victim=victim):
            assert number > 50
            break
