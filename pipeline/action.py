"""The values that travel from plan to engine to steps, and the seams between them.

`plan` makes `Action`s, `engine` turns one into a `Job` and hands it to a step, the step writes files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from .errors import Position, StepError, ToolMissing
from .files import Digest, digest_path


class Upstream(NamedTuple):
    """An edge of the graph: the outputs of another action that this one reads. A graph has tens of thousands.

    `only` narrows it to outputs whose relative path matches one of the patterns (fnmatch): nothing else enters the
    key, and the step is shown a directory with just those files.
    """

    action: str
    only: tuple[str, ...] = ()


P_co = TypeVar("P_co", covariant=True)
"""The parameters of a step: a frozen dataclass in the module of its `run`. `Action[object]` is any action."""

R = TypeVar("R")

Facts = Mapping[str, object]
"""What a step reports, for people: names and JSON. Values of ours in it are encoded by `documents.codec`."""

Run = Callable[["Job[P_co]"], Facts]
"""A step's function: it leaves files in `job.out`."""


@dataclass(frozen=True)
class Action(Generic[P_co]):
    """One step on one subject, as a value. Its key is the SHA-256 of all that can change the result.

    Attributes:
        step: kind of work, as tasks are named: `compile`.
        subject: what it is done to, e.g. `minilm-f32@ios-arm64`.
        run: the function that does it. The digest of the code of its module is in the key.
        params: what `run` reads. Encoded by `documents.codec`, all of it is in the key.
        out: directory for the outputs, relative to the project's root; left out, `build/<step>/<subject>`.
        files: role -> path, relative to the root or absolute: files and directories a human owns. Their digests are
            in the key.
        upstream: role -> edge. The digests of those outputs are in the key.
        tools: names of programs or environments whose identity is in the key (`pipeline.tools.finder` finds them).
        outputs: names, relative to `out`, known before the action runs. Empty where only the step can know them
            (weights, xcframeworks): then a manifest under `build/manifest/` stands for them.
        memory: bytes this is expected to need at its peak, for admission; not in the key.
        doc: one line for `doit list`; not in the key.
        where: the place in targets.yaml that asked for it; not in the key.
        link_outputs: its outputs are large and only read: put into the tree as links to their blobs; not in the key.
        in_one_rename: `out` is replaced as a whole, in one rename, and not file by file; not in the key.
        runs_command: it runs a command of the user's, whose reads can be traced; not in the key.
        proven_by: the action whose report says how the outputs are proven, for the table; not in the key.
        travels: another machine may do it, if it has the same code and tools; not in the key.
        shares: the work it has in common with others, which had best be done on one machine; not in the key.
        intermediate: only other actions read its outputs: what the remote store has of them stays there until one
            does. It has no `outputs`; not in the key.
    """

    step: str
    subject: str
    run: Run[P_co] = field(repr=False)
    params: P_co
    out: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    memory: int = 0
    doc: str = ""
    where: Position | None = None
    link_outputs: bool = False
    in_one_rename: bool = False
    runs_command: bool = False
    proven_by: str = ""
    travels: bool = False
    shares: str = ""
    intermediate: bool = False

    def __post_init__(self) -> None:
        """Complete the directory for the outputs."""
        object.__setattr__(self, "out", self.out or f"build/{self.step}/{self.subject}")

    @property
    def module(self) -> str:
        """The module that does the work: what it reaches by import is in the key."""
        return self.run.__module__

    @property
    def name(self) -> str:
        """The doit task name, which reads like a sentence: `compile:minilm-f32@ios-arm64`."""
        return f"{self.step}:{self.subject}"

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The names of the actions upstream, each once."""
        return tuple(dict.fromkeys(edge.action for edge in self.upstream.values()))


AnyAction = Action[Any]
"""An action of some step: what plans and the engine hand around without looking at its parameters."""


class Tool(NamedTuple):
    """A program that was found, and what it says it is. `version` is what enters the key."""

    name: str
    path: Path
    version: str


def present(tool: Tool | None, what: str, hint: str) -> Tool:
    """The tool.

    Raises:
        ToolMissing: there is none, which `what` says.
    """
    if tool is None:
        raise ToolMissing(what, hint=hint)
    return tool


class Worker(Protocol):
    """A warm interpreter of one toolchain that runs functions in child processes: a crash fails one action only."""

    def call(
        self, work: partial[R], *, log: Path, after: partial[Any] | None = None, cpu_limit: float | None = None
    ) -> R:
        """Run a function in a child and return its result.

        Args:
            work: the function, which stands at the top of a module, with its arguments by name. They and the result
                travel as JSON, and arrive as the types that the function is annotated with (`documents.codec`).
                It imports TVM itself.
            log: file that gets the child's stdout and stderr, appended.
            after: a first stage: its result is the first argument of `work`, and never leaves the process. Equal
                stages run once, in a process that later calls fork.
            cpu_limit: CPU seconds after which the child is ended.

        Raises:
            CompilerCrash: the child died of a signal (named), or of the limit.
            SlipwayError: what the function itself raised, rebuilt from its message; other exceptions arrive as
                StepError with the exception's name and text, the traceback being in the log.
        """


SCRATCH = "build/scratch"
"""Directory, relative to the root, of what a run leaves only when it is killed; the next one clears it."""

_AROUND = 40
"""Characters that a message shows on both sides of one that is wrong."""

LOGS = "build/log"
"""Directory, relative to the root, of what the tools of actions and toolchains print."""


class Services(Protocol):
    """What a step may ask of whoever runs it.

    Attributes:
        strict: a result that leaves questions open is an error. In no key: it changes no result.
        trace_reads: commands of the user's are watched, and what they read must be declared. In no key either.
    """

    strict: bool
    trace_reads: bool

    def worker(self, toolchain: str, *, fresh: bool | None = None) -> Worker:
        """The worker of a toolchain (`current` is the Python that runs doit).

        `fresh` tells whether its calls get an interpreter each, and no fork of one. Left out: as its probe found.
        """

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Report how far this job is. Cheap; may be called often."""


