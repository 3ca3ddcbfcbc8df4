"""A command of the user's as a step: `steps:` of targets.yaml.

The engine runs it for each subject. The command sees copies of the files of the tree that it declares, at the same
relative paths, and links to what its upstream put out; nothing else of the tree is there.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import NamedTuple

from pipeline import roles
from pipeline.action import Facts, Job, present
from pipeline.confined import program, reads
from pipeline.errors import StepError, ToolMissing
from pipeline.files import State, look
from pipeline.files.sharing import share, symlink
from pipeline.matrix.placeholders import filled
from pipeline.nearest import listed
from pipeline.process import Finished

PROGRAM = "program:"
"""Before the name of a program on PATH: the tool that stands for it, whose version is the digest of its file."""

_TRACED = 40
"""Files that a message of `--trace-reads` lists; they are asked for."""

_CHUNK_BYTES = 1 << 20

_LAST, _LONGEST = 20, 2000
"""Lines in which a command says why it failed, and characters of one."""
_LACKS = re.compile("no such file|no module named|not (?:be )?f(?:ou|i)nd|not exist|can(?:no|')t open", re.IGNORECASE)
_WORD = re.compile(r"[^\s'\"`\u2018\u2019:;,()\[\]<>]{1,200}")


@dataclass(frozen=True)
class Params:
    """What the step is given.

    Attributes:
        command: words, in which `{in.NAME}` and `{out}` are to be filled in.
        program: the one to be found on PATH; None where the first word is a file.
        paths: name of an input -> its path in the tree, or an absolute one; empty for outputs of a task. One of several
            tasks has a name of two parts, `sealed/minilm-f32`.
        outputs: names and patterns of what must be there afterwards, and nothing else.
        environment: variables, filled in as the command.
        secrets: names of variables.
        timeout: seconds; it changes no result.
    """

    command: tuple[str, ...]
    program: str | None
    paths: Mapping[str, str]
    outputs: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    timeout: float = field(default=3600.0, compare=False)


class _Folders(NamedTuple):
    """Where a command runs: `tree` has the files that it declares, `given` links to outputs of tasks."""

    whole: Path
    tree: Path
    given: Path
    out: Path
    home: Path
    temporary: Path
    traces: Path


def run(job: Job[Params]) -> Facts:
    """Run the command, and hold it to what it declares.

    Raises:
        StepError: a secret is missing or too short; the command failed or hung, left an output out, added one, wrote
            elsewhere, put a secret into an output, or was traced and read what it does not declare.
        ToolMissing: its program is not there.
    """
    params = job.params
    secrets = _secrets(params.secrets)
    words = list(params.command)
    if params.program is not None:
        hint = f"install it, or put it on PATH; a file of the tree is written with its path: ./{params.program}"
        tool = present(job.tools[f"{PROGRAM}{params.program}"], f"{params.program} is not installed", hint)
        words[0] = str(tool.path)
    with _laid_out(job) as folders:
        values = {"out": "../out", **dict(map(_placeholder, params.paths.items()))}
        command = [filled(word, values) for word in words]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folders.home),
            "TMPDIR": str(folders.temporary),
            "LANG": "C.UTF-8",
            **{name: filled(value, values) for name, value in params.environment.items()},
        }
        before = {} if program.is_held() else _beside(job)
        given = _given(job)
        done = program.run(
            command,
            before=_tracer(job, folders),
            cwd=folders.tree,
            environment=environment,
            secrets=secrets,
            writable=(folders.whole, job.out),
            readable=(*job.inputs.values(), *given, *map(Path, os.get_exec_path())),
            log=job.log,
            timeout=params.timeout,
        )
        _check_given(job, given)
        denied = program.is_held() and "denied" in done.output
        place = "a step writes nowhere but below {out}, $TMPDIR and $HOME" if denied else None
        program.demand_success(done, job.log, hint=_undeclared(job, folders, done) or place)
        _check_places(job, before)
        _check_secrets(job, secrets)  # before a message names an output
        _check_outputs(job, folders)
        if job.services.trace_reads:
            _check_reads(job, folders, command[0], secrets)
    size = sum(path.stat().st_size for path in _files(job.out).values() if not path.is_symlink())
    return {"files": len(_files(job.out)), "bytes": size}


def _placeholder(given: tuple[str, str]) -> tuple[str, str]:
    """What stands for an input in a command, and where it is for that."""
    name, path = given
    folder = name.partition("/")[0]
    return (f"in.{name}", path) if path else (f"in.{folder}", f"../in/{folder}")


def _secrets(names: Sequence[str]) -> dict[str, str]:
    for name in names:
        if not os.environ.get(name):
            raise StepError(
                f"the variable {name} is not set, and the step asks for it",
                hint=f"set it before doit runs: its value will be in no key, result or log (`secrets: [{name}]`)",
            )
        if len(os.environ[name].strip()) < program.SHORTEST:
            raise StepError(
                f"the value of {name} is shorter than {program.SHORTEST} characters: nobody could tell whether it is "
                "in a log or a result, or whether that is chance",
                hint="take a longer one",
            )
    return {name: os.environ[name] for name in names}


@contextmanager
def _laid_out(job: Job[Params]) -> Iterator[_Folders]:
    """The folders of a command with its inputs in them; they are removed afterwards."""
    whole = Path(tempfile.mkdtemp(prefix="step-"))
    folders = _Folders(whole, *(whole / name for name in ("tree", "in", "out", "home", "tmp", "traces")))
    try:
        for folder in (folders.tree, folders.given, folders.home, folders.temporary):
            folder.mkdir()
        symlink(job.out, folders.out)
        for name, path in job.params.paths.items():
            source = job.inputs[roles.given(name)]
            if not path:
                place = folders.given / name
                place.parent.mkdir(parents=True, exist_ok=True)
                symlink(source, place)
            elif not Path(path).is_absolute():
                _copy(source, folders.tree / path)
        yield folders
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """A copy, so that a Python file finds no module beside it that was not declared, and leaves none there."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    elif not target.exists():  # it may have come with a directory
        target.parent.mkdir(parents=True, exist_ok=True)
        share(str(source), str(target), source.stat().st_mode & 0o777 | 0o200, link=False)


