"""Decides whether an action is fresh and, where it is not, makes it so: from the store, or by running its step.

`tasks` hands its methods to doit, the commands ask it for verdicts. It knows keys, records and what the tree holds;
what a step means it does not know, nor that doit exists. Methods are called from doit's main thread (`verdict`) and
from its worker threads (`perform`). Paths are strings: every file there is gets looked at, and pathlib costs more than
the look.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.action import OPEN, Action, Json, Upstream
from pipeline.errors import SlipwayError, StepError, StoreError
from pipeline.store.action_cache import ActionResult, Output
from pipeline.store.os_errors import BlobMissing, store_error
from pipeline.store.outputs import Marks, Scratch
from pipeline.store.stat_cache import StatCache, State
from pipeline.store.store import Store
from pipeline.store.workspace import Entry, Workspace

from . import keys
from .burst import WINDOW, Burst
from .executor import SCRATCH, Executor, Made, Reads, Steps, Tools
from .imports import recipe_files
from .status import UP_TO_DATE, Outcome, Status, manifest_path

ATTEMPTS = 3
"""How often an action is started over because a file changed under its hands before we give up."""

LINKED = frozenset({"weights", "params", "bundle", "app_config"})
"""Steps whose outputs are large and read-only: always links to the blob, never a second copy on one file system."""


class Engine:
    """The actions of one matrix, in one tree, over one store.

    Args:
        root: the tree: outputs lie below it, and relative paths of inputs begin there.
        actions: by name, upstream before downstream.
        store: where results are kept.
        workspace: what the tree holds.
        stat_cache: digests of files that were read before.
        tools: programs by name.
        steps: the code behind the actions.
        executor: runs steps.
        versions: of whatever people will want to know when they read a record.
        stale: where given, all actions but these are known to be fresh.
        out_of: where given, a quicker way to the directory of an action than by the action.
    """

    def __init__(
        self,
        root: Path,
        actions: Mapping[str, Action[Any]],
        *,
        store: Store,
        workspace: Workspace,
        stat_cache: StatCache,
        tools: Tools,
        steps: Steps,
        executor: Executor,
        versions: Mapping[str, str],
        stale: Container[str] | None = None,
        out_of: Callable[[str], str] | None = None,
    ) -> None:
        self.root = root.absolute()
        self.actions = actions
        self.store = store
        self.workspace = workspace
        self.stat_cache = stat_cache
        self.executor = executor
        self.outcomes: dict[str, Outcome] = {}
        self.always = False
        self.store_only = False
        self.strict = False
        self.elsewhere = False
        self.burst: Burst | None = None
        self.pin: Callable[[Action[Any], Json], None] = lambda *_: None
        self._base = str(self.root)
        self._out_of = out_of or (lambda name: self.actions[name].out)
        self._tools = tools
        self._steps = steps
        self._stale = stale
        self._versions = versions
        self._host = os.uname().nodename
        self._statuses: dict[str, Status] = {}
        self.made: dict[str, dict[str, str]] = {}

    # Deciding

    def status(self, name: str) -> Status:
        """Say whether the action is fresh. Memoised until it, or something upstream of it, has run."""
        if self._stale is not None and name not in self._stale:
            return UP_TO_DATE
        known = self._statuses.get(name)
        if known is None:
            known = self._statuses[name] = self._decide(self.actions[name])
        return known

    def is_new(self, name: str) -> bool:
        """Whether an action was never built here, so that there is no need to ask for a verdict."""
        return (self._stale is None or name in self._stale) and self.workspace.key(name) is None

    def reconsider(self, *, doubt: bool = False) -> None:
        """Forget all verdicts: the tree may have changed (another doit was waited for).

        Args:
            doubt: forget as well that some actions were known to be fresh.
        """
        if doubt:
            self._stale = None
        self.forget_statuses()
        self.made.clear()

    def forget_statuses(self) -> None:
        """Forget what was decided; what the actions have made stays known."""
        self._statuses.clear()

    def _decide(self, action: Action[Any]) -> Status:
        doubtful = self._stale
        stale = [
            edge.action
            for edge in action.upstream.values()
            if (doubtful is None or edge.action in doubtful) and not self.status(edge.action).fresh
        ]
        if stale:
            return _stale(f"{stale[0]} is stale{_and_more(stale)}")
        try:
            fields = self.fields(action)
        except SlipwayError as error:  # `perform` will say it, as a failure of this action and of no other
            return _stale(str(error).partition("\n")[0])
        return self._compared(action, keys.digest(fields), fields)

    def _compared(self, action: Action[Any], key: str, fields: Mapping[str, Json]) -> Status:
        """The verdict on an action whose key is known: what the tree holds was made with it, or not."""
        entry = self.workspace.get(action.name)
        if entry is None or entry.forgotten:
            return _stale("never built here" if entry is None else "forgotten", key, fields)
        if entry.key != key:
            return Status(False, partial(self.explain_key, entry.key, fields), key, fields)
        damaged = self.store.damaged(entry.outputs, f"{self._base}/{action.out}", self.stat_cache)
        if damaged:
            return _stale(f"output {damaged[0]} is missing or was changed", key, fields, tuple(damaged))
        if self.strict and self._leaves_open(self.store.record(key)):
            return _stale("not all of it was proven, which --strict asks for", key, fields)
        return UP_TO_DATE

    def _leaves_open(self, record: ActionResult | None) -> bool:
        """Whether a result is no good where everything must be proven."""
        return record is not None and bool(record.facts.get(OPEN))

    def fields(self, action: Action[Any]) -> dict[str, Json]:
        """Today's key document of an action whose upstream is in place.

        Raises:
            SlipwayError: an input cannot be read.
        """
        known = self._still_read(action)
        upstream = {
            role: read if (read := known.get(role)) is not None else self._outputs_read(edge)
            for role, edge in action.upstream.items()
        }
        return self.document(action, upstream)

    def _still_read(self, action: Action[Any]) -> Mapping[str, dict[str, str]]:
        """What the action read of those actions upstream that are known to be fresh: role -> {relative path: digest}.

        Its record says so at once, where the workspace would have to be asked about each of perhaps a thousand.
        """
        if self._stale is None or (key := self.workspace.key(action.name)) is None:
            return {}
        record = self.store.record(key)
        before = record.fields.get("upstream", {}) if record is not None else {}
        fresh = (role for role, edge in action.upstream.items() if edge.action not in self._stale and role in before)
        return {role: before[role] for role in fresh}

    def document(self, action: Action[Any], upstream: Mapping[str, Mapping[str, str]]) -> dict[str, Json]:
        """The key document of an action, given what it would read of its upstream: role -> {relative path: digest}.

        Raises:
            SlipwayError: an input cannot be read.
        """
        return keys.document(
            action,
            code=self._steps.code(action.module),
            files=self._files_read(action),
            upstream=upstream,
            tools={name: tool.version if (tool := self._tools[name]) else None for name in action.tools},
        )

    def explain_key(self, old_key: str, fields: Mapping[str, Json]) -> str:
        """The first difference between the recorded key's fields and today's, for people."""
        record = self.store.record(old_key)
        if record is None:
            return "its key changed"
        changes = [path for path, _, _ in keys.differences(record.fields, fields)]
        return f"{changes[0]} changed{_and_more(changes)}" if changes else "its key changed"

    def _files_read(self, action: Action[Any]) -> dict[str, str]:
        return {role: self._digest(self._at(path)) for role, path in action.files.items()}

    def _states_read(self, action: Action[Any]) -> list[State | None]:
        """What changes when an input is written, even if it is put back afterwards: the step may have read either."""
        return [_state(file) for path in action.files.values() for file in self._files_behind(path)]

    def _upstream_held_still(self, action: Action[Any], read: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether what the step read of its upstream is what the key says; what is not is put right, for the next try.

        Args:
            action: which one.
            read: role -> {relative path: digest}, as the key has it.

        Raises:
            StepError: it was changed, and the store has lost it.
        """
        still, bases = True, [self.folder_of(edge.action) for edge in action.upstream.values()]
        roles = zip(bases, action.upstream, strict=True)
        files = [(f"{base}/{path}", sha) for base, role in roles for path, sha in read[role].items()]
        if self.stat_cache.knows(files, "" if self.elsewhere else f"{self._base}/"):
            return True
        for edge, base in zip(action.upstream.values(), bases, strict=True):
            entry = self.workspace.get(edge.action)
            if entry is None or not self.store.damaged(entry.outputs, base, self.stat_cache):
                continue
            found = self.store.lookup(entry.key)
            if found is None:
                raise StepError(
                    f"an output of {edge.action} was changed while {action.name} read it", hint="run doit again"
                )
            self._place(self.actions[edge.action], found.record, entry, later=False)
            still = False
        return still

    def _digest(self, path: str) -> str:
        """The digest of a file or directory; of a recipe with all the files beside it that it imports."""
        if not path.endswith(".py"):
            return self.stat_cache.digest(path)
        files = recipe_files(Path(path))
        if len(files) == 1:
            return self.stat_cache.digest(path)
        return keys.digest(
            {os.path.relpath(file, os.path.dirname(path)): self.stat_cache.digest(file) for file in files}
        )

    def _outputs_read(self, edge: Upstream) -> dict[str, str]:
        made = self.made.get(edge.action)
        if made is None:
            made = self.workspace.digests(edge.action)
            if made is None:
                raise StepError(f"{edge.action} has not been built", hint=f"run: doit {edge.action}")
            self.made[edge.action] = made
        return keys.read_by(edge, made)

    def _at(self, path: str) -> str:
        return path if path.startswith("/") else f"{self._base}/{path}"

    # Doing

    def perform(self, name: str) -> Outcome:
        """Bring the action's outputs up to date, whatever it takes.

        Raises:
            SlipwayError: with what went wrong; finished work of other actions is safe in the store.
        """
        action = self.actions[name]
        started = time.monotonic()
        try:
            record, how, later = self._obtain(action)
        except OSError as error:
            raise store_error(error, f"build {name}", error.filename or self.root / SCRATCH) from error
        self.made[name] = {path: output.sha256 for path, output in record.outputs.items()}
        self._statuses[name] = UP_TO_DATE
        size = sum(output.size for output in record.outputs.values())
        outcome = self.outcomes[name] = Outcome(name, how, time.monotonic() - started, record.facts, size, later)
        return outcome

    def _obtain(self, action: Action[Any]) -> tuple[ActionResult, str, bool]:
        """The record of an action, its outputs in place; how it was come by; whether it is to be written down later."""
        entry = self.workspace.get(action.name)
        known = self._statuses.get(action.name, UP_TO_DATE)
        fields, key = known.fields, known.key
        for _ in range(ATTEMPTS):
            if fields is None or key is None:
                fields = self.fields(action)
                key = keys.digest(fields)
            if not self.always and not (entry is not None and entry.forgotten):
                found = self.store.lookup(key)
                if found is not None and not (self.strict and self._leaves_open(found.record)):
                    later = self.burst is not None
                    try:
                        self._place(action, found.record, entry, later=later)
                    except BlobMissing:  # it went since we looked: as if it had not been there
                        pass
                    else:
                        return found.record, found.how, later
            built = self._make(action, key, fields, entry)
            if built is not None:
                return built[0], "built", built[1]
            fields = key = None  # an input has changed meanwhile
        raise StepError(
            f"its inputs kept changing while {action.name} ran",
            hint="let the editor or the download finish, then run doit again",
        )

    def _make(
        self, action: Action[Any], key: str, fields: Mapping[str, Json], entry: Entry | None
    ) -> tuple[ActionResult, bool] | None:
        """Run the step, commit what it left, put it in place; None when an input changed meanwhile.

        Returns:
            The record, and whether it is still to be written down.
        """
        if self.store_only:
            raise StoreError(
                f"{action.name} is not in the store",
                hint="build it where that is allowed and share the store, or drop --from-store-only",
            )
        expected = entry.peak if entry is not None and entry.peak else action.memory
        before = self._states_read(action)
        made = self.executor.run(action, self._inputs(action), expected)
        left = set(made.files)
        try:
            if self._states_read(action) != before or self._files_read(action) != fields["files"]:
                return None
            if not self._upstream_held_still(action, fields["upstream"]):
                return None
            record = self._record(action, key, fields, made)
            marks: Marks = {}
            later = self.burst is not None and self.burst.takes(made.seconds)
            record = self.store.commit(record, made.files, texts=made.texts, log=made.log, marks=marks, later=later)
            small = marks.keys() & left
            self._place(action, record, entry, scratch=Scratch(made.out, marks, made.texts), later=later)
            left -= small - marks.keys()
        finally:
            self.executor.clear_away(made, left)
        return record, later

    def _record(self, action: Action[Any], key: str, fields: Mapping[str, Json], made: Made) -> ActionResult:
        """All that is known of a result, under the key by which it will be looked for next time.

        An action that ran without a pin (`lock` is null) and found out what it is gets the key it would have had with
        the pin, which is written down for the next plan: so that plan finds this very result.
        """
        lock = made.facts.get("lock")
        if lock is not None and action.params.get("lock", lock) is None:
            fields = {**fields, "params": {**action.params, "lock": lock}}
            key = keys.digest(fields)
            self.pin(action, lock)
        return ActionResult(
            key=key,
            name=action.name,
            fields=fields,
            facts=made.facts,
            started=made.began,
            seconds=made.seconds,
            cpu_seconds=made.usage.cpu,
            peak_bytes=made.usage.peak,
            host=self._host,
            versions=self._versions,
            encoded=getattr(fields, "text", None),
        )

    def _place(
        self,
        action: Action[Any],
        record: ActionResult,
        entry: Entry | None,
        scratch: Scratch | None = None,
        *,
        later: bool = False,
    ) -> None:
        """Put a record's outputs into the tree and into the workspace."""
        if entry is not None and entry.out != action.out:
            self.store.remove(entry.outputs, f"{self._base}/{entry.out}")
            entry = None
        before = entry.outputs if entry is not None else ()
        link = action.step in LINKED
        self.store.materialise(
            record, f"{self._base}/{action.out}", before, self.stat_cache, link=link, scratch=scratch
        )
        if not action.outputs:
            self._write_manifest(action, record)
        made = Entry(record.key, action.out, dict(record.outputs), record.seconds, record.peak_bytes)
        self.workspace.set(action.name, made, later=later)
        if later and self.burst is not None:
            self.burst.soon()

    def in_bursts(self, burst: Burst | None) -> None:
        """Have what quick actions do written down together, until this is called with None; see `burst`."""
        self.burst = burst
        self.store.records.patience = WINDOW if burst is not None else 0.0

    def write_down(self) -> None:
        """Have on disk what was done in a burst.

        Raises:
            StoreError: it could not be written.
        """
        self.store.records.flush()
        self.workspace.flush()

    def _write_manifest(self, action: Action[Any], record: ActionResult) -> None:
        """The file that stands for a directory of outputs in doit's eyes."""
        path = f"{self._base}/{manifest_path(action)}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{o.sha256} {o.size:>12} {o.mode:04o} {p}\n" for p, o in sorted(record.outputs.items()))

    def _inputs(self, action: Action[Any]) -> Reads:
        base, out_of = self._base, self._out_of
        paths = {role: os.path.realpath(self._at(path)) for role, path in action.files.items()}
        shown = {}
        for role, edge in action.upstream.items():
            out = out_of(edge.action)
            paths[role] = f"{base}/{out}"
            if edge.only or out.startswith("dist"):  # where several actions share a directory
                shown[role] = self._outputs_read(edge)
        return Reads(paths, shown)

    # Other processes that do the same actions (see `hands`)

    def learn(
        self,
        name: str,
        made: dict[str, str],
        states: Mapping[str, State],
        line: bytes | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        """Another process has done an action.

        Args:
            name: the action.
            made: relative path -> digest of its outputs.
            states: path -> state of them, as far as they are known by heart.
            line: what the workspace has of it now.
            outcome: what became of it.
        """
        self.made[name] = made
        self._statuses[name] = UP_TO_DATE
        base = self.folder_of(name)
        for path, sha in made.items():
            state = states.get(f"{base}/{path}")
            if state is not None:
                self.stat_cache.learn(f"{base}/{path}", state, sha)
        if line is not None:
            self.workspace.learn(name, line)
        if outcome is not None:
            self.outcomes[name] = outcome

    # Looking at the tree (see `settled`; what takes things out of it is `cleaning`)

    def inputs(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
        """(path, action) for every file that actions read and none makes; a directory comes with all that is in it."""
        for name in self.actions if names is None else names:
            for path in self.actions[name].files.values():
                yield from ((file, name) for file in self._files_behind(path))

    def _files_behind(self, path: str) -> Iterator[str]:
        """What an input consists of: itself, what a recipe imports, what is in a directory."""
        full = self._at(path)
        yield full
        if full.endswith(".py"):
            yield from map(str, recipe_files(Path(full)))
        elif os.path.isdir(full):
            yield from map(str, Path(full).rglob("*"))

    def outputs(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, str, Output]]:
        """(path, action, output) for every file that actions have put into the tree."""
        for name in self.actions if names is None else names:
            entry = self.workspace.get(name)
            if entry is not None:
                base = f"{self._base}/{entry.out}"
                for path, made in entry.outputs.items():
                    yield f"{base}/{path}", name, made

    def folder_of(self, name: str) -> str:
        """The directory that the outputs of an action are in."""
        return f"{self._base}/{self._out_of(name)}"

    def look_again(self, name: str) -> None:
        """Have the stat_cache up to date with the outputs of an action in the tree."""
        entry = self.workspace.get(name)
        if entry is not None:
            self.store.damaged(entry.outputs, f"{self._base}/{entry.out}", self.stat_cache)


def _stale(
    reason: str, key: str | None = None, fields: Mapping[str, Json] | None = None, damaged: tuple[str, ...] = ()
) -> Status:
    return Status(False, lambda: reason, key, fields, damaged)


def _state(path: str) -> State | None:
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns


def _and_more(things: Sequence[str]) -> str:
    return f" and {len(things) - 1} more" if len(things) > 1 else ""
