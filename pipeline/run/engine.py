"""Decides whether an action is fresh and, where it is not, makes it so: from the store, or by running its step.

`tasks` hands its methods to doit, the commands ask it for verdicts. It knows keys, records and scratch directories;
what a step means it does not know, nor that doit exists. Methods are called from doit's main thread (`verdict`) and
from its worker threads (`perform`).
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.action import Action, Job, Json, Services, Tool, Upstream, Worker
from pipeline.errors import SlipwayError, StepError, StoreError
from pipeline.store.digest import DigestMemo
from pipeline.store.faults import BlobMissing, store_error
from pipeline.store.ledger import Entry, Ledger
from pipeline.store.records import Output, Record
from pipeline.store.store import Store

from . import keys
from .imports import recipe_files
from .memory import Admission
from .usage import measure

MANIFESTS = "build/manifest"
SCRATCH = "build/scratch"
LOGS = "build/log"

ATTEMPTS = 3
"""How often an action is started over because a file changed under its hands before we give up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an action is fresh, and if not why.

    Attributes:
        fresh: nothing to do.
        reason: for people; empty when fresh.
        key: today's key; None while something upstream is stale, because then nobody can know it.
        fields: the document behind `key`.
        damaged: outputs that are missing or not what the record says.
    """

    fresh: bool
    reason: str
    key: str | None
    fields: Mapping[str, Json] | None
    damaged: tuple[str, ...] = ()


FRESH = Verdict(fresh=True, reason="", key=None, fields=None)
"""Of an action whose inputs and outputs have not been touched since it was last found fresh."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an action in this run. `how` is `built`, `restored` (local store) or `fetched` (remote store)."""

    name: str
    how: str
    seconds: float
    facts: Mapping[str, Json]
    bytes: int


class Toolbox:
    """Programs by name, looked up once a run."""

    def __init__(self, find: Callable[[str], Tool | None]) -> None:
        self._find = find
        self._found: dict[str, Tool | None] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Tool | None:
        with self._lock:
            if name not in self._found:
                self._found[name] = self._find(name)
            return self._found[name]


class Steps(Protocol):
    """The code behind the kinds of action."""

    def code(self, step: str) -> str:
        """Digest of all the code that can change what the step does."""

    def load(self, step: str) -> Callable[[Job], Mapping[str, Json] | None]:
        """The step's `run`."""


class StepModules:
    """Steps as modules of a package, `run(job)` in each. `known` are digests that need not be computed again."""

    def __init__(self, package: str, known: Mapping[str, str] | None = None) -> None:
        self._package = package
        self.digests = dict(known or {})

    def code(self, step: str) -> str:
        """See `Steps`."""
        if step not in self.digests:
            from .code import code_digest  # noqa: PLC0415 - `ast` has no place in a run that changes little

            self.digests[step] = code_digest(f"{self._package}.{step}")
        return self.digests[step]

    def load(self, step: str) -> Callable[[Job], Mapping[str, Json] | None]:
        """See `Steps`."""
        run: Callable[[Job], Mapping[str, Json] | None] = importlib.import_module(f"{self._package}.{step}").run
        return run


@dataclass
class JobServices(Services):
    """The services of one job; progress goes to whoever watches the run."""

    name: str
    workers: Callable[[str], Worker]
    watch: Callable[[str, float, float | None, str], None]

    def worker(self, toolchain: str) -> Worker:
        """See `pipeline.action.Services`."""
        return self.workers(toolchain)

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """See `pipeline.action.Services`."""
        self.watch(self.name, done, total, unit)


