"""Slipway beside GNU make, ninja, SCons, Snakemake and plain doit on one generated graph of trivial tasks.

    python -m venv .bench && .bench/bin/pip install doit==0.37.0 ninja scons snakemake
    python bench/scale.py --peers .bench                      # 155, 2,225 and 11,025 tasks; half an hour
    python bench/scale.py --peers .bench --sizes 20x6 --rounds 3
    python bench/scale.py --peers .bench --write              # puts the tables into docs/explanation/speed.md

Run it with the Python that has Slipway. Four things are measured: a clean build with two workers, a build with nothing
to do, one with one changed source, and the memory of each. What is measured and how it is made fair: bench/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import graphs
import table
from graphs import Size
from measure import Cost, Failed, in_turn, median, ratio, run
from project import DOIT, PAGE, frozen

HERE = Path(__file__).resolve().parent
SIZES = ("20x6", "200x10", "1000x10")
BASE = "plain doit"
ROOM = 4 << 30
"""Bytes that the trees of all tools may take; they need a quarter of that."""

PATIENCE = 3000
"""Tasks above which a clean build is not asked of a tool that needs some 50 ms for each."""


class Tool(NamedTuple):
    """A contestant.

    Attributes:
        name: as the tables have it.
        program: which file of the peers' `bin` it is; looked for on PATH as well.
        words: its arguments for a build with two workers.
        graph: writes the graph for it.
        patient: it is asked for a clean build of the largest graph, too.
    """

    name: str
    program: str
    words: tuple[str, ...]
    graph: Callable[[Size, Path], None]
    patient: bool = True


def slipway(size: Size, folder: Path) -> None:
    """Slipway's own form of the graph: see `scale_dodo.py`."""
    shutil.copyfile(HERE / "scale_dodo.py", folder / "dodo.py")
    shutil.copytree(HERE / "scale_steps", folder / "scale_steps")
    (folder / "targets.yaml").write_text(f'{{"models": {size.models}, "backends": {size.backends}}}\n')


PEERS = (
    Tool("GNU make", "make", ("-rR", "-s", "-j2"), graphs.make),
    Tool("ninja", "ninja", ("-j2", "--quiet"), graphs.ninja),
    Tool("SCons", "scons", ("-Q", "-s", "-j2"), graphs.scons),
    Tool("Snakemake", "snakemake", ("--cores", "2", "--quiet", "all"), graphs.snakemake, patient=False),
    Tool(BASE, "doit", (), graphs.doit),
    Tool("plain doit, 2 threads", "doit", ("-n", "2", "-P", "thread"), graphs.doit),
)
OURS = Tool("Slipway", "doit", (), slipway)


class Field:
    """Everybody who takes part, each with a command and, for a graph of one size, its own fresh directories."""

    def __init__(self, work: Path, peers: Path | None, only: list[str]) -> None:
        self.work = work
        self.missing: list[str] = []
        self._commands: dict[str, list[str]] = {}
        self._env: dict[str, dict[str, str]] = {}
        self._commands[OURS.name] = [str(DOIT), *OURS.words]
        self._env[OURS.name] = frozen(work / "frozen")
        self.version = [str(DOIT), "--version"]
        self.tools = [OURS]
        for tool in PEERS:
            if only and tool.name not in only:
                continue
            program = _program(tool, peers)
            if program is None:
                self.missing.append(tool.name)
            else:
                self.tools.append(tool)
                self._commands[tool.name] = [program, *tool.words]
                self._env[tool.name] = {}

    def prepare(self, tool: Tool, size: Size, number: int) -> Path:
        """A fresh directory with the graph. Nothing is removed meanwhile: ext4 is slower for minutes after that."""
        folder = self.work / str(size) / f"{tool.name.replace(' ', '-').replace(',', '')}.{number}"
        graphs.sources(size, folder)
        tool.graph(size, folder)
        return folder

    def build(self, tool: Tool, folder: Path) -> Cost:
        """One build."""
        return run(self._commands[tool.name], folder, self._env[tool.name])


Costs = Mapping[str, list[Cost]]


class Result(NamedTuple):
    """The costs of one size, by tool."""

    size: Size
    clean: Costs
    noop: Costs
    touch: Costs
    absent: tuple[str, ...]


