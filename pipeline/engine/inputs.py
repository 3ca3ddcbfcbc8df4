"""What an action reads (files, outputs of its upstream, tools): digests for the key, paths for the step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline import roles
from pipeline.action import AnyAction, Upstream
from pipeline.errors import StepError
from pipeline.files import State, look
from pipeline.files.below import below
from pipeline.store.action_result import digests_of
from pipeline.store.stat_cache import StatCache
from pipeline.store.workspace import Workspace

from . import keys
from .executor import Tools
from .sources import Behind, behind


class Inputs:
    """The inputs of the actions of one tree, in whose absolute root relative paths begin.

    `code` gives the digest of all the code that can change what a module's `run` does.
    """

    def __init__(
        self,
        root: Path,
        actions: Mapping[str, AnyAction],
        *,
        workspace: Workspace,
        stat_cache: StatCache,
        tools: Tools,
        code: Callable[[str], str],
    ) -> None:
        self.actions = actions
        self._base = str(root)
        self._workspace = workspace
        self._stat_cache = stat_cache
        self._tools = tools
        self._code = code
        self._made: dict[str, Mapping[str, str]] = {}

    def replan(self, actions: Mapping[str, AnyAction]) -> None:
        """Take over a new plan of the same actions."""
        self.actions = actions

    def note_outputs(self, name: str, digests: Mapping[str, str]) -> None:
        """Remember the digests of an action's outputs."""
        self._made[name] = digests

    def forget_outputs(self) -> None:
        """Read all digests from the workspace again: another process may have changed it."""
        self._made.clear()

    def key_fields(self, action: AnyAction) -> dict[str, object]:
        """Today's key document of an action whose upstream is in place.

        Raises:
            SlipwayError: an input cannot be read.
        """
        return self.document(action, {role: self.upstream(edge) for role, edge in action.upstream.items()})

    def document(self, action: AnyAction, upstream: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
        """The key document of an action, given what it would read of its upstream: role -> {relative path: digest}.

        Raises:
            SlipwayError: an input cannot be read.
        """
        return keys.document(
            action,
            code=self._code(action.module),
            files=self.files(action),
            upstream=upstream,
            tools={name: self.tool(name) for name in action.tools},
        )

    def tool(self, name: str) -> str | None:
        """The version of a tool; None where it is missing."""
        tool = self._tools[name]
        return tool.version if tool else None

    def files(self, action: AnyAction) -> dict[str, str]:
        """Role -> digest of the files and directories that no action makes."""
        return {role: self._digest(role, self.at(path)) for role, path in action.files.items()}

    def upstream(self, edge: Upstream) -> dict[str, str]:
        """Relative path -> digest of the outputs that an edge reads.

        Raises:
            StepError: they have not been built.
        """
        made = self._made.get(edge.action)
        if made is None:
            entry = self._workspace.get(edge.action)
            if entry is None:
                raise StepError(f"{edge.action} has not been built", hint=f"run: doit {edge.action}")
            made = self._made[edge.action] = digests_of(entry.outputs)
        return keys.read_by(edge, made)

    def states(self, action: AnyAction) -> list[State]:
        """What changes when an input is written, even if it is put back afterwards: the step may have read either."""
        return [look(file) for role, path in action.files.items() for file in self._consists_of(role, path)]

    def all_files(self) -> Iterator[str]:
        """Every file that actions read and none makes; a directory comes with all that is in it."""
        for role, path in self._given():
            yield from self._consists_of(role, path)

    def folders(self) -> Iterator[str]:
        """Where one file more would be one of `all_files`: a module that is imported and not there."""
        for role, path in self._given():
            if roles.is_source(role):
                yield from map(str, behind(Path(self.at(path))).folders)

    def tree(self, action: AnyAction) -> dict[str, str]:
        """Every file behind the files of an action: path, links resolved -> digest."""
        found = (one for role, path in self.paths(action).items() for one in self._consists_of(role, str(path)))
        return {path: self._stat_cache.digest(path) for path in found if os.path.isfile(path)}

    def _given(self) -> Iterable[tuple[str, str]]:
        """(role, path) of every input, each once."""
        every = (item for action in self.actions.values() for item in action.files.items())
        return {(roles.is_source(role), path): (role, path) for role, path in every}.values()

    def _consists_of(self, role: str, path: str) -> Iterator[str]:
        """The files of an input: itself, those behind a source, what is in a directory."""
        full = self.at(path)
        yield full
        if roles.is_source(role):
            yield from map(str, behind(Path(full)).files)
        if os.path.isdir(full):
            with suppress(OSError):  # whoever digests it says what is wrong
                yield from (f"{full}/{name}".removesuffix("/") for name in below(full))

    def paths(self, action: AnyAction) -> dict[str, Path]:
        """Role -> file or directory that no action makes."""
        given = {role: self.at(path) for role, path in action.files.items()}
        return {
            role: behind(Path(path)).path if roles.is_source(role) else Path(os.path.realpath(path))
            for role, path in given.items()
        }

    def digests(self, action: AnyAction) -> dict[str, dict[str, str]]:
        """Role -> relative path -> digest, of the outputs that are read of upstream actions, and of sources."""
        given = ((role, Path(self.at(path))) for role, path in action.files.items() if roles.is_source(role))
        sources = {role: self._sources(behind(path)) for role, path in given}
        return sources | {role: self.upstream(edge) for role, edge in action.upstream.items()}

    def at(self, path: str) -> str:
        """The absolute path of an input."""
        return path if path.startswith("/") else f"{self._base}/{path}"

    def _digest(self, role: str, path: str) -> str:
        """The digest of a file or directory; of a source with all the files behind it."""
        if not roles.is_source(role):
            return self._stat_cache.digest(path)
        source = behind(Path(path))
        name, sources = source.path.name, self._sources(source)
        if sources.keys() <= {name}:
            return self._stat_cache.digest(path)
        return keys.digest(sources if name in sources else {**sources, "": self._stat_cache.digest(path)})

    def _sources(self, source: Behind) -> dict[str, str]:
        """Digests of the files behind a source, by their paths relative to its own folder."""
        folder = source.path.parent
        return {os.path.relpath(file, folder): self._stat_cache.digest(file) for file in source.files}
