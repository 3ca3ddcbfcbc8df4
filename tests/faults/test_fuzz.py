"""Any damage to any file of a built tree and its store: the next doit is right, or says what is wrong; never garbage.

The damage is done in place, so that inodes are those of the stat cache and hard links lead from outputs to blobs, and
the no-op stamp is believed wherever it sees nothing. Each case begins with what the one before has healed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Graph, graph_project
from fork_doit import Doits
from mutations import MUTATIONS

SIZES = 40, 5_000, 100_000
"""Bytes of the sources: outputs inside records, in blobs that are always hashed, in blobs of the stat cache."""


@pytest.fixture
def fuzzed(tmp_path: Path) -> Graph:
    graph = graph_project(tmp_path / "graph", models=3, backends=2)
    for m, size in enumerate(SIZES):
        graph.write(f"src/m{m}.txt", f"{m}" * size + "\n")
    graph.ok()
    return graph


def flip(path: Path, chance: random.Random) -> None:
    change(path, chance, lambda data, at: data.__setitem__(at, data[at] ^ 1 << chance.randrange(8)))


def truncate(path: Path, chance: random.Random) -> None:
    change(path, chance, lambda data, at: data.__delitem__(slice(at, None)))


def grow(path: Path, chance: random.Random) -> None:
    change(path, chance, lambda data, at: data.__setitem__(slice(at, at), chance.randbytes(1 + at % 300)))


def swap_parts(path: Path, chance: random.Random) -> None:
    def swap(data: bytearray, at: int) -> None:
        other, length = chance.randrange(len(data)), 1 + chance.randrange(64)
        one, two = data[at : at + length], data[other : other + length]
        data[at : at + length] = two
        data[other : other + len(two)] = one

    change(path, chance, swap)


def swap_lines(path: Path, chance: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    chance.shuffle(lines)
    rewrite(path, b"".join(lines), chance)


def zero(path: Path, chance: random.Random) -> None:
    rewrite(path, bytes(path.stat().st_size), chance)


def delete(path: Path, chance: random.Random) -> None:
    path.unlink()


def exchange(path: Path, chance: random.Random) -> None:
    """With any file of the tree: an output with a blob, a stamp with a workspace."""
    files = victims(path.parents[len(path.parts) - path.parts.index("build") - 2])
    other = chance.choice(files)
    mine, theirs = path.read_bytes(), other.read_bytes()
    rewrite(other, mine, chance)
    rewrite(path, theirs, chance)


def change(path: Path, chance: random.Random, how: Callable[[bytearray, int], None]) -> None:
    data = bytearray(path.read_bytes())
    if data:
        how(data, chance.randrange(len(data)))
        rewrite(path, bytes(data), chance)


def rewrite(path: Path, data: bytes, chance: random.Random) -> None:
    """Write into the same file, which keeps its links and perhaps its mtime."""
    state = path.stat()
    path.chmod(state.st_mode | 0o200)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))
    path.chmod(state.st_mode)
    if chance.random() < 0.5:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


DAMAGES = flip, truncate, grow, swap_parts, swap_lines, zero, delete, exchange


def victims(build: Path) -> list[Path]:
    return sorted(path for path in build.rglob("*") if path.is_file())


def choose(build: Path, chance: random.Random) -> Path:
    """A file: as likely one of state as a blob or an output, of which there are many more."""
    files = victims(build)
    kind = chance.choice(("build/out/", "build/store/v2/cas/", "", "state", "state"))
    of_kind = [
        path for path in files
        if (kind in str(path) if kind != "state" else "/out/" not in str(path) and "/cas/" not in str(path))
    ]  # fmt: skip
    return chance.choice(of_kind or files)


def campaign(graph: Graph, cases: int, chance: random.Random) -> None:
    build = graph.path("build")
    with closing(Doits()) as doits:
        for case in range(cases):
            done = []
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                path, damage = choose(build, chance), chance.choice(DAMAGES)
                damage(path, chance)
                done.append(f"{damage.__name__} {path.relative_to(build)}")
            if chance.random() < 0.1:
                graph.write("src/m0.txt", f"case {case}\n")
                done.append("another source")
            status, said = doits.run(graph.root)
            context = f"case {case}: {', '.join(done)}\n{said}"
            assert TRACEBACK not in said, context
            assert status == 0, context
            assert graph.is_right(), context
            if case % 10 == 0:
                assert "nothing to do" in doits.run(graph.root)[1], context


def test_a_short_campaign(fuzzed):
    campaign(fuzzed, 30, random.Random(3))


@pytest.mark.slow
def test_a_long_campaign(fuzzed):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    campaign(fuzzed, MUTATIONS, random.Random(seed))
