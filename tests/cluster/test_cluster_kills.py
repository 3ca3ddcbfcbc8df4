"""Whoever of a cluster is killed, at any moment: the run or the next is right, and nothing finished is done twice."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from fault_graph import TRACEBACK, Background

from pipeline.store.action_result import decode
from pipeline.store.message import unpack

pytest.importorskip("distributed")

ROUNDS = int(os.environ.get("SLIPWAY_KILLS", "3"))


def results(*folders: Path) -> dict[str, str]:
    """Key -> action, of the records below some directories."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and len(path.name) == 64)
    records = (decode(unpack(path.read_bytes()) or b"") for path in files)
    return {record.key: record.name for record in records if record is not None}


@pytest.mark.slow
def test_random_kills(graph, cluster, nginx):
    seed = time.time_ns()
    rng = random.Random(seed)
    graph.env["EACH_TAKES"] = cluster.env["EACH_TAKES"] = "0.1"
    folders = nginx.data / "ac", graph.path("build/store/v2/ac")

    def begun() -> Counter[str]:
        return sum((worker.ran() for worker in cluster.workers), Counter())

    live = [cluster.add()]
    for number in range(ROUNDS):
        live.append(cluster.add())
        for m in (0, 1):
            graph.write(f"src/m{m}.txt", f"round {number} of m{m}, {seed}\n")
        known = results(*folders)
        run = Background(graph, "--on", cluster.address)
        time.sleep(rng.uniform(0.5, 5.0))
        victim = rng.choice(["worker", "scheduler", "near side"])
        if victim == "worker":
            live.pop(0).kill()
        elif victim == "scheduler":
            cluster.end_scheduler()
        else:
            run.kill()
        status = run.wait()
        where = f"seed {seed}, round {number}, {victim}: {run.output()}"
        assert TRACEBACK not in run.output(), where
        assert status == 0 or victim == "near side", where
        finished = {name.removeprefix("join:") for key, name in results(*folders).items() if key not in known}
        graph.ran()
        before = begun()
        if victim == "scheduler":
            for worker in live:
                worker.kill()
            cluster.start()
            live = [cluster.add()]
        graph.ok("--on", cluster.address)
        assert graph.is_right(), where
        again = graph.ran() + (begun() - before)
        assert not again.keys() & finished, where
