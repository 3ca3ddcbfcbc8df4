"""What a run will ask for is asked for ahead of it: the versions of tools, and what the remote store has.

The session starts it with a run. A key is known as soon as the digests of all that it reads are, and a record has those
of its outputs: so the keys behind it follow before anything is built, wave by wave, as in a dry run.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from pipeline.action import AnyAction
from pipeline.errors import SlipwayError
from pipeline.store.action_result import ActionResult, Output, digests_of

from . import keys
from .engine import Engine

PROGRAMS = 4
"""Programs that are asked for their versions at a time: most of that is waiting."""


def look_ahead(engine: Engine, names: Collection[str]) -> None:
    """Begin to ask for what a run of these actions will want, in the background. It may end before that has."""
    actions = [action for name, action in engine.actions.items() if name in names]
    pool = ThreadPoolExecutor(PROGRAMS, thread_name_prefix="ahead")
    for tool in dict.fromkeys(tool for action in actions for tool in action.tools):
        pool.submit(engine.inputs.tool, tool)
    pool.shutdown(wait=False)
    if engine.store.remote is not None:
        threading.Thread(target=_Ahead(engine, actions).run, name="ahead", daemon=True).start()


class _Ahead:
    """The records that a run will look up."""

    def __init__(self, engine: Engine, actions: Collection[AnyAction]) -> None:
        self._engine = engine
        self._waiting = {action.name: action for action in actions}
        self._outputs: dict[str, Mapping[str, str]] = {}
        self._asked: dict[Future[ActionResult | None], str] = {}

    def run(self) -> None:
        """Ask until nothing more can be known."""
        with contextlib.suppress(SlipwayError, OSError, RuntimeError):  # who needs it will say so; or the run is over
            self._ask()
            while self._asked:
                done, _ = wait(self._asked, return_when=FIRST_COMPLETED)
                for answer in done:
                    name = self._asked.pop(answer)
                    record = None if answer.cancelled() else answer.result()
                    if record is not None:
                        self._know(name, record.outputs)
                self._ask()

    def _ask(self) -> None:
        """Ask for everything of which all upstream is known."""
        while ready := [
            action
            for action in self._waiting.values()
            if all(edge.action in self._outputs for edge in action.upstream.values())
        ]:
            for action in ready:
                del self._waiting[action.name]
                self._foresee(action)

    def _foresee(self, action: AnyAction) -> None:
        engine = self._engine
        upstream = {role: keys.read_by(edge, self._outputs[edge.action]) for role, edge in action.upstream.items()}
        key = keys.digest(engine.inputs.document(action, upstream))
        entry = engine.workspace.get(action.name)
        if entry is not None and entry.key == key and not entry.forgotten:
            self._know(action.name, entry.outputs)
        elif (record := engine.store.record(key)) is not None:
            self._know(action.name, record.outputs)
        elif (answer := engine.store.ask(key, bytes_wanted=engine.bytes_wanted(action))) is not None:
            self._asked[answer] = action.name

    def _know(self, name: str, outputs: Mapping[str, Output]) -> None:
        self._outputs[name] = digests_of(outputs)