def _beside(job: Job[Params]) -> dict[str, State]:
    """The files in the folders that its inputs in the tree are in: where a command writes that is not held back."""
    given = (job.inputs[roles.given(name)] for name, path in job.params.paths.items() if path)
    folders = {path.parent for path in given}
    files = (entry for folder in folders for entry in os.scandir(folder))
    return {entry.path: look(entry.path) for entry in files if entry.is_file() and not entry.name.startswith(".")}


def _check_places(job: Job[Params], before: Mapping[str, State]) -> None:
    if before and (changed := [path for path, state in _beside(job).items() if before.get(path) != state]):
        raise StepError(
            f"files beside its inputs changed while it ran: {listed(changed)}",
            hint="a step writes nowhere but below {out}; if that was you, run doit again",
            log=job.log,
        )


def _given(job: Job[Params]) -> dict[Path, os.stat_result]:
    """The outputs of tasks that it is given, and what the system knows of each: nothing keeps a command from that."""
    folders = (job.inputs[roles.given(name)] for name, path in job.params.paths.items() if not path)
    return {path: path.stat() for folder in folders for path in folder.rglob("*") if path.is_file()}


def _check_given(job: Job[Params], before: Mapping[Path, os.stat_result]) -> None:
    """Refuse a command that changed what it was given, and undo what it did to modes and times."""
    changed = []
    for path, was in before.items():
        now = path.stat() if path.exists() else None
        if now is None or (now.st_mode, now.st_size, now.st_mtime_ns) != (was.st_mode, was.st_size, was.st_mtime_ns):
            changed.append(path.name)
        if now is not None and (now.st_ino, now.st_size) == (was.st_ino, was.st_size):
            with suppress(OSError):
                path.chmod(was.st_mode & 0o7777)
                os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    if changed:
        raise StepError(
            f"the command changed what it was given: {listed(sorted(changed))}",
            hint="have it change copies, below $TMPDIR",
            log=job.log,
        )


def _files(out: Path) -> dict[str, Path]:
    """Everything in the directory of the outputs that is not a directory."""
    found = (Path(folder) / name for folder, folders, files in os.walk(out) for name in (*folders, *files))
    return {path.relative_to(out).as_posix(): path for path in found if path.is_symlink() or not path.is_dir()}


def _undeclared(job: Job[Params], folders: _Folders, done: Finished) -> str | None:
    """What to do where a command says that it lacks a file that is in the tree."""
    beside = {Path(path).parent for path in job.params.paths.values() if path and not Path(path).is_absolute()}
    for line in filter(_LACKS.search, done.output.splitlines()[-_LAST:]):
        for word in _WORD.findall(line[:_LONGEST].replace(f"{folders.tree}/", "")):
            module = word.replace(".", "/")
            for folder, name in product([Path(), *beside], (word, f"{module}.py", f"{module}/__init__.py")):
                path = os.path.normpath(folder / name)
                hidden = not path.startswith(("/", "..")) and not (folders.tree / path).exists()
                if hidden and (job.cache.parents[1] / path).is_file():
                    return f"a step sees only what it declares: add {path} to its `inputs`"
    return None


