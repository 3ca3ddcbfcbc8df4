"""slipway.lock: strict reading, exact positions, deterministic writing, and what counts as the same source."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents.codec import encode
from pipeline.errors import MatrixError, Position, StoreError
from pipeline.matrix.source import WeightsSource
from pipeline.plan.lockfile import Lock, ToolchainPin, read_lock, render, write_frozen, write_lock_entry
from pipeline.weights.entry import Entry, LockedFile, identity

SOURCE = WeightsSource("package", package="p", version="1.0")
ENTRY = Entry({"package": "p", "version": "1.0"}, "1.0", {"a/w.bin": LockedFile(3, "0" * 64)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slipway.lock"


def test_no_lock_is_an_empty_lock(path: Path) -> None:
    assert read_lock(path) == Lock()
    assert read_lock(path).entry_for("m", SOURCE) is None


def test_what_is_written_is_read(path: Path) -> None:
    write_lock_entry(path, "m", ENTRY)
    write_lock_entry(path, "a", replace(ENTRY, resolved="2"))
    assert read_lock(path).weights == {"m": ENTRY, "a": replace(ENTRY, resolved="2")}
    assert [child.name for child in path.parent.iterdir() if child.name.endswith("lock")] == ["slipway.lock"]


def test_the_text_does_not_depend_on_the_order_of_writing(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "slipway.lock"
    for model in ("b", "a", "c"):
        write_lock_entry(path, model, ENTRY)
    for model in ("c", "b", "a"):
        write_lock_entry(other, model, ENTRY)
    assert path.read_bytes() == other.read_bytes()
    assert '        "a/w.bin": {"size": 3, "sha256": "' in path.read_text(), "one file, one line"


def test_writing_what_is_there_touches_nothing(path: Path) -> None:
    write_lock_entry(path, "m", ENTRY)
    before = path.stat()
    write_lock_entry(path, "m", ENTRY)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_writers_at_the_same_time_lose_nothing(path: Path) -> None:
    names = [f"m{n}" for n in range(12)]
    threads = [threading.Thread(target=write_lock_entry, args=(path, name, ENTRY)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_lock(path).weights) == sorted(names)


names = st.text(min_size=1, max_size=8).filter(lambda text: max(text) < "\ud800" or max(text) > "\udfff")


@given(st.dictionaries(names, st.dictionaries(st.sampled_from(["w", "a/b", "ü.bin"]), st.integers(0), min_size=1)))
def test_any_lock_is_valid_json_that_says_the_same(models: dict[str, dict[str, int]]) -> None:
    entries = {
        model: Entry({"hf": model}, "r", {f: LockedFile(n, "a" * 64) for f, n in files.items()})
        for model, files in models.items()
    }
    assert json.loads(render(Lock(entries))) == {"version": 1, "weights": encode(entries)}


def broken(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(render(Lock({"m": ENTRY})))
    change(document)
    return json.dumps(document, indent=1)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("", "cut off", 1),
        ("[]", "is not a mapping", 1),
        (render(Lock({"m": ENTRY}))[:-5], "cut off", 11),
        (render(Lock({"m": ENTRY}))[:150], "cut off", 8),
        ("{\n<<<<<<< ours\n", "merge conflict", 2),
        ('{"version": 1,\n "weights": {\n  "a": {}\n=======\n  "b": {}\n>>>>>>> x\n}}', "merge conflict", 4),
        ('{"version": 1,\n "weights": {},\n "version": 1}', "'version' is there twice", 3),
        (broken(lambda d: d.update(version=2)), "is of version 2, and this Slipway knows 1", 2),
        (broken(lambda d: d.update(version="1")), "not a number", 2),
        (broken(lambda d: d.update(more=1)), "unknown key 'more'", 18),
        (broken(lambda d: d.pop("weights")), "lacks 'weights'", 1),
        (broken(lambda d: d["weights"]["m"].pop("files")), "'m' lacks 'files'", 4),
        (broken(lambda d: d["weights"]["m"].update(resolved=1)), "`resolved` is not a string", 9),
        (broken(lambda d: d["weights"]["m"].update(files={})), "`files` is empty", 10),
        (broken(lambda d: d["weights"]["m"]["files"]["a/w.bin"].update(size=-1)), "not a number of bytes", 12),
        (broken(lambda d: d["weights"]["m"]["files"]["a/w.bin"].update(sha256="A" * 64)), "64 lower-case hex", 13),
        (broken(lambda d: d["weights"]["m"]["files"].update({"../x": {"size": 1, "sha256": "0" * 64}})), "leaves", 15),
    ],
)
def test_a_bad_lock_is_refused_at_its_line(path: Path, text: str, what: str, line: int) -> None:
    path.write_text(text)
    with pytest.raises(MatrixError, match=what) as caught:
        read_lock(path)
    assert isinstance(caught.value.where, Position)
    assert caught.value.where.line == line
    assert caught.value.hint
    with pytest.raises(MatrixError):
        write_lock_entry(path, "other", ENTRY)
    assert path.read_text() == text, "a lock that cannot be read is not written over"


def test_the_lock_of_the_default_matrix_is_in_its_canonical_form() -> None:
    ours = Path(__file__).parents[2] / "slipway.lock"
    lock = read_lock(ours)
    assert render(lock) == ours.read_text(encoding="utf-8")
    assert lock.weights["minilm"].files["model.safetensors"].size == 90868376


def test_bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(MatrixError, match="not UTF-8"):
        read_lock(path)


def test_a_directory_in_its_place(path: Path) -> None:
    path.mkdir()
    with pytest.raises(MatrixError, match="cannot be read"):
        read_lock(path)


@pytest.mark.parametrize("target", ["nowhere", "slipway.lock"])
def test_a_link_to_nowhere_is_no_missing_lock(tmp_path: Path, target: str) -> None:
    path = tmp_path / "slipway.lock"
    path.symlink_to(target)
    with pytest.raises(MatrixError, match="cannot be read"):
        read_lock(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreError, MatrixError)):
        write_lock_entry(tmp_path / "file" / "slipway.lock", "m", ENTRY)


def test_an_edited_source_is_another_source(path: Path) -> None:
    write_lock_entry(path, "m", ENTRY)
    lock = read_lock(path)
    assert lock.entry_for("m", replace(SOURCE, subdir="", files=())) == ENTRY
    assert lock.entry_for("m", replace(SOURCE, version="1.1")) is None
    assert lock.entry_for("m", replace(SOURCE, subdir="x")) is None
    assert lock.entry_for("other", SOURCE) is None


def test_a_new_signature_is_the_same_source() -> None:
    one = identity(WeightsSource("url", url="https://me:pw1@host/m.bin?X-Amz-Signature=1&X-Amz-Date=2&part=3"))
    two = identity(WeightsSource("url", url="https://host/m.bin?X-Amz-Signature=4&X-Amz-Date=5&part=3"))
    assert one == two
    assert one != identity(WeightsSource("url", url="https://host/m.bin?X-Amz-Signature=4&X-Amz-Date=5&part=4"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"version": 1' + "0" * 5000 + "}", "5001 digits"),
        ('{"version": "\\ud800"}', "surrogate"),
        ('{"version": 1e999}', "too large"),
    ],
)
def test_json_beyond_all_bounds(path: Path, text: str, what: str) -> None:
    path.write_text(text)
    with pytest.raises(MatrixError, match=what):
        read_lock(path)


def test_a_device_in_its_place(path: Path) -> None:
    path.symlink_to("/dev/zero")
    with pytest.raises(MatrixError, match="not a regular file"):
        read_lock(path)


def test_a_text_with_a_line_separator_of_unicode_is_written_so_that_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "slipway.lock"
    spec = {"requirements": ["a\u2028b\x85c"], "pre": False}
    write_frozen(path, "tvm", spec, "linux-x86_64", ["a==1"])
    write_frozen(path, "tvm", spec, "macos-arm64", ["a==2"])
    assert read_lock(path).frozen("tvm", spec, "linux-x86_64") == ("a==1",)


def test_a_disk_that_is_full_is_told_of_the_lock_file_and_not_of_weights(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.plan.lockfile.write_atomic", full)
    with pytest.raises(StoreError, match="cannot write the lock file: no space left on device") as caught:
        write_frozen(path, "t", {}, "linux", ["a==1"])
    assert str(caught.value.where) == str(path)


def test_what_was_renamed_keeps_its_pin() -> None:
    other = replace(SOURCE, version="1.1")
    before = Lock({"m": ENTRY}, {"old": ToolchainPin({"python": "3.12"}, {"linux": ("a==1",)})})
    kept = before.carried({"new": SOURCE, "another": other}, {"tvm": {"python": "3.12"}, "more": {"python": "3.11"}})
    assert kept.weights == {"m": ENTRY, "new": ENTRY}, "m stays: another matrix file beside may have it"
    assert kept.toolchains == before.toolchains | {"tvm": before.toolchains["old"]}
    both = before.carried({"m": SOURCE, "second": SOURCE}, {"old": {"python": "3.12"}, "tvm": {"python": "3.12"}})
    assert both == before, "a second of the same is no rename: deleting its entry asks for what there is now"
    assert before.carried({"m": other, "new": SOURCE}, {}) == before, "m is still a model"
