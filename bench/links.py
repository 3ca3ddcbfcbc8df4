"""How a module for pages is linked, beside `emcc -O3`, which optimises the whole runtime again for each.

    python bench/links.py build/there            # a project with minilm for a wasm backend, built; ten minutes
    python bench/links.py build/there --write    # puts the table into docs/explanation/speed.md

The runtime is compiled twice, as Slipway does and by `-O3`, and the same objects of the model are linked with each, in
turn. Then each module embeds the check's sentences in Node, in turn. A link counts CPU seconds of all its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import table
from measure import Cost, in_turn, median, ratio
from project import ROOT

from pipeline.action import Tool
from pipeline.binary.ar import read_archive
from pipeline.documents.archive import Archive
from pipeline.native import wheel
from pipeline.native.emcc import COMPILE, LINK, Emscripten
from pipeline.runners.machine import Launch, Parameter
from pipeline.runners.node import _WEB, installed
from pipeline.runners.program import Program
from pipeline.steps import wasm, wasm_runtime

MODEL = "minilm-f32"
ALLOWED = {"CPU seconds of a link": 12.0, "its size": 1.1, "the CPU seconds of a call": 1.05}


class Before(Emscripten):
    """The link that emscripten makes when it is asked to optimise."""

    def link(self, objects: Sequence[Path], out: Path, flags: Sequence[str] = ()) -> None:
        """See `Emscripten.link`."""
        self._run(["-O3", COMPILE[1], *LINK, *flags, *map(str, objects), "-o", str(out)], "link")


def runtime(emscripten: Emscripten, folder: Path, flags: Sequence[str]) -> list[Path]:
    """The objects of the package's runtime, compiled with further flags."""
    shown = folder / "source"
    tree = wheel.lay_out(wheel.find(), shown)
    sources, includes = wasm_runtime.layout(tree, shown)
    made = emscripten.compile_all(
        sources, includes=includes, folder=folder / "objects", blobs={}, flags=flags, jobs=os.cpu_count() or 1
    )
    return list(made.values())


def link(emscripten: Emscripten, objects: Sequence[Path], archive: Path, out: Path, _: int = 0) -> Cost:
    """Link the model; what it cost."""
    described = Archive.read(archive)
    model = described.model(MODEL)
    members = {one.name: one for one in read_archive((archive / described.library).read_bytes())}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        own = [members[name] for name in model.members]
        wasm.link(emscripten, own, objects, out, scratch=Path(scratch), prefix=model.prefix)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - began, cpu, out.stat().st_size)


def call(program: Program, parameters: Sequence[Parameter], _: int) -> Cost:
    """Embed the check's sentences; what the calls took, by the clock and of Node's CPU."""
    sentences = json.loads((ROOT / "recipes/reference/minilm.json").read_text(encoding="utf-8"))["sentences"]
    seconds, before = 0.0, _cpu(program)
    for one in sentences:
        ids = np.array([one["ids"]], "int32")
        seconds += program.call("embed", [ids, np.ones_like(ids), list(parameters)])[1]
    return Cost(seconds, _cpu(program) - before, 1)


def _cpu(program: Program) -> float:
    """CPU seconds of a program up to now. A busy machine changes them less than the clock's."""
    process = program._process.pid  # noqa: SLF001 - nobody else asks
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(asked: argparse.Namespace, work: Path) -> str:
    """Measure; the table."""
    archive = asked.built / "build/archive" / asked.backend
    functions = {one.name: one for one in Archive.read(archive).model(MODEL).functions}
    names = [one.name for one in (functions["embed"].arguments or ())[2].items or ()]
    emcc, npm = (Path(shutil.which(name) or name) for name in ("emcc", "npm"))
    ways: dict[str, tuple[Emscripten, list[Path]]] = {}
    for name, kind, flags in (("as Slipway links", Emscripten, ()), ("`emcc -O3`", Before, ("-O3",))):
        emscripten = kind(emcc, "", work / "log")
        ways[name] = (emscripten, runtime(emscripten, work / kind.__name__, flags))
    modules = {name: work / f"{number}.wasm" for number, name in enumerate(ways)}
    links = {name: partial(link, *way, archive, modules[name]) for name, way in ways.items()}
    for first in links.values():  # emscripten builds its own libraries once
        first(0)
    linked = in_turn(links, asked.links)
    packages = installed(Tool("npm", npm, ""), work / "log")
    words = ("node", str(_WEB / "program.mjs"), str(packages))
    programs = {name: Program(Launch(command=(*words, str(one), "cpu")), 3600) for name, one in modules.items()}
    for program in programs.values():
        program.use_parameters(asked.built / "build/params" / MODEL)
    called = in_turn(
        {name: partial(call, one, [*map(Parameter, names)]) for name, one in programs.items()}, asked.calls
    )
    for program in programs.values():
        program.close()
    rows = [
        [name, f"{median(linked[name]).cpu:.1f}", f"{linked[name][0].rss:,.0f}", f"{median(called[name]).cpu:.2f}"]
        for name in ways
    ]
    links_, calls = (ratio(*each.values()) for each in (linked, called))
    spread = statistics.quantiles([a.cpu / b.cpu for a, b in zip(*called.values(), strict=True)], n=4)
    head = ["link of minilm-f32", "CPU s", "bytes", "CPU s of the check's calls"]
    found = dict(zip(ALLOWED, (median(linked["as Slipway links"]).cpu, links_.rss, calls.cpu), strict=True))
    for name, value in found.items():
        if value > ALLOWED[name]:
            print(f"{name}: {value:.3f} IS MORE THAN {ALLOWED[name]:g}")
    return (
        f"{table.markdown(head, rows)}\n\n"
        f"A link takes {links_.cpu:.2f} × the CPU of `emcc -O3` and makes {links_.rss:.2f} × the bytes; calls take "
        f"{calls.cpu:.3f} × the CPU (quartiles {spread[0]:.3f} and {spread[2]:.3f}): medians of {asked.links} and "
        f"{asked.calls} rounds in turn."
    )


if __name__ == "__main__":
    options = table.parser(__doc__)
    options.add_argument("built", type=Path, help="the project")
    options.add_argument("--backend", default="wasm", help="default: %(default)s")
    options.add_argument("--links", type=int, default=3, help="rounds of links; default: %(default)s")
    options.add_argument("--calls", type=int, default=15, help="rounds of calls; default: %(default)s")
    table.main("links", options, measured)