@dataclass(frozen=True)
class Job(Generic[P_co]):
    """An action made concrete: what a step's `run(job)` gets.

    Attributes:
        inputs: role -> absolute path. For `files` the file or directory itself; for `upstream` the directory holding
            that action's outputs (a narrowed view of it where the edge says `only`).
        tools: name -> the program, or None where it is missing.
        out: a directory, empty at first. Everything a step leaves in it is output, and nothing elsewhere is.
        log: the file for what tools print; kept with the result.
        digests: role -> relative path -> SHA-256, of the outputs of upstream actions that are inputs.
        adopted: relative path -> file and digest, of outputs that were given to `adopt`.
        cache: the directory for what tools keep between runs. A step gives the same outputs whatever is in it.
    """

    params: P_co
    inputs: Mapping[str, Path]
    tools: Mapping[str, Tool | None]
    out: Path
    log: Path
    services: Services
    cache: Path = Path("build/cache")
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    adopted: dict[str, tuple[Path, Digest]] = field(default_factory=dict)

    def write(self, path: str, content: str | bytes) -> None:
        """Write an output to a path relative to `out`; text becomes UTF-8.

        Raises:
            StepError: the text names a file whose name is not UTF-8.
        """
        file = self.out / path
        if "/" in path:
            file.parent.mkdir(parents=True, exist_ok=True)
        try:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        except UnicodeEncodeError as error:
            named = content[max(0, error.start - _AROUND) : error.end + _AROUND]
            raise StepError(
                f"{path} cannot name a file whose name is not UTF-8: …{named!a}…",
                hint="rename that file, or leave it out of the model's `bundle` and `files`",
            ) from error

    def files(self, role: str) -> list[tuple[str, Path]]:
        """Every file of an input directory, sorted: its path relative to it, with forward slashes, and where it is."""
        folder = self.inputs[role]
        return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())

    def digest_of(self, role: str, path: str) -> Digest:
        """The digest of a file of an input directory: from the key, which has it; else the file is read."""
        file = self.inputs[role] / path
        sha256 = self.digests.get(role, {}).get(path)
        return digest_path(file) if sha256 is None else Digest(sha256, file.stat().st_size)

    def adopt(self, path: str, file: Path, digest: Digest) -> None:
        """Make an output at `path`, relative to `out`, of a file whose digest is known: it is not read again.

        A file in `out` at this very path is moved into the store; any other stays where it is, and the store links to
        it where it can, so that it lies on the disk once. It must not be written to any more.
        """
        self.adopted[path] = (file, digest)

    def cache_dir(self, *names: str) -> Path:
        """A directory below `cache`, made where it is not there."""
        folder = self.cache.joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