def measured(field: Field, size: Size, rounds: int) -> Result:
    """Measure one size."""
    tools = [tool for tool in field.tools if tool.patient or size.tasks <= PATIENCE]
    absent = tuple(tool.name for tool in field.tools if tool not in tools)
    folders = {tool.name: [field.prepare(tool, size, number) for number in range(rounds)] for tool in tools}
    os.sync()

    def each(what: Callable[[Tool, int], Cost]) -> dict[str, Callable[[int], Cost]]:
        return {tool.name: partial(what, tool) for tool in tools}

    def noop(tool: Tool, _number: int) -> Cost:
        return field.build(tool, folders[tool.name][0])

    def touch(tool: Tool, number: int) -> Cost:
        graphs.touch(folders[tool.name][0], number)
        return field.build(tool, folders[tool.name][0])

    clean = in_turn(each(lambda tool, number: field.build(tool, folders[tool.name][number])), rounds)
    _compare({name: places[0] for name, places in folders.items()})
    in_turn(each(noop), 1)
    version = {"doit --version": lambda _number: run(field.version, HERE)}
    nothing = in_turn({**each(noop), **version}, 2 * rounds + 1)
    touched = in_turn(each(touch), rounds)
    _compare({name: places[0] for name, places in folders.items()})
    return Result(size, clean, nothing, touched, absent)


def report(result: Result) -> Iterator[str]:
    """The result as Markdown."""
    size = result.size
    yield f"### {size.tasks:,} tasks ({size.models} models × {size.backends} backends)\n"
    head = [
        "",
        "clean: wall s",
        "CPU s",
        "MiB",
        "nothing to do: CPU s",
        "× plain doit",
        "one source: wall s",
        "CPU s",
        "wall × plain doit",
    ]
    rows = []
    for name in result.noop:
        clean, nothing, touched = (costs.get(name) for costs in (result.clean, result.noop, result.touch))
        rows.append([
            name,
            *(_figures(median(clean)) if clean else ("–", "–", "–")),
            f"{median(nothing).cpu:.3f}" if nothing else "–",
            _times(nothing, result.noop.get(BASE), "cpu"),
            *(_figures(median(touched))[:2] if touched else ("–", "–")),
            _times(touched, result.touch.get(BASE), "wall"),
        ])  # fmt: skip
    yield table.markdown(head, rows)
    ours, version = result.noop[OURS.name], result.noop["doit --version"]
    yield f"\nNothing to do takes Slipway {ratio(ours, version).cpu:.2f} × the CPU of `doit --version`."
    for name, costs in result.clean.items():
        if name != OURS.name:
            times = ratio(result.clean[OURS.name], costs)
            yield f"A clean build takes {times.wall:.2f} × the time and {times.cpu:.2f} × the CPU of {name}."
    yield from (f"{name} was not measured at this size: a clean build takes it many minutes." for name in result.absent)


def _figures(cost: Cost) -> tuple[str, str, str]:
    return f"{cost.wall:.2f}", f"{cost.cpu:.2f}", f"{cost.rss:.0f}"


def _times(ours: list[Cost] | None, theirs: list[Cost] | None, what: str) -> str:
    return f"{getattr(ratio(ours, theirs), what):.2f}" if ours and theirs else "–"


def _compare(folders: Mapping[str, Path]) -> None:
    """Make sure that all have made the same."""
    made = {name: _made(folder) for name, folder in folders.items()}
    if len(set(made.values())) != 1:
        raise Failed(f"not all tools made the same: {made}")


def _made(folder: Path) -> str:
    packs = [*folder.glob("build/pack-b*"), *folder.glob("build/out/pack-b*")]
    return hashlib.sha256(b"".join(sorted(path.read_bytes() for path in packs))).hexdigest()[:12]


def _program(tool: Tool, peers: Path | None) -> str | None:
    """Where a peer is. Plain doit is never ours: there, `doit run` is Slipway's."""
    if peers is not None and (peers / "bin" / tool.program).is_file():
        return str((peers / "bin" / tool.program).absolute())
    return None if tool.program == "doit" else shutil.which(tool.program)


def _memory() -> Path | None:
    """Where files are in memory, if there is room: on a disk their creation varies more than the tools do."""
    place = Path("/dev/shm")  # noqa: S108 - the system's own name for it
    return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > ROOM else None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="a virtual environment with the other tools")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="models x backends; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--only", nargs="+", default=[], help="names of peers, as the tables have them")
    parser.add_argument("--work", type=Path, help="a directory for the trees; default: a new one, in memory on Linux")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    options = parser.parse_args()
    sizes = [Size(*map(int, text.split("x"))) for text in options.sizes]
    with tempfile.TemporaryDirectory(prefix="slipway-scale-", dir=options.work or _memory()) as work:
        field = Field(Path(work), options.peers, options.only)
        for name in field.missing:
            print(f"MISSING: {name} was not found; see --peers in: python bench/scale.py --help")
        parts = [table.machine()]
        for size in sizes:
            text = "\n".join(report(measured(field, size, options.rounds)))
            print(f"{text}\n", flush=True)
            parts.append(text)
        parts += [f"{name} was not found, and not measured." for name in field.missing]
    if options.write:
        table.write(PAGE, "scale", "\n\n".join(parts))


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