def _check_outputs(job: Job[Params], folders: _Folders) -> None:
    """Hold what is there to what was declared."""
    made = _files(job.out)
    declared = job.params.outputs
    missing = [pattern for pattern in declared if not any(fnmatchcase(name, pattern) for name in made)]
    if missing:
        elsewhere = [name for name in missing if (folders.tree / name).exists()]
        wrote = f"it wrote {listed(sorted(made))}" if made else "it wrote nothing there"
        hint = f"it wrote {listed(elsewhere)} into the folder it ran in: write to {{out}}" if elsewhere else wrote
        raise StepError(f"the command did not write {listed(missing)}", hint=hint, log=job.log)
    added = [name for name in made if not any(fnmatchcase(name, pattern) for pattern in declared)]
    if added:
        raise StepError(
            f"the command wrote what it does not declare: {listed(sorted(added))}",
            hint="add it to `outputs`, or have the command write it below $TMPDIR",
            log=job.log,
        )
    links = [name for name, path in made.items() if path.is_symlink() and not _stays(path, job.out)]
    if links:
        hint = "what a step reads of other tasks is links: copy what they lead to (cp -L, tar -h)"
        raise StepError(f"{listed(sorted(links))} is a link that leads to no output", hint=hint, log=job.log)
    odd = [name for name, path in made.items() if not path.is_symlink() and not path.is_file()]
    if odd:
        raise StepError(f"{listed(odd)} is no file: a pipe, a socket or a device", hint="write a file", log=job.log)


def _stays(link: Path, out: Path) -> bool:
    """Whether a link is one that leads from output to output, wherever they are put."""
    if link.readlink().is_absolute() or not link.exists():
        return False
    end = link.resolve()
    return end.is_relative_to(out.resolve()) and not link.parent.resolve().is_relative_to(end)


def _tracer(job: Job[Params], folders: _Folders) -> list[str]:
    """The words before a command whose reads are traced."""
    if not job.services.trace_reads:
        return []
    strace = shutil.which(reads.STRACE)
    if strace is None:
        hint = "install it (Debian, Ubuntu: apt-get install strace; there is one for Linux only), or drop --trace-reads"
        raise ToolMissing("--trace-reads needs strace, which is not there", hint=hint)
    folders.traces.mkdir()
    return reads.prefix(Path(strace), folders.traces)


def _check_reads(job: Job[Params], folders: _Folders, command: str, secrets: Mapping[str, str]) -> None:
    """Refuse what was read and no key knows."""
    given = [job.inputs[roles.given(name)] for name in job.params.paths]
    views = [path for folder in given if folder.is_dir() for path in folder.rglob("*")]
    found = reads.undeclared(
        reads.read_traces(folders.traces, folders.tree),
        declared=[os.path.realpath(path) for path in (folders.whole, job.out, *given, *views)],
        program=command,
        kept_out=(Path.home(), job.out),
    )
    if found:
        more = f"\n    and {len(found) - _TRACED} more" if len(found) > _TRACED else ""
        names = (program.masked(os.fsencode(path), secrets.values()) for path in found[:_TRACED])
        files = "".join(f"\n    {os.fsdecode(name)}" for name in names)
        raise StepError(
            f"the command read {len(found)} file{'s' * (len(found) > 1)} that no key knows:{files}{more}",
            hint="declare what it needs in `inputs`; a program that it starts is known as the first word of a command",
            log=job.log,
        )


def _check_secrets(job: Job[Params], secrets: Mapping[str, str]) -> None:
    """Refuse a secret in an output: that would be in the store, and with whoever shares it."""
    for name, value in secrets.items():
        hidden = os.fsencode(value.strip())
        for path, file in _files(job.out).items():
            named = hidden in os.fsencode(path)
            if named or _holds(file, hidden):
                raise StepError(
                    f"the value of {name} is in its output {'(its name)' if named else path}",
                    hint="a result is kept in the store: encrypt with a secret, and do not write it down",
                    log=job.log,
                )


def _holds(file: Path, part: bytes) -> bool:
    """Whether a file, or a link, says this."""
    if file.is_symlink():
        return part in os.fsencode(file.readlink())
    if not file.is_file():
        return False
    kept = b""
    with file.open("rb") as content:
        while block := content.read(_CHUNK_BYTES):
            if part in kept + block:
                return True
            kept = (kept + block)[-len(part) :]
    return False
