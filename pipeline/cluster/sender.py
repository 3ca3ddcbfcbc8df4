"""The near side: makes an order of an action, sends what it needs to the remote store, and judges what comes back.

The engine asks it before it runs a step (`engine.Elsewhere`). Whatever goes wrong elsewhere, the answer is None, and
the step runs here; only what the step itself raised is raised again.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from pathlib import Path

from pipeline import roles
from pipeline.action import AnyAction
from pipeline.documents.codec import encode
from pipeline.engine import keys
from pipeline.engine.engine import Engine
from pipeline.engine.inputs import Inputs
from pipeline.engine.views import View
from pipeline.errors import SlipwayError, StoreError
from pipeline.files import Digest, copy_hashed, open_regular
from pipeline.project import Project
from pipeline.store.action_result import FILE, LINK, PROGRAM, ActionResult, Output
from pipeline.store.store import Store
from pipeline.toolchains.environment import Environment as Here
from pipeline.worker.pool import CURRENT
from pipeline.worker.wire import rebuild

from .capabilities import machine
from .dask_pool import DaskPool, demand_cluster
from .order import Environment, Order, Receipt, read_receipt, write
from .performer import perform
from .placement import MEMORY, Machine, Placement, Pool

SECONDS = 3600.0
"""How long an order may take, its wait for a thread included, before it is given to another machine."""

LOOK_SECONDS = 1.0
"""How often somebody who waits looks whether the cluster is still there."""

REFUSALS = 3
"""After so many, and nothing done, a machine is not asked any more."""

RESOURCES = {"metal:": "xcode", "sdk:": "xcode", "vulkan": "gpu", "opencl": "gpu"}
"""How names of tools begin -> what a machine must say it has."""

OUTSIDE = "outside"
"""Where in an order's tree those files are that lie outside of the project."""


