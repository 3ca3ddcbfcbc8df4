"""`doit doctor`: what the compilers here can do, what else is installed, and what each missing thing costs.

Needs no dodo.py, and no targets.yaml either: without one it looks at the Python that runs it. Nothing is built, and no
environment is made.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from doit.version import VERSION as DOIT

from pipeline import __version__
from pipeline.compilers.devices import unable
from pipeline.documents.probe import Probe
from pipeline.doit_plugin import noop
from pipeline.doit_plugin.options import options
from pipeline.doit_plugin.session import Session
from pipeline.errors import SlipwayError
from pipeline.matrix.matrix import Matrix
from pipeline.steps.toolchain import Workers, probe
from pipeline.toolchains import needs
from pipeline.toolchains.needs import Finding, look

from .base import JsonOptions, PlainCommand

WIDTH = 18
NO_MATRIX = "there is no targets.yaml here, so nothing is known to be needed: doit init makes one"


@dataclass(frozen=True)
class Broken:
    """A toolchain that does not work."""

    error: str
    hint: str | None


@dataclass(frozen=True)
class Unmade:
    """A toolchain that is not made yet; `unmade` says how."""

    unmade: str


Toolchain = Probe | Broken | Unmade


@dataclass(frozen=True)
class Diagnosis:
    """What was found; `needed` is what the matrix, where there is one, needs here and has not."""

    toolchains: Mapping[str, Toolchain]
    findings: list[Finding] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    matrix: bool = False


class Doctor(PlainCommand[JsonOptions]):
    """look at compilers and tools here, and say what each missing one costs (Slipway)"""  # noqa: D415 - doit prints this as it is

    name = "doctor"
    doc_description = (
        "Looks at every toolchain of targets.yaml, or at this Python where there is none. Exit status: 0; 1 when "
        "something is missing that the matrix needs here; 3 when targets.yaml is wrong."
    )

    def answer(self, options: JsonOptions, args: Sequence[str]) -> int:
        """Look, and print."""
        found = examine(Path(noop.targets_path(sys.argv[1:])))
        self.show(as_json(found), lines(found), as_json=options.json)
        return 1 if found.needed else 0


def examine(targets: Path) -> Diagnosis:
    """Look at everything; the matrix file need not exist.

    Raises:
        SlipwayError: the matrix file is wrong.
    """
    if targets == Path("targets.yaml") and not targets.is_file():
        with tempfile.TemporaryDirectory() as folder:
            return _without_matrix(Path(folder))
    session = Session(targets, options())
    matrix = session.project.matrix
    used = sorted(one.subject for one in session.engine.actions.values() if one.step == "toolchain")
    found = {name: _toolchain(session, name) for name in used}
    findings = look(session.finder.find)
    source = matrix.runtime.source  # the tokenizers of a checkout of mlc_llm are in Rust
    rust = source is not None and (session.root / source / "3rdparty" / "tokenizers-cpp" / "rust").is_dir()
    tools = needs.missing(session.engine.actions.values(), session.finder.find, rust=rust)
    return Diagnosis(found, findings, [*_needed(matrix, found), *map(_told, tools)], True)


def _told(need: needs.Need) -> str:
    """What is missing, as text."""
    verb = "need" if need.made.endswith("s of") else "needs"
    return f"{need.made} {', '.join(need.backends)} {verb} {need.tool}\n  hint: {need.hint}"


def _without_matrix(folder: Path) -> Diagnosis:
    from pipeline.tools.finder import Finder  # noqa: PLC0415 - what a session has made already
    from pipeline.worker.worker import ToolchainWorker  # noqa: PLC0415

    with closing(ToolchainWorker(preload=["tvm"])) as forks, closing(ToolchainWorker(fresh=True)) as fresh:
        found = _probed(lambda wanted: fresh if wanted else forks, "current", folder / "log", mlc=False)
    return Diagnosis({"current": found}, look(Finder(folder / "tools").find))


def _toolchain(session: Session, name: str) -> Toolchain:
    """What is known of a toolchain, from its last probe where that still holds."""
    action = session.engine.actions[f"toolchain:{name}"]
    if session.engine.status(action.name).fresh:
        return Probe.read(session.root / action.out)
    environment = session.project.environment(name)
    if environment.kind == "made" and not environment.usable:
        return Unmade(f"doit toolchain:{name} makes it, in {environment.folder.relative_to(environment.root)}")
    with tempfile.TemporaryDirectory() as folder:
        return _probed(
            lambda fresh: session.worker(name, fresh=fresh), name, Path(folder) / "log", mlc=action.params.mlc
        )


def _probed(workers: Workers, name: str, log: Path, *, mlc: bool) -> Toolchain:
    try:
        return probe(workers, name, log, mlc=mlc)
    except SlipwayError as error:
        return Broken(error.what, error.hint)


def _needed(matrix: Matrix, toolchains: Mapping[str, Toolchain]) -> Iterator[str]:
    """What is wrong with the toolchains of the matrix."""
    for name, found in toolchains.items():
        if isinstance(found, Broken):
            yield _broken(name, found)
    yield from unable(matrix.cells, {name: one for name, one in toolchains.items() if isinstance(one, Probe)})


def _broken(name: str, known: Broken) -> str:
    """A toolchain that does not work, named once."""
    return f"toolchain {name}: {known.error.removeprefix(f'toolchain {name}: ')}\n  hint: {known.hint}"


def lines(found: Diagnosis) -> Iterator[str]:
    """The diagnosis as text."""
    yield f"Slipway {__version__}, doit {'.'.join(map(str, DOIT))}, in {sys.prefix}"
    for name, known in found.toolchains.items():
        yield from _described(name, known)
    yield ""
    for one in found.findings:
        if one.tool is not None:
            yield f"{one.help.title:<{WIDTH}}{one.tool.version}"
        else:
            yield f"{one.help.title:<{WIDTH}}missing: {one.help.cost}"
            yield f"{'':<{WIDTH}}hint: {one.hint}"
    yield ""
    if found.needed:
        yield "needed for the matrix, and not here:"
        yield from found.needed
    else:
        yield "everything that the matrix needs is here" if found.matrix else NO_MATRIX


def _described(name: str, known: Toolchain) -> Iterator[str]:
    if isinstance(known, Broken):
        yield _broken(name, known)
        return
    if isinstance(known, Unmade):
        yield f"toolchain {name}: not made yet; {known.unmade}"
        return
    yield f"toolchain {name}"
    yield f"  Python {known.python}, TVM {known.tvm}, tvm-ffi {known.tvm_ffi}"
    yield f"  generates code for {', '.join(known.codegens)}"
    simdgroup = "works" if known.metal_simdgroup else "fails; matrix products for Metal get the generic schedule"
    yield f"  Metal's simdgroup rule {simdgroup}"
    mlc = known.mlc
    if mlc is None:
        yield "  no mlc_llm"
    elif mlc.error is not None:
        yield f"  mlc_llm {mlc.version}, which cannot be imported: {mlc.error}"
    else:
        commit = f" ({mlc.commit[:12]})" if mlc.commit else ""
        knows = f", {len(mlc.architectures)} architectures" if mlc.architectures is not None else ""
        yield f"  mlc_llm {mlc.version}{commit}{knows}"


def as_json(found: Diagnosis) -> dict[str, object]:
    """The diagnosis for programs."""
    return {
        "toolchains": {name: asdict(known) for name, known in found.toolchains.items()},
        "tools": {
            one.help.name: {
                "title": one.help.title,
                "version": None if one.tool is None else one.tool.version,
                "path": None if one.tool is None else str(one.tool.path),
                "cost": one.help.cost,
                "hint": one.hint,
            }
            for one in found.findings
        },
        "needed": found.needed,
    }
