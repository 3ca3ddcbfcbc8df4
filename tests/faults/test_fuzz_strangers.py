"""Mutations of what others write, 3,000 of each kind: targets.yaml, slipway.lock, stores to merge, a remote store.

Whatever comes of it is right or refused by an error of ours; soon, in bounded memory, and nothing outside the tree.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import resource
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from mutations import MUTATIONS, ends_well, of_bytes, of_json, of_value

from pipeline.documents.codec import decode
from pipeline.files import sha256_bytes
from pipeline.matrix.expand import load
from pipeline.matrix.source import WeightsSource
from pipeline.plan.lockfile import read_lock, write_frozen, write_lock_entry
from pipeline.store import outputs
from pipeline.store.action_cache import ActionCache
from pipeline.store.action_result import LINK, PROGRAM, ActionResult, Output, encode, key_of
from pipeline.store.gc import collect, stats, verify
from pipeline.store.message import pack
from pipeline.store.remote import Remote
from pipeline.store.remote_client import PATIENCE, Client
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.transfer import open_source, transfer
from pipeline.weights.entry import Entry

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
SECRET = "made-up-for-this-test"  # noqa: S105 - no secret
MEMORY = 2 << 30
"""Bytes beyond what the process has at first that a campaign may map."""


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


TARGETS = [
    REPOSITORY / "pipeline/starter/targets.yaml",
    REPOSITORY / "targets.yaml",
    *sorted((REPOSITORY / "examples").rglob("targets.yaml")),
]


def test_targets(tmp_path, chance):
    texts = [path.read_bytes() for path in TARGETS if path.is_file()]
    assert texts
    path = tmp_path / "targets.yaml"
    for folder in ("recipes", "src"):
        if (REPOSITORY / folder).is_dir():
            shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    ours = 0
    for _ in range(MUTATIONS):
        text = chance.choice(texts)
        if chance.random() < 0.5:
            text = of_bytes(text, chance)
        else:
            with contextlib.suppress(yaml.YAMLError, RecursionError, ValueError):  # what YAML cannot write
                value = of_value(yaml.safe_load(text), chance)
                text = yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
        path.write_bytes(text)
        said = ends_well(lambda: load(path))
        ours += said is not None
        assert said is None or "targets.yaml" in said
    assert ours > MUTATIONS / 10


LOCK = {
    "version": 1,
    "weights": {
        "minilm": {
            "source": {"hf": "sentence-transformers/all-MiniLM-L6-v2", "revision": "main", "files": ["*.json"]},
            "resolved": "0123456789abcdef0123456789abcdef01234567",
            "files": {
                "config.json": {"size": 612, "sha256": "a" * 64},
                "onnx/model.onnx": {"size": 90_405_214, "sha256": "b" * 64},
            },
        },
        "other": {
            "source": {"url": "https://host/x.bin"},
            "resolved": "",
            "files": {"x": {"size": 0, "sha256": "c" * 64}},
        },
    },
    "toolchains": {"tvm": {"spec": {"requirements": ["a"], "pre": True}, "frozen": {"linux-x86_64": ["a==1", "b==2"]}}},
    "model_libs": {"minilm-f32": {"config": "d" * 64, "options": {"opt": "O2"}, "names": {"iphone": "bert_q0_1"}}},
}  # fmt: skip


def test_lock(tmp_path, chance):
    path = tmp_path / "slipway.lock"

    source = WeightsSource("hf", hf="sentence-transformers/all-MiniLM-L6-v2", revision="main")
    other = WeightsSource("url", url="https://host/x.bin")

    def use() -> None:
        lock = read_lock(path)
        for model in ("minilm", "other"):
            lock.entry_for(model, source)
        lock.frozen("tvm", {"requirements": ["a"], "pre": True}, "linux-x86_64")
        write_lock_entry(path, "new", decode(Entry, LOCK["weights"]["other"], ""))
        write_frozen(path, "tvm", {"requirements": ["a"], "pre": True}, "macos-arm64", ["a==1"])
        assert read_lock(path).entry_for("new", other) is not None

    for _ in range(MUTATIONS):
        before = of_json(LOCK, chance)
        path.write_bytes(before)
        said = ends_well(use)
        if said is not None:
            assert path.read_bytes() == before, f"one that cannot be read is left as it is: {said}"
            assert "slipway.lock" in said


# Results

BLOB, SMALL = bytes(range(256)) * 20, b"small"
FIELDS = {"schema": 1, "step": "compile", "params": {"a": 1}, "files": {}, "upstream": {"x": {"y": "e" * 64}}}


def sound() -> tuple[ActionResult, dict[str, bytes]]:
    """A result and its blobs."""
    outputs = {
        "a.o": Output(sha256_bytes(BLOB), len(BLOB)),
        "t/s.txt": Output(sha256_bytes(SMALL), len(SMALL), PROGRAM),
    }
    link = b"../a.o"
    outputs["t/l"] = Output(sha256_bytes(link), len(link), LINK)
    made = ActionResult(
        key_of(FIELDS), "compile:a@host", FIELDS, outputs,
        facts={"proven": "linked", "models": {"a": "b"}, "not_proven": 0, "checks": 1, "states": {"x": "proven"}},
        started=1.7e9, seconds=1.5, cpu_seconds=1.0, peak_bytes=1 << 20, host="here", versions={"python": "3"},
        small={sha256_bytes(SMALL): SMALL, sha256_bytes(link): link},
    )  # fmt: skip
    return made, {sha256_bytes(BLOB): BLOB}


def mutated_message(chance: random.Random) -> tuple[str, bytes]:
    """(key, message): of any bytes, or sealed soundly around values that no one of us writes."""
    record, _ = sound()
    if chance.random() < 0.3:
        return record.key, of_bytes(pack(record), chance)
    document = json.loads(encode(record)[len(b'{"digest":"","result":') + 64 : -1])
    document = of_value(document, chance)
    if isinstance(document, dict) and chance.random() < 0.5:
        with contextlib.suppress(Exception):
            document["key"] = key_of(document["fields"])
    key = document.get("key") if isinstance(document, dict) else None
    body = json.dumps(document).encode()
    sealed = b'{"digest":"%b","result":%b}' % (sha256_bytes(body).encode(), body)
    # The field stdout_raw alone, which is all that is read of a message.
    size, varint = len(sealed), bytearray()
    while size >= 0x80:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    message = b"\x2a" + bytes([*varint, size]) + sealed
    return key if isinstance(key, str) and len(key) == 64 and key.isalnum() else record.key, message


def use(store: Store, key: str, root: Path) -> None:
    """All that is done with results: a build, and the commands."""
    found = store.lookup(key, ["a.o"])
    if found is not None:
        store.materialise(found.record, root / "tree")
        for path, output in found.record.outputs.items():
            assert not outputs.damaged({path: output}, f"{root}/tree", StatCache(), store.blobs)
    store.state(key)
    stats(store)
    list(store.records.all())
    verify(store)
    collect(store, [key])


def beside(root: Path) -> set[str]:
    return {entry.name for entry in os.scandir(root)}


def test_cache_merge(tmp_path, chance):
    adopted = 0
    for number in range(MUTATIONS):
        root = tmp_path / str(number)
        (root / "source/v2").mkdir(parents=True)
        key, message = mutated_message(chance)
        _, blobs = sound()
        path = Path(ActionCache(f"{root}/source/v2", print).path(key))
        path.parent.mkdir(parents=True)
        path.write_bytes(message)
        for sha256, data in blobs.items():
            blob = root / f"source/v2/cas/{sha256[:2]}/{sha256}"
            blob.parent.mkdir(parents=True)
            blob.write_bytes(data if chance.random() < 0.8 else of_bytes(data, chance))
        notes: list[str] = []
        target = Store(root / "target", sync=False, note=notes.append)

        def work(root=root, target=target, notes=notes, key=key) -> None:
            source = open_source(root / "source", notes)
            done = transfer(source, target)
            source.close()
            notes.extend(f"{name}: {why}" for name, why in done.refused)
            use(target, key, root)
            nonlocal adopted
            adopted += done.records
            target.close()

        ends_well(work)
        "\n".join(notes).encode()
        assert len(notes) == len(set(notes)), notes
        assert beside(root) <= {"source", "target", "tree"}
        shutil.rmtree(root)
    assert MUTATIONS / 50 < adopted < MUTATIONS


class Server:
    """A server that answers each request with the bytes in `replies`, by path, or with a miss."""

    def __init__(self) -> None:
        self.replies: dict[str, bytes] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            with line, contextlib.suppress(OSError):
                line.settimeout(5)
                asked = line.recv(65536).partition(b" HTTP")[0].rpartition(b" ")[2].decode()
                line.sendall(self.replies.get(asked, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))

    def close(self) -> None:
        self._socket.close()


def reply(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 29 Nov 2026 10:00:00 GMT\r\nConnection: close\r\n"
        b'Content-Type: application/octet-stream\r\nContent-Length: %d\r\nETag: "x"\r\n\r\n' % len(body) + body
    )


def test_remote(tmp_path, chance, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(httpx, "Client", functools.partial(httpx.Client, verify=False, trust_env=False))  # for speed
    server, patience = Server(), replace(PATIENCE, attempts=1, first_wait=0.01, read=2.0, grace=3.0)
    fetched = 0
    for number in range(MUTATIONS):
        root = tmp_path / str(number)
        root.mkdir()
        key, message = mutated_message(chance) if chance.random() < 0.6 else (sound()[0].key, pack(sound()[0]))
        _, blobs = sound()
        server.replies = {f"/ac/{key}": reply(message)} | {f"/cas/{one}": reply(data) for one, data in blobs.items()}
        if chance.random() < 0.5:
            victim = chance.choice(sorted(server.replies))
            server.replies[victim] = of_bytes(server.replies[victim], chance)
        notes: list[str] = []
        store = Store(root / "store", sync=False, note=notes.append)
        store.remote = Remote(Client(server.url, token=SECRET, patience=patience), notes.append)

        def work(root=root, store=store, key=key) -> None:
            nonlocal fetched
            found = store.lookup(key, ["a.o"])
            fetched += found is not None
            use(store, key, root)
            store.close()

        ends_well(work)
        "\n".join(notes).encode()
        assert SECRET not in "\n".join(notes)
        assert len(notes) == len(set(notes)), notes
        assert beside(root) <= {"store", "tree"}
        shutil.rmtree(root)
    server.close()
    assert MUTATIONS / 50 < fetched < MUTATIONS