class Sender:
    """Has actions of one project performed by the machines of a pool. May be called from any thread.

    The store has a remote store that may be written to. `note` gets a sentence, once, about each thing that is worked
    around; `log_of` says where what an action's tools print is kept, and for `seconds` see `SECONDS`.
    """

    def __init__(
        self,
        pool: Pool,
        root: Path,
        *,
        inputs: Inputs,
        store: Store,
        environment: Callable[[str], Here],
        log_of: Callable[[AnyAction], Path],
        note: Callable[[str], None],
        seconds: float = SECONDS,
    ) -> None:
        self._pool = pool
        self._root = root
        self._inputs = inputs
        self._store = store
        self._environment = environment
        self._log_of = log_of
        self._note = note
        self._seconds = seconds
        self._placement = Placement(pool.machines)
        self._distrusted: set[str] = set()
        self._refusals: Counter[str] = Counter()
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    def __call__(
        self, action: AnyAction, fields: Mapping[str, object], views: Mapping[str, View], expected: int
    ) -> ActionResult | None:
        """See `pipeline.engine.engine.Elsewhere`."""
        order = self._order(action, fields, views)
        if order is None:
            return None
        wants = {MEMORY: float(expected)} | {
            resource: 1.0 for start, resource in RESOURCES.items() for tool in order.tools if tool.startswith(start)
        }
        key, tried = keys.digest(fields), set[str]()
        while True:
            with self._placement.room(action.shares, wants, tried | self._distrusted) as at:
                if at is None or not self._supply(order, action, views):
                    return None
                tried.add(at.name)
                receipt = self._ask(at, wants, order, len(tried))
            if receipt is not None and receipt.failure is not None:
                raise self._failure(action, receipt)
            found = self._taken(action, key, at, receipt)
            if found is not None:
                return found

    def close(self) -> None:
        """Leave the pool."""
        self._pool.close()

    # The order

    def _order(self, action: AnyAction, fields: Mapping[str, object], views: Mapping[str, View]) -> Order | None:
        """The order for an action; None where there can be none: a tool is missing here, an input is a link."""
        upstream = {role: dict(view.outputs) for role, view in views.items()}
        links = any(output.mode == LINK for files in upstream.values() for output in files.values())
        edge = action.upstream.get(roles.TOOLCHAIN)
        probing = None if edge is None else self._inputs.actions.get(edge.action)
        names = (*action.tools, *(probing.tools if probing is not None else ()))
        wanted = {name: self._inputs.tool(name) for name in names}
        tools = {name: version for name, version in wanted.items() if version is not None}
        if links or len(tools) < len(wanted):
            return None
        toolchain = CURRENT if probing is None else probing.subject
        tree, places = self._tree(action)
        return Order(
            step=action.step,
            subject=action.subject,
            outputs=action.outputs,
            memory=action.memory,
            run=f"{action.module}:{action.run.__name__}",
            params=encode(action.params, whole=True),
            fields=fields,
            files=places,
            tree=tree,
            upstream=upstream,
            asked=action.tools,
            tools=tools,
            toolchain=toolchain,
            environment=None if toolchain == CURRENT else self._described(toolchain),
            machine=machine(),
        )

    def _described(self, toolchain: str) -> Environment:
        known = self._environment(toolchain)
        return Environment(encode(known.toolchain), known.frozen or known.made_of())

    def _tree(self, action: AnyAction) -> tuple[dict[str, Output], dict[str, str]]:
        """The files behind an action's own, and role -> where each of those is among them."""
        tree = {}
        for path, sha256 in self._inputs.tree(action).items():
            found = os.stat(path)  # noqa: PTH116 - as `inputs` has them
            tree[self._place(path)] = Output(sha256, found.st_size, PROGRAM if found.st_mode & 0o111 else FILE)
        return tree, {role: self._place(str(path)) for role, path in self._inputs.paths(action).items()}

    def _place(self, path: str) -> str:
        with suppress(ValueError):
            return Path(path).relative_to(os.path.realpath(self._root)).as_posix()
        return f"{OUTSIDE}{path}"

    # Files

    def _supply(self, order: Order, action: AnyAction, views: Mapping[str, View]) -> bool:
        """Have everything that the order needs in the remote store; whether it is there."""
        places = {output.sha256: f"{views[role].folder}/{path}" for role, path, output in _read(order)}
        for path, sha256 in self._inputs.tree(action).items():
            places.setdefault(sha256, path)
        inputs = order.inputs()
        if any(not self._take_in(places[sha256], output) for sha256, output in inputs.items()):
            return False  # an input has changed meanwhile
        outgoing = self._store.outgoing()
        if outgoing is None or not outgoing.blobs(inputs):
            self._say("the remote store does not take what other machines need; going on here alone")
            return False
        return True

    def _take_in(self, path: str, output: Output) -> bool:
        """Have a file as a blob of this store, where nobody writes to it while it is sent."""
        blobs = self._store.blobs
        if blobs.check(output.sha256, output.size):
            return True
        self._store.hold()
        temporary = Path(blobs.temporary())
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_regular(path) as old, temporary.open("xb") as new:
                found = copy_hashed(old, new)
            if found == (output.sha256, output.size):
                blobs.adopt(str(temporary), Digest(*found))
                return True
        except FileNotFoundError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        return False

    # The answer

    def _ask(self, at: Machine, wants: Mapping[str, float], order: Order, attempt: int) -> Receipt | None:
        """Give an order to a machine and wait; None where nothing came back that could be read."""
        try:
            before, ends = self._pool.connection(), time.monotonic() + self._seconds
            future = self._pool.executor(at, wants).submit(perform, write(order), attempt)
            while not wait([future], LOOK_SECONDS).done:
                if self._pool.connection() is not before:
                    raise CancelledError  # noqa: TRY301 - as if the cluster had said so
                if at.name not in {one.name for one in self._pool.machines()}:
                    future.cancel()
                    self._say(f"{at} is gone; another machine does what it did, or this one")
                    return None
                if time.monotonic() > ends:
                    future.cancel()
                    self._distrust(at, f"did not perform {order.name} within {self._seconds:g} s")
                    return None
            return read_receipt(future.result())
        except (asyncio.CancelledError, CancelledError, StoreError):
            self._say("the cluster has gone away; going on here until it is back")
        except Exception as error:  # noqa: BLE001 - whatever a cluster may raise, and what comes back that is no receipt
            self._distrust(at, f"failed with {order.name}: {type(error).__name__}: {str(error)[:200]}")
        return None

    def _taken(self, action: AnyAction, key: str, at: Machine, receipt: Receipt | None) -> ActionResult | None:
        """The result that a receipt is about, out of the store; None where there is none to be had."""
        if receipt is None:
            return None
        if receipt.refused is not None:
            self._say(f"{receipt.host} {receipt.refused}; another machine does it, or this one")
            self._refusals[at.name] += 1
            if self._refusals[at.name] == REFUSALS:
                self._distrusted.add(at.name)
            return None
        found = self._store.lookup(key, action.outputs, anew=True)
        if receipt.key != key or found is None:
            self._distrust(at, f"says that it did {action.name}, and the remote store has no such result")
            return None
        self._refusals[at.name] = REFUSALS + 1  # it can do something: it is asked for ever
        return found.record

    def _failure(self, action: AnyAction, receipt: Receipt) -> SlipwayError:
        log = self._log_of(action)
        if receipt.log:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"(on {receipt.host})\n{receipt.log}", encoding="utf-8", errors="replace")
        assert receipt.failure is not None  # noqa: S101 - who calls has looked
        return rebuild(receipt.failure, log if receipt.log else None)

    def _distrust(self, at: Machine, what: str) -> None:
        self._distrusted.add(at.name)
        self._say(f"{at} {what}; it gets no more orders")

    def _say(self, text: str) -> None:
        with self._lock:
            first = text not in self._noted
            self._noted.add(text)
        if first:
            self._note(text)


def join(address: str, engine: Engine, project: Project, note: Callable[[str], None]) -> Sender:
    """What has an engine's actions performed by the workers of a scheduler. Nothing is connected to yet.

    Raises:
        SlipwayError: the address is none, Dask is not installed, or there is no remote store that may be written to.
    """
    demand_cluster(address, engine.store.remote, note)
    return Sender(
        DaskPool(address, note),
        project.root,
        inputs=engine.inputs,
        store=engine.store,
        environment=project.environment,
        log_of=engine.executor.log_of,
        note=note,
    )


def _read(order: Order) -> Iterator[tuple[str, str, Output]]:
    """(role, path, output) of all that is read of upstream actions."""
    return ((role, path, output) for role, files in order.upstream.items() for path, output in files.items())
