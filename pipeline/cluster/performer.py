"""The far side: performs one order, as the engine would here, and puts the result into the remote store.

`perform` is what a machine of a cluster is asked to call. A machine needs no project: code and tools are its own, files
come from the store. Its scratch tree goes with its process; its store and environments of toolchains stay.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

from pipeline import roles, settings
from pipeline.action import LOGS, Action, AnyAction, Run, Upstream, Worker
from pipeline.documents.codec import decode, encode
from pipeline.engine import keys
from pipeline.engine.code import code_digest, code_files
from pipeline.engine.executor import Executor, ResolvedInputs, Tools, gather, result_of
from pipeline.engine.inputs import Inputs
from pipeline.engine.memory import Admission, available
from pipeline.errors import CompilerCrash, DownloadError, FormatError, SlipwayError, StoreError, ToolMissing
from pipeline.files import write_atomic
from pipeline.files.locks import own_folder
from pipeline.store.action_result import ActionResult, digests_of
from pipeline.store.os_errors import told
from pipeline.store.remote import Remote
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.workspace import Workspace
from pipeline.transport.http import redact
from pipeline.weights.cache import DownloadCache
from pipeline.worker.pool import CURRENT, ToolchainWorkers
from pipeline.worker.wire import Failure, describe

from .capabilities import Capabilities, Refused
from .folders import Folders
from .order import LOG_BYTES, Order, Receipt, read_order, write

_LONGEST = 100
"""Characters of what a machine is called."""

ELSEWHERE = (CompilerCrash, DownloadError, StoreError, ToolMissing)
"""Errors that say more of the machine than of the action."""

log = logging.getLogger(__name__)


class Performer:
    """One machine, or one process of it. Methods may be called from any thread.

    Args:
        home: directory for what stays: environments of toolchains and, where SLIPWAY_STORE names no other, the store.
        packages: where steps may come from.
        host: what this machine is called; by default its own name.

    Raises:
        StoreError: there is no remote store that may be written to.
    """

    def __init__(self, home: Path, root: Path, packages: tuple[str, ...] = ("pipeline",), host: str = "") -> None:
        self.host = host or os.uname().nodename
        self._packages = packages
        self._root = root
        self._note = log.warning
        remote = _remote(self._note)
        self._store = Store(settings.text("SLIPWAY_STORE") or home / "store", remote, note=self._note)
        self._url = remote.url
        self._folders = Folders(root / "inputs", self._store.blobs)
        self._capabilities = Capabilities(home, root, packages, self._note)
        self._admission = Admission(available())
        environments = self._capabilities.environments
        self._workers = ToolchainWorkers(root, environments.__getitem__, self._note, self._admission.room)
        self._stat_cache = StatCache()
        self._guards: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        gather(root)

    @property
    def folder_for_cluster(self) -> Path:
        """Where the cluster's own library may write."""
        return self._root / "cluster"

    def warm(self) -> None:
        """Start the interpreter of the toolchain that is the Python we run in."""
        with contextlib.suppress(SlipwayError, AttributeError):
            self._workers(CURRENT).warm()  # type: ignore[attr-defined]

    def perform(self, text: str) -> Receipt:
        """Perform an order. Raises nothing that is not a bug."""
        try:
            order = read_order(text)
            with self._guard:
                guard = self._guards.setdefault(order.name, threading.Lock())
            # Two near sides may want the same: the second finds it in the store.
            with guard, told(f"do {order.name}", self._root):
                return self._perform(order)
        except Refused as error:
            return Receipt(self.host, refused=redact(str(error)))
        except (SlipwayError, MemoryError) as error:
            return Receipt(self.host, refused=redact(f"{type(error).__name__}: {error}"))

    def close(self) -> None:
        """End the interpreters, let go of the store."""
        self._workers.close()
        self._store.close()

    def _refresh(self) -> None:
        """Have a connection to the remote store, anew where the last one was given up: this process lives long."""
        with self._guard:
            if self._store.remote is None or not self._store.remote.works:
                self._store.reconnect(_remote(self._note))

    def _perform(self, order: Order) -> Receipt:
        self._refresh()
        toolchain, tools = self._capabilities.demand(order)
        key = keys.digest(order.fields)
        found = self._store.lookup(key, order.outputs)
        if found is None:
            try:
                self._publish(self._made(order, key, toolchain, tools))
            except ELSEWHERE:
                raise
            except SlipwayError as error:
                return self._failed(order, error)
        elif found.how == "restored":  # the remote store has lost it, or a blob of it: who orders has looked there
            self._store.reconnect(_remote(self._note))  # what was sent before counts for nothing
            self._publish(found.record)
        return Receipt(self.host, key=key)

    def _made(self, order: Order, key: str, toolchain: str, tools: Tools) -> ActionResult:
        """Fetch, compare, run, commit.

        Args:
            order: what to do.
            key: of the result.
            toolchain: what the order's toolchain is called here.
            tools: the programs of this machine.
        """
        inputs = order.inputs()
        wanted = {output.sha256: output for output in inputs.values()}
        if not self._store.fetch(ActionResult(key, order.name, outputs=wanted)):
            raise Refused(f"cannot have the inputs of {order.name} from {self._url}")
        action, reader, views = self._laid_out(order, toolchain, tools)
        fields = reader.key_fields(action)
        for field, theirs, ours in keys.differences(_plain(order.fields), _plain(fields)):
            raise Refused(f"has another {field}: {_short(ours)} instead of {_short(theirs)}")
        resolved = ResolvedInputs({**reader.paths(action), **views}, reader.digests(action))
        executor = Executor(self._root, tools, partial(self._worker, toolchain), self._admission)
        made = executor.run(action, resolved, order.memory)
        try:
            draft = replace(result_of(key, action, fields, made), host=self.host)
            return self._store.commit(draft, made.files, log=made.log, known=made.known, linked=made.linked)
        finally:
            executor.clear_away(made.out)

    def _worker(self, here: str, _toolchain: str, *, fresh: bool | None = None) -> Worker:
        return self._workers(here, fresh=fresh)

    def _publish(self, record: ActionResult) -> None:
        outgoing = self._store.outgoing()
        if outgoing is None or not outgoing.send(record).result():
            raise Refused(f"could not write the result to {self._url}")

    def _failed(self, order: Order, error: SlipwayError) -> Receipt:
        """The step's own error and the end of its log, less the places that only this machine has."""
        said = b""
        with contextlib.suppress(OSError):
            said = (self._root / LOGS / f"{order.step}.{order.subject}.log").read_bytes()[-LOG_BYTES:]
        told = json.loads(self._folders.relative(json.dumps(encode(describe(error)))))
        failure = decode(Failure, {**told, "log": None}, "failure")
        return Receipt(self.host, failure=failure, log=redact(self._folders.relative(said.decode(errors="replace"))))

    # Inputs

    def _laid_out(self, order: Order, toolchain: str, tools: Tools) -> tuple[AnyAction, Inputs, dict[str, Path]]:
        """The action as it is here, what reads its inputs, and role -> directory of those from upstream."""
        tree = self._folders(order.tree)
        views = {role: self._folders(files) for role, files in order.upstream.items()}
        run = self._step(order.run, str(order.fields.get("code")))
        try:
            params = decode(get_args(get_type_hints(run)["job"])[0], order.params, "params")
        except FormatError as error:
            raise Refused(f"cannot read the parameters of {order.name}: {error.headline}") from error
        action: AnyAction = Action(
            step=order.step,
            subject=order.subject,
            out="build/out",
            run=run,
            params=params,
            files={role: str(tree / path) for role, path in order.files.items()},
            upstream={role: Upstream(role) for role in order.upstream},
            tools=order.asked,
            outputs=order.outputs,
            memory=order.memory,
        )
        probe = views[roles.TOOLCHAIN] / "probe.json" if roles.TOOLCHAIN in views else None
        if probe is not None and probe.is_file():  # where the workers look for it
            write_atomic(self._root / "build/toolchain" / toolchain / probe.name, probe.read_bytes())
        reader = Inputs(
            self._root,
            {action.name: action},
            workspace=Workspace(self._root / "workspace"),
            stat_cache=self._stat_cache,
            tools=tools,
            code=code_digest,
        )
        for role, files in order.upstream.items():
            reader.note_outputs(role, digests_of(files))
        return action, reader, views

    def _step(self, reference: str, code: str) -> Run[object]:
        """A step's function by its name, if its code is what the order says."""
        module, _, name = reference.partition(":")
        allowed = module.partition(".")[0] in self._packages and name.isidentifier()
        if not allowed or not any(known == module for known, _ in code_files(module)):
            raise Refused(f"has no step {reference}")
        if code_digest(module) != code:
            raise Refused(f"has another version of {module}")
        found: Run[object] | None = getattr(importlib.import_module(module), name, None)
        if found is None:
            raise Refused(f"has no step {reference}")
        return found