class Engine:
    """The actions of one matrix, in one tree, over one store.

    Args:
        root: the tree: outputs lie below it, and relative paths of inputs begin there.
        actions: by name, upstream before downstream.
        store: where results are kept.
        ledger: what the tree holds.
        memo: digests of files that were read before.
        tools: programs by name.
        workers: the worker of a toolchain by its name.
        admission: lets jobs in as memory allows.
        steps: the code behind the actions.
        versions: of whatever people will want to know when they read a record.
        stale: where given, all actions but these are known to be fresh.
    """

    def __init__(
        self,
        root: Path,
        actions: Mapping[str, Action],
        *,
        store: Store,
        ledger: Ledger,
        memo: DigestMemo,
        tools: Toolbox,
        workers: Callable[[str], Worker],
        admission: Admission,
        steps: Steps,
        versions: Mapping[str, str],
        stale: Container[str] | None = None,
    ) -> None:
        self.root = root.absolute()
        self.actions = actions
        self.store = store
        self.ledger = ledger
        self.memo = memo
        self.outcomes: dict[str, Outcome] = {}
        self.failures: dict[str, str] = {}
        self.always = False
        self.store_only = False
        self.elsewhere = False
        self.watch: Callable[[str, float, float | None, str], None] = lambda *_: None
        self.pin: Callable[[Action, Json], None] = lambda *_: None
        self._steps = steps
        self._stale = stale
        self._tools = tools
        self._workers = workers
        self._admission = admission
        self._versions = versions
        self._verdicts: dict[str, Verdict] = {}

    # Deciding

    def verdict(self, name: str) -> Verdict:
        """Say whether the action is fresh. Memoised until it, or something upstream of it, has run."""
        if self._stale is not None and name not in self._stale:
            return FRESH
        known = self._verdicts.get(name)
        if known is None:
            known = self._verdicts[name] = self._decide(self.actions[name])
        return known

    def reconsider(self) -> None:
        """Forget all verdicts: the tree may have changed (another doit was waited for)."""
        self._verdicts.clear()

    def _decide(self, action: Action) -> Verdict:
        stale = [edge.action for edge in action.upstream.values() if not self.verdict(edge.action).fresh]
        if stale:
            more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
            return Verdict(fresh=False, reason=f"{stale[0]} is stale{more}", key=None, fields=None)
        fields = self.fields(action)
        key = keys.digest(fields)
        entry = self.ledger.get(action.name)
        if entry is None:
            return Verdict(fresh=False, reason="never built here", key=key, fields=fields)
        if entry.forgotten:
            return Verdict(fresh=False, reason="forgotten", key=key, fields=fields)
        if entry.key != key:
            return Verdict(fresh=False, reason=self.explain_key(entry.key, fields), key=key, fields=fields)
        damaged = tuple(self.store.damaged(entry.outputs, self.root / action.out, self.memo))
        if damaged:
            return Verdict(False, f"output {damaged[0]} is missing or was changed", key, fields, damaged)
        return Verdict(fresh=True, reason="", key=key, fields=fields)

    def fields(self, action: Action) -> dict[str, Json]:
        """Today's key document of an action whose upstream is in place.

        Raises:
            SlipwayError: an input cannot be read.
        """
        return self.document(action, {role: self._outputs_read(edge) for role, edge in action.upstream.items()})

    def document(self, action: Action, upstream: Mapping[str, Mapping[str, str]]) -> dict[str, Json]:
        """The key document of an action, given what it would read of its upstream: role -> {relative path: digest}.

        Raises:
            SlipwayError: an input cannot be read.
        """
        return keys.document(
            action,
            code=self._steps.code(action.step),
            files={role: self._digest(self.root / path) for role, path in action.files.items()},
            upstream=upstream,
            tools={name: tool.version if (tool := self._tools[name]) else None for name in action.tools},
        )

    def _digest(self, path: Path) -> str:
        """The digest of a file or directory; of a recipe with all the files beside it that it imports."""
        if path.suffix != ".py":
            return self.memo.digest(path)
        files = recipe_files(path)
        if len(files) == 1:
            return self.memo.digest(path)
        return keys.digest({str(file.relative_to(path.parent)): self.memo.digest(file) for file in files})

    def explain_key(self, old_key: str, fields: Mapping[str, Json]) -> str:
        """The first difference between the recorded key's fields and today's, for people."""
        record = self.store.record(old_key)
        if record is None:
            return "its key changed"
        changes = [path for path, _, _ in keys.differences(record.fields, fields)]
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return f"{changes[0]} changed{more}" if changes else "its key changed"

    def _outputs_read(self, edge: Upstream) -> dict[str, str]:
        entry = self.ledger.get(edge.action)
        if entry is None:
            raise StepError(f"{edge.action} has not been built", cure=f"run: doit {edge.action}")
        return keys.read_by(edge, {path: output.sha256 for path, output in entry.outputs.items()})

    # Doing

    def perform(self, name: str) -> Outcome:
        """Bring the action's outputs up to date, whatever it takes.

        Raises:
            SlipwayError: with what went wrong; finished work of other actions is safe in the store.
        """
        action = self.actions[name]
        started = time.monotonic()
        try:
            record, how = self._obtain(action)
            record = self._place(action, record)
        except SlipwayError as error:
            self.failures[name] = str(error)
            raise
        except OSError as error:
            self.failures[name] = str(error)
            raise store_error(error, f"build {name}", error.filename or self.root) from error
        self._verdicts[name] = Verdict(fresh=True, reason="", key=record.key, fields=record.fields)
        size = sum(output.size for output in record.outputs.values())
        outcome = Outcome(name, how, time.monotonic() - started, record.facts, size)
        self.outcomes[name] = outcome
        return outcome

    def _obtain(self, action: Action) -> tuple[Record, str]:
        entry = self.ledger.get(action.name)
        for _ in range(ATTEMPTS):
            fields = self.fields(action)
            key = keys.digest(fields)
            if not self.always and not (entry is not None and entry.forgotten):
                found = self.store.lookup(key)
                if found is not None:
                    return found
            record = self._run(action, key, fields)
            if record is not None:
                return record, "built"
        raise StepError(
            f"its inputs kept changing while {action.name} ran",
            cure="let the editor or the download finish, then run doit again",
        )

    def _run(self, action: Action, key: str, fields: Mapping[str, Json]) -> Record | None:
        """Run the step in a scratch directory and commit what it left; None when an input changed meanwhile."""
        if self.store_only:
            raise StoreError(
                f"{action.name} is not in the store",
                cure="build it where that is allowed and share the store, or drop --from-store-only",
            )
        (self.root / SCRATCH).mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{action.step}-", dir=self.root / SCRATCH))
        try:
            log = self._log(action)
            out = scratch / "out"
            out.mkdir()
            job = Job(
                params=action.params,
                inputs=dict(self._inputs(action, scratch)),
                tools={name: self._tools[name] for name in action.tools},
                out=out,
                log=log,
                services=JobServices(action.name, self._workers, self.watch),
            )
            run = self._steps.load(action.step)
            with self._admission(self._memory(action)), measure() as usage:
                began, clock = time.time(), time.monotonic()
                facts = run(job) or {}
                seconds = time.monotonic() - clock
            missing = [name for name in action.outputs if not (out / name).is_file()]
            if missing:
                raise StepError(f"{action.name} did not write {', '.join(missing)}", log=log)
            if keys.digest(self.fields(action)) != key:
                return None
            key, fields = self._pinned(action, key, fields, facts)
            record = Record(
                key=key,
                name=action.name,
                fields=fields,
                facts=facts,
                started=began,
                seconds=seconds,
                cpu_seconds=usage.cpu,
                peak_bytes=usage.peak,
                host=socket.gethostname(),
                versions=self._versions,
            )
            return self.store.commit(record, out, log=log)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _pinned(
        self, action: Action, key: str, fields: Mapping[str, Json], facts: Mapping[str, Json]
    ) -> tuple[str, Mapping[str, Json]]:
        """The key under which a result will be looked for next time.

        An action that ran without a pin (`lock` is null) and found out what it is gets the key it would have had with
        the pin, which is written down for the next plan: so that plan finds this very result.
        """
        lock = facts.get("lock")
        if lock is None or action.params.get("lock", lock) is not None:
            return key, fields
        fields = {**fields, "params": {**action.params, "lock": lock}}
        self.pin(action, lock)
        return keys.digest(fields), fields

    def _place(self, action: Action, record: Record) -> Record:
        """Put a record's outputs into the tree and into the ledger; runs the step where a blob is gone after all."""
        entry = self.ledger.get(action.name)
        if entry is not None and entry.out != action.out:
            self.store.remove(entry.outputs, self.root / entry.out)
            entry = None
        before = entry.outputs if entry is not None else {}
        link = action.step in LINKED
        try:
            self.store.materialise(record, self.root / action.out, before, self.memo, link=link)
        except BlobMissing:
            again = self._run(action, record.key, record.fields)
            if again is None:
                raise
            record = again
            self.store.materialise(record, self.root / action.out, before, self.memo, link=link)
        if not action.outputs:
            self._write_manifest(action, record)
        self.ledger.set(
            action.name,
            Entry(
                key=record.key,
                out=action.out,
                outputs=dict(record.outputs),
                seconds=record.seconds,
                peak=record.peak_bytes,
            ),
        )
        return record

    def _write_manifest(self, action: Action, record: Record) -> None:
        """The file that stands for a directory of outputs in doit's eyes."""
        path = self.root / manifest_path(action)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{o.sha256} {o.size:>12} {o.mode:04o} {p}\n" for p, o in sorted(record.outputs.items())]
        path.write_text("".join(lines), encoding="utf-8")

    def _inputs(self, action: Action, scratch: Path) -> Iterator[tuple[str, Path]]:
        for role, path in action.files.items():
            yield role, (self.root / path).resolve()
        for role, edge in action.upstream.items():
            upstream = self.actions[edge.action]
            base = self.root / upstream.out
            if edge.only or upstream.out.startswith("dist"):
                base = _view(
                    base, self._outputs_read(edge), scratch / "view" / role.replace("/", "_").replace(":", ".")
                )
            yield role, base

    def _memory(self, action: Action) -> int:
        entry = self.ledger.get(action.name)
        return entry.peak if entry is not None and entry.peak else action.memory

    def _log(self, action: Action) -> Path:
        path = self.root / LOGS / f"{action.step}.{action.subject}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return path

    def inputs(self) -> Iterator[tuple[str, str]]:
        """(path, action) for every file that actions read and none makes; a directory comes with all that is in it."""
        for name, action in self.actions.items():
            for path in action.files.values():
                full = f"{self.root}/{path}" if not path.startswith("/") else path
                yield full, name
                if full.endswith(".py"):
                    yield from ((str(file), name) for file in recipe_files(Path(full)))
                elif os.path.isdir(full):  # noqa: PTH112 - for every input there is
                    yield from ((str(file), name) for file in Path(full).rglob("*"))

    def outputs(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, str, Output]]:
        """(path, action, output) for every file that actions have put into the tree."""
        for name in self.actions if names is None else names:
            entry = self.ledger.get(name)
            if entry is not None:
                yield from ((f"{self.root}/{entry.out}/{path}", name, made) for path, made in entry.outputs.items())

    # Undoing

    def clean(self, name: str) -> list[Path]:
        """Remove the outputs of an action from the tree (the store keeps them); return what was removed."""
        entry = self.ledger.get(name)
        if entry is None:
            return []
        self.store.remove(entry.outputs, self.root / entry.out)
        self.ledger.remove(name)
        self._verdicts.clear()
        return [self.root / entry.out / path for path in entry.outputs]

    def prune(self) -> list[tuple[str, list[Path]]]:
        """Remove the outputs of actions that the matrix no longer has; the store still has them, should they return."""
        return [(name, self.clean(name)) for name in sorted(set(self.ledger.names()) - set(self.actions))]

    def clear_scratch(self) -> None:
        """Remove what runs that were killed left half-done."""
        shutil.rmtree(self.root / SCRATCH, ignore_errors=True)


LINKED = frozenset({"weights", "params", "bundle"})
"""Steps whose outputs are large and read-only: always links to the blob, never a second copy on one file system."""


def manifest_path(action: Action) -> str:
    """Where the manifest of a directory of outputs lies, relative to the root."""
    return f"{MANIFESTS}/{action.step}.{action.subject}.txt"


def targets(action: Action) -> list[str]:
    """The files doit knows the action by, relative to the root."""
    return [f"{action.out}/{name}" for name in action.outputs] or [manifest_path(action)]


def _view(base: Path, outputs: Iterable[str], view: Path) -> Path:
    """A directory with just the outputs an edge reads: a step cannot come to depend on more than its key says.

    Needed where an edge is narrowed, and in `dist/`, where several actions share a directory.
    """
    view.mkdir(parents=True)
    for path in outputs:
        link = view / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(base / path)
    return view
