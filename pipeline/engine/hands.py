"""More processes to do actions in: copies of this one, for steps that are Python and would share one interpreter lock.

The runner makes them when a run begins, hands them actions (`Action.apart`) by name, and gets back what became of each.
A hand is forked with the plan, the store and the workspace in memory, so that names are all it has to be told; else
it learns what the others have made of the upstream of its actions. It writes to the store and the workspace by itself:
what it has finished is kept, whatever becomes of anybody. That doit exists is not known here.

There are none where a process cannot fork without starting anew (not Linux), and none with a remote store, whose
answers take longer than any of this saves.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from pipeline.action import Json
from pipeline.errors import SlipwayError, StepError
from pipeline.store.stat_cache import State

from .burst import QUICK, WINDOW, Burst
from .engine import Engine
from .status import Outcome

MOST = 64
"""Actions that are handed over at a time, as long as they are quick."""

WORTH_IT = 8
"""Actions for which it is worth the five milliseconds to have one more process."""

News = tuple[str, dict[str, str], dict[str, State], bytes | None]
"""Of an action that was done elsewhere what `Engine.learn` takes."""


class Done(NamedTuple):
    """An action that was done, or the description of what went wrong (see `failure`)."""

    name: str
    failure: Json


class Hand:
    """One more process. Methods are called by one thread.

    Attributes:
        appetite: how many actions to give it at a time.
        ends: descriptors of our ends of the pipes to it.

    Args:
        engine: whose actions it does.
        listen: is called in the new process with a function that takes notes, which are shown here.
        note: gets its notes.
        others: those that were made before.
    """

    def __init__(
        self,
        engine: Engine,
        listen: Callable[[Callable[[str], None]], None],
        note: Callable[[str], None],
        others: Iterable[Hand] = (),
    ) -> None:
        self._engine = engine
        self._said: Mapping[str, Callable[..., None]] = {"progress": engine.executor.watch, "note": note}
        self._knows: set[str] = set()
        self.appetite = 1
        self._status: int | None = None
        theirs, ours = os.pipe()
        here, there = os.pipe()
        master = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            status = 1
            try:
                for end in (ours, here, *(end for other in others for end in other.ends)):
                    os.close(end)  # or it would be open as long as we are, and nobody would see that it was closed
                with open(theirs, "rb") as commands, open(there, "wb", buffering=0) as answers:  # noqa: PTH123
                    _Apprentice(engine, master, commands, answers).serve(listen)
                status = 0
            except KeyboardInterrupt:  # it came too early for `serve` to leave it to who asked
                pass
            except BaseException:  # noqa: BLE001 - a bug of ours, and nobody else to tell it
                traceback.print_exc()
            finally:
                os._exit(status)  # what else there is belongs to the process that it is a copy of
        os.close(theirs)
        os.close(there)
        self.ends: tuple[int, int] = ours, here
        self._commands = open(ours, "wb", buffering=0)  # noqa: PTH123, SIM115 - closed in `close`
        self._answers = open(here, "rb")  # noqa: PTH123, SIM115

    def do(self, names: list[str]) -> Iterator[Done]:
        """Do actions, one after the other; what became of each, as it is known. Their upstream is in place."""
        began = time.monotonic()
        left = dict.fromkeys(names)
        try:
            _send(self._commands, (names, list(self._news(names))))
            while left:
                kind, *rest = _receive(self._answers)
                if kind != "done":
                    self._said[kind](*rest)
                    continue
                for name, how, failure, made, states, line in rest[0]:
                    del left[name]
                    if how is not None:
                        self._engine.learn(name, made, states, line, Outcome(*how))
                    yield Done(name, failure)
        except (OSError, EOFError):
            yield from (Done(name, self._death(name)) for name in left)
            return
        quick = time.monotonic() - began < QUICK * len(names)
        self.appetite = min(MOST, 2 * self.appetite) if quick else 1

    @property
    def is_alive(self) -> bool:
        """Whether it can do more."""
        return self._status is None

    def kill(self) -> None:
        """End it at once, in the middle of what it is at."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()

    def let_go(self) -> None:
        """There is nothing more to do: it writes down what it has learnt, and ends."""
        with suppress(OSError):
            self._commands.close()

    def close(self) -> None:
        """Let it go, and wait for its end."""
        self.let_go()
        self._answers.close()
        self._wait()

    def _wait(self) -> int:
        """How it ended, as `os.waitstatus_to_exitcode`."""
        if self._status is None:
            try:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            except ChildProcessError:  # another thread was quicker
                self._status = 1
        return self._status

    def _death(self, name: str) -> Json:
        """What is told of an action that it died with."""
        status = self._wait()
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        hint = (
            "run doit again: what is finished is kept; if it dies again, run doit -n 1 and watch the machine's memory"
        )
        return _described(StepError(f"the process that did {name} died ({how})", hint=hint))

    def _news(self, names: Iterable[str]) -> Iterator[News]:
        """What it has to know of the upstream of these, and does not yet."""
        engine, knows = self._engine, self._knows
        knows.update(names)
        for name in names:
            for edge in engine.actions[name].upstream.values():
                other = edge.action
                if other not in knows:
                    knows.add(other)
                    if other in engine.outcomes:  # else it was fresh before there was this process
                        yield (other, engine.made[other], _states_of(engine, other), engine.workspace.line(other))