def _remote(note: Callable[[str], None]) -> Remote:
    remote = Remote.from_environment(note)
    if remote is None or not remote.write:
        raise StoreError(
            "a worker needs a remote store that it may write to",
            hint="set SLIPWAY_REMOTE and SLIPWAY_REMOTE_WRITE=1, as on the machine that runs doit --on",
        )
    return remote


def _plain(fields: Mapping[str, object]) -> object:
    return json.loads(json.dumps(encode(fields)))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:100]}…"  # noqa: PLR2004


# The performer of this process

_here: Performer | None = None
_lasting = contextlib.ExitStack()
_starting = threading.Lock()


@contextlib.contextmanager
def performing(home: Path | None = None, packages: tuple[str, ...] = (), host: str = "") -> Iterator[Performer]:
    """Have orders of this process performed, until the block ends; see `Performer`.

    `home` is in the user's cache where none is given; steps may come from `packages` besides `pipeline`.
    """
    global _here  # noqa: PLW0603 - what a cluster calls is a plain function
    home = home or DownloadCache.default().root / "worker"
    with told("keep a worker's files", home):
        home.mkdir(parents=True, exist_ok=True)
    with own_folder(home, "tree-") as root:
        _here = Performer(home, root, ("pipeline", *packages), host)
        try:
            yield _here
        finally:
            _here.close()
            _here = None


def _called() -> str:
    """What Dask's own worker is called around this call, where that is no address; else nothing."""
    with contextlib.suppress(KeyError, ValueError):  # there is no Dask in this process, or no worker
        name = str(sys.modules["distributed"].get_worker().name)
        return name[:_LONGEST] if "://" not in name and name.isprintable() else ""
    return ""


def perform(text: str, attempt: int = 0) -> str:
    """Perform an order; what a cluster is asked to call.

    `attempt` is how often it was given out before: a cluster may answer the same question from memory.
    """
    del attempt
    try:
        with _starting:  # of a worker that `doit worker` did not start, the latter
            here = _here or _lasting.enter_context(performing(host=_called()))
    except (SlipwayError, OSError) as error:
        return write(Receipt(_called() or os.uname().nodename, refused=redact(str(error))))
    return write(here.perform(text))
