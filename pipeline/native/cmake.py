"""Drives CMake: configure a project in a folder of its own, ask which targets it has, build some of them.

The step `runtime` calls it. Everything that decides what comes out is on the command line; nothing is inherited from
the caller's environment.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents.codec import load
from pipeline.errors import StepError
from pipeline.process import run

_QUERY = ".cmake/api/v1/query/codemodel-v2"
_REPLY = ".cmake/api/v1/reply"
_MARK = "slipway.json"

HINTS = {
    "CMAKE_C_COMPILER": "install a C and C++ compiler",
    "Cargo is not found": "install Rust (cargo and rustup): the tokenizers are written in it",
    "rustup target add": "add the Rust target that the log names: rustup target add …",
    "Could not find toolchain file": "check the NDK: build/cmake/android.toolchain.cmake is missing in it",
    "or higher is required": "install the CMake that it asks for: pip install cmake",
}
"""What CMake or a compiler says -> what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target of a configured project.

    Attributes:
        type: `STATIC_LIBRARY`, `SHARED_LIBRARY`, `OBJECT_LIBRARY`, `UTILITY`, ….
        artifacts: the files it makes; the objects of an object library.
    """

    name: str
    type: str
    artifacts: tuple[Path, ...]
    dependencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """A folder in which CMake builds a project."""

    cmake: Path
    source: Path
    folder: Path
    log: Path

    def configure(self, settings: Mapping[str, str], identity: object) -> None:
        """Configure with CMake's cache variables, from nothing unless the folder was made for the same.

        `identity` is what else the objects in the folder depend on (versions of compilers).

        Raises:
            StepError: the project does not configure.
        """
        made_of = {"source": str(self.source), "settings": dict(settings), "identity": identity}
        mark, text = self.folder / _MARK, json.dumps(made_of, indent=1, sort_keys=True).encode()
        if not mark.is_file() or mark.read_bytes() != text:
            shutil.rmtree(self.folder, ignore_errors=True)
        query = self.folder / _QUERY
        query.parent.mkdir(parents=True, exist_ok=True)
        query.touch()
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        words = [f"-D{name}={value}" for name, value in sorted(settings.items())]
        self._run([self.cmake, "-S", self.source, "-B", self.folder, *generator, *words], "configure")
        mark.write_bytes(text)

    def describe(self) -> tuple[str, dict[str, Target]]:
        """The project's name, and its targets by name, as CMake's file API tells them.

        Raises:
            StepError: CMake is too old to tell (before 3.14).
        """
        replies = self.folder / _REPLY
        latest = max(replies.glob("index-*.json"), default=None)
        found = [] if latest is None else [one for one in load(_Index, latest).objects if one.kind == "codemodel"]
        if not found:
            raise StepError("CMake does not say what it builds", where=self.folder, hint="install CMake 3.18 or later")
        model = load(_Codemodel, replies / found[0].jsonFile).configurations[0]
        described = [load(_Described, replies / one.jsonFile) for one in model.targets]
        names = {one.id: one.name for one in described}
        targets = {
            one.name: Target(
                name=one.name,
                type=one.type,
                artifacts=tuple(self.folder / made.path for made in one.artifacts),
                dependencies=tuple(names[other.id] for other in one.dependencies if other.id in names),
            )
            for one in described
        }
        return model.projects[0].name, targets

    def build(self, targets: Iterable[str], jobs: int | None = None) -> None:
        """Build targets, with as many compilers at once as there are processors.

        Raises:
            StepError: something does not compile.
        """
        wanted = [word for target in targets for word in ("--target", target)]
        parallel = str(jobs or os.cpu_count() or 1)
        self._run([self.cmake, "--build", self.folder, "--parallel", parallel, *wanted], "build")

    def _run(self, words: list[str | Path], what: str) -> None:
        done = run(words, log=self.log, env={"ZERO_AR_DATE": "1"}, check=False)
        if done.status == 0:
            return
        lines = done.output.strip().splitlines()
        errors = [line for line in lines if "error" in line.lower() or "FAILED" in line] or lines
        hint = next((hint for said, hint in HINTS.items() if said in done.output), "the log has all that was said")
        shown = "\n    ".join(line.strip() for line in errors[:8])
        raise StepError(f"cmake could not {what} {self.source.name}:\n    {shown}", hint=hint, log=self.log)


# What CMake's file API replies, as far as it is read here


@dataclass(frozen=True)
class _Reply:
    """A file, and what it is about."""

    jsonFile: str  # noqa: N815 - as CMake spells it
    kind: str = ""


@dataclass(frozen=True)
class _Index:
    objects: tuple[_Reply, ...]


@dataclass(frozen=True)
class _Project:
    name: str


@dataclass(frozen=True)
class _Configuration:
    projects: tuple[_Project, ...]
    targets: tuple[_Reply, ...]


@dataclass(frozen=True)
class _Codemodel:
    configurations: tuple[_Configuration, ...]


@dataclass(frozen=True)
class _Artifact:
    path: str


@dataclass(frozen=True)
class _Dependency:
    id: str


@dataclass(frozen=True)
class _Described:
    """A target."""

    id: str
    name: str
    type: str
    artifacts: tuple[_Artifact, ...] = ()
    dependencies: tuple[_Dependency, ...] = ()
