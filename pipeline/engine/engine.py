"""Decides whether an action is up to date and, where it is not, makes it so: from the store, or by running its step.

doit's tasks and the commands call it: `status` from doit's main thread, `perform` from its worker threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from pipeline.action import SCRATCH, AnyAction
from pipeline.documents.report import verdict_in
from pipeline.errors import SlipwayError, StepError, StoreError
from pipeline.store import outputs
from pipeline.store.action_result import ActionResult, Output, digests_of
from pipeline.store.os_errors import BlobMissing, told
from pipeline.store.stat_cache import StatCache
from pipeline.store.store import Store
from pipeline.store.tree import demand_no_links, folders_of
from pipeline.store.workspace import Entry, Workspace

from . import keys
from .executor import ExecutionResult, Executor, ResolvedInputs, result_of
from .inputs import Inputs
from .options import Options
from .status import UP_TO_DATE, Outcome, Status, and_more, stale, write_manifest
from .views import View, Views

ATTEMPTS = 3
"""How often an action is started over because an input changed while it ran."""

Pin = Callable[[AnyAction, object], None]
"""Writes down what an action without a pin found out about itself; see `Engine._result`."""

log = logging.getLogger(__name__)


class Elsewhere(Protocol):
    """Has actions performed by other machines; see `pipeline.cluster.sender`."""

    def __call__(
        self, action: AnyAction, fields: Mapping[str, object], views: Mapping[str, View], expected: int
    ) -> ActionResult | None:
        """Have an action performed, which needs the expected bytes of memory; None where it has to be done here.

        `fields` is its key document, `views` are of its upstream.

        Raises:
            SlipwayError: what the step raised.
        """

    def close(self) -> None:
        """The run is over."""


class Engine:
    """The actions of one matrix, in one tree, over one store.

    Attributes:     elsewhere: has actions performed by other machines, where there are any.     wanted: names of
    actions whose outputs are to be in the tree, also where they are only intermediate.
    """

    def __init__(
        self,
        root: Path,
        *,
        inputs: Inputs,
        store: Store,
        workspace: Workspace,
        stat_cache: StatCache,
        executor: Executor,
        pin: Pin,
        options: Options,
    ) -> None:
        self.root = root
        self.inputs = inputs
        self.store = store
        self.workspace = workspace
        self.stat_cache = stat_cache
        self.executor = executor
        self.views = Views(root, workspace, store, stat_cache)
        self.elsewhere: Elsewhere | None = None
        self.wanted: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}
        self._pin = pin
        self._options = options
        self._base = str(root)
        self._statuses: dict[str, Status] = {}
        self._hosts: dict[str, str] = {}
        self._fetching: dict[str, threading.Lock] = {}

    @property
    def actions(self) -> Mapping[str, AnyAction]:
        """By name, upstream before downstream."""
        return self.inputs.actions

    # Deciding

    def status(self, name: str) -> Status:
        """Whether the action is up to date. Remembered until it, or something upstream of it, has run."""
        known = self._statuses.get(name)
        if known is None:
            known = self._statuses[name] = self._decide(self.actions[name])
            if log.isEnabledFor(logging.DEBUG):  # a reason takes reading of the store
                log.debug("%s: %s (key %s)", name, known.reason or "up to date", known.key)
        return known

    def reconsider(self) -> None:
        """Forget all decisions: the tree may have changed."""
        self._statuses.clear()
        self.inputs.forget_outputs()

    def compare(self, action: AnyAction, fields: Mapping[str, object]) -> Status:
        """The status of an action whose key document is known: what the tree holds was made with it, or not."""
        key, entry = keys.digest(fields), self.workspace.get(action.name)
        if entry is None or entry.forgotten:
            return stale("never built here" if entry is None else "forgotten", key, fields)
        if entry.key != key:
            return stale(partial(self._key_change, entry.key, fields), key, fields)
        wanted = entry.outputs if self.bytes_wanted(action) else entry.in_tree
        damaged = outputs.damaged(wanted, f"{self._base}/{action.out}", self.stat_cache, self.store.blobs)
        if damaged:
            return stale(f"output {damaged[0]} is missing or was changed", key, fields, damaged)
        if self._options.strict and verdict_in(self.facts(action.name)).not_proven:
            return stale("not all of it was proven, which --strict asks for", key, fields)
        if self._is_traced(action):
            return stale("--trace-reads runs it again", key, fields)
        return UP_TO_DATE

    def stale_before(self, action: AnyAction) -> list[str]:
        """The upstream actions that are stale."""
        return [name for name in action.waits_for if not self.status(name).fresh]

    def _is_traced(self, action: AnyAction) -> bool:
        return action.runs_command and self._options.trace_reads

    def _decide(self, action: AnyAction) -> Status:
        behind = self.stale_before(action)
        if behind:
            return stale(f"{behind[0]} is stale{and_more(behind)}")
        try:
            return self.compare(action, self.inputs.key_fields(action))
        except SlipwayError as error:  # `perform` will say it, as a failure of this action and of no other
            return stale(error.headline)

    def _key_change(self, old_key: str, fields: Mapping[str, object]) -> str:
        """The first difference between the recorded key's fields and today's."""
        record = self.record(old_key)
        changes = [path for path, _, _ in keys.differences(record.fields, fields)] if record is not None else []
        return f"{changes[0]} changed{and_more(changes)}" if changes else "its key changed"

    # Doing

    def perform(self, name: str) -> Outcome:
        """Bring the action's outputs up to date, whatever it takes.

        Raises:
            SlipwayError: with what went wrong; finished work of other actions is safe in the store.
        """
        action = self.actions[name]
        started = time.monotonic()
        with told(f"build {name}", self.root / SCRATCH):
            record, how = self._obtain(action)
        self.inputs.note_outputs(name, digests_of(record.outputs))
        self._statuses[name] = UP_TO_DATE
        host = self._hosts.pop(name, "")
        seconds = record.seconds if host else time.monotonic() - started  # without the wait for room elsewhere
        outcome = Outcome(name, how, seconds, host)
        self.outcomes[name] = outcome
        log.debug("%s: %s in %.3f s (key %s)", name, how, outcome.seconds, record.key)
        return outcome

    def _obtain(self, action: AnyAction) -> tuple[ActionResult, str]:
        """The result of an action, its outputs in place, and how it was come by."""
        entry = self.workspace.get(action.name)
        fields = self._statuses.get(action.name, UP_TO_DATE).fields
        for _ in range(ATTEMPTS):
            if fields is None:
                fields = self.inputs.key_fields(action)
            key = keys.digest(fields)
            if not self._options.always and not self._is_traced(action) and not (entry is not None and entry.forgotten):
                found = self.store.lookup(key, action.outputs, bytes_wanted=self.bytes_wanted(action))
                if found is not None and not (self._options.strict and verdict_in(found.record.facts).not_proven):
                    try:
                        self._place(action, found.record, entry, remote=found.how == "remote")
                    except BlobMissing as gone:  # since `lookup`: as if it had never been there
                        log.debug("%s: %s", action.name, gone)
                    else:
                        return found.record, found.how
            try:
                # What is built for it may come out different.
                built = None if self.fetch_upstream(action) else self._build(action, key, fields, entry)
            except BlobMissing as gone:  # spoilt while it was put away
                log.debug("%s: %s", action.name, gone)
                built = None
            if built is not None:
                return built, "built"
            fields = None  # an input has changed meanwhile
        raise StepError(
            f"its inputs kept changing while {action.name} ran",
            hint="let the editor or the download finish, then run doit again",
        )

    def _build(
        self, action: AnyAction, key: str, fields: Mapping[str, object], entry: Entry | None
    ) -> ActionResult | None:
        """Run the step, commit what it left, put it in place; None when an input changed meanwhile."""
        if self._options.store_only:
            raise StoreError(
                f"{action.name} is not in the store",
                hint="build it where that is allowed and share the store, or drop --from-store-only",
            )
        expected = entry.peak if entry is not None and entry.peak else action.memory
        before, views = self.inputs.states(action), self.views.of(action)
        resolved = self.resolved(action, views)

        def held_still() -> bool:
            seen = all(view.is_still() for view in views.values())
            return seen and self.inputs.files(action) == fields["files"] and self.inputs.states(action) == before

        if not held_still():
            return None
        if action.travels and self.elsewhere is not None and not self._must_run_here(entry):
            result = self.elsewhere(action, fields, views, expected)
            if result is not None:
                self._place(action, result, entry)
                self._hosts[action.name] = result.host
                return result
            if not held_still():
                return None
        try:
            made = self.executor.run(action, resolved, expected)
        except (SlipwayError, OSError):
            if held_still():
                raise
            return None  # what failed is not what lies there now
        try:
            if not held_still():
                return None
            draft = self._result(action, key, fields, made)
            result = self.store.commit(draft, made.files, log=made.log, known=made.known, linked=made.linked)
            self._place(action, result, entry)
        finally:
            self.executor.clear_away(made.out)
        return result

    def bytes_wanted(self, action: AnyAction) -> bool:
        """Whether an action's outputs are to be in the tree: else they may stay in the remote store."""
        return not action.intermediate or action.name in self.wanted

    def fetch_upstream(self, action: AnyAction) -> bool:
        """Have here what an action reads of outputs that stayed in the remote store; whether any had to be built."""
        built = False
        for edge in action.upstream.values():
            with self._fetching.setdefault(edge.action, threading.Lock()):
                entry = self.workspace.get(edge.action)
                if entry is None or not entry.remote or self.views.fetch(edge, entry, self.record(entry.key)):
                    continue
                self.wanted.add(edge.action)
                self.perform(edge.action)
                built = True
        return built

    def resolved(self, action: AnyAction, views: Mapping[str, View]) -> ResolvedInputs:
        """The inputs of an action, with the views of its upstream."""
        paths = {role: view.folder for role, view in views.items()}
        return ResolvedInputs({**self.inputs.paths(action), **paths}, self.inputs.digests(action))

    def _must_run_here(self, entry: Entry | None) -> bool:
        """Whether the user wants it done anew: another machine would answer from the store."""
        return self._options.always or (entry is not None and entry.forgotten)

    def _result(self, action: AnyAction, key: str, fields: Mapping[str, object], made: ExecutionResult) -> ActionResult:
        """All that is known of a result, under the key by which it will be looked for next time.

        An action that ran without a pin (`lock` is null) and found out what it is gets the key it would have had with
        the pin, which is written down for the next plan: so that plan finds this very result.
        """
        lock, params = made.facts.get("lock"), fields["params"]
        if lock is not None and isinstance(params, dict) and params.get("lock", lock) is None:
            fields = {**fields, "params": {**params, "lock": lock}}
            key = keys.digest(fields)
            self._pin(action, lock)
        return result_of(key, action, fields, made)

    def _place(self, action: AnyAction, record: ActionResult, entry: Entry | None, *, remote: bool = False) -> None:
        """Put a result's outputs into the tree, unless they stay in the remote store, and into the workspace."""
        if entry is not None and entry.out != action.out:
            demand_no_links(self.root, folders_of(entry.out, entry.in_tree))
            outputs.remove(entry.in_tree, f"{self._base}/{entry.out}")
            entry = None
        before = entry.in_tree if entry is not None else ()
        demand_no_links(self.root, folders_of(action.out, (*record.outputs, *before)))
        out = f"{self._base}/{action.out}"
        scratch = self.executor.unused() if action.in_one_rename else None
        if remote:
            outputs.remove(before, out)
        else:
            self.store.materialise(record, out, before, self.stat_cache, link=action.link_outputs, scratch=scratch)
        if not action.outputs:
            write_manifest(action, self.root, record.outputs)
        held, facts = dict(record.outputs), dict(record.facts)
        made = Entry(record.key, action.out, held, record.seconds, record.peak_bytes, facts=facts, remote=remote)
        self.workspace.set(action.name, made)

    # What the tree holds

    def facts(self, name: str) -> Mapping[str, object]:
        """What the step reported of what the tree holds; an entry of an older Slipway has it in the store alone."""
        entry = self.workspace.get(name)
        if entry is None or entry.facts:
            return entry.facts if entry is not None else {}
        record = self.store.record(entry.key)
        return record.facts if record is not None else {}

    def record(self, key: str) -> ActionResult | None:
        """The result that the tree's outputs were made by; where it was left in the remote store, from there."""
        remote = self.store.remote
        return self.store.record(key) or (remote.record(key) if remote is not None else None)

    def outputs(self) -> Iterator[tuple[str, Output]]:
        """(absolute path, output) of every file that actions have put into the tree."""
        for name in self.actions:
            entry = self.workspace.get(name)
            if entry is not None:
                for path, made in entry.in_tree.items():
                    yield f"{self._base}/{entry.out}/{path}", made
