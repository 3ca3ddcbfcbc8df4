"""A pool without a cluster: orders are performed in this process, or answered with lies. A graph's dodo.py uses it."""

from __future__ import annotations

import json
import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

from pipeline.cluster import performer
from pipeline.cluster.placement import Machine
from pipeline.cluster.sender import Sender

SET_UP = """
import strange_pool
strange_pool.set_up(session.current())
"""


class Strange(Executor):
    """Does to a receipt what LIE says."""

    def __init__(self, lie: str) -> None:
        self._lie = lie
        self._honest = ThreadPoolExecutor(2)

    def submit(self, function, text, attempt):
        assert function is performer.perform
        if self._lie == "hang":
            return Future()
        if self._lie == "raise":
            return self._honest.submit(lambda: 1 / 0)
        return self._honest.submit(self._answer, text, attempt)

    def _answer(self, text: str, attempt: int) -> object:
        key = performer.keys.digest(json.loads(text)["fields"])
        if self._lie == "no result":
            return json.dumps({"host": "liar", "key": key})
        receipt = performer.perform(text, attempt)
        served = Path(os.environ["SERVED"])
        if self._lie == "another key":
            return receipt.replace(key, "0" * 64)
        if self._lie == "cut":
            return receipt[: len(receipt) // 2]
        if self._lie == "no text":
            return 42
        if self._lie == "wrong bytes":
            for path in (served / "cas").rglob("*"):
                if path.is_file():
                    path.write_bytes(b"x" * path.stat().st_size)
        if self._lie == "wrong record":
            (served / "ac" / key).write_bytes(b"\x2a\x05hello")
        if self._lie == "a failure of ours":
            return json.dumps({"host": "liar", "failure": {"type": "Exit", "what": "\x1b[31mno"}})
        return receipt


class StrangePool:
    def __init__(self, lie: str) -> None:
        self._executor = Strange(lie)

    def machines(self):
        return [Machine("one", 2, {}), Machine("two", 2, {"memory": 1e12})]

    def executor(self, machine, wants):  # noqa: ARG002 - as of a pool
        return self._executor

    def connection(self):
        return self

    def close(self):
        pass


def set_up(session) -> None:
    """Have a session's actions performed by such a pool. The worker's packages are those of the graph."""
    performer._lasting.enter_context(performer.performing(packages=("held_steps",)))
    session.engine.elsewhere = Sender(
        StrangePool(os.environ["LIE"]),
        session.project.root,
        inputs=session.engine.inputs,
        store=session.engine.store,
        environment=session.project.environment,
        log_of=session.engine.executor.log_of,
        note=session.note,
        seconds=1.0 if os.environ["LIE"] == "hang" else 60.0,
    )