def wanted(engine: Engine, names: Iterable[str], threads: int) -> int:
    """How many hands are worth their while for a run.

    Args:
        engine: the engine.
        names: the actions that may have to run.
        threads: how many actions are to be done at a time; one of them is done in this process.
    """
    if sys.platform != "linux" or engine.store.remote is not None:
        return 0
    apart = sum(engine.actions[name].apart for name in names)
    return max(0, min(threads - 1, apart // WORTH_IT))


class _Apprentice:
    """The other side: what runs in the new process."""

    def __init__(self, engine: Engine, master: int, commands: BinaryIO, answers: BinaryIO) -> None:
        self._engine = engine
        self._commands = commands
        self._answers = answers
        self._master = master
        self._done: deque[tuple[Any, ...]] = deque()
        self._lock = threading.Lock()

    def serve(self, listen: Callable[[Callable[[str], None]], None]) -> None:
        """Do what is asked, until nobody asks any more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked decides
        from pipeline.worker.deathsig import die_with  # noqa: PLC0415 - ctypes is not for the first process

        die_with(self._master)  # the tree's lock goes with both
        engine = self._engine
        listen(partial(self._tell, "note"))
        engine.executor.watch = partial(self._tell, "progress")
        _part_with(engine)
        engine.in_bursts(Burst(self._answer, WINDOW * 4))
        with suppress(OSError, EOFError):
            while True:
                names, news = _receive(self._commands)
                for one in news:
                    engine.learn(*one)
                until = time.monotonic() + WINDOW
                for name in names:
                    result = self._do(name)
                    self._done.append(result)
                    if result[1] is None or not engine.outcomes[name].later or time.monotonic() > until:
                        self._answer_at_once()
                        until = time.monotonic() + WINDOW
                self._answer_at_once()
        with suppress(SlipwayError):  # the disk is full: the first process says so, too
            engine.store.end_as_a_copy()

    def _do(self, name: str) -> tuple[Any, ...]:
        """Do an action; what is answered to that."""
        engine = self._engine
        try:
            outcome = engine.perform(name)
        except SlipwayError as error:
            return (name, None, _described(error), None, None, None)
        except Exception as error:  # noqa: BLE001 - a bug of ours: nobody else has the traceback
            log = engine.executor.log_of(engine.actions[name])
            with log.open("a", encoding="utf-8") as file:
                traceback.print_exception(error, file=file)
            return (name, None, {**_described(error), "log": str(log)}, None, None, None)
        how = (outcome.name, outcome.how, outcome.seconds, dict(outcome.facts), outcome.bytes)
        return (name, how, None, engine.made[name], _states_of(engine, name), engine.workspace.line(name))

    def _answer(self) -> None:
        """Have on disk what was done, and only then say so.

        Raises:
            SlipwayError: it could not be written; that was said.
        """
        with self._lock:
            count = len(self._done)
            error: SlipwayError | None = None
            try:
                self._engine.write_down()
            except SlipwayError as caught:
                error = caught
            done = [self._done.popleft() for _ in range(count)]
            if error is not None:
                failure = _described(error)
                done = [(name, None, failed or failure, None, None, None) for name, _, failed, *_ in done]
            if done:
                _send(self._answers, ("done", done))
            if error is not None:
                raise error

    def _answer_at_once(self) -> None:
        with suppress(SlipwayError):
            self._answer()

    def _tell(self, kind: str, *what: Any) -> None:
        with self._lock, suppress(OSError):  # nobody listens any more
            _send(self._answers, (kind, *what))


def _part_with(engine: Engine) -> None:
    """This process was forked from the one that had this engine: share nothing that must not be."""
    engine.store.records.reopen()
    engine.workspace.reopen()
    engine.executor.become_a_copy()


def _states_of(engine: Engine, name: str) -> dict[str, State]:
    """Path -> state of the outputs of an action that was done in this run, as far as they are known by heart."""
    base, placed = engine.folder_of(name), engine.stat_cache.placed
    states = ((path := f"{base}/{out}", placed(path, sha)) for out, sha in engine.made[name].items())
    return {path: state for path, state in states if state is not None}


def _described(error: Exception) -> Json:
    from pipeline.worker.errors import describe  # noqa: PLC0415 - not where all is well

    return describe(error)


def _send(stream: BinaryIO, message: Any) -> None:
    data = marshal.dumps(message)
    view = memoryview(len(data).to_bytes(4, "little") + data)
    while view:
        view = view[stream.write(view) :]


def _receive(stream: BinaryIO) -> Any:
    head = stream.read(4)
    size = int.from_bytes(head, "little")
    data = stream.read(size)
    if len(head) < 4 or len(data) < size:  # noqa: PLR2004 - the size of the size
        raise EOFError
    return marshal.loads(data)  # noqa: S302 - from a copy of ourselves, through a pipe nobody else has
